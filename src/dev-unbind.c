// SPDX-License-Identifier: GPL-2.0-only
/*
 * Detaching, on the last close of a device that is to be cleared.
 *
 * ->release() runs under open_mutex and must not wait for I/O there. Usually
 * there is none: the handle is retired, a second look finds no pin, and the
 * device is unbound on the spot. Otherwise the handle stays in service, a work item
 * does the rest, and the owner file has the closer wait for it: an anonymous file,
 * there since the device was bound, whose last reference is dropped here. The VFS
 * runs its ->release() as task work of the closer, when open_mutex has been dropped
 * and before the closer returns to user space. That one waits, and closes the
 * backing file. It does not wait if it is a kernel thread, and not for long if it
 * is exiting or has been killed: then the work item closes the file.
 *
 * An owner that was not needed is kept for the next binding. Its file has the
 * methods of this module only from the moment when it is handed over; the module
 * reference of the binding is its own from then on.
 *
 * An unbound device has a fence before it can be bound again: dev-fence.c.
 */

#include <linux/anon_inodes.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "device.h"
#include "trace.h"

/*
 * How long a detach that does not come to an end holds up a task that was killed,
 * and one that is exiting of its own accord, which nobody can kill any more.
 */
#define SLOOP_KILLED_WAIT	HZ
#define SLOOP_EXITING_WAIT	(30 * HZ)

/* Close the file that the device has been on, if that is still to be done. */
static void sloop_owner_fput(struct sloop_owner *owner)
{
	struct sloop_backing *backing = xchg(&owner->backing, NULL);

	if (backing)
		sloop_backing_put(backing);
}

static void sloop_owner_put(struct sloop_owner *owner)
{
	struct gendisk *disk = owner->dev->disk;

	if (!refcount_dec_and_test(&owner->refs))
		return;
	sloop_owner_fput(owner);
	kfree(owner);
	put_device(disk_to_dev(disk));
}

/*
 * Sleeps until the device is unbound or the time comes; the machine can be suspended
 * meanwhile. True, false, or -ERESTARTSYS in a state that can be killed.
 */
static long sloop_owner_sleep(struct sloop_owner *owner, unsigned int state,
			      unsigned long until)
{
	long left = max((long)(until - jiffies), 0L);

	state |= TASK_FREEZABLE;
	return ___wait_event(owner->wait,
			___wait_cond_timeout(smp_load_acquire(&owner->done)),
			state, 0, left,
			__ret = schedule_timeout(__ret));
}

/*
 * True if the device has been unbound. The time counts from the last close, so that a
 * task which has closed many devices waits for all of them together.
 */
static bool sloop_owner_wait(struct sloop_owner *owner)
{
	unsigned long killed = owner->since + SLOOP_KILLED_WAIT;
	unsigned long bounded = owner->since + SLOOP_EXITING_WAIT;
	long ret;

	/* Runs the delayed work of the whole system: holds up nobody. */
	if (current->flags & PF_KTHREAD)
		return false;

	sloop_io_might_wait();
	/*
	 * An exiting task has no pending signals any more, not even the SIGKILL
	 * that made it exit (get_signal() in kernel/signal.c takes it away), so
	 * a killable wait would not end.
	 */
	if (current->flags & PF_EXITING)
		return sloop_owner_sleep(owner, TASK_UNINTERRUPTIBLE,
				(current->exit_code & 0x7f) ? killed : bounded);

	/* An init, also that of a container, is killed by nobody in there. */
	if (current->signal->flags & SIGNAL_UNKILLABLE)
		ret = sloop_owner_sleep(owner, TASK_KILLABLE, bounded);
	else
		do {
			ret = sloop_owner_sleep(owner, TASK_KILLABLE,
						jiffies + HZ);
		} while (!ret);

	if (ret < 0)
		ret = sloop_owner_sleep(owner, TASK_UNINTERRUPTIBLE, killed);
	return ret;
}

/*
 * The closer closes the file itself: its fput() is task work, done before it returns,
 * with all that follows from it.
 */
static int sloop_owner_release(struct inode *inode, struct file *file)
{
	struct sloop_owner *owner = file->private_data;

	if (sloop_owner_wait(owner))
		sloop_owner_fput(owner);
	sloop_owner_put(owner);
	return 0;
}

static const struct file_operations sloop_owner_fops = {
	.owner		= THIS_MODULE,
	.release	= sloop_owner_release,
	.llseek		= noop_llseek,
};

/* With the kernel's credentials: the device may outlive a container. */
static struct file *sloop_owner_open(void)
{
	struct cred *cred = prepare_kernel_cred(&init_task);
	const struct cred *saved;
	struct file *file;

	if (!cred)
		return ERR_PTR(-ENOMEM);

	saved = override_creds(cred);
	/* Nothing of this module: the file may be freed when that has gone. */
	file = anon_inode_getfile("[safeloop]", &generic_ro_fops, NULL,
				  O_RDONLY);
	revert_creds(saved);
	put_cred(cred);
	return file;
}

/**
 * sloop_owner_create - see to it that a device has an owner
 * @dev: the device, unbound
 *
 * Context: under dev->lock, may sleep.
 * Return: 0; -ENOMEM; an errno of a security module. The limit on open files does
 * not apply to the kernel.
 */
int sloop_owner_create(struct sloop_device *dev)
{
	struct sloop_owner *owner;

	lockdep_assert_held(&dev->lock);

	if (dev->owner)
		return 0;

	owner = kzalloc(sizeof(*owner), GFP_KERNEL);
	if (!owner)
		return -ENOMEM;

	owner->file = sloop_owner_open();
	if (IS_ERR(owner->file)) {
		int err = PTR_ERR(owner->file);

		kfree(owner);
		return err;
	}

	owner->dev = dev;
	refcount_set(&owner->refs, 1);
	init_waitqueue_head(&owner->wait);
	dev->owner = owner;
	return 0;
}

/**
 * sloop_owner_destroy - free the owner of a device that is going away
 * @dev: the device, unbound
 */
void sloop_owner_destroy(struct sloop_device *dev)
{
	struct sloop_owner *owner = dev->owner;

	if (!owner)
		return;
	fput(owner->file);
	kfree(owner);
}

/*
 * The work item gets a module reference and begins at once: a task that closes many
 * devices comes to their owner files one after the other, and waits in each.
 *
 * The file gets the methods of the module, the module reference of the binding,
 * which __fput() drops when ->release() has returned, and a reference on the disk.
 */
static void sloop_owner_hand_over(struct sloop_owner *owner)
{
	struct sloop_device *dev = owner->dev;
	struct file *file = owner->file;

	get_device(disk_to_dev(dev->disk));
	owner->since = jiffies;
	refcount_inc(&owner->refs);
	__module_get(THIS_MODULE);
	queue_delayed_work(sloop_ctl_wq, &dev->unbind_work, 0);

	file->private_data = owner;
	file->f_op = &sloop_owner_fops;
	fput(file);
}

/*
 * Make the device what it is without a file. The handle has been retired and has
 * no pin. open_mutex keeps users out, and is what removing partitions needs.
 * Returns the handle, for the caller to close the file in its own way.
 */
static struct sloop_backing *sloop_unbind_finish(struct sloop_device *dev)
{
	struct gendisk *disk = dev->disk;
	struct sloop_backing *backing;
	int err;

	lockdep_assert_held(&disk->open_mutex);

	backing = sloop_backing_publish(dev, NULL);
	trace_sloop_backing_retire(dev, backing);

	invalidate_disk(disk);
	/* Whoever made it read-only (BLKROSET) meant this file. */
	compat_bdev_clear_read_only(disk->part0);
	sloop_fence_raise(dev);
	sloop_sysfs_unbind(dev);
	kobject_uevent(&disk_to_dev(disk)->kobj, KOBJ_CHANGE);
	disk_force_media_change(disk);
	/* Removes all partitions, also those that were added by hand. */
	err = bdev_disk_changed(disk, false);
	if (err)
		pr_warn("%s: removing partitions failed: %d\n",
			disk->disk_name, err);
	if (!sloop_part_shift)
		set_bit(GD_SUPPRESS_PART_SCAN, &disk->state);

	mutex_lock(&dev->lock);
	dev->flags = 0;
	memset(dev->file_name, 0, LO_NAME_SIZE);
	sloop_state_set(dev, SLOOP_UNBOUND);
	mutex_unlock(&dev->lock);

	return backing;
}

/**
 * sloop_unbind_workfn - finish a stray detach
 * @work: sloop_device::unbind_work
 *
 * The freeze waits for all that entered the queue before it, and those requests
 * are served by the file they were meant for. The wait has no limit: it ends when
 * the file does. Nobody sleeps that long: the work item comes back to look.
 */
void sloop_unbind_workfn(struct work_struct *work)
{
	struct sloop_device *dev = container_of(to_delayed_work(work),
						struct sloop_device, unbind_work);
	struct sloop_owner *owner = dev->owner;
	struct sloop_backing *backing;

	sloop_io_might_wait();
	/* Swap that was given back may still be on its way. */
	if (!sloop_queue_drain(dev) || sloop_swap_busy(dev)) {
		queue_delayed_work(sloop_ctl_wq, &dev->unbind_work,
				   sloop_queue_drain_pause(dev));
		return;
	}
	backing = sloop_backing_current(dev);
	sloop_backing_retire(backing);
	WARN_ON_ONCE(sloop_backing_pinned(backing));	/* frozen: no requests */
	sloop_queue_drain_end(dev);

	mutex_lock(&dev->disk->open_mutex);
	dev->owner = NULL;
	owner->backing = sloop_unbind_finish(dev);
	mutex_unlock(&dev->disk->open_mutex);

	smp_store_release(&owner->done, true);
	wake_up_all(&owner->wait);
	sloop_owner_put(owner);
	/* Module exit flushes the workqueue: the rest of this function is safe. */
	module_put(THIS_MODULE);
}

/* No request in flight, and the handle retired before one could be? */
static bool sloop_try_retire(struct sloop_device *dev)
{
	struct sloop_backing *backing = sloop_backing_current(dev);

	if (sloop_dev_busy(dev) || sloop_backing_pinned(backing) ||
	    sloop_swap_busy(dev))
		return false;
	sloop_backing_retire(backing);
	/*
	 * A request that was allocated since the look at the tags may have got
	 * its pin in time. It is served; those that did not are late.
	 */
	return !sloop_backing_pinned(backing) && !sloop_swap_busy(dev);
}

/**
 * sloop_last_close - a device has lost its last opener
 * @dev: the device
 *
 * Context: ->release(), under open_mutex. dev->lock is free for the taking: only
 * ioctls hold it for long, and there is nobody to issue one.
 */
void sloop_last_close(struct sloop_device *dev)
{
	bool detach;

	mutex_lock(&dev->lock);
	if (dev->state == SLOOP_BOUND && (dev->flags & LO_FLAGS_AUTOCLEAR))
		sloop_state_set(dev, SLOOP_DRAINING);
	detach = dev->state == SLOOP_DRAINING;
	mutex_unlock(&dev->lock);

	if (!detach)
		return;

	if (sloop_try_retire(dev)) {
		struct sloop_backing *backing;

		sloop_stat_inc(SLOOP_STAT_DETACH_FAST);
		trace_sloop_detach(dev, false);
		backing = sloop_unbind_finish(dev);
		sloop_backing_put(backing);
		/* The caller has a module reference until ->release() returns. */
		module_put(THIS_MODULE);
	} else {
		sloop_stat_inc(SLOOP_STAT_DETACH_STRAY);
		trace_sloop_detach(dev, true);
		sloop_owner_hand_over(dev->owner);
	}
}

/**
 * sloop_clr_fd - detach a device (LOOP_CLR_FD)
 * @dev: the device
 *
 * The detach itself comes with the last close. Until then the openers' I/O is
 * served; if the caller is the only one, nobody else gets in any more.
 *
 * Return: 0, -ENXIO, -EINTR.
 */
int sloop_clr_fd(struct sloop_device *dev)
{
	int err;

	err = mutex_lock_killable(&dev->lock);
	if (err)
		return err;
	if (dev->state == SLOOP_BOUND) {
		dev->flags |= LO_FLAGS_AUTOCLEAR;
		if (disk_openers(dev->disk) == 1)
			sloop_state_set(dev, SLOOP_DRAINING);
	} else {
		err = -ENXIO;
	}
	mutex_unlock(&dev->lock);
	return err;
}

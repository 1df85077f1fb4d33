// SPDX-License-Identifier: GPL-2.0-only
/*
 * The backing handle: opened, pinned, retired.
 *
 * Pin and retire are ordered against each other by a full barrier on each side:
 * a pinner counts itself and then looks for the retirement, a retirer sets it and
 * then looks at the counts. So either the pinner gives up, or the retirer sees it.
 * An AIO completion holds the pin until the kiocb is finished and the submitting
 * function has returned, and drops it before it ends the request: the pins are a
 * subset of the requests in flight, and a frozen queue has none.
 */

#include <linux/file.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "device.h"
#include "trace.h"

/*
 * Where a direct write to a block that has been written before takes neither another
 * block nor, if the times of the file stay, a transaction.
 */
static bool sloop_inode_is_plain(const struct inode *inode)
{
	return S_ISBLK(inode->i_mode) ||
		(S_ISREG(inode->i_mode) &&
		 (inode->i_sb->s_magic == EXT4_SUPER_MAGIC ||
		  inode->i_sb->s_magic == XFS_SUPER_MAGIC));
}

/**
 * sloop_backing_is_plain - can swap be written there almost without memory?
 * @backing: the handle
 *
 * Context: any.
 */
bool sloop_backing_is_plain(const struct sloop_backing *backing)
{
	return sloop_inode_is_plain(file_inode(backing->file));
}

/* Whoever may not open it again, or would have to wait, writes swap like all else. */
static struct file *sloop_backing_open_swap(struct file *file)
{
	struct inode *inode = file_inode(file);
	struct file *swap_file;

	if (!(file->f_mode & FMODE_WRITE) || !S_ISREG(inode->i_mode) ||
	    !sloop_inode_is_plain(inode))
		return get_file(file);

	swap_file = dentry_open(&file->f_path,
				O_RDWR | O_LARGEFILE | O_NOATIME | O_NONBLOCK,
				file->f_cred);
	if (IS_ERR(swap_file))
		return get_file(file);
	swap_file->f_mode |= FMODE_NOCMTIME;
	return swap_file;
}

static struct sloop_backing *sloop_backing_alloc(struct sloop_device *dev,
						 struct file *file)
{
	unsigned int nr_pins = dev->tag_set.nr_hw_queues;
	struct sloop_backing *backing;

	backing = kvzalloc(struct_size(backing, pins, nr_pins), GFP_KERNEL);
	if (!backing)
		return NULL;

	backing->nr_pins = nr_pins;
	refcount_set(&backing->refs, 1);
	backing->file = get_file(file);
	backing->swap_file = sloop_backing_open_swap(file);
	sloop_gfp_restrict(backing);
	return backing;
}

static void sloop_backing_created(struct sloop_device *dev,
				  struct sloop_backing *backing)
{
	sloop_stat_inc(SLOOP_STAT_BACKINGS_CREATED);
	trace_sloop_backing_create(dev, backing);
}

/**
 * sloop_backing_create - make a handle for a file
 * @dev: the device that it will serve
 * @file: a regular file or a block device, checked by sloop_check_file(); a reference
 *	is taken
 * @offset: first byte of the device in the file
 * @sizelimit: greatest size of the device in bytes, 0 for none
 * @read_only: writes are to be refused
 *
 * The handle does buffered I/O until the caller sets another mode, which it may
 * do until it publishes the handle.
 *
 * Context: calls into the filesystem, which may take its time; without any lock.
 * Return: the handle, one reference held; -ENOMEM, -EINTR or an errno of the
 * filesystem as an error pointer.
 */
struct sloop_backing *sloop_backing_create(struct sloop_device *dev,
		struct file *file, loff_t offset, loff_t sizelimit,
		bool read_only)
{
	struct inode *inode = file->f_mapping->host;
	struct sloop_backing *backing = sloop_backing_alloc(dev, file);
	int err;

	if (!backing)
		return ERR_PTR(-ENOMEM);

	backing->offset = offset;
	backing->sizelimit = sizelimit;
	backing->read_only = read_only;
	backing->nowait = file->f_mode & FMODE_NOWAIT;
	backing->isreg = S_ISREG(file_inode(file)->i_mode);
	/*
	 * Filesystems on block devices honour IOCB_DSYNC in all of their write
	 * paths. Network and FUSE filesystems do not in all of them.
	 */
	backing->fsync_fua = !S_ISBLK(inode->i_mode) && !inode->i_sb->s_bdev;

	sloop_backing_created(dev, backing);
	err = sloop_backing_stat(backing);
	if (err) {
		sloop_backing_put(backing);
		return ERR_PTR(err);
	}
	return backing;
}

/**
 * sloop_backing_clone - make a handle that differs a little from another
 * @dev: the device
 * @old: a handle that the caller has a reference on
 *
 * The file is not asked again.
 *
 * Context: may sleep: the file is opened once more, for swap; without any lock.
 * Return: the handle, or -ENOMEM as an error pointer.
 */
struct sloop_backing *sloop_backing_clone(struct sloop_device *dev,
					  const struct sloop_backing *old)
{
	struct sloop_backing *backing = sloop_backing_alloc(dev, old->file);

	if (!backing)
		return ERR_PTR(-ENOMEM);

	backing->offset = old->offset;
	backing->sizelimit = old->sizelimit;
	backing->file_size = READ_ONCE(old->file_size);
	backing->dev = old->dev;
	backing->rdev = old->rdev;
	backing->ino = old->ino;
	backing->min_dio = old->min_dio;
	backing->dio_mem_mask = old->dio_mem_mask;
	backing->discard_sectors = old->discard_sectors;
	backing->discard_granularity = old->discard_granularity;
	backing->read_only = old->read_only;
	backing->dio = old->dio;
	backing->nowait = old->nowait;
	backing->isreg = old->isreg;
	backing->stable_writes = old->stable_writes;
	backing->fsync_fua = old->fsync_fua;
	backing->no_dio = READ_ONCE(old->no_dio);
	backing->no_discard = READ_ONCE(old->no_discard);

	sloop_backing_created(dev, backing);
	return backing;
}

static void sloop_backing_destroy(struct sloop_backing *backing,
				  void (*close)(struct file *file))
{
	trace_sloop_backing_destroy(NULL, backing);
	sloop_gfp_restore(backing);
	close(backing->swap_file);
	close(backing->file);
	/* A late ->queue_rq() may be counting itself in and out right now. */
	kvfree_rcu(backing, rcu);
	sloop_stat_inc(SLOOP_STAT_BACKINGS_DESTROYED);
}

static void sloop_backing_close_workfn(struct work_struct *work)
{
	struct sloop_backing *backing = container_of(work, struct sloop_backing,
						     close_work);

	sloop_backing_destroy(backing, __fput_sync);
	/* Module exit flushes the workqueue: the rest of this function is safe. */
	module_put(THIS_MODULE);
}

/**
 * sloop_backing_put - drop a reference of sloop_backing_get() or of the creator
 * @backing: the handle
 *
 * The last one closes the file: a task before it returns to user space. For a kernel
 * thread a work item does it. fput() would leave it to the one of the whole system,
 * and a close may wait for a server or a disk.
 *
 * Context: process context; the module is in use.
 */
void sloop_backing_put(struct sloop_backing *backing)
{
	if (!refcount_dec_and_test(&backing->refs))
		return;
	if (!(current->flags & PF_KTHREAD)) {
		sloop_backing_destroy(backing, fput);
		return;
	}
	__module_get(THIS_MODULE);
	INIT_WORK(&backing->close_work, sloop_backing_close_workfn);
	queue_work(sloop_slow_wq, &backing->close_work);
}

/**
 * sloop_backing_put_now - drop a reference, and close the file if it was the last
 * @backing: the handle
 *
 * Context: kernel thread, sleeps, without any lock.
 */
void sloop_backing_put_now(struct sloop_backing *backing)
{
	if (refcount_dec_and_test(&backing->refs))
		sloop_backing_destroy(backing, __fput_sync);
}

/**
 * sloop_backing_get - take a reference on the current handle
 * @dev: the device
 *
 * For users that are not requests: sysfs, status ioctls, the chain check.
 *
 * Return: the handle, or NULL if the device has none.
 */
struct sloop_backing *sloop_backing_get(struct sloop_device *dev)
{
	struct sloop_backing *backing;

	rcu_read_lock();
	backing = rcu_dereference(dev->backing);
	if (backing && !refcount_inc_not_zero(&backing->refs))
		backing = NULL;
	rcu_read_unlock();
	return backing;
}

/**
 * sloop_backing_current - the current handle, for the holder of the control path
 * @dev: the device
 *
 * Context: under dev->lock, or by the unbinder while the device is draining.
 */
struct sloop_backing *sloop_backing_current(struct sloop_device *dev)
{
	return rcu_dereference_protected(dev->backing,
			lockdep_is_held(&dev->lock) ||
			sloop_state(dev) == SLOOP_DRAINING);
}

/**
 * sloop_backing_publish - replace the current handle
 * @dev: the device
 * @backing: the new handle, or NULL
 *
 * Context: as sloop_backing_current(); if there is a handle already, either the
 * queue is frozen, or the old one has been retired.
 * Return: the old handle, whose reference the caller now owns, or NULL.
 */
struct sloop_backing *sloop_backing_publish(struct sloop_device *dev,
					    struct sloop_backing *backing)
{
	struct sloop_backing *old = sloop_backing_current(dev);

	if (backing)
		trace_sloop_backing_publish(dev, backing);
	rcu_assign_pointer(dev->backing, backing);
	return old;
}

/**
 * sloop_backing_pin - let a request use the file
 * @backing: the handle
 * @lane: number of the hardware queue
 *
 * Context: any; the handle's memory is held by RCU or by a reference.
 * Return: false if the handle has been retired.
 */
bool sloop_backing_pin(struct sloop_backing *backing, unsigned int lane)
{
	atomic_inc(&backing->pins[lane].nr);
	smp_mb__after_atomic();	/* pairs with sloop_backing_retire() */
	if (likely(!READ_ONCE(backing->retired)))
		return true;
	atomic_dec(&backing->pins[lane].nr);
	return false;
}

/**
 * sloop_backing_unpin - a request is done with the file
 * @backing: the handle
 * @lane: as given to sloop_backing_pin()
 *
 * Context: any. The caller touches neither the handle nor the file afterwards,
 * and ends the request later.
 */
void sloop_backing_unpin(struct sloop_backing *backing, unsigned int lane)
{
	smp_mb__before_atomic();	/* all use of the file comes before */
	atomic_dec(&backing->pins[lane].nr);
}

/**
 * sloop_backing_retire - let no further request pin the handle
 * @backing: the handle
 *
 * After it, sloop_backing_pinned() tells the truth: a pin that it does not see
 * is gone, or was refused.
 */
void sloop_backing_retire(struct sloop_backing *backing)
{
	WRITE_ONCE(backing->retired, true);
	smp_mb();	/* pairs with sloop_backing_pin() */
}

/**
 * sloop_backing_pinned - is any request using the file?
 * @backing: the handle
 *
 * A moment's answer, unless the handle has been retired.
 */
bool sloop_backing_pinned(const struct sloop_backing *backing)
{
	unsigned int i;

	for (i = 0; i < backing->nr_pins; i++)
		if (atomic_read(&backing->pins[i].nr))
			return true;
	smp_mb();	/* what the last one did to the file is visible */
	return false;
}

/**
 * sloop_backing_can_dio - is direct I/O possible?
 * @backing: the handle
 * @bsize: logical block size of the device in bytes
 *
 * Requests are passed on as they come, so each has to suit the file as it is.
 *
 * Context: any.
 */
bool sloop_backing_can_dio(const struct sloop_backing *backing,
			   unsigned int bsize)
{
	unsigned int min_dio = backing->min_dio;

	return (backing->file->f_mode & FMODE_CAN_ODIRECT) &&
		!READ_ONCE(backing->no_dio) &&
		is_power_of_2(min_dio) && bsize >= min_dio &&
		!(backing->offset & (min_dio - 1));
}

/**
 * sloop_backing_sectors - size that the device has on a file
 * @backing: the handle
 * @size: size of the file in bytes
 *
 * Return: whole 512-byte sectors.
 */
sector_t sloop_backing_sectors(const struct sloop_backing *backing,
			       loff_t size)
{
	if (size <= backing->offset)
		return 0;
	size -= backing->offset;
	if (backing->sizelimit)
		size = min(size, backing->sizelimit);
	return size >> SECTOR_SHIFT;
}

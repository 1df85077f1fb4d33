// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writing back what is dirty in a file, for whoever is about to do direct I/O to it.
 *
 * fsync() waits for locks of the filesystem, for a server or a disk, and can nowhere be
 * killed. So a work item does it, and who waits for that can be.
 */

#include <linux/completion.h>
#include <linux/errseq.h>
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/refcount.h>
#include <linux/slab.h>

#include "device.h"

/**
 * struct sloop_sync - one such call
 * @work: makes it
 * @dev: the device, with a reference on its disk
 * @backing: a reference on the handle of the file
 * @refs: of the work item and of who waits
 * @done: it is over
 * @err: result
 */
struct sloop_sync {
	struct work_struct	work;
	struct sloop_device	*dev;
	struct sloop_backing	*backing;
	refcount_t		refs;
	struct completion	done;
	int			err;
};

/**
 * sloop_note_write_error - the next flush of a device has to tell of an error
 * @dev: the device
 * @err: errno of fsync() or the like, negative
 *
 * Context: any; the device is bound to the file in question.
 */
void sloop_note_write_error(struct sloop_device *dev, int err)
{
	WRITE_ONCE(dev->wb_err_time, ktime_get_ns());
	errseq_set(&dev->wb_err, err);
}

/* If the device is on that file, its next flush has to tell. */
static void sloop_sync_note(struct sloop_sync *sync)
{
	struct sloop_backing *current_backing;

	rcu_read_lock();
	current_backing = rcu_dereference(sync->dev->backing);
	if (current_backing && current_backing->file == sync->backing->file)
		sloop_note_write_error(sync->dev, sync->err);
	rcu_read_unlock();
}

static void sloop_sync_put(struct sloop_sync *sync,
			   void (*put)(struct sloop_backing *backing))
{
	if (!refcount_dec_and_test(&sync->refs))
		return;
	put(sync->backing);
	put_device(disk_to_dev(sync->dev->disk));
	kfree(sync);
}

/*
 * A disk that fails to flush its cache has lost nothing that this is about; the next
 * flush will tell.
 */
static int sloop_sync_file(struct file *file)
{
	if (S_ISBLK(file->f_mapping->host->i_mode))
		return file_write_and_wait_range(file, 0, LLONG_MAX);
	return vfs_fsync(file, 0);
}

static void sloop_sync_workfn(struct work_struct *work)
{
	struct sloop_sync *sync = container_of(work, struct sloop_sync, work);

	sync->err = sloop_sync_file(sync->backing->file);
	if (sync->err)
		sloop_sync_note(sync);
	complete(&sync->done);
	/* If whoever waited has been killed, there is no other task to close the file. */
	sloop_sync_put(sync, sloop_backing_put_now);
	/* Module exit flushes the workqueue: the rest of this function is safe. */
	module_put(THIS_MODULE);
}

/**
 * sloop_backing_write_back - spare direct I/O writing back what is dirty now
 * @dev: the device
 * @backing: a handle, published or not
 *
 * Context: waits for the filesystem, unless the task is killed; without any lock.
 * Return: 0; -EINTR; -ENOMEM; or an errno: what was written to the file before is not
 * in it. If the device is on that file, its next flush has that errno too.
 */
int sloop_backing_write_back(struct sloop_device *dev,
			     struct sloop_backing *backing)
{
	struct sloop_sync *sync;
	int err;

	if (!backing->file->f_op->fsync)
		return 0;
	sync = kzalloc(sizeof(*sync), GFP_KERNEL);
	if (!sync)
		return -ENOMEM;

	INIT_WORK(&sync->work, sloop_sync_workfn);
	init_completion(&sync->done);
	refcount_set(&sync->refs, 2);
	refcount_inc(&backing->refs);
	sync->backing = backing;
	get_device(disk_to_dev(dev->disk));
	sync->dev = dev;
	__module_get(THIS_MODULE);
	queue_work(sloop_slow_wq, &sync->work);

	err = wait_for_completion_killable(&sync->done) ? -EINTR : sync->err;
	sloop_sync_put(sync, sloop_backing_put);
	return err;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writing back what is dirty in a file, for whoever is about to do direct I/O to it.
 *
 * fsync() waits for locks of the filesystem, for a server or a disk, and can nowhere be
 * killed. So a work item does it, and who waits for that can be.
 */

#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/refcount.h>
#include <linux/slab.h>

#include "device.h"

/**
 * struct sloop_sync - one such call
 * @work: makes it
 * @backing: a reference on the handle of the file
 * @refs: of the work item and of who waits
 * @done: it is over
 * @err: result
 */
struct sloop_sync {
	struct work_struct	work;
	struct sloop_backing	*backing;
	refcount_t		refs;
	struct completion	done;
	int			err;
};

static bool sloop_sync_put(struct sloop_sync *sync)
{
	return refcount_dec_and_test(&sync->refs);
}

static void sloop_sync_workfn(struct work_struct *work)
{
	struct sloop_sync *sync = container_of(work, struct sloop_sync, work);

	sync->err = vfs_fsync(sync->backing->file, 0);
	complete(&sync->done);
	if (sloop_sync_put(sync)) {
		/* Whoever waited has been killed: there is no other task to close it. */
		sloop_backing_put_now(sync->backing);
		kfree(sync);
	}
	/* Module exit flushes the workqueue: the rest of this function is safe. */
	module_put(THIS_MODULE);
}

/**
 * sloop_backing_write_back - spare direct I/O writing back what is dirty now
 * @backing: the handle
 *
 * Context: waits for the filesystem, unless the task is killed; without any lock.
 * Return: 0; -EINTR; -ENOMEM; or an errno: what was written to the file before is not
 * in it.
 */
int sloop_backing_write_back(struct sloop_backing *backing)
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
	__module_get(THIS_MODULE);
	queue_work(sloop_ctl_wq, &sync->work);

	err = wait_for_completion_killable(&sync->done) ? -EINTR : sync->err;
	if (sloop_sync_put(sync)) {
		sloop_backing_put(backing);
		kfree(sync);
	}
	return err;
}

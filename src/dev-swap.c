// SPDX-License-Identifier: GPL-2.0-only
/*
 * Another handle for a bound device: published while the queue is frozen, so that no
 * request sees half of a change, and none is under way with the old one.
 *
 * Requests may be held up for ever by a file that does not answer. So nothing is held
 * while they are waited for, and whoever waits can be killed. dev->lock and the lock
 * of the limits, which the readers of queue/ in sysfs take, are tried for when the
 * queue has drained: their holders may be waiting for it.
 */

#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "device.h"
#include "trace.h"

/* Waiting is done in pieces: between two of them one can be killed. */
#define SLOOP_DRAIN_PIECE	(HZ / 4)

/*
 * Between two tries requests are let in, for a moment: readers of a device whose
 * writes are held up wait no longer than a try takes. Each takes twice as long as the
 * last, so that in the end even a very slow file drains.
 */
#define SLOOP_DRAIN_PAUSE	(HZ / 20)

/* Locks are held for no longer than it takes to look at something. */
#define SLOOP_LOCK_TRIES	100

static bool sloop_drain(struct request_queue *q, long patience)
{
	for (; patience > 0; patience -= SLOOP_DRAIN_PIECE) {
		if (blk_mq_freeze_queue_wait_timeout(q, SLOOP_DRAIN_PIECE))
			return true;
		if (fatal_signal_pending(current))
			break;
	}
	return false;
}

static bool sloop_swap_trylock(struct sloop_device *dev,
			       struct queue_limits *lim)
{
	unsigned int i;

	for (i = 0; i < SLOOP_LOCK_TRIES; i++) {
		if (!lim || compat_limits_trystart(dev->disk->queue, lim)) {
			if (mutex_trylock(&dev->lock))
				return true;
			if (lim)
				queue_limits_cancel_update(dev->disk->queue);
		}
		usleep_range(50, 100);
	}
	return false;
}

static bool sloop_swap_try(struct sloop_device *dev, struct queue_limits *lim,
			   long patience)
{
	struct request_queue *q = dev->disk->queue;

	blk_freeze_queue_start(q);
	if (sloop_drain(q, patience) && sloop_swap_trylock(dev, lim))
		return true;
	blk_mq_unfreeze_queue_nomemrestore(q);
	return false;
}

static void sloop_swap_cancel(struct sloop_device *dev,
			      struct queue_limits *lim)
{
	mutex_unlock(&dev->lock);
	if (lim)
		queue_limits_cancel_update(dev->disk->queue);
	blk_mq_unfreeze_queue_nomemrestore(dev->disk->queue);
}

/**
 * sloop_swap_begin - stop a device, for a handle to be replaced
 * @dev: the device
 * @old: the handle that the new one was made from
 * @lim: set to the limits, now under update; NULL if they will not be changed
 *
 * Context: may sleep until all requests under way are done, or the task is killed;
 * without any lock.
 * Return: 0, then dev->lock is held, and sloop_swap_commit() has to follow; 1 if
 * somebody has replaced @old; -ENXIO if the device is not bound any more; -EINTR.
 */
int sloop_swap_begin(struct sloop_device *dev, const struct sloop_backing *old,
		     struct queue_limits *lim)
{
	long patience = SLOOP_DRAIN_PIECE;
	int ret = 0;

	sloop_io_might_wait();
	while (!sloop_swap_try(dev, lim, patience)) {
		schedule_timeout_killable(SLOOP_DRAIN_PAUSE);
		if (fatal_signal_pending(current))
			return -EINTR;
		patience = min(patience * 2, 64 * HZ);
	}

	if (dev->state != SLOOP_BOUND)
		ret = -ENXIO;
	else if (sloop_backing_current(dev) != old)
		ret = 1;
	if (ret)
		sloop_swap_cancel(dev, lim);
	return ret;
}

/**
 * sloop_swap_commit - replace the handle, and let the device go on
 * @dev: the device, stopped by sloop_swap_begin()
 * @backing: the new handle
 * @lim: as there, with what is to be changed
 *
 * Context: releases dev->lock.
 * Return: 0, and the device has a reference on @backing of its own; or an errno for
 * limits that will not do, and nothing has changed.
 */
int sloop_swap_commit(struct sloop_device *dev, struct sloop_backing *backing,
		      struct queue_limits *lim)
{
	struct request_queue *q = dev->disk->queue;
	unsigned int noio = memalloc_noio_save();
	struct sloop_backing *old = NULL;
	int err = 0;

	if (lim)
		err = queue_limits_commit_update(q, lim);
	if (!err) {
		refcount_inc(&backing->refs);
		old = sloop_backing_publish(dev, backing);
		sloop_backing_retire(old);
		WARN_ON_ONCE(sloop_backing_pinned(old)); /* frozen: no requests */
	}
	mutex_unlock(&dev->lock);
	memalloc_noio_restore(noio);
	blk_mq_unfreeze_queue_nomemrestore(q);

	if (old) {
		trace_sloop_backing_retire(dev, old);
		sloop_backing_put(old);
	}
	return err;
}

/* Returns false if there is nothing to be done any more. */
static bool sloop_degrade(struct sloop_backing *backing,
			  struct queue_limits *lim)
{
	bool changed = false;

	if (READ_ONCE(backing->no_discard)) {
		lim->max_hw_discard_sectors = 0;
		lim->discard_granularity = 0;
		changed = true;
	}
	if (READ_ONCE(backing->no_dio) && backing->dio) {
		WRITE_ONCE(backing->dio, false);
		sloop_limits_of_dio(backing, lim);
		changed = true;
	}
	return changed;
}

/**
 * sloop_degrade_workfn - take discard out of the queue limits, or end direct I/O
 * @work: sloop_device::degrade_work; the queuer gave it a reference on the disk
 *
 * The file has refused to punch a hole, or all direct I/O. By now the device may be on
 * another file: that is looked up under the locks. What holds the queue up is not waited for
 * here, where others may have work to be done: another try is made later.
 */
void sloop_degrade_workfn(struct work_struct *work)
{
	struct sloop_device *dev = container_of(to_delayed_work(work),
						struct sloop_device,
						degrade_work);
	struct request_queue *q = dev->disk->queue;
	struct sloop_backing *backing;
	struct queue_limits lim;
	bool changed;

	if (!sloop_swap_try(dev, &lim, SLOOP_DRAIN_PIECE)) {
		/* Not if somebody else has done so, or the device is being removed. */
		if (!queue_delayed_work(sloop_ctl_wq, &dev->degrade_work, HZ))
			put_device(disk_to_dev(dev->disk));
		return;
	}
	/* No reference: a detach would have to wait for this one to go. */
	rcu_read_lock();
	backing = rcu_dereference(dev->backing);
	changed = backing && sloop_degrade(backing, &lim);
	rcu_read_unlock();

	if (changed)
		WARN_ON_ONCE(queue_limits_commit_update(q, &lim));
	else
		queue_limits_cancel_update(q);
	mutex_unlock(&dev->lock);
	blk_mq_unfreeze_queue_nomemrestore(q);
	put_device(disk_to_dev(dev->disk));
}

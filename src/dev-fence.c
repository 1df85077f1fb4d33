// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fence between two bindings of a device: every request that entered the queue
 * under the first has ended before the second begins.
 *
 * It goes up when the device is unbound, and comes down in the background, for all
 * devices that have one by then: their queues are frozen together, which takes one
 * grace period and wakes one worker. A bind or a removal that comes before takes its
 * device off the list, for a work item of its own. Whoever takes a device off the
 * list brings its fence down.
 */

#include <linux/list.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/wait_bit.h>

#include "device.h"

/* How long a fence is left alone, unless somebody asks for it. */
#define SLOOP_FENCE_DELAY	(HZ / 100)

/*
 * So many queues are frozen together. To lockdep each is two locks that the worker
 * holds, and a task cannot hold more than 48.
 */
#define SLOOP_FENCE_BATCH	(IS_ENABLED(CONFIG_LOCKDEP) ? 8 : 64)

/* For so long one that does not drain may hold up the others. */
#define SLOOP_FENCE_PATIENCE	(HZ / 4)

static void sloop_fences_workfn(struct work_struct *work);

static LIST_HEAD(sloop_fences);
static DEFINE_SPINLOCK(sloop_fences_lock);
static DECLARE_DELAYED_WORK(sloop_fences_work, sloop_fences_workfn);

/**
 * sloop_fence_raise - let no bind begin until nothing is left of the last binding
 * @dev: the device, whose handle has been retired
 *
 * The work is put off a little: to wake a worker takes longer than most of a detach
 * does.
 *
 * Context: process context, does not sleep.
 */
void sloop_fence_raise(struct sloop_device *dev)
{
	WRITE_ONCE(dev->fence_up, true);
	sloop_index_set_fenced(dev);

	spin_lock(&sloop_fences_lock);
	list_add_tail(&dev->fence_node, &sloop_fences);
	spin_unlock(&sloop_fences_lock);
	queue_delayed_work(sloop_ctl_wq, &sloop_fences_work, SLOOP_FENCE_DELAY);
}

/*
 * The queue has been frozen once, so no request of the last binding is left, not
 * even one that was on its way to its tag. Requests that were let in afterwards
 * belong to whatever comes next. The device may be gone when this returns.
 */
static void sloop_fence_down(struct sloop_device *dev)
{
	sloop_index_set_free(dev);	/* before it can be bound again */
	smp_store_release(&dev->fence_up, false);
	smp_mb();			/* the store, then the look for waiters */
	wake_up_var(&dev->fence_up);	/* uses no more than the address */
}

/* Takes some devices off the list; if more are left, the work goes on with them. */
static unsigned int sloop_fences_take(struct sloop_device *batch[])
{
	unsigned int nr = 0;

	spin_lock(&sloop_fences_lock);
	while (nr < SLOOP_FENCE_BATCH && !list_empty(&sloop_fences)) {
		struct sloop_device *dev = list_first_entry(&sloop_fences,
				struct sloop_device, fence_node);

		list_del_init(&dev->fence_node);
		batch[nr++] = dev;
	}
	if (!list_empty(&sloop_fences))
		mod_delayed_work(sloop_ctl_wq, &sloop_fences_work, 0);
	spin_unlock(&sloop_fences_lock);
	return nr;
}

/*
 * The limits of the last file are reset here, and not on the last close, because
 * whoever changes a limit through sysfs holds the lock of the limits while it waits
 * for I/O.
 *
 * A device that holds up the others is left to a work item of its own.
 */
static void sloop_fences_workfn(struct work_struct *work)
{
	struct sloop_device *batch[SLOOP_FENCE_BATCH];
	bool drained[SLOOP_FENCE_BATCH];
	unsigned int i, nr = sloop_fences_take(batch);
	long left = SLOOP_FENCE_PATIENCE;

	for (i = 0; i < nr; i++)
		blk_freeze_queue_start(batch[i]->disk->queue);

	for (i = 0; i < nr; i++) {
		struct request_queue *q = batch[i]->disk->queue;

		left = blk_mq_freeze_queue_wait_timeout(q, max(left, 1L));
		drained[i] = left > 0;
		blk_mq_unfreeze_queue_nomemrestore(q);
	}

	for (i = 0; i < nr; i++) {
		if (drained[i] && sloop_limits_try_reset(batch[i])) {
			sloop_fence_down(batch[i]);
			continue;
		}
		if (!drained[i])
			sloop_index_set_stuck(batch[i]);
		queue_work(sloop_ctl_wq, &batch[i]->fence_work);
	}
}

/**
 * sloop_fence_workfn - bring down the fence of one device
 * @work: sloop_device::fence_work; sloop_fence_end() waits for it
 *
 * The waits have no limit. They are cut into pieces because a kworker that waits for
 * somebody who is held up in the block layer is no hung task.
 */
void sloop_fence_workfn(struct work_struct *work)
{
	struct sloop_device *dev = container_of(work, struct sloop_device,
						fence_work);
	struct request_queue *q = dev->disk->queue;

	blk_freeze_queue_start(q);
	while (!blk_mq_freeze_queue_wait_timeout(q, SLOOP_FENCE_PATIENCE))
		sloop_index_set_stuck(dev);
	blk_mq_unfreeze_queue_nomemrestore(q);

	while (!sloop_limits_try_reset(dev)) {
		sloop_index_set_stuck(dev);
		schedule_timeout_uninterruptible(SLOOP_FENCE_DELAY);
	}
	sloop_fence_down(dev);
}

/* The fence of this one is wanted down now. */
static void sloop_fence_kick(struct sloop_device *dev)
{
	spin_lock(&sloop_fences_lock);
	if (!list_empty(&dev->fence_node)) {
		list_del_init(&dev->fence_node);
		queue_work(sloop_ctl_wq, &dev->fence_work);
	}
	spin_unlock(&sloop_fences_lock);
}

/**
 * sloop_fence_wait - wait until nothing is left of the last binding
 * @dev: the device
 *
 * Context: process context, sleeps; no lock of the driver held, and no claim of the
 * block device, for which others wait without being killable.
 * Return: 0, or -ERESTARTSYS if the task has been killed.
 */
int sloop_fence_wait(struct sloop_device *dev)
{
	if (!smp_load_acquire(&dev->fence_up))
		return 0;
	sloop_fence_kick(dev);
	return wait_var_event_killable(&dev->fence_up,
				       !smp_load_acquire(&dev->fence_up));
}

/**
 * sloop_fence_end - wait until no fence will come down any more
 * @dev: the device, which cannot be bound again
 *
 * Context: process context, may sleep; no lock of the driver held.
 */
void sloop_fence_end(struct sloop_device *dev)
{
	sloop_fence_kick(dev);
	/* In pieces, as sloop_fence_workfn() waits. */
	while (!wait_var_event_timeout(&dev->fence_up,
				       !smp_load_acquire(&dev->fence_up), HZ))
		;
	flush_work(&dev->fence_work);
}

/**
 * sloop_fences_exit - end the background work at module exit
 *
 * Context: process context, may sleep; there are no devices any more.
 */
void sloop_fences_exit(void)
{
	cancel_delayed_work_sync(&sloop_fences_work);
}

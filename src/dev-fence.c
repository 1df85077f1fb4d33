// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fence between two bindings of a device: every request that entered the queue
 * under the first has ended before the second begins. And how a queue is drained by
 * work items none of which waits for long, so that however many queues do not drain,
 * those that do are not held up.
 *
 * Mostly nobody is in the queue when a device is unbound, and there is no fence. Who
 * can tell is the queue's count of its users. It is one counter here, not one for
 * each CPU: those can be summed up only after a grace period.
 *
 * Otherwise the fence is up, and comes down in the background.
 */

#include <linux/percpu-refcount.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/wait_bit.h>

#include "device.h"

/* How long a fence is left alone, unless somebody asks for it. */
#define SLOOP_FENCE_DELAY	(HZ / 100)

/* One that takes longer may take any time: the device is not given out. */
#define SLOOP_FENCE_PATIENCE	(HZ / 4)

/* How long a work item waits for a queue the first time, and between two looks. */
#define SLOOP_DRAIN_WAIT	(HZ / 20)
#define SLOOP_DRAIN_PAUSE	(HZ / 4)

/* Whether a fence is up, when somebody wants it down. */
static DEFINE_SPINLOCK(sloop_fence_lock);

/**
 * sloop_queue_drain_init - have the users of a queue counted by one counter
 * @dev: a new device
 *
 * It is, some time later. Then a freeze takes no grace period, and whether the queue
 * is empty can be seen. What it costs is an atomic operation for an entry to the
 * queue, which does not count beside what a file takes.
 *
 * Context: process context, may sleep.
 */
void sloop_queue_drain_init(struct sloop_device *dev)
{
	percpu_ref_switch_to_atomic(&dev->disk->queue->q_usage_counter, NULL);
}

/**
 * sloop_queue_drain - freeze the queue of a device, and look whether it has drained
 * @dev: the device, unbound or draining
 *
 * Context: work item, sleeps for a moment; nobody else drains this device.
 * Return: true if the queue is frozen and empty, until sloop_queue_drain_end(); false if
 * this is to be called again, in sloop_queue_drain_pause().
 */
bool sloop_queue_drain(struct sloop_device *dev)
{
	struct request_queue *q = dev->disk->queue;

	if (dev->drain_frozen)
		return blk_mq_freeze_queue_wait_timeout(q, 0);

	blk_freeze_queue_start_non_owner(q);
	dev->drain_frozen = true;
	dev->drain_since = jiffies;
	return blk_mq_freeze_queue_wait_timeout(q, SLOOP_DRAIN_WAIT);
}

/**
 * sloop_queue_drain_pause - when to look again
 * @dev: the device
 *
 * Return: jiffies, an eighth of the time that it has taken, within limits.
 */
unsigned long sloop_queue_drain_pause(const struct sloop_device *dev)
{
	return clamp((jiffies - dev->drain_since) / 8, 1UL,
		     (unsigned long)SLOOP_DRAIN_PAUSE);
}

/**
 * sloop_queue_drain_end - let requests into the queue again
 * @dev: the device
 *
 * Context: as sloop_queue_drain(), which has returned true.
 */
void sloop_queue_drain_end(struct sloop_device *dev)
{
	dev->drain_frozen = false;
	blk_mq_unfreeze_queue_non_owner(dev->disk->queue);
}

/*
 * Nobody has entered the queue who has not left. Who enters after this finds the
 * handle retired: he counts himself before he looks, here it is the other way round,
 * and there is a full barrier between the two steps on either side.
 *
 * A count of one is the queue's own reference, as long as no freeze takes that away.
 */
static bool sloop_queue_is_empty(struct request_queue *q)
{
	bool empty;

	if (!mutex_trylock(&q->mq_freeze_lock))
		return false;
	smp_mb();
	empty = !q->mq_freeze_depth &&
		atomic_long_read(&q->q_usage_counter.data->count) == 1;
	smp_mb();	/* what they did to the file is visible */
	mutex_unlock(&q->mq_freeze_lock);
	return empty;
}

/**
 * sloop_fence_raise - let no bind begin until nothing is left of the last binding
 * @dev: the device, whose handle has been retired
 *
 * The limits of the last file are reset with the fence. That must not wait, because
 * whoever changes a limit through sysfs holds the lock of the limits while he waits
 * for I/O.
 *
 * Context: process context, under open_mutex.
 */
void sloop_fence_raise(struct sloop_device *dev)
{
	if (sloop_queue_is_empty(dev->disk->queue) &&
	    sloop_limits_try_reset(dev)) {
		sloop_index_set_free(dev);
		return;
	}

	WRITE_ONCE(dev->fence_up, true);
	queue_delayed_work(sloop_ctl_wq, &dev->fence_work, SLOOP_FENCE_DELAY);
}

static void sloop_fence_down(struct sloop_device *dev)
{
	sloop_index_set_free(dev);	/* before it can be bound again */
	WRITE_ONCE(dev->fence_stuck, false);
	dev->fence_drained = false;

	spin_lock(&sloop_fence_lock);
	smp_store_release(&dev->fence_up, false);
	smp_mb();			/* the store, then the look for waiters */
	wake_up_var(&dev->fence_up);	/* uses no more than the address */
	spin_unlock(&sloop_fence_lock);
}

/**
 * sloop_fence_workfn - bring down the fence of a device
 * @work: sloop_device::fence_work; sloop_fence_end() waits for it
 *
 * When the queue has been frozen and empty once, no request of the last binding is
 * left, not even one that was on its way to its tag. Requests that are let in
 * afterwards belong to whatever comes next.
 */
void sloop_fence_workfn(struct work_struct *work)
{
	struct sloop_device *dev = container_of(to_delayed_work(work),
						struct sloop_device, fence_work);

	/* Somebody was in a hurry while it came down. */
	if (!READ_ONCE(dev->fence_up))
		return;

	if (!dev->fence_drained && sloop_queue_drain(dev)) {
		sloop_queue_drain_end(dev);
		dev->fence_drained = true;
	}
	if (dev->fence_drained && sloop_limits_try_reset(dev)) {
		sloop_fence_down(dev);
		return;
	}
	if (time_after(jiffies, dev->drain_since + SLOOP_FENCE_PATIENCE))
		WRITE_ONCE(dev->fence_stuck, true);
	queue_delayed_work(sloop_ctl_wq, &dev->fence_work,
			   sloop_queue_drain_pause(dev));
}

/* The fence of this one is wanted down now. */
static void sloop_fence_kick(struct sloop_device *dev)
{
	spin_lock(&sloop_fence_lock);
	if (dev->fence_up)
		mod_delayed_work(sloop_ctl_wq, &dev->fence_work, 0);
	spin_unlock(&sloop_fence_lock);
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
 * sloop_fence_wait_a_little - do that, but not for long
 * @dev: the device, on whose disk the caller has a reference
 *
 * Context: as sloop_fence_wait().
 * Return: 0, whether the fence is down or not, or -ERESTARTSYS.
 */
int sloop_fence_wait_a_little(struct sloop_device *dev)
{
	long ret;

	sloop_fence_kick(dev);
	ret = ___wait_var_event(&dev->fence_up,
			___wait_cond_timeout(!smp_load_acquire(&dev->fence_up)),
			TASK_KILLABLE, 0, SLOOP_FENCE_PATIENCE,
			__ret = schedule_timeout(__ret));
	return min(ret, 0L);
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
	/* In pieces: somebody who is held up in the block layer is no hung task. */
	while (!wait_var_event_timeout(&dev->fence_up,
				       !smp_load_acquire(&dev->fence_up), HZ))
		;
	/* After this nobody is in a hurry: the fence is down. */
	cancel_delayed_work_sync(&dev->fence_work);
}

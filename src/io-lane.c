// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who submits a command. A lane belongs to a hardware queue and submits what has
 * gathered there, in order and under one block plug, without waiting for anything
 * that takes long. What would block goes to a worker (io-crew.c).
 *
 * The workqueue is unbound (no worker competes with the submitter for its CPU)
 * and freezable (hibernation must not race with I/O to the backing file). It has
 * no rescuer: filesystems flush ordinary workqueues from their write paths, which
 * a rescuer's work item must not wait for.
 */

#include <linux/blkdev.h>
#include <linux/delay.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "device.h"
#include "trace.h"

/* How long a command without memory waits before it is tried again, in ms. */
#define SLOOP_STARVED_MS	20

/**
 * sloop_cmd_wants_lane - is a try without blocking worth it?
 * @cmd: the command, pinned
 *
 * The policy, all of it. Buffered writes take the inode lock and may wait for
 * dirty page throttling, and a FUA write waits for the device.
 */
bool sloop_cmd_wants_lane(const struct sloop_cmd *cmd)
{
	const struct request *rq = sloop_cmd_rq(cmd);

	switch (req_op(rq)) {
	case REQ_OP_READ:
		return sloop_nowait_worth_it(cmd->backing, READ);
	case REQ_OP_WRITE:
		return sloop_backing_is_direct(cmd->backing) &&
			!(rq->cmd_flags & REQ_FUA) &&
			sloop_nowait_worth_it(cmd->backing, WRITE);
	default:
		return false;
	}
}

/**
 * sloop_cmd_to_lane - leave a command for its lane
 * @cmd: the command, pinned
 *
 * Followed, now or after some more of them, by sloop_lane_kick().
 *
 * Context: any.
 */
void sloop_cmd_to_lane(struct sloop_cmd *cmd)
{
	llist_add(&cmd->lane_node, &sloop_cmd_dev(cmd)->lanes[cmd->lane].cmds);
}

/**
 * sloop_lane_kick - have a lane submit what has gathered
 * @dev: the device
 * @lane: number of the hardware queue
 *
 * Context: any.
 */
void sloop_lane_kick(struct sloop_device *dev, unsigned int lane)
{
	if (!llist_empty(&dev->lanes[lane].cmds))
		queue_work(dev->wq, &dev->lanes[lane].work);
}

static void sloop_lane_submit(struct llist_node *cmds)
{
	struct sloop_cmd *cmd, *next;
	struct sloop_charge charge;
	struct blk_plug plug;

	blk_start_plug(&plug);
	/* A command that was consumed may be in use by another request. */
	llist_for_each_entry_safe(cmd, next, cmds, lane_node) {
		enum sloop_try result;

		sloop_charge_enter(&charge, sloop_cmd_rq(cmd), true);
		result = sloop_cmd_rw(cmd, false);
		sloop_charge_leave(&charge);

		if (result == SLOOP_TRY_WOULD_BLOCK)
			sloop_cmd_to_worker(cmd, -EAGAIN);
	}
	blk_finish_plug(&plug);
}

static void sloop_lane_workfn(struct work_struct *work)
{
	struct sloop_lane *lane = container_of(work, struct sloop_lane, work);
	unsigned int saved = sloop_io_scope_enter();
	struct llist_node *cmds;

	while ((cmds = llist_del_all(&lane->cmds))) {
		sloop_lane_submit(llist_reverse_order(cmds));
		cond_resched();
	}
	sloop_io_scope_leave(saved);
}

/*
 * Is memory that is needed for a command the submitter's? Its data is. What it takes
 * to write back and to allocate blocks is nobody's, as it is for a flusher: the group
 * may be full of the very pages that are waiting for that.
 */
static bool sloop_cmd_charges_memory(const struct sloop_cmd *cmd)
{
	const struct request *rq = sloop_cmd_rq(cmd);

	switch (req_op(rq)) {
	case REQ_OP_READ:
	case REQ_OP_WRITE:
		return cmd->done < blk_rq_bytes(rq);
	case REQ_OP_WRITE_ZEROES:
		return true;
	default:
		return false;
	}
}

/* Do a command, or what is left of it, blocking as needed. */
static void sloop_worker_serve(struct sloop_worker *worker,
			       struct sloop_cmd *cmd)
{
	struct request *rq = sloop_cmd_rq(cmd);
	struct sloop_charge charge;

	if (unlikely(cmd->starved))
		msleep(SLOOP_STARVED_MS);

	sloop_charge_enter(&charge, rq, sloop_cmd_charges_memory(cmd));
	switch (req_op(rq)) {
	case REQ_OP_READ:
		sloop_cmd_rw(cmd, true);
		break;
	case REQ_OP_WRITE:
		if (cmd->done < blk_rq_bytes(rq))
			sloop_dirty_write(worker, cmd, &charge);
		else
			sloop_cmd_end(cmd, errno_to_blk_status(sloop_cmd_fsync(cmd,
							!cmd->backing->fsync_fua)));
		break;
	default:
		sloop_cmd_nodata(cmd);
	}
	sloop_charge_leave(&charge);
}

static void sloop_worker_workfn(struct work_struct *work)
{
	struct sloop_worker *worker = container_of(work, struct sloop_worker,
						   work);
	struct sloop_device *dev = worker->dev;
	unsigned int saved = sloop_io_scope_enter();
	struct sloop_cmd *cmd, *next;
	unsigned int nr = 0;
	LIST_HEAD(batch);

	while ((nr = sloop_crew_take(dev, worker, &batch, nr))) {
		struct blk_plug plug;

		/* Whoever sleeps lets go what is plugged. */
		blk_start_plug(&plug);
		list_for_each_entry_safe(cmd, next, &batch, crew_node)
			sloop_worker_serve(worker, cmd);
		blk_finish_plug(&plug);
		INIT_LIST_HEAD(&batch);
		cond_resched();
	}
	sloop_io_scope_leave(saved);
}

/**
 * sloop_lanes_alloc - make the lanes of a device
 * @dev: the device, its tag set allocated
 *
 * Return: 0 or -ENOMEM.
 */
int sloop_lanes_alloc(struct sloop_device *dev)
{
	unsigned int i;

	dev->lanes = kvcalloc(dev->tag_set.nr_hw_queues, sizeof(*dev->lanes),
			      GFP_KERNEL);
	if (!dev->lanes)
		return -ENOMEM;

	for (i = 0; i < dev->tag_set.nr_hw_queues; i++) {
		init_llist_head(&dev->lanes[i].cmds);
		INIT_WORK(&dev->lanes[i].work, sloop_lane_workfn);
	}
	return 0;
}

/**
 * sloop_lanes_start - get what I/O needs, once in a device's life
 * @dev: the device
 *
 * Devices that nobody binds do without.
 *
 * Context: under dev->lock, may sleep.
 * Return: 0 or -ENOMEM.
 */
int sloop_lanes_start(struct sloop_device *dev)
{
	lockdep_assert_held(&dev->lock);

	if (!dev->bvec_pool) {
		dev->bvec_pool = mempool_create_kmalloc_pool(1,
				BLK_MAX_SEGMENTS * sizeof(struct bio_vec));
		if (!dev->bvec_pool)
			return -ENOMEM;
	}
	if (!dev->crews) {
		int err = sloop_crews_alloc(dev, sloop_worker_workfn);

		if (err)
			return err;
	}
	/* Nobody waits for another one's end. */
	if (!dev->wq) {
		dev->wq = alloc_workqueue("safeloop%d",
				WQ_UNBOUND | WQ_FREEZABLE,
				min_t(unsigned int, WQ_MAX_ACTIVE,
				      sloop_crews_workers() +
				      dev->tag_set.nr_hw_queues),
				dev->number);
		if (!dev->wq)
			return -ENOMEM;
	}
	return 0;
}

/**
 * sloop_lanes_free - undo sloop_lanes_alloc() and sloop_lanes_start()
 * @dev: the device, without any request
 */
void sloop_lanes_free(struct sloop_device *dev)
{
	if (dev->wq)
		destroy_workqueue(dev->wq);
	sloop_swap_stop(dev);
	kfree(dev->crews);
	mempool_destroy(dev->bvec_pool);
	kvfree(dev->lanes);
}

// SPDX-License-Identifier: GPL-2.0-only
/* The way in of a request: pinned in ->queue_rq(), which never enters the file. */

#include <linux/ratelimit.h>
#include <linux/sbitmap.h>

#include "device.h"
#include "trace.h"

/**
 * sloop_dev_busy - may a request of the device be in flight?
 * @dev: the device
 *
 * A request has a tag from its allocation to its end, wherever it is meanwhile,
 * in somebody's plug list for instance. With an elevator, one that has not been
 * dispatched has a tag of the elevator's instead, and those are not looked at:
 * the answer is then always yes.
 *
 * Context: any.
 */
bool sloop_dev_busy(struct sloop_device *dev)
{
	smp_mb();	/* after whatever made the caller ask */
	if (READ_ONCE(dev->disk->queue->elevator))
		return true;
	return sbitmap_any_bit_set(&dev->tag_set.shared_tags->bitmap_tags.sb);
}

/*
 * Who sent it is current, unless the block layer dispatches from a kworker of
 * its own; the stack trigger of the tracepoint shows more.
 */
static void sloop_rq_late(struct sloop_device *dev, struct request *rq)
{
	atomic64_inc(&dev->late_io);
	sloop_stat_inc(SLOOP_STAT_LATE_IO);
	trace_sloop_rq_late(dev, rq, 0);
	pr_warn_ratelimited("%s: late %s of %u bytes at sector %llu refused, sent by %s[%d]\n",
			    dev->disk->disk_name, blk_op_str(req_op(rq)),
			    blk_rq_bytes(rq),
			    (unsigned long long)blk_rq_pos(rq),
			    current->comm, task_pid_nr(current));
}

static struct sloop_backing *sloop_dev_pin(struct sloop_device *dev,
					   unsigned int lane)
{
	struct sloop_backing *backing;

	rcu_read_lock();
	backing = rcu_dereference(dev->backing);
	if (backing && !sloop_backing_pin(backing, lane))
		backing = NULL;
	rcu_read_unlock();
	return backing;
}

static blk_status_t sloop_queue_rq(struct blk_mq_hw_ctx *hctx,
				   const struct blk_mq_queue_data *bd)
{
	struct request *rq = bd->rq;
	struct sloop_cmd *cmd = blk_mq_rq_to_pdu(rq);
	struct sloop_device *dev = hctx->queue->queuedata;
	struct sloop_backing *backing;
	bool lane;

	blk_mq_start_request(rq);

	backing = sloop_dev_pin(dev, hctx->queue_num);
	if (unlikely(!backing)) {
		sloop_rq_late(dev, rq);
		goto refuse;
	}
	/*
	 * The block layer has checked the size, but throttling may have held the
	 * bio since, for longer than the size was true.
	 */
	if (unlikely((backing->read_only && op_is_write(req_op(rq))) ||
		     (blk_rq_sectors(rq) &&
		      blk_rq_pos(rq) + blk_rq_sectors(rq) >
		      get_capacity(dev->disk)))) {
		sloop_backing_unpin(backing, hctx->queue_num);
		goto refuse;
	}

	cmd->backing = backing;
	cmd->lane = hctx->queue_num;
	cmd->status = BLK_STS_OK;
	cmd->done = 0;
	cmd->bvec = NULL;
	cmd->write_started = false;
	cmd->starved = 0;
	if (req_op(rq) == REQ_OP_FLUSH || (rq->cmd_flags & REQ_FUA))
		sloop_cmd_sample_errors(cmd);

	lane = sloop_cmd_wants_lane(cmd);
	trace_sloop_rq_submit(dev, rq, lane);
	if (sloop_swap_queue(cmd))
		;
	else if (lane)
		sloop_cmd_to_lane(cmd);
	else
		sloop_crew_add(cmd);
	/* ->commit_rqs() is for those that were not the last. */
	if (bd->last)
		sloop_lane_kick(dev, hctx->queue_num);
	return BLK_STS_OK;

refuse:
	if (bd->last)
		sloop_lane_kick(dev, hctx->queue_num);
	return BLK_STS_IOERR;
}

static void sloop_commit_rqs(struct blk_mq_hw_ctx *hctx)
{
	sloop_lane_kick(hctx->queue->queuedata, hctx->queue_num);
}

const struct blk_mq_ops sloop_mq_ops = {
	.queue_rq	= sloop_queue_rq,
	.commit_rqs	= sloop_commit_rqs,
	.complete	= sloop_complete_rq,
};

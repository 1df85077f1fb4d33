// SPDX-License-Identifier: GPL-2.0-only
/*
 * What can become of a command after a try: a worker goes on with it, or it is
 * ended, after it has been unpinned.
 */

#include <linux/bio.h>

#include "device.h"
#include "trace.h"

/**
 * sloop_cmd_to_worker - pass a command on to those who may block
 * @cmd: the command, pinned
 * @res: what the last try gave, for the trace
 *
 * Context: any.
 */
void sloop_cmd_to_worker(struct sloop_cmd *cmd, long res)
{
	struct sloop_device *dev = sloop_cmd_dev(cmd);

	trace_sloop_rq_hand_over(dev, sloop_cmd_rq(cmd), res);
	sloop_crew_add(cmd);
}

/**
 * sloop_cmd_end - a command has its result
 * @cmd: the command; gone when the function returns
 * @status: result for the submitter
 *
 * Context: any.
 */
void sloop_cmd_end(struct sloop_cmd *cmd, blk_status_t status)
{
	struct request *rq = sloop_cmd_rq(cmd);
	struct sloop_device *dev = sloop_cmd_dev(cmd);

	if (cmd->bvec && cmd->bvec != cmd->inline_bvec) {
		if (cmd->pooled)
			mempool_free(cmd->bvec, dev->bvec_pool);
		else
			kfree(cmd->bvec);
	}
	cmd->bvec = NULL;
	cmd->status = status;
	trace_sloop_rq_complete(dev, rq, blk_status_to_errno(status));

	sloop_backing_unpin(cmd->backing, cmd->lane);
	blk_mq_complete_request(rq);
}

/**
 * sloop_cmd_degrade - the file turns out to be able to do less than it said
 * @cmd: the command that has found out, and set it in the handle
 *
 * Queue limits and mode cannot be changed from here, where a freeze would wait for this
 * very request: a work item does it.
 *
 * Context: any.
 */
void sloop_cmd_degrade(struct sloop_cmd *cmd)
{
	struct sloop_device *dev = sloop_cmd_dev(cmd);

	get_device(disk_to_dev(dev->disk));
	if (!queue_delayed_work(sloop_ctl_wq, &dev->degrade_work, 0))
		put_device(disk_to_dev(dev->disk));
}

/**
 * sloop_complete_rq - end a request, whose command has its result
 * @rq: the request
 *
 * Of one that failed half-way, the bios before that point are done: that
 * is the truth, and lets a read-ahead that hits the end of the file succeed up to
 * there. A read gets zeroes where it got no data. FUA is promised for the whole.
 *
 * Context: ->complete().
 */
void sloop_complete_rq(struct request *rq)
{
	struct sloop_cmd *cmd = blk_mq_rq_to_pdu(rq);
	blk_status_t status = cmd->status;

	if (unlikely(status != BLK_STS_OK)) {
		unsigned int done;

		/* Who sends what a file cannot do asks for something else then. */
		if (status == BLK_STS_NOTSUPP)
			rq->rq_flags |= RQF_QUIET;

		done = round_down(cmd->done, queue_logical_block_size(rq->q));
		if (done && done < blk_rq_bytes(rq) &&
		    !(rq->cmd_flags & REQ_FUA))
			blk_update_request(rq, BLK_STS_OK, done);
		if (req_op(rq) == REQ_OP_READ) {
			struct bio *bio;

			__rq_for_each_bio(bio, rq)
				zero_fill_bio(bio);
		}
	}
	blk_mq_end_request(rq, status);
}

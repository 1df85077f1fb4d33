// SPDX-License-Identifier: GPL-2.0-only
/*
 * Making durable what has been written, and the errors of that.
 *
 * An error of writing back is told by fsync() once for each open file, and all of a
 * device's requests share one: of those that run at once, one would be told, and what
 * is done for a FUA write would take the error away from the next flush. So a request
 * remembers which errors there were when it came, and looks whether there are more
 * when its own fsync() has succeeded.
 */

#include <linux/fs.h>
#include <linux/errseq.h>	/* not self-contained */
#include <linux/ktime.h>
#include <linux/pagemap.h>

#include "device.h"

/*
 * The block layer collects flushes while one is under way, and then sends one request
 * for all of them, on the tag of the first: it was that one's when it was allocated.
 * Returns the time of that in nanoseconds; a second ago if it is not kept, which is so
 * with queue/iostats off.
 */
static u64 sloop_flush_begun(const struct request *rq)
{
	const struct sloop_device *dev = rq->q->queuedata;
	const struct request *first;

	if (rq->q->elevator)
		first = rq->mq_hctx->sched_tags->static_rqs[rq->internal_tag];
	else
		first = dev->tag_set.shared_tags->static_rqs[rq->tag];
	return first->start_time_ns ?: ktime_get_ns() - NSEC_PER_SEC;
}

/**
 * sloop_cmd_sample_errors - a flush or a FUA write begins
 * @cmd: the command, pinned
 *
 * Context: any.
 */
void sloop_cmd_sample_errors(struct sloop_cmd *cmd)
{
	const struct request *rq = sloop_cmd_rq(cmd);
	struct sloop_device *dev = sloop_cmd_dev(cmd);

	cmd->wb_since = errseq_sample(&dev->wb_err);
	cmd->mapping_since =
		filemap_sample_wb_err(cmd->backing->file->f_mapping);
	/* One of those that it stands for was waiting when the last error came. */
	if (req_op(rq) == REQ_OP_FLUSH && cmd->wb_since &&
	    sloop_flush_begun(rq) < READ_ONCE(dev->wb_err_time))
		cmd->wb_since = 0;
}

static int sloop_cmd_note(struct sloop_cmd *cmd, int err)
{
	if (err)
		sloop_note_write_error(sloop_cmd_dev(cmd), err);
	return err;
}

/* Of the page cache of the file, whoever else has been told. */
static int sloop_cmd_missed_error(const struct sloop_cmd *cmd)
{
	return filemap_check_wb_err(cmd->backing->file->f_mapping,
				    cmd->mapping_since);
}

/**
 * sloop_cmd_flush - make durable all that has been written to the device
 * @cmd: the command
 *
 * The full fsync, not fdatasync: what a filesystem leaves out for the latter, for
 * unwritten extents and the like, is its own affair.
 *
 * Context: may sleep.
 * Return: 0; an errno of the filesystem, its own or one that no flush has had yet, or
 * that came while this one was waiting.
 */
int sloop_cmd_flush(struct sloop_cmd *cmd)
{
	struct sloop_device *dev = sloop_cmd_dev(cmd);
	int err, pending;

	err = sloop_cmd_note(cmd, vfs_fsync(cmd->backing->file, 0));
	pending = errseq_check_and_advance(&dev->wb_err, &cmd->wb_since);
	return err ?: pending ?: sloop_cmd_missed_error(cmd);
}

/**
 * sloop_cmd_fsync - make what a command has written durable
 * @cmd: the command, done but for that
 * @datasync: what IOCB_DSYNC asks for is enough
 *
 * An error is kept for the next flush: the page cache does not tell of whose data.
 *
 * Context: may sleep.
 * Return: 0 or an errno of the filesystem.
 */
int sloop_cmd_fsync(struct sloop_cmd *cmd, bool datasync)
{
	const struct request *rq = sloop_cmd_rq(cmd);
	loff_t pos = ((loff_t)blk_rq_pos(rq) << SECTOR_SHIFT) +
		     cmd->backing->offset;
	int err;

	err = vfs_fsync_range(cmd->backing->file, pos,
			      pos + blk_rq_bytes(rq) - 1, datasync);
	return sloop_cmd_note(cmd, err) ?: sloop_cmd_missed_error(cmd);
}

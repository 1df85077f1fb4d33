// SPDX-License-Identifier: GPL-2.0-only
/* Flush, discard and write zeroes: always done by a worker. */

#include <linux/fs.h>
#include <linux/falloc.h>	/* not self-contained */

#include "device.h"
#include "trace.h"

static int sloop_fallocate(struct sloop_cmd *cmd, int mode)
{
	const struct request *rq = sloop_cmd_rq(cmd);
	loff_t pos = ((loff_t)blk_rq_pos(rq) << SECTOR_SHIFT) +
		     cmd->backing->offset;

	return vfs_fallocate(cmd->backing->file, mode | FALLOC_FL_KEEP_SIZE,
			     pos, blk_rq_bytes(rq));
}

static int sloop_discard(struct sloop_cmd *cmd)
{
	int err;

	if (READ_ONCE(cmd->backing->no_discard))
		return -EOPNOTSUPP;
	/* Swap would need memory to write there again. */
	if (sloop_swap_covers(cmd->backing, sloop_cmd_rq(cmd)))
		return 0;

	err = sloop_fallocate(cmd, FALLOC_FL_PUNCH_HOLE);
	if (err == -EOPNOTSUPP && !xchg(&cmd->backing->no_discard, true))
		sloop_cmd_degrade(cmd);
	return err;
}

/* A range that fallocate() does not take, for its mode or alignment, is written. */
static int sloop_zero(struct sloop_cmd *cmd)
{
	const struct request *rq = sloop_cmd_rq(cmd);
	loff_t pos = ((loff_t)blk_rq_pos(rq) << SECTOR_SHIFT) +
		     cmd->backing->offset;
	int err;

	err = sloop_fallocate(cmd, rq->cmd_flags & REQ_NOUNMAP ?
				   FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);
	if (err == -EOPNOTSUPP || err == -EINVAL)
		err = sloop_write_zeroes(cmd->backing, pos, blk_rq_bytes(rq));
	if (!err && (rq->cmd_flags & REQ_FUA))
		err = sloop_cmd_fsync(cmd, false);
	return err;
}

/**
 * sloop_cmd_nodata - do a command that moves no data
 * @cmd: the command, pinned; gone when the function returns
 *
 * Context: kernel thread, sleeps.
 */
void sloop_cmd_nodata(struct sloop_cmd *cmd)
{
	int err;

	switch (req_op(sloop_cmd_rq(cmd))) {
	case REQ_OP_FLUSH:
		err = sloop_cmd_flush(cmd);
		break;
	case REQ_OP_DISCARD:
		err = sloop_discard(cmd);
		break;
	case REQ_OP_WRITE_ZEROES:
		err = sloop_zero(cmd);
		break;
	default:
		err = -EOPNOTSUPP;
	}
	sloop_cmd_end(cmd, errno_to_blk_status(err));
}

// SPDX-License-Identifier: GPL-2.0-only
/* Flush, discard and write zeroes: always done by a worker. */

#include <linux/fs.h>
#include <linux/falloc.h>	/* not self-contained */

#include "device.h"
#include "trace.h"

/* Bytes of a file. */
struct sloop_extent {
	loff_t	begin;
	loff_t	end;	/* the one after the last */
};

static struct sloop_extent sloop_cmd_extent(const struct sloop_cmd *cmd)
{
	const struct request *rq = sloop_cmd_rq(cmd);
	loff_t pos = ((loff_t)blk_rq_pos(rq) << SECTOR_SHIFT) +
		     cmd->backing->offset;

	return (struct sloop_extent) { pos, pos + blk_rq_bytes(rq) };
}

/*
 * The part of it that fallocate() takes: any bytes of a regular file, but whole blocks
 * of a disk, whose blocks may be larger than those of the device, or begin elsewhere.
 * May be empty: then its begin is not before its end.
 */
static struct sloop_extent sloop_whole_blocks(const struct sloop_cmd *cmd,
					      struct sloop_extent extent)
{
	struct inode *inode = cmd->backing->file->f_mapping->host;
	loff_t bsize = 1;

	if (S_ISBLK(inode->i_mode))
		bsize = bdev_logical_block_size(I_BDEV(inode));
	return (struct sloop_extent) {
		round_up(extent.begin, bsize), round_down(extent.end, bsize)
	};
}

static int sloop_fallocate(struct sloop_cmd *cmd, int mode,
			   struct sloop_extent extent)
{
	return vfs_fallocate(cmd->backing->file, mode | FALLOC_FL_KEEP_SIZE,
			     extent.begin, extent.end - extent.begin);
}

/* What is not a whole block stays: a discard promises nothing of its data. */
static int sloop_discard(struct sloop_cmd *cmd)
{
	struct sloop_extent extent =
		sloop_whole_blocks(cmd, sloop_cmd_extent(cmd));
	int err;

	if (READ_ONCE(cmd->backing->no_discard))
		return -EOPNOTSUPP;
	/* Swap would need memory to write there again. */
	if (extent.begin >= extent.end ||
	    sloop_swap_covers(cmd->backing, sloop_cmd_rq(cmd)))
		return 0;

	err = sloop_fallocate(cmd, FALLOC_FL_PUNCH_HOLE, extent);
	if (err == -EOPNOTSUPP && !xchg(&cmd->backing->no_discard, true))
		sloop_cmd_degrade(cmd);
	return err;
}

/* A range that fallocate() does not take, for its mode or alignment, is written. */
static int sloop_zero_blocks(struct sloop_cmd *cmd, struct sloop_extent extent)
{
	int err;

	err = sloop_fallocate(cmd,
			      sloop_cmd_rq(cmd)->cmd_flags & REQ_NOUNMAP ?
			      FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE,
			      extent);
	if (err == -EOPNOTSUPP || err == -EINVAL)
		err = sloop_write_zeroes(cmd->backing, extent.begin,
					 extent.end - extent.begin);
	return err;
}

/* To the byte: what is left of a block at either end is written. */
static int sloop_zero(struct sloop_cmd *cmd)
{
	struct sloop_extent all = sloop_cmd_extent(cmd);
	struct sloop_extent blocks = sloop_whole_blocks(cmd, all);
	int err = 0;

	if (blocks.begin >= blocks.end)
		blocks = (struct sloop_extent) { all.end, all.end };

	if (all.begin < blocks.begin)
		err = sloop_write_zeroes(cmd->backing, all.begin,
					 blocks.begin - all.begin);
	if (!err && blocks.begin < blocks.end)
		err = sloop_zero_blocks(cmd, blocks);
	if (!err && blocks.end < all.end)
		err = sloop_write_zeroes(cmd->backing, blocks.end,
					 all.end - blocks.end);
	if (!err && (sloop_cmd_rq(cmd)->cmd_flags & REQ_FUA))
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

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads and writes: a try moves some bytes of the request, from where the last
 * one stopped, and its result decides what comes next. A direct I/O try may end
 * in any context; a buffered one ends where it was submitted.
 */

#include <linux/fs.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "device.h"
#include "trace.h"

/*
 * Tries in a row that would have blocked, after which so many requests go to a worker
 * at once; the next one is a try again.
 */
#define SLOOP_REFUSALS		8
#define SLOOP_PAUSE		64

/* Tries without memory, SLOOP_STARVED_MS apart, until that is an error: 30 s. */
#define SLOOP_STARVED_TRIES	1500

/*
 * Does FUA take more than IOCB_DSYNC here? Of a buffered write, what that flag does
 * is done by ourselves: it is charged to nobody, the write is (io-dirty.c).
 */
static bool sloop_cmd_needs_fsync(const struct sloop_cmd *cmd)
{
	return (sloop_cmd_rq(cmd)->cmd_flags & REQ_FUA) &&
		(cmd->backing->fsync_fua || !cmd->direct);
}

/*
 * The array has room for as many vectors as the queue has segments, and every
 * vector is at least a segment. Lack of memory is no I/O error: in a lane the
 * command moves to a worker, there it waits for the pool.
 */
static struct bio_vec *sloop_cmd_alloc_bvec(struct sloop_cmd *cmd,
					    unsigned int nr, bool may_block)
{
	cmd->pooled = false;
	if (nr <= SLOOP_INLINE_BVECS)
		return cmd->inline_bvec;

	cmd->bvec = kmalloc_array(nr, sizeof(*cmd->bvec),
				  GFP_NOWAIT | __GFP_NOWARN);
	if (cmd->bvec || !may_block || WARN_ON_ONCE(nr > BLK_MAX_SEGMENTS))
		return cmd->bvec;

	cmd->pooled = true;
	return mempool_alloc(sloop_cmd_dev(cmd)->bvec_pool, GFP_NOIO);
}

/* An iterator over what the request has left to move. */
static bool sloop_cmd_iter(struct sloop_cmd *cmd, struct iov_iter *iter,
			   unsigned int direction, bool may_block)
{
	struct request *rq = sloop_cmd_rq(cmd);
	struct req_iterator rq_iter;
	unsigned int nr = 0, i = 0;
	struct bio_vec bv;

	rq_for_each_bvec(bv, rq, rq_iter)
		nr++;

	if (rq->bio == rq->biotail) {
		/* One bio is one array already; it may begin within a vector. */
		const struct bvec_iter *bi = &rq->bio->bi_iter;

		iov_iter_bvec(iter, direction,
			      __bvec_iter_bvec(rq->bio->bi_io_vec, *bi),
			      nr, blk_rq_bytes(rq));
		iter->iov_offset = bi->bi_offset;
	} else {
		if (!cmd->bvec) {
			cmd->bvec = sloop_cmd_alloc_bvec(cmd, nr, may_block);
			if (!cmd->bvec)
				return false;
			rq_for_each_bvec(bv, rq, rq_iter)
				cmd->bvec[i++] = bv;
		}
		iov_iter_bvec(iter, direction, cmd->bvec, nr,
			      blk_rq_bytes(rq));
	}
	iov_iter_advance(iter, cmd->done);
	return true;
}

/*
 * A frozen filesystem makes its writers wait. The protection is let go by whoever
 * completes the try, which lockdep is told to expect.
 */
static bool sloop_cmd_start_write(struct sloop_cmd *cmd, bool may_block)
{
	struct super_block *sb;

	if (!cmd->backing->isreg)
		return true;

	if (may_block) {
		kiocb_start_write(&cmd->iocb);
	} else {
		sb = file_inode(cmd->backing->file)->i_sb;
		if (!sb_start_write_trylock(sb))
			return false;
		__sb_writers_release(sb, SB_FREEZE_WRITE);
	}
	cmd->write_started = true;
	return true;
}

/**
 * sloop_nowait_worth_it - may a command be tried with IOCB_NOWAIT?
 * @backing: the handle
 * @dir: READ or WRITE
 *
 * A handle remembers what its file cannot do, and stops trying for a while when it
 * mostly would have blocked.
 *
 * Context: any; the counters need not be exact.
 */
bool sloop_nowait_worth_it(struct sloop_backing *backing, unsigned int dir)
{
	int pause;

	if (!backing->nowait || READ_ONCE(backing->no_nowait[dir]))
		return false;
	pause = READ_ONCE(backing->pause[dir]);
	if (likely(pause <= 0))
		return true;
	WRITE_ONCE(backing->pause[dir], pause - 1);
	return false;
}

static void sloop_nowait_learn(struct sloop_backing *backing, unsigned int dir,
			       long res)
{
	int refusals = READ_ONCE(backing->refusals[dir]);

	if (res == -EOPNOTSUPP) {
		WRITE_ONCE(backing->no_nowait[dir], true);
	} else if (res == -EAGAIN) {
		if (refusals < SLOOP_REFUSALS)
			WRITE_ONCE(backing->refusals[dir], refusals + 1);
		else
			WRITE_ONCE(backing->pause[dir], SLOOP_PAUSE);
	} else if (unlikely(refusals)) {
		WRITE_ONCE(backing->refusals[dir], 0);
	}
}

/* Lack of memory delays a command, and is an error only if it does not end. */
static bool sloop_rw_starved(struct sloop_cmd *cmd, long res)
{
	if (res != -ENOMEM)
		return false;
	return cmd->nowait || ++cmd->starved < SLOOP_STARVED_TRIES;
}

/*
 * A file may say that it can do direct I/O, and refuse each try, as on an overlay above
 * a filesystem that cannot. Then it is served buffered from now on. Not if a try has
 * succeeded before: buffered writes of part of a page beside direct ones could undo
 * those, and it is something else that is wrong.
 */
static bool sloop_is_dio_refusal(const struct sloop_backing *backing, long res)
{
	return (res == -EINVAL || res == -EOPNOTSUPP) &&
		!READ_ONCE(backing->dio_worked);
}

static bool sloop_dio_refused(struct sloop_cmd *cmd, long res)
{
	struct sloop_backing *backing = cmd->backing;

	if (!cmd->direct || !sloop_is_dio_refusal(backing, res))
		return false;
	if (xchg(&backing->no_dio, true))
		return true;

	pr_warn("%s: direct I/O to a file of %s is refused (%ld): it is buffered from now on\n",
		sloop_cmd_dev(cmd)->disk->disk_name,
		file_inode(backing->file)->i_sb->s_type->name, res);
	sloop_cmd_degrade(cmd);
	return true;
}

/*
 * One try is over: go on, or end the command.
 *
 * NOWAIT fails by -EAGAIN or -EOPNOTSUPP, at once or through ->ki_complete(), or
 * by moving less than all. All of these mean that a worker does the rest.
 */
static void sloop_rw_done(struct sloop_cmd *cmd)
{
	struct request *rq = sloop_cmd_rq(cmd);
	unsigned int left = blk_rq_bytes(rq) - cmd->done;
	long res = cmd->res;

	if (cmd->write_started) {
		cmd->write_started = false;
		kiocb_end_write(&cmd->iocb);
	}

	if (cmd->nowait)
		sloop_nowait_learn(cmd->backing, rq_data_dir(rq), res);

	if (res > 0) {
		if (cmd->direct && unlikely(!READ_ONCE(cmd->backing->dio_worked)))
			WRITE_ONCE(cmd->backing->dio_worked, true);
		cmd->done += min_t(unsigned long, res, left);
		if (cmd->done < blk_rq_bytes(rq) || sloop_cmd_needs_fsync(cmd))
			sloop_cmd_to_worker(cmd, res);
		else
			sloop_cmd_end(cmd, BLK_STS_OK);
	} else if (cmd->nowait &&
		   (res == 0 || res == -EAGAIN || res == -EOPNOTSUPP)) {
		sloop_cmd_to_worker(cmd, res);
	} else if (sloop_rw_starved(cmd, res) ||
		   sloop_dio_refused(cmd, res)) {
		sloop_cmd_to_worker(cmd, res);
	} else {
		/* No data at all: the file has become shorter, or is full. */
		sloop_cmd_end(cmd, res ? errno_to_blk_status(res) :
				   BLK_STS_IOERR);
	}
}

/* The completion and the submitter each hold one of two references to a try. */
static void sloop_rw_put(struct sloop_cmd *cmd)
{
	if (atomic_dec_and_test(&cmd->refs))
		sloop_rw_done(cmd);
}

static void sloop_rw_complete(struct kiocb *iocb, long res)
{
	struct sloop_cmd *cmd = container_of(iocb, struct sloop_cmd, iocb);

	cmd->res = res;
	sloop_rw_put(cmd);
}

/**
 * sloop_cmd_rw - try to move what is left of a read or write
 * @cmd: the command, pinned
 * @may_block: false in a lane
 *
 * Context: kernel thread; sleeps if @may_block.
 * Return: %SLOOP_TRY_CONSUMED, then the command may be gone already;
 * %SLOOP_TRY_WOULD_BLOCK, if not @may_block and nothing has been submitted.
 */
enum sloop_try sloop_cmd_rw(struct sloop_cmd *cmd, bool may_block)
{
	struct request *rq = sloop_cmd_rq(cmd);
	struct sloop_backing *backing = cmd->backing;
	bool write = req_op(rq) == REQ_OP_WRITE;
	struct iov_iter iter;
	ssize_t res;

	if (!sloop_cmd_iter(cmd, &iter, write ? ITER_SOURCE : ITER_DEST,
			    may_block)) {
		if (!may_block)
			return SLOOP_TRY_WOULD_BLOCK;
		sloop_cmd_end(cmd, BLK_STS_IOERR);
		return SLOOP_TRY_CONSUMED;
	}

	cmd->nowait = !may_block;
	cmd->iocb = (struct kiocb) {
		.ki_filp	= backing->file,
		.ki_pos		= ((loff_t)blk_rq_pos(rq) << SECTOR_SHIFT) +
				  backing->offset + cmd->done,
		.ki_ioprio	= req_get_ioprio(rq),
	};
	cmd->direct = sloop_backing_is_direct(backing);
	if (cmd->direct) {
		cmd->iocb.ki_flags |= IOCB_DIRECT;
		cmd->iocb.ki_complete = sloop_rw_complete;
	}
	if (!may_block)
		cmd->iocb.ki_flags |= IOCB_NOWAIT;
	if ((rq->cmd_flags & REQ_FUA) && cmd->direct)
		cmd->iocb.ki_flags |= IOCB_DSYNC;

	if (write && !sloop_cmd_start_write(cmd, may_block))
		return SLOOP_TRY_WOULD_BLOCK;

	atomic_set(&cmd->refs, 2);
	if (write)
		res = backing->file->f_op->write_iter(&cmd->iocb, &iter);
	else
		res = backing->file->f_op->read_iter(&cmd->iocb, &iter);
	if (res != -EIOCBQUEUED)
		sloop_rw_complete(&cmd->iocb, res);
	sloop_rw_put(cmd);
	return SLOOP_TRY_CONSUMED;
}

/* So much is written in one go. */
#define SLOOP_ZERO_PAGES	32

/**
 * sloop_write_zeroes - write zeroes the slow way
 * @backing: the handle, pinned
 * @pos: first byte in the file
 * @len: number of bytes
 *
 * For filesystems that have no operation for it. Direct if the handle is: a buffered
 * write of part of a block would undo a direct one to the rest of it that is under way.
 * The caller makes it durable if that is asked for.
 *
 * Context: may sleep.
 * Return: 0 or an errno of the filesystem.
 */
int sloop_write_zeroes(struct sloop_backing *backing, loff_t pos, u64 len)
{
	bool direct = sloop_backing_is_direct(backing);
	struct file *file = backing->file;
	struct bio_vec bv[SLOOP_ZERO_PAGES];
	struct iov_iter iter;
	unsigned int i;
	int err = 0;

	for (i = 0; i < ARRAY_SIZE(bv); i++)
		bv[i] = (struct bio_vec) {
			.bv_page = ZERO_PAGE(0),
			.bv_len = PAGE_SIZE,
		};

	while (len && !err) {
		struct kiocb iocb = {
			.ki_filp = file,
			.ki_pos = pos,
			.ki_flags = direct ? IOCB_DIRECT : 0,
		};
		size_t count = min_t(u64, len, ARRAY_SIZE(bv) * PAGE_SIZE);
		ssize_t res;

		iov_iter_bvec(&iter, ITER_SOURCE, bv, ARRAY_SIZE(bv), count);
		if (backing->isreg)
			file_start_write(file);
		res = file->f_op->write_iter(&iocb, &iter);
		if (backing->isreg)
			file_end_write(file);

		if (res > 0) {
			pos += res;
			len -= res;
		} else if (direct && sloop_is_dio_refusal(backing, res)) {
			direct = false;
		} else {
			err = res ?: -EIO;
		}
		cond_resched();
	}
	return err;
}

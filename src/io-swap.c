// SPDX-License-Identifier: GPL-2.0-only
/*
 * Swap that is written. Whoever waits for it may be reclaiming memory, with locks
 * held that the filesystem below needs, or may be the thread that makes threads. So
 * it has a thread of its own, which is there from the first bind on, and nobody
 * waits for that thread without an end:
 *
 * It writes one piece after another, from pages of its own, to which the data is
 * copied first. So a request can be ended at any time. When a piece does not get
 * into the file, those that wait are given back with an error. To the memory manager
 * that means that the pages stay dirty, and in memory: nothing is lost, and whoever
 * holds the lock that the thread is waiting for goes on with what it was doing. The
 * piece may get into the file much later. Until it is known what became of it, other
 * writes are held, and the device is not detached. How it gets there is in io-piece.c.
 */

#include <linux/bio.h>
#include <linux/freezer.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/slab.h>
#include <linux/timer.h>

#include "device.h"
#include "trace.h"

/*
 * How long a piece may take, and how long a request waits while one takes longer; how
 * long either may be for a minute after one did, as a filesystem that needs memory in
 * order to write would go on at that pace; and how long when the bios of the kernel
 * are used up.
 */
#define SLOOP_SWAP_PATIENCE	(20 * HZ)
#define SLOOP_SWAP_IMPATIENCE	HZ
#define SLOOP_SWAP_CALM		(60 * HZ)
#define SLOOP_SWAP_NO_BIO	DIV_ROUND_UP(HZ, 10)
#define SLOOP_SWAP_TICK		DIV_ROUND_UP(HZ, 10)

/* Sectors of a cluster of swap, 2 MiB where there are huge pages (SWAPFILE_CLUSTER). */
#define SLOOP_SWAP_CLUSTER	(2 << (20 - SECTOR_SHIFT))

/* How often the log has a line of lack of memory. */
#define SLOOP_SWAP_SAY		(10 * HZ)

/**
 * struct sloop_swap - what writes the swap of a device
 * @dev: the device
 * @task: the thread
 * @wait: where it waits for commands
 * @timer: looks whether it gets on
 * @lock: guards what follows, to @calm_at
 * @cmds: commands that wait, oldest first
 * @held: writes of data that wait until the thread is not @stuck
 * @cmd: the one that is being written, NULL after it has been given back
 * @copying: its data is being copied, it cannot be given back now
 * @busy: the thread has a command, or had it
 * @stuck: the one that is being written has been given back
 * @since: when the thread last got on, in jiffies
 * @patience: how long it may then take
 * @calm_at: when that is the usual time again
 * @nr_unsaid: how many have been given back since the log had a line of that
 * @say_at: when it may have the next one
 * @said_stuck: the last one was that the thread is @stuck
 * @piece: what the thread copies to
 */
struct sloop_swap {
	struct sloop_device	*dev;
	struct task_struct	*task;
	wait_queue_head_t	wait;
	struct timer_list	timer;

	spinlock_t		lock;
	struct list_head	cmds;
	struct list_head	held;
	struct sloop_cmd	*cmd;
	bool			copying;
	bool			busy;
	bool			stuck;
	unsigned long		since;
	unsigned long		patience;
	unsigned long		calm_at;

	unsigned int		nr_unsaid;
	unsigned long		say_at;
	bool			said_stuck;
	struct sloop_piece	piece;
};

/* The block layer may merge swap and data that are neighbours. Data is not given back. */
static bool sloop_cmd_is_swap(const struct sloop_cmd *cmd)
{
	const struct request *rq = sloop_cmd_rq(cmd);
	const struct bio *bio;

	if (req_op(rq) != REQ_OP_WRITE || !(rq->cmd_flags & REQ_SWAP))
		return false;
	__rq_for_each_bio(bio, rq)
		if (!(bio->bi_opf & REQ_SWAP))
			return false;
	return true;
}

/**
 * sloop_swap_covers - has swap been written before and after a range?
 * @backing: the handle, pinned
 * @rq: a request with a range
 *
 * No longer, when data has been written in between, since then. Swap discards whole
 * clusters, of which the first or last may have been written only in part.
 *
 * Context: any. The answer may be a little old.
 */
bool sloop_swap_covers(const struct sloop_backing *backing,
		       const struct request *rq)
{
	sector_t end = READ_ONCE(backing->swap_end);

	return end &&
		blk_rq_pos(rq) + SLOOP_SWAP_CLUSTER >=
			READ_ONCE(backing->swap_begin) &&
		blk_rq_pos(rq) + blk_rq_sectors(rq) <= end + SLOOP_SWAP_CLUSTER;
}

static void sloop_swap_note(struct sloop_swap *swap,
			    struct sloop_backing *backing,
			    const struct request *rq)
{
	sector_t begin = blk_rq_pos(rq), end = begin + blk_rq_sectors(rq);

	spin_lock_irq(&swap->lock);
	if (!backing->swap_end || begin < backing->swap_begin)
		WRITE_ONCE(backing->swap_begin, begin);
	if (end > backing->swap_end)
		WRITE_ONCE(backing->swap_end, end);
	spin_unlock_irq(&swap->lock);
}

static bool sloop_swap_overlaps(const struct sloop_backing *backing,
				const struct request *rq)
{
	return blk_rq_pos(rq) < READ_ONCE(backing->swap_end) &&
		blk_rq_pos(rq) + blk_rq_sectors(rq) >
			READ_ONCE(backing->swap_begin);
}

/* To the block layer it is an error that nobody needs to be told of. */
static void sloop_swap_give_back(struct sloop_cmd *cmd)
{
	sloop_cmd_rq(cmd)->rq_flags |= RQF_QUIET;
	sloop_stat_inc(SLOOP_STAT_SWAP_GIVEN_BACK);
	sloop_cmd_end(cmd, BLK_STS_IOERR);
}

/*
 * While nothing can be swapped out, that is to be found out at once: who needs memory
 * gets an answer then, if need be the one of the OOM killer.
 */
static void sloop_swap_add(struct sloop_swap *swap, struct sloop_cmd *cmd)
{
	unsigned long flags;
	bool stuck;

	spin_lock_irqsave(&swap->lock, flags);
	stuck = swap->stuck;
	if (!stuck) {
		if (!swap->busy && list_empty(&swap->cmds))
			swap->since = jiffies;
		list_add_tail(&cmd->crew_node, &swap->cmds);
		if (!timer_pending(&swap->timer))
			mod_timer(&swap->timer, jiffies + SLOOP_SWAP_TICK);
	}
	spin_unlock_irqrestore(&swap->lock, flags);

	if (stuck)
		sloop_swap_give_back(cmd);
	else
		wake_up(&swap->wait);
}

/* A write of data: neither while a piece is in doubt, nor seen as swap from now on. */
static bool sloop_swap_hold(struct sloop_swap *swap, struct sloop_cmd *cmd)
{
	const struct request *rq = sloop_cmd_rq(cmd);
	bool forget = req_op(rq) == REQ_OP_WRITE &&
		      sloop_swap_overlaps(cmd->backing, rq);
	unsigned long flags;
	bool hold;

	if (likely(!forget && !READ_ONCE(swap->stuck)))
		return false;

	spin_lock_irqsave(&swap->lock, flags);
	if (forget)
		WRITE_ONCE(cmd->backing->swap_end, 0);
	hold = swap->stuck;
	if (hold)
		list_add_tail(&cmd->crew_node, &swap->held);
	spin_unlock_irqrestore(&swap->lock, flags);
	return hold;
}

/**
 * sloop_swap_queue - leave a command for the thread that writes swap, if it is one for it
 * @cmd: the command, pinned
 *
 * Also takes writes of data that have to wait for that thread.
 *
 * Context: any.
 * Return: false if the command is somebody else's.
 */
bool sloop_swap_queue(struct sloop_cmd *cmd)
{
	struct sloop_swap *swap = sloop_cmd_dev(cmd)->swap;

	if (!op_is_write(req_op(sloop_cmd_rq(cmd))))
		return false;
	if (!sloop_cmd_is_swap(cmd))
		return sloop_swap_hold(swap, cmd);
	sloop_swap_add(swap, cmd);
	return true;
}

/**
 * sloop_swap_busy - is a piece of swap on its way into the file?
 * @dev: the device
 *
 * It may be when there is no request any more.
 *
 * If not, the files of its handles are closed, but for the current one.
 *
 * Context: any. A pin that the caller has seen go has set this before.
 */
bool sloop_swap_busy(struct sloop_device *dev)
{
	return dev->swap && READ_ONCE(dev->swap->busy);
}

/*
 * Swap takes its bios where the filesystem below takes them. Without memory there are
 * two more, and those may be in requests that wait for the thread, while it waits for
 * one. Which others of these pools might be empty is not known; that is what the longer
 * time is for.
 */
static bool sloop_swap_no_bio(void)
{
	return READ_ONCE(fs_bio_set.bio_pool.curr_nr) == 0;
}

/* What is to be given back by now. */
static void sloop_swap_overdue(struct sloop_swap *swap, struct list_head *back)
{
	bool late = time_after(jiffies, swap->since + swap->patience);

	lockdep_assert_held(&swap->lock);

	if (swap->copying)
		return;
	if (!late && !(sloop_swap_no_bio() &&
		       time_after(jiffies, swap->since + SLOOP_SWAP_NO_BIO)))
		return;

	list_splice_init(&swap->cmds, back);
	/* Without bios, those that wait may be enough. */
	if (!late && !list_empty(back))
		return;
	if (swap->cmd)
		list_add(&swap->cmd->crew_node, back);
	swap->cmd = NULL;
	/* Not if the thread has not even begun. */
	WRITE_ONCE(swap->stuck, swap->busy);
}

/* Only the timer comes here. */
static void sloop_swap_say(struct sloop_swap *swap, unsigned int nr, bool stuck)
{
	swap->nr_unsaid += nr;
	if (time_before(jiffies, swap->say_at) &&
	    !(stuck && READ_ONCE(swap->patience) == SLOOP_SWAP_PATIENCE))
		return;
	swap->say_at = jiffies + SLOOP_SWAP_SAY;
	pr_warn("%s: swap cannot be written, %s: what was in %u requests stays in memory\n",
		swap->dev->disk->disk_name,
		stuck ? "the file does not answer" : "there is no memory to",
		swap->nr_unsaid);
	swap->nr_unsaid = 0;
	WRITE_ONCE(swap->said_stuck, stuck);
}

static void sloop_swap_timerfn(struct timer_list *timer)
{
	struct sloop_swap *swap = container_of(timer, struct sloop_swap, timer);
	struct sloop_cmd *cmd, *next;
	unsigned long flags;
	unsigned int nr = 0;
	LIST_HEAD(back);
	bool stuck;

	spin_lock_irqsave(&swap->lock, flags);
	if (!swap->stuck && (swap->busy || !list_empty(&swap->cmds))) {
		sloop_swap_overdue(swap, &back);
		if (!swap->stuck)
			mod_timer(&swap->timer, jiffies + SLOOP_SWAP_TICK);
	}
	stuck = swap->stuck;
	spin_unlock_irqrestore(&swap->lock, flags);

	/* A command that has been ended may be in use by another request. */
	list_for_each_entry_safe(cmd, next, &back, crew_node) {
		sloop_swap_give_back(cmd);
		nr++;
	}
	if (nr)
		sloop_swap_say(swap, nr, stuck);
}

static struct sloop_cmd *sloop_swap_take(struct sloop_swap *swap)
{
	struct sloop_cmd *cmd;

	spin_lock_irq(&swap->lock);
	cmd = list_first_entry_or_null(&swap->cmds, struct sloop_cmd, crew_node);
	if (cmd) {
		list_del(&cmd->crew_node);
		swap->cmd = cmd;
		WRITE_ONCE(swap->busy, true);
		swap->since = jiffies;
	}
	spin_unlock_irq(&swap->lock);
	return cmd;
}

/* False if the command has been given back meanwhile: it may not be looked at then. */
static bool sloop_swap_got_on(struct sloop_swap *swap, bool copying)
{
	bool mine;

	spin_lock_irq(&swap->lock);
	mine = swap->cmd;
	swap->copying = copying && mine;
	swap->since = jiffies;
	spin_unlock_irq(&swap->lock);
	return mine;
}

/* False if somebody else has ended the command. */
static bool sloop_swap_finish(struct sloop_swap *swap)
{
	struct sloop_cmd *cmd, *next;
	bool mine, was_stuck;
	LIST_HEAD(held);

	spin_lock_irq(&swap->lock);
	mine = swap->cmd;
	swap->cmd = NULL;
	WRITE_ONCE(swap->busy, false);
	was_stuck = swap->stuck;
	WRITE_ONCE(swap->stuck, false);
	swap->since = jiffies;
	if (was_stuck) {
		WRITE_ONCE(swap->patience, SLOOP_SWAP_IMPATIENCE);
		swap->calm_at = jiffies + SLOOP_SWAP_CALM;
	} else if (time_after(jiffies, swap->calm_at)) {
		WRITE_ONCE(swap->patience, SLOOP_SWAP_PATIENCE);
	}
	list_splice_init(&swap->held, &held);
	spin_unlock_irq(&swap->lock);

	if (was_stuck && READ_ONCE(swap->said_stuck)) {
		WRITE_ONCE(swap->said_stuck, false);
		pr_info_ratelimited("%s: swap is written again\n",
				    swap->dev->disk->disk_name);
	}
	list_for_each_entry_safe(cmd, next, &held, crew_node)
		sloop_cmd_to_worker(cmd, -EAGAIN);
	return mine;
}

static void sloop_swap_serve(struct sloop_swap *swap, struct sloop_cmd *cmd)
{
	struct request *rq = sloop_cmd_rq(cmd);
	struct sloop_backing *backing;
	unsigned int left, done = 0, bytes;
	unsigned short ioprio;
	loff_t pos;
	bool fua;
	int err;

	/* When the request is given back, its pin goes with it. */
	if (!sloop_swap_got_on(swap, true)) {
		sloop_swap_finish(swap);
		return;
	}
	backing = cmd->backing;
	refcount_inc(&backing->refs);
	pos = ((loff_t)blk_rq_pos(rq) << SECTOR_SHIFT) + backing->offset;
	left = blk_rq_bytes(rq);
	ioprio = req_get_ioprio(rq);
	fua = rq->cmd_flags & REQ_FUA;
	sloop_swap_note(swap, backing, rq);
	for (;;) {
		/* Nothing may wait for the file while this goes on. */
		bytes = sloop_piece_copy(&swap->piece, cmd, done);
		sloop_swap_got_on(swap, false);
		sloop_piece_check_file(swap->dev, backing);
		err = sloop_piece_write(&swap->piece, backing, pos + done,
					bytes, ioprio, fua);
		done += bytes;
		left -= bytes;
		if (err || !left || !sloop_swap_got_on(swap, true))
			break;
	}
	/* May be the last one, if the device has got another handle meanwhile. */
	sloop_backing_put_now(backing);
	if (sloop_swap_finish(swap))
		sloop_cmd_end(cmd, errno_to_blk_status(err));
}

static int sloop_swap_threadfn(void *data)
{
	struct sloop_swap *swap = data;
	struct sloop_cmd *cmd;

	set_freezable();
	set_user_nice(current, MIN_NICE);
	while (!kthread_should_stop()) {
		unsigned int saved;

		wait_event_freezable(swap->wait, kthread_should_stop() ||
						 !list_empty(&swap->cmds));
		saved = sloop_io_scope_enter();
		while ((cmd = sloop_swap_take(swap))) {
			sloop_piece_grow(&swap->piece);
			sloop_swap_serve(swap, cmd);
			cond_resched();
		}
		sloop_io_scope_leave(saved);
	}
	return 0;
}

/**
 * sloop_swap_start - get what it takes to write swap, once in a device's life
 * @dev: the device
 *
 * Context: under dev->lock, may sleep.
 * Return: 0, -ENOMEM, or -EINTR if the task is being killed.
 */
int sloop_swap_start(struct sloop_device *dev)
{
	struct sloop_swap *swap;
	int err;

	lockdep_assert_held(&dev->lock);

	if (dev->swap) {
		/* It may be another file. */
		WRITE_ONCE(dev->swap->patience, SLOOP_SWAP_PATIENCE);
		return 0;
	}

	swap = kzalloc(sizeof(*swap), GFP_KERNEL);
	if (!swap)
		return -ENOMEM;
	err = sloop_piece_init(&swap->piece);
	if (err)
		goto out_free;
	swap->dev = dev;
	swap->say_at = jiffies;
	swap->calm_at = jiffies;
	swap->patience = SLOOP_SWAP_PATIENCE;
	spin_lock_init(&swap->lock);
	INIT_LIST_HEAD(&swap->cmds);
	INIT_LIST_HEAD(&swap->held);
	init_waitqueue_head(&swap->wait);
	timer_setup(&swap->timer, sloop_swap_timerfn, 0);

	swap->task = kthread_run(sloop_swap_threadfn, swap, "safeloop%d/swap",
				 dev->number);
	if (IS_ERR(swap->task)) {
		err = PTR_ERR(swap->task);
		goto out_piece;
	}
	dev->swap = swap;
	return 0;

out_piece:
	sloop_piece_free(&swap->piece);
out_free:
	kfree(swap);
	return err;
}

/**
 * sloop_swap_stop - undo sloop_swap_start(), if that has been
 * @dev: the device, without any request, its thread idle
 *
 * Context: may sleep.
 */
void sloop_swap_stop(struct sloop_device *dev)
{
	struct sloop_swap *swap = dev->swap;

	if (!swap)
		return;
	kthread_stop(swap->task);
	timer_delete_sync(&swap->timer);
	sloop_piece_free(&swap->piece);
	kfree(swap);
	dev->swap = NULL;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * strayio: the user of a block device that does not wait for its I/O.
 *
 * Every open of /dev/strayio is a run of its own. Writing one line of words to it
 * starts the run: it opens a block device, submits bios, and closes the device at
 * the chosen moment. Reading from it waits for what is still in flight and reports
 * what became of every request. A bio is counted by when it was submitted:
 *
 *	before	submit_bio() had returned when the close began
 *	after	submit_bio() was called when the close had returned
 *	during	neither
 *
 * Words, each KEY=VALUE; sizes in bytes:
 *
 *	dev=PATH	the block device
 *	op=		read write fua flush discard zeroes
 *	nr=N		requests of each submitter before the close (64)
 *	late=N		requests of each submitter that do not care for the close (0)
 *	gap=USEC	pause between two late requests (100)
 *	stop=1		end with those when the close begins, which then waits until each
 *			thread has either stopped or taken its bio into the queue
 *	pin=1		submitting threads stay on CPU 1
 *	bs=N		size of a request (4096)
 *	pos=N		where the first one goes; the others follow it (0)
 *	byte=N		what is written, or expected by reads (65)
 *	threads=N	kernel threads that submit; 0: who closes also submits (0)
 *	plug=1		the submitter closes, or waits for the close, in its plug
 *	when=		the moment of the close: early (submission goes on), now (all
 *			have been submitted), first, half, done (that many completed)
 *	close=		task (the writing task, by fput()), sync (likewise, but done
 *			before write() goes on), kthread (a kernel thread
 *			submits and closes), release (the last close of /dev/strayio,
 *			so that an exiting task does it)
 *	clr=1		LOOP_CLR_FD first
 *	hold=1		only open the device; a second line, "go", does the rest
 *	wait=MSEC	how long read() waits for what is in flight (20000)
 *
 * "enter PATH" opens a block device, enters its queue like a bio that has no tag yet,
 * and closes the device; "leave" or the end of the run leaves the queue.
 *
 * "slow SYMBOL USEC" makes that kernel function take longer, for a wide window;
 * "slow off" ends it.
 *
 * A bio that never ends keeps its memory, and this module.
 */

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/kprobes.h>
#include <linux/kref.h>
#include <linux/kthread.h>
#include <linux/loop.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "compat/block.h"

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#define STRAY_MODE		(BLK_OPEN_READ | BLK_OPEN_WRITE)
#define STRAY_MAX_REQUESTS	65536
#define STRAY_MAX_THREADS	8
#define STRAY_PATIENCE		(20 * HZ)

enum stray_phase { STRAY_BEFORE, STRAY_DURING, STRAY_AFTER, STRAY_NR_PHASES };
static const char * const stray_phases[] = { "before", "during", "after" };

enum stray_when { WHEN_EARLY, WHEN_NOW, WHEN_FIRST, WHEN_HALF, WHEN_DONE };
static const char * const stray_whens[] = {
	"early", "now", "first", "half", "done",
};

enum stray_closer { CLOSE_TASK, CLOSE_SYNC, CLOSE_KTHREAD, CLOSE_RELEASE };
static const char * const stray_closers[] = {
	"task", "sync", "kthread", "release",
};

enum stray_op { DO_READ, DO_WRITE, DO_FUA, DO_FLUSH, DO_DISCARD, DO_ZEROES };
static const char * const stray_ops[] = {
	"read", "write", "fua", "flush", "discard", "zeroes",
};
static const blk_opf_t stray_opfs[] = {
	[DO_READ]	= REQ_OP_READ,
	/* Without these two, writeback throttling stops the submitter. */
	[DO_WRITE]	= REQ_OP_WRITE | REQ_SYNC | REQ_IDLE,
	[DO_FUA]	= REQ_OP_WRITE | REQ_SYNC | REQ_IDLE | REQ_FUA,
	[DO_FLUSH]	= REQ_OP_WRITE | REQ_SYNC | REQ_IDLE | REQ_PREFLUSH,
	[DO_DISCARD]	= REQ_OP_DISCARD,
	[DO_ZEROES]	= REQ_OP_WRITE_ZEROES,
};

/*
 * What a submitting thread is doing. A bio that has passed the block layer's size
 * check and not entered the queue looks like a new one whenever it does, so a test
 * that tells two bindings apart must not have any at that point.
 */
struct stray_sender {
	struct task_struct *task;
	bool sending;
	bool entered;
};

/* How far the close is. */
enum { STRAY_OPEN, STRAY_CLOSING, STRAY_CLOSED };

struct stray_rq {
	struct stray_run *run;
	void *buf;		/* of a read */
	bool submitted;
	bool ended;
	bool bad;		/* read something else than was expected */
	int error;
	u8 phase;
};

struct stray_run {
	struct kref refs;	/* the open file, threads, bios */
	struct work_struct free_work;
	wait_queue_head_t wq;

	char dev[128];
	unsigned int op, nr, late, gap, bs, byte, threads, plug, when, closer;
	unsigned int clr, hold, stop, pin, wait;
	u64 pos;

	struct block_device *bdev;
	struct file *bdev_file;
	struct device *bdev_ref;	/* the closed bdev stays addressable */
	struct request_queue *entered;
	void *data;			/* what all writes write */
	struct stray_rq *rqs;
	unsigned int nr_rqs;

	bool started;
	bool held;
	bool open;
	int close_state;
	struct stray_sender senders[STRAY_MAX_THREADS];
	int error;			/* of the closing kernel thread */
	bool thread_done;
	char *report;
	size_t report_len;
	unsigned int in_flight;		/* when the close began */
	atomic_t ready;			/* submitters that have sent their first nr */
	atomic_t submitters;		/* that are still at it */
	atomic_t submitted;
	atomic_t ended;
};

/* --- the block device --- */

#ifdef HAVE_BDEV_FILE
static int stray_bdev_open(struct stray_run *run)
{
	run->bdev_file = bdev_file_open_by_path(run->dev, STRAY_MODE, NULL, NULL);
	if (IS_ERR(run->bdev_file))
		return PTR_ERR(run->bdev_file);
	run->bdev = file_bdev(run->bdev_file);
	return 0;
}

static void stray_bdev_close(struct stray_run *run, bool sync)
{
	if (sync)
		__fput_sync(run->bdev_file);
	else
		fput(run->bdev_file);
}
#else
static int stray_bdev_open(struct stray_run *run)
{
	run->bdev = blkdev_get_by_path(run->dev, STRAY_MODE, NULL);
	return PTR_ERR_OR_ZERO(run->bdev);
}

static void stray_bdev_close(struct stray_run *run, bool sync)
{
	blkdev_put(run->bdev, STRAY_MODE);
}
#endif

static struct workqueue_struct *stray_wq;

static void stray_free_workfn(struct work_struct *work)
{
	struct stray_run *run = container_of(work, struct stray_run, free_work);
	unsigned int i;

	synchronize_rcu();	/* stray_entered_handler() may be at a sender */

	for (i = 0; run->rqs && i < run->nr_rqs; i++)
		kfree(run->rqs[i].buf);
	kvfree(run->rqs);
	kvfree(run->report);
	kfree(run->data);
	if (run->bdev_ref)
		put_device(run->bdev_ref);
	kfree(run);
	/* Module exit flushes the workqueue. */
	module_put(THIS_MODULE);
}

/* The last reference may be that of a bio, which ends in any context. */
static void stray_run_free(struct kref *refs)
{
	struct stray_run *run = container_of(refs, struct stray_run, refs);

	INIT_WORK(&run->free_work, stray_free_workfn);
	queue_work(stray_wq, &run->free_work);
}

static void stray_run_put(struct stray_run *run)
{
	kref_put(&run->refs, stray_run_free);
}

static int stray_open_device(struct stray_run *run)
{
	int err = stray_bdev_open(run);

	if (err)
		return err;
	run->bdev_ref = get_device(&run->bdev->bd_device);
	run->open = true;
	return 0;
}

/* --- requests --- */

static void stray_end_io(struct bio *bio)
{
	struct stray_rq *rq = bio->bi_private;
	struct stray_run *run = rq->run;

	rq->error = blk_status_to_errno(bio->bi_status);
	if (!rq->error && rq->buf && memchr_inv(rq->buf, run->byte, run->bs))
		rq->bad = true;
	bio_put(bio);
	smp_store_release(&rq->ended, true);
	atomic_inc(&run->ended);
	wake_up(&run->wq);
	stray_run_put(run);
}

static void stray_submit(struct stray_run *run, unsigned int i)
{
	struct stray_rq *rq = &run->rqs[i];
	void *buf = run->data;
	int state = READ_ONCE(run->close_state);
	struct bio *bio;

	if (run->op == DO_READ) {
		rq->buf = kzalloc(run->bs, GFP_KERNEL | __GFP_NOFAIL);
		buf = rq->buf;
	}
	bio = bio_alloc(run->bdev, 1, stray_opfs[run->op], GFP_KERNEL);
	if (run->op != DO_FLUSH)
		bio->bi_iter.bi_sector = (run->pos + (u64)i * run->bs) >> SECTOR_SHIFT;
	if (run->op == DO_DISCARD || run->op == DO_ZEROES)
		bio->bi_iter.bi_size = run->bs;
	else if (run->op != DO_FLUSH)
		__bio_add_page(bio, virt_to_page(buf), run->bs,
			       offset_in_page(buf));
	bio->bi_private = rq;
	bio->bi_end_io = stray_end_io;
	rq->run = run;
	rq->submitted = true;
	rq->phase = state == STRAY_CLOSED ? STRAY_AFTER : STRAY_DURING;
	kref_get(&run->refs);
	atomic_inc(&run->submitted);
	submit_bio(bio);
	/* The bio may be gone, the request is not. */
	if (READ_ONCE(run->close_state) == STRAY_OPEN)
		rq->phase = STRAY_BEFORE;
}

/*
 * blk_mq_get_tag() is called by who has entered the queue. The senders of a run
 * that cares are listed, and found by their task.
 */
static DEFINE_SPINLOCK(stray_senders_lock);
static struct stray_sender *stray_senders[4 * STRAY_MAX_THREADS];

static int stray_entered_handler(struct kprobe *p, struct pt_regs *regs)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(stray_senders); i++) {
		struct stray_sender *sender = READ_ONCE(stray_senders[i]);

		if (sender && sender->task == current)
			WRITE_ONCE(sender->entered, true);
	}
	return 0;
}

static struct kprobe stray_entered = {
	.symbol_name	= "blk_mq_get_tag",
	.pre_handler	= stray_entered_handler,
};

/* Only the sender itself uses its entry, so it may take it away at any time. */
static bool stray_sender_list(struct stray_sender *sender, bool add)
{
	struct stray_sender *old = add ? NULL : sender;
	bool done = false;
	unsigned int i;

	spin_lock(&stray_senders_lock);
	for (i = 0; i < ARRAY_SIZE(stray_senders) && !done; i++) {
		if (stray_senders[i] != old)
			continue;
		WRITE_ONCE(stray_senders[i], add ? sender : NULL);
		done = true;
	}
	spin_unlock(&stray_senders_lock);
	return done;
}

/* Submit request @i unless the close has begun. */
static bool stray_submit_open(struct stray_run *run, struct stray_sender *sender,
			      unsigned int i)
{
	bool open;

	WRITE_ONCE(sender->entered, false);
	WRITE_ONCE(sender->sending, true);
	smp_mb();	/* pairs with stray_await_senders() */
	open = READ_ONCE(run->close_state) == STRAY_OPEN;
	if (open)
		stray_submit(run, i);
	smp_store_release(&sender->sending, false);
	return open;
}

static void stray_await_senders(struct stray_run *run)
{
	unsigned int i;

	for (i = 0; i < run->threads; i++) {
		struct stray_sender *sender = &run->senders[i];

		while (READ_ONCE(sender->sending) && !READ_ONCE(sender->entered))
			usleep_range(20, 50);
	}
}

static void stray_set_closed(struct stray_run *run)
{
	smp_store_release(&run->close_state, STRAY_CLOSED);
	wake_up(&run->wq);
}

static void stray_close(struct stray_run *run)
{
	if (!run->open)
		return;
	run->open = false;
	if (run->clr && run->bdev->bd_disk->fops->ioctl(run->bdev, STRAY_MODE,
							LOOP_CLR_FD, 0))
		pr_warn("%s: LOOP_CLR_FD failed\n", run->dev);

	WRITE_ONCE(run->close_state, STRAY_CLOSING);
	smp_mb();	/* pairs with stray_submit_open() */
	if (run->stop)
		stray_await_senders(run);
	run->in_flight = atomic_read(&run->submitted) - atomic_read(&run->ended);
	stray_bdev_close(run, run->closer == CLOSE_SYNC || run->plug);
	if (run->closer == CLOSE_SYNC || run->plug)
		stray_set_closed(run);
}

/* The requests of submitter number @who. */
static void stray_submit_all(struct stray_run *run, unsigned int who)
{
	unsigned int first = who * run->nr, i;
	unsigned int late = max(run->threads, 1u) * run->nr + who * run->late;
	struct blk_plug plug;

	if (run->plug)
		blk_start_plug(&plug);
	for (i = 0; i < run->nr; i++)
		stray_submit(run, first + i);
	atomic_inc(&run->ready);
	wake_up(&run->wq);

	if (run->plug && !run->threads) {
		stray_close(run);
	} else if (run->plug) {
		/* To sleep would send what is in the plug. */
		ktime_t until = ktime_add_ms(ktime_get(), 200);

		while (READ_ONCE(run->close_state) != STRAY_CLOSED &&
		       ktime_before(ktime_get(), until))
			cpu_relax();
	}
	if (run->plug)
		blk_finish_plug(&plug);

	for (i = 0; i < run->late; i++) {
		if (!run->stop)
			stray_submit(run, late + i);
		else if (!stray_submit_open(run, &run->senders[who], late + i))
			break;
		if (run->gap)
			usleep_range(run->gap, run->gap + 10);
	}
}

struct stray_thread {
	struct stray_run *run;
	unsigned int who;
};

static int stray_submitter(void *data)
{
	struct stray_thread *thread = data;
	struct stray_run *run = thread->run;

	if (run->pin)
		set_cpus_allowed_ptr(current, cpumask_of(1));
	run->senders[thread->who].task = current;
	if (run->stop && !stray_sender_list(&run->senders[thread->who], true))
		pr_warn("too many senders at once\n");
	stray_submit_all(run, thread->who);
	if (run->stop)
		stray_sender_list(&run->senders[thread->who], false);
	kfree(thread);
	atomic_dec(&run->submitters);
	wake_up(&run->wq);
	stray_run_put(run);
	module_put_and_kthread_exit(0);
	return 0;
}

static int stray_start(struct stray_run *run, int (*fn)(void *),
		       unsigned int who, const char *name)
{
	struct stray_thread *thread = kmalloc(sizeof(*thread), GFP_KERNEL);
	struct task_struct *task;

	if (!thread)
		return -ENOMEM;
	thread->run = run;
	thread->who = who;
	kref_get(&run->refs);
	__module_get(THIS_MODULE);
	task = kthread_run(fn, thread, "%s/%u", name, who);
	if (IS_ERR(task)) {
		kfree(thread);
		stray_run_put(run);
		module_put(THIS_MODULE);
		return PTR_ERR(task);
	}
	return 0;
}

/* Until the chosen moment; not for ever, as the device may be stuck. */
static void stray_await(struct stray_run *run)
{
	int all = max(run->threads, 1u) * run->nr, n = 0;

	if (run->when == WHEN_EARLY)
		return;
	wait_event_timeout(run->wq, atomic_read(&run->ready) ==
			   max_t(int, run->threads, 1), STRAY_PATIENCE);
	if (run->when == WHEN_FIRST)
		n = 1;
	else if (run->when == WHEN_HALF)
		n = all / 2;
	else if (run->when == WHEN_DONE)
		n = all;
	wait_event_timeout(run->wq, atomic_read(&run->ended) >= n,
			   STRAY_PATIENCE);
}

/* Submit, and, unless the last close of our own file is to do it, close. */
static int stray_work(struct stray_run *run)
{
	unsigned int i;
	int err = 0;

	if (run->threads) {
		for (i = 0; i < run->threads; i++) {
			atomic_inc(&run->submitters);
			err = stray_start(run, stray_submitter, i, "stray");
			if (err) {
				atomic_dec(&run->submitters);
				break;
			}
		}
	} else if (run->plug || !run->late) {
		stray_submit_all(run, 0);
	} else {
		/* To submit after one's own close takes two halves. */
		unsigned int late = run->late;

		run->late = 0;
		stray_submit_all(run, 0);
		run->late = late;
	}
	if (!err)
		stray_await(run);
	if (run->closer != CLOSE_RELEASE || err)
		stray_close(run);
	if (!run->threads && !run->plug && !err)
		for (i = 0; i < run->late; i++)
			stray_submit(run, run->nr + i);
	return err;
}

static int stray_closer_thread(void *data)
{
	struct stray_thread *thread = data;
	struct stray_run *run = thread->run;

	kfree(thread);
	run->error = stray_work(run);
	smp_store_release(&run->thread_done, true);
	wake_up(&run->wq);
	stray_run_put(run);
	module_put_and_kthread_exit(0);
	return 0;
}

/* --- a slow kernel function --- */

static DEFINE_MUTEX(stray_slow_lock);
static struct kprobe stray_slow;
static char stray_slow_symbol[64];
static unsigned int stray_slow_usec;

static int stray_slow_handler(struct kprobe *p, struct pt_regs *regs)
{
	unsigned int ms = stray_slow_usec / 1000;

	if (ms)
		mdelay(ms);
	udelay(stray_slow_usec % 1000);
	return 0;
}

static int stray_slow_set(const char *symbol, unsigned int usec)
{
	int err = 0;

	mutex_lock(&stray_slow_lock);
	if (stray_slow_symbol[0]) {
		unregister_kprobe(&stray_slow);
		stray_slow_symbol[0] = '\0';
	}
	if (symbol) {
		strscpy(stray_slow_symbol, symbol, sizeof(stray_slow_symbol));
		stray_slow_usec = min(usec, 500000u);
		memset(&stray_slow, 0, sizeof(stray_slow));
		stray_slow.symbol_name = stray_slow_symbol;
		stray_slow.pre_handler = stray_slow_handler;
		err = register_kprobe(&stray_slow);
		if (err) {
			pr_warn("cannot slow down %s: %d\n", symbol, err);
			stray_slow_symbol[0] = '\0';
		}
	}
	mutex_unlock(&stray_slow_lock);
	return err;
}

/* --- /dev/strayio --- */

static int stray_number(const char *value, unsigned int max, unsigned int *to)
{
	int err = kstrtouint(value, 0, to);

	return err ?: *to > max ? -ERANGE : 0;
}

static int stray_word(const char * const *words, size_t n, const char *value,
		      unsigned int *to)
{
	int i = match_string(words, n, value);

	if (i < 0)
		return i;
	*to = i;
	return 0;
}

static int stray_parse_word(struct stray_run *run, char *key)
{
	char *value = strchr(key, '=');

	if (!value)
		return -EINVAL;
	*value++ = '\0';
	if (!strcmp(key, "dev"))
		return strscpy(run->dev, value, sizeof(run->dev)) < 0 ? -EINVAL : 0;
	if (!strcmp(key, "op"))
		return stray_word(stray_ops, ARRAY_SIZE(stray_ops), value, &run->op);
	if (!strcmp(key, "when"))
		return stray_word(stray_whens, ARRAY_SIZE(stray_whens), value,
				  &run->when);
	if (!strcmp(key, "close"))
		return stray_word(stray_closers, ARRAY_SIZE(stray_closers), value,
				  &run->closer);
	if (!strcmp(key, "pos"))
		return kstrtou64(value, 0, &run->pos);
	if (!strcmp(key, "nr"))
		return stray_number(value, STRAY_MAX_REQUESTS, &run->nr);
	if (!strcmp(key, "late"))
		return stray_number(value, STRAY_MAX_REQUESTS, &run->late);
	if (!strcmp(key, "gap"))
		return stray_number(value, USEC_PER_SEC, &run->gap);
	if (!strcmp(key, "bs"))
		return stray_number(value, PAGE_SIZE, &run->bs);
	if (!strcmp(key, "byte"))
		return stray_number(value, 255, &run->byte);
	if (!strcmp(key, "threads"))
		return stray_number(value, STRAY_MAX_THREADS, &run->threads);
	if (!strcmp(key, "plug"))
		return stray_number(value, 1, &run->plug);
	if (!strcmp(key, "clr"))
		return stray_number(value, 1, &run->clr);
	if (!strcmp(key, "hold"))
		return stray_number(value, 1, &run->hold);
	if (!strcmp(key, "stop"))
		return stray_number(value, 1, &run->stop);
	if (!strcmp(key, "pin"))
		return stray_number(value, 1, &run->pin);
	if (!strcmp(key, "wait"))
		return stray_number(value, 600000, &run->wait);
	return -EINVAL;
}

static int stray_parse(struct stray_run *run, char *line)
{
	char *word;
	int err;

	while ((word = strsep(&line, " \t\n"))) {
		if (!*word)
			continue;
		err = stray_parse_word(run, word);
		if (err) {
			pr_warn("bad word '%s'\n", word);
			return err;
		}
	}
	if (!run->dev[0] || run->bs < SECTOR_SIZE || run->bs & (SECTOR_SIZE - 1))
		return -EINVAL;
	if (run->stop && !run->threads)
		return -EINVAL;
	/* These two would have to close in two places at once. */
	if (run->plug && (run->closer == CLOSE_RELEASE))
		return -EINVAL;
	run->nr_rqs = max(run->threads, 1u) * (run->nr + run->late);
	if (run->nr_rqs > STRAY_MAX_REQUESTS)
		return -ERANGE;
	return 0;
}

static int stray_command_slow(char *line)
{
	char *symbol = strsep(&line, " \n");
	unsigned int usec;
	int err;

	if (!strcmp(symbol, "off"))
		return stray_slow_set(NULL, 0);
	if (!line)
		return -EINVAL;
	err = kstrtouint(strim(line), 0, &usec);
	return err ?: stray_slow_set(symbol, usec);
}

static int stray_enter(struct stray_run *run, const char *path)
{
	struct request_queue *q;
	int err;

	if (run->entered || run->rqs)
		return -EBUSY;
	strscpy(run->dev, path, sizeof(run->dev));
	err = stray_bdev_open(run);
	if (err)
		return err;

	q = bdev_get_queue(run->bdev);
	if (percpu_ref_tryget_live(&q->q_usage_counter))
		run->entered = q;	/* which keeps the disk from going away */
	else
		err = -EAGAIN;
	stray_bdev_close(run, true);
	return err;
}

static int stray_leave(struct stray_run *run)
{
	if (!run->entered)
		return -EINVAL;
	percpu_ref_put(&run->entered->q_usage_counter);
	run->entered = NULL;
	return 0;
}

static int stray_go(struct stray_run *run)
{
	int err;

	if (run->closer != CLOSE_KTHREAD)
		return stray_work(run);

	err = stray_start(run, stray_closer_thread, 0, "strayclose");
	if (err)
		return err;
	wait_event(run->wq, smp_load_acquire(&run->thread_done));
	return run->error;
}

static ssize_t stray_write(struct file *file, const char __user *from,
			   size_t count, loff_t *pos)
{
	struct stray_run *run = file->private_data;
	char *line;
	int err;

	if (count > 1024)
		return -EINVAL;
	line = memdup_user_nul(from, count);
	if (IS_ERR(line))
		return PTR_ERR(line);

	if (!strncmp(line, "slow ", 5)) {
		err = stray_command_slow(line + 5);
		goto out;
	}
	if (!strncmp(line, "enter ", 6)) {
		err = stray_enter(run, strim(line + 6));
		goto out;
	}
	if (!strcmp(strim(line), "leave")) {
		err = stray_leave(run);
		goto out;
	}
	if (run->held && !strcmp(strim(line), "go")) {
		run->held = false;
		err = stray_go(run);
		goto out;
	}
	err = -EBUSY;
	if (run->started || run->rqs)
		goto out;
	err = stray_parse(run, line);
	if (err)
		goto out;
	err = -ENOMEM;
	run->data = kmalloc(run->bs, GFP_KERNEL);
	run->rqs = kvcalloc(run->nr_rqs, sizeof(*run->rqs), GFP_KERNEL);
	if (!run->data || !run->rqs)
		goto out;
	memset(run->data, run->byte, run->bs);
	err = stray_open_device(run);
	if (err)
		goto out;
	run->started = true;
	run->held = run->hold;
	if (!run->held)
		err = stray_go(run);
out:
	kfree(line);
	return err ?: count;
}

static bool stray_all_ended(struct stray_run *run)
{
	return !atomic_read(&run->submitters) &&
		atomic_read(&run->ended) >= atomic_read(&run->submitted);
}

static char stray_letter(const struct stray_rq *rq)
{
	if (!rq->submitted)
		return '-';
	if (!smp_load_acquire(&rq->ended))
		return '.';
	return rq->error ? 'E' : rq->bad ? 'X' : 'o';
}

/* One line of counts, one with a letter for every request. */
static int stray_make_report(struct stray_run *run)
{
	unsigned int ok[STRAY_NR_PHASES] = { 0 }, error[STRAY_NR_PHASES] = { 0 };
	unsigned int never[STRAY_NR_PHASES] = { 0 }, bad = 0, i;
	size_t size = run->nr_rqs + 512, len = 0;
	char *text;

	if (!run->open)
		stray_set_closed(run);
	wait_event_killable_timeout(run->wq, stray_all_ended(run),
				    msecs_to_jiffies(run->wait));

	text = kvzalloc(size, GFP_KERNEL);
	if (!text)
		return -ENOMEM;
	for (i = 0; i < run->nr_rqs; i++) {
		const struct stray_rq *rq = &run->rqs[i];

		switch (stray_letter(rq)) {
		case '.':
			never[rq->phase]++;
			break;
		case 'E':
			error[rq->phase]++;
			break;
		case 'X':
			bad++;
			fallthrough;
		case 'o':
			ok[rq->phase]++;
			break;
		}
	}
	for (i = 0; i < STRAY_NR_PHASES; i++)
		len += scnprintf(text + len, size - len,
				 "%s_ok=%u %s_error=%u %s_never=%u ",
				 stray_phases[i], ok[i], stray_phases[i],
				 error[i], stray_phases[i], never[i]);
	len += scnprintf(text + len, size - len, "in_flight=%u bad=%u\n",
			 run->in_flight, bad);
	for (i = 0; i < run->nr_rqs; i++)
		text[len++] = stray_letter(&run->rqs[i]);
	text[len++] = '\n';
	run->report = text;
	run->report_len = len;
	return 0;
}

static ssize_t stray_read(struct file *file, char __user *to, size_t count,
			  loff_t *pos)
{
	struct stray_run *run = file->private_data;
	int err = 0;

	if (!run->started)
		return -EINVAL;
	if (!run->report)
		err = stray_make_report(run);
	return err ?: simple_read_from_buffer(to, count, pos, run->report,
					      run->report_len);
}

static int stray_open(struct inode *inode, struct file *file)
{
	struct stray_run *run = kzalloc(sizeof(*run), GFP_KERNEL);

	if (!run)
		return -ENOMEM;
	__module_get(THIS_MODULE);
	kref_init(&run->refs);
	init_waitqueue_head(&run->wq);
	run->op = DO_WRITE;
	run->nr = 64;
	run->gap = 100;
	run->bs = 4096;
	run->byte = 65;
	run->when = WHEN_NOW;
	run->wait = 20000;
	file->private_data = run;
	return nonseekable_open(inode, file);
}

static int stray_release(struct inode *inode, struct file *file)
{
	struct stray_run *run = file->private_data;

	stray_leave(run);
	stray_close(run);
	stray_set_closed(run);
	stray_run_put(run);
	return 0;
}

static const struct file_operations stray_fops = {
	.owner		= THIS_MODULE,
	.open		= stray_open,
	.release	= stray_release,
	.read		= stray_read,
	.write		= stray_write,
};

static struct miscdevice stray_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "strayio",
	.fops	= &stray_fops,
};

static int __init stray_init(void)
{
	int err;

	stray_wq = alloc_workqueue("strayio", WQ_UNBOUND, 0);
	if (!stray_wq)
		return -ENOMEM;
	err = register_kprobe(&stray_entered);
	if (err) {
		pr_err("cannot probe %s: %d\n", stray_entered.symbol_name, err);
		goto out_wq;
	}
	err = misc_register(&stray_misc);
	if (err)
		goto out_kprobe;
	return 0;

out_kprobe:
	unregister_kprobe(&stray_entered);
out_wq:
	destroy_workqueue(stray_wq);
	return err;
}

static void __exit stray_exit(void)
{
	misc_deregister(&stray_misc);
	stray_slow_set(NULL, 0);
	unregister_kprobe(&stray_entered);
	destroy_workqueue(stray_wq);
}

module_init(stray_init);
module_exit(stray_exit);
MODULE_DESCRIPTION("Block device user that does not wait for its I/O, for tests");
MODULE_LICENSE("GPL");

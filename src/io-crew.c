// SPDX-License-Identifier: GPL-2.0-only
/*
 * Workers for what may block. They are few, and they are there from the first bind
 * on: a command never waits for memory to become a work item.
 *
 * A crew is a FIFO of commands and the workers that serve it. Writes have one worker
 * for each cgroup that is writing: the filesystem lets one writer at a time into a
 * file anyway, in order they are cheaper, and a cgroup that is throttled for what it
 * dirties holds up no other. Reads have many, so that a slow one holds up the others
 * only if there are %SLOOP_READERS of them.
 */

#include <linux/blk-cgroup.h>
#include <linux/hash.h>
#include <linux/list.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "device.h"

/* The shared crews come first, then those of writers. */
enum {
	SLOOP_CREW_READ,
	SLOOP_CREW_SYNC,
	SLOOP_CREW_TRIM,
	SLOOP_CREW_WRITE,
	SLOOP_NR_CREWS = SLOOP_CREW_WRITE + SLOOP_WRITERS,
};

#define SLOOP_NR_WORKERS \
	(SLOOP_READERS + SLOOP_SYNCERS + SLOOP_TRIMMERS + SLOOP_WRITERS)

/* How many commands a worker takes at once: they share a plug, and wait for each other. */
#define SLOOP_BATCH		32

/**
 * struct sloop_crew - a queue of commands and who serves it
 * @cmds: commands that wait, oldest first
 * @idle: workers that have nothing to do
 * @starting: a worker has been queued and has not looked at @cmds yet
 * @css: of a crew of writers with @nr > 0: whose commands these are
 * @nr: commands that wait or are being served
 */
struct sloop_crew {
	struct list_head	cmds;
	struct list_head	idle;
	bool			starting;
	const void		*css;
	unsigned int		nr;
};

/**
 * struct sloop_crews - the crews of a device
 * @lock: guards all of it
 * @crew: the crews
 * @worker: the workers of all of them
 */
struct sloop_crews {
	spinlock_t		lock;
	struct sloop_crew	crew[SLOOP_NR_CREWS];
	struct sloop_worker	worker[SLOOP_NR_WORKERS];
};

/* Whom a command is charged to; a value to compare, not to look into. */
static const void *sloop_cmd_css(const struct sloop_cmd *cmd)
{
#ifdef CONFIG_BLK_CGROUP
	const struct request *rq = sloop_cmd_rq(cmd);

	return rq->bio ? bio_blkcg_css(rq->bio) : NULL;
#else
	return NULL;
#endif
}

/* With more cgroups writing than there are writers, some share one. */
static struct sloop_crew *sloop_writer_of(struct sloop_crews *crews,
					  const void *css)
{
	struct sloop_crew *crew = &crews->crew[SLOOP_CREW_WRITE], *unused = NULL;
	unsigned int i;

	for (i = 0; i < SLOOP_WRITERS; i++, crew++) {
		if (!crew->nr)
			unused = unused ?: crew;
		else if (crew->css == css)
			return crew;
	}
	if (!unused)
		return &crews->crew[SLOOP_CREW_WRITE +
				    hash_ptr((void *)css, 31) % SLOOP_WRITERS];
	unused->css = css;
	return unused;
}

/*
 * A buffered write that is to be durable waits for the disk, and so does the fsync
 * after one: those do not hold up writes that need not.
 */
static struct sloop_crew *sloop_crew_of(struct sloop_crews *crews,
					const struct sloop_cmd *cmd)
{
	const struct request *rq = sloop_cmd_rq(cmd);

	switch (req_op(rq)) {
	case REQ_OP_READ:
		return &crews->crew[SLOOP_CREW_READ];
	case REQ_OP_WRITE:
		if (cmd->done == blk_rq_bytes(rq) ||
		    ((rq->cmd_flags & REQ_FUA) && !sloop_backing_is_direct(cmd->backing)))
			return &crews->crew[SLOOP_CREW_SYNC];
		return sloop_writer_of(crews, sloop_cmd_css(cmd));
	case REQ_OP_FLUSH:
		return &crews->crew[SLOOP_CREW_SYNC];
	default:
		return &crews->crew[SLOOP_CREW_TRIM];
	}
}

/* One at a time is on its way; it has another one follow if there is more to do. */
static void sloop_crew_start(struct sloop_device *dev, struct sloop_crew *crew)
{
	struct sloop_worker *worker;

	lockdep_assert_held(&dev->crews->lock);

	worker = list_first_entry_or_null(&crew->idle, struct sloop_worker,
					  idle_node);
	if (!worker || crew->starting)
		return;
	list_del(&worker->idle_node);
	crew->starting = true;
	queue_work(dev->wq, &worker->work);
}

/**
 * sloop_crew_add - leave a command for the workers
 * @cmd: the command, pinned
 *
 * Context: any.
 */
void sloop_crew_add(struct sloop_cmd *cmd)
{
	struct sloop_device *dev = sloop_cmd_dev(cmd);
	struct sloop_crews *crews = dev->crews;
	struct sloop_crew *crew;
	unsigned long flags;

	spin_lock_irqsave(&crews->lock, flags);
	crew = sloop_crew_of(crews, cmd);
	list_add_tail(&cmd->crew_node, &crew->cmds);
	crew->nr++;
	sloop_crew_start(dev, crew);
	spin_unlock_irqrestore(&crews->lock, flags);
}

/* Buffered reads may take long each, and are taken one by one. */
static unsigned int sloop_crew_batch(const struct sloop_crews *crews,
				     const struct sloop_crew *crew)
{
	const struct sloop_cmd *first;

	if (crew >= &crews->crew[SLOOP_CREW_WRITE])
		return SLOOP_BATCH;
	if (crew != &crews->crew[SLOOP_CREW_READ])
		return 1;
	first = list_first_entry(&crew->cmds, struct sloop_cmd, crew_node);
	return sloop_backing_is_direct(first->backing) ? SLOOP_BATCH : 1;
}

/**
 * sloop_crew_take - get some commands to serve
 * @dev: the device
 * @worker: the worker that asks, running
 * @batch: where to put them, empty
 * @served: how many of the last time have been served
 *
 * Without any, the worker has to return from its function: it may be started again.
 *
 * Context: the worker.
 * Return: number of commands.
 */
unsigned int sloop_crew_take(struct sloop_device *dev,
			     struct sloop_worker *worker,
			     struct list_head *batch, unsigned int served)
{
	struct sloop_crews *crews = dev->crews;
	struct sloop_crew *crew = worker->crew;
	unsigned int nr = 0, max;
	unsigned long flags;

	spin_lock_irqsave(&crews->lock, flags);
	crew->nr -= served;
	if (!worker->running) {
		worker->running = true;
		crew->starting = false;
	}
	if (list_empty(&crew->cmds)) {
		worker->running = false;
		list_add(&worker->idle_node, &crew->idle);
	} else {
		max = sloop_crew_batch(crews, crew);
		while (nr < max && !list_empty(&crew->cmds)) {
			list_move_tail(crew->cmds.next, batch);
			nr++;
		}
		if (!list_empty(&crew->cmds))
			sloop_crew_start(dev, crew);
	}
	spin_unlock_irqrestore(&crews->lock, flags);
	return nr;
}

static struct sloop_worker *sloop_crew_init(struct sloop_device *dev,
					    struct sloop_crew *crew,
					    struct sloop_worker *worker,
					    unsigned int nr, work_func_t func)
{
	INIT_LIST_HEAD(&crew->cmds);
	INIT_LIST_HEAD(&crew->idle);
	while (nr--) {
		worker->dev = dev;
		worker->crew = crew;
		INIT_WORK(&worker->work, func);
		list_add_tail(&worker->idle_node, &crew->idle);
		worker++;
	}
	return worker;
}

/**
 * sloop_crews_alloc - make the crews of a device
 * @dev: the device
 * @func: what a worker does, with &sloop_worker.work
 *
 * kfree() takes them back.
 *
 * Return: 0 or -ENOMEM.
 */
int sloop_crews_alloc(struct sloop_device *dev, work_func_t func)
{
	struct sloop_crews *crews = kzalloc(sizeof(*crews), GFP_KERNEL);
	struct sloop_worker *worker;
	unsigned int i;

	if (!crews)
		return -ENOMEM;

	spin_lock_init(&crews->lock);
	worker = crews->worker;
	worker = sloop_crew_init(dev, &crews->crew[SLOOP_CREW_READ], worker,
				 SLOOP_READERS, func);
	worker = sloop_crew_init(dev, &crews->crew[SLOOP_CREW_SYNC], worker,
				 SLOOP_SYNCERS, func);
	worker = sloop_crew_init(dev, &crews->crew[SLOOP_CREW_TRIM], worker,
				 SLOOP_TRIMMERS, func);
	for (i = SLOOP_CREW_WRITE; i < SLOOP_NR_CREWS; i++)
		worker = sloop_crew_init(dev, &crews->crew[i], worker, 1, func);
	dev->crews = crews;
	return 0;
}

/**
 * sloop_crews_workers - how many workers a device may have at once
 */
unsigned int sloop_crews_workers(void)
{
	return SLOOP_NR_WORKERS;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a worker dirties in the page cache of the file for somebody whose memory is
 * limited.
 *
 * A task that writes to a file is made to wait when too much of what its cgroup may
 * have is dirty (balance_dirty_pages()). A worker has the pages charged to the cgroup
 * but is not in it, and is not made to wait: the cgroup would be full of pages that
 * nobody can reclaim, and one of its tasks would be killed for that. So a worker that
 * writes for a cgroup with a limit writes back behind itself: it starts that for one
 * part of the limit after the other, and waits for the last one before.
 *
 * If the cgroup is full all the same, of what waits for this very write for instance,
 * nobody is killed: what the write takes is charged beyond the limit (PF_MEMALLOC;
 * the pages do not come from the reserves, backing-gfp.c sees to that), and is written
 * back before the next one. The write itself must not write back then, as filesystems
 * do not do that for a task with PF_MEMALLOC.
 */

#include <linux/backing-dev.h>
#include <linux/blkdev.h>
#include <linux/gfp.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>

#include "device.h"

/* Part of its limit that is dirtied before it is written back, within bounds. */
#define SLOOP_DIRTY_PART	16
#define SLOOP_DIRTY_MIN		(256UL << 10)
#define SLOOP_DIRTY_MAX		(32UL << 20)

#ifdef CONFIG_MEMCG
/* What a cgroup may have, in pages, without regard to those above it. */
static unsigned long sloop_memcg_own_limit(const struct mem_cgroup *memcg)
{
	return min(READ_ONCE(memcg->memory.max), READ_ONCE(memcg->memory.high));
}

/* In pages; ULONG_MAX if there is none that could matter. */
static unsigned long sloop_memcg_limit(struct mem_cgroup *memcg)
{
	unsigned long limit = ULONG_MAX;

	for (; memcg; memcg = parent_mem_cgroup(memcg))
		limit = min(limit, sloop_memcg_own_limit(memcg));
	return limit < totalram_pages() ? limit : ULONG_MAX;
}

static bool sloop_memcg_has_room(struct mem_cgroup *memcg, unsigned int nr)
{
	for (; memcg; memcg = parent_mem_cgroup(memcg))
		if (page_counter_read(&memcg->memory) + nr >
		    sloop_memcg_own_limit(memcg))
			return false;
	return true;
}

/* Asking for pages is the way to have memory reclaimed. */
static void sloop_reclaim(unsigned int nr, gfp_t gfp)
{
	LIST_HEAD(pages);
	struct page *page, *next;

	while (nr-- && (page = alloc_page(gfp | __GFP_NOWARN)))
		list_add(&page->lru, &pages);
	list_for_each_entry_safe(page, next, &pages, lru)
		__free_page(page);
}

/*
 * With __GFP_NORETRY nobody is killed for it. One try may free no more than a few
 * pages, so they go on for as long as that helps.
 */
static bool sloop_memcg_make_room(struct mem_cgroup *memcg, unsigned int nr)
{
	unsigned long before, now = page_counter_read(&memcg->memory);

	while (unlikely(!sloop_memcg_has_room(memcg, nr))) {
		before = now;
		sloop_reclaim(nr, GFP_NOIO | __GFP_ACCOUNT | __GFP_NORETRY);
		now = page_counter_read(&memcg->memory);
		if (now >= before)
			return sloop_memcg_has_room(memcg, nr);
		cond_resched();
	}
	return true;
}

/* What it takes to write back is charged to nobody, as it is for a flusher. */
static void sloop_write_back(struct address_space *mapping,
			     const struct sloop_range *range)
{
	struct mem_cgroup *memcg = set_active_memcg(NULL);

	filemap_fdatawrite_range(mapping, range->begin, range->end - 1);
	set_active_memcg(memcg);
}

static void sloop_write_behind(struct address_space *mapping,
			       struct sloop_dirty *dirty)
{
	if (dirty->last.end)
		filemap_fdatawait_range_keep_errors(mapping, dirty->last.begin,
						    dirty->last.end - 1);
	sloop_write_back(mapping, &dirty->now);
	dirty->last = dirty->now;
	dirty->now = (struct sloop_range) {};
	dirty->bytes = 0;
}

static void sloop_write_out(struct address_space *mapping,
			    struct sloop_range *range)
{
	sloop_write_back(mapping, range);
	filemap_fdatawait_range_keep_errors(mapping, range->begin,
					    range->end - 1);
	*range = (struct sloop_range) {};
}

static void sloop_range_add(struct sloop_range *range, loff_t begin, loff_t end)
{
	range->begin = range->end ? min(range->begin, begin) : begin;
	range->end = max(range->end, end);
}

static void sloop_dirty_prepare(struct sloop_dirty *dirty, struct sloop_cmd *cmd,
				struct mem_cgroup *memcg, unsigned long limit)
{
	struct address_space *mapping = cmd->backing->file->f_mapping;
	struct request *rq = sloop_cmd_rq(cmd);
	unsigned int bytes = blk_rq_bytes(rq) - cmd->done;
	unsigned int nr = bytes / PAGE_SIZE + 2;
	unsigned long part = SLOOP_DIRTY_MAX;
	struct sloop_range *range = &dirty->now;
	loff_t begin = ((loff_t)blk_rq_pos(rq) << SECTOR_SHIFT) +
		       cmd->backing->offset + cmd->done;

	if (limit < SLOOP_DIRTY_MAX / PAGE_SIZE * SLOOP_DIRTY_PART)
		part = max(limit * PAGE_SIZE / SLOOP_DIRTY_PART, SLOOP_DIRTY_MIN);
	if (dirty->bytes && dirty->bytes + bytes > part)
		sloop_write_behind(mapping, dirty);

	/* The write itself will not reclaim. */
	if (unlikely(cmd->starved))
		sloop_reclaim(nr, GFP_NOIO);
	if (sloop_memcg_make_room(memcg, nr))
		dirty->bytes += bytes;
	else
		range = &dirty->excess;
	sloop_range_add(range, begin, begin + bytes);
}

/* Before a write for a cgroup. True if the write may charge beyond its limit. */
static bool sloop_dirty_begin(struct sloop_dirty *dirty, struct sloop_cmd *cmd,
			      const struct sloop_charge *charge)
{
	struct address_space *mapping = cmd->backing->file->f_mapping;
	struct mem_cgroup *memcg;
	unsigned long limit;

	if (sloop_backing_is_direct(cmd->backing) ||
	    !mapping_can_writeback(mapping))
		return false;

	if (dirty->backing != cmd->backing)
		*dirty = (struct sloop_dirty) { .backing = cmd->backing };
	if (unlikely(dirty->excess.end))
		sloop_write_out(mapping, &dirty->excess);
	if (!charge->memcg_css)
		return false;

	memcg = mem_cgroup_from_css(charge->memcg_css);
	limit = sloop_memcg_limit(memcg);
	if (limit == ULONG_MAX)
		return false;
	sloop_dirty_prepare(dirty, cmd, memcg, limit);
	return !IS_SYNC(file_inode(cmd->backing->file));
}
#else
static bool sloop_dirty_begin(struct sloop_dirty *dirty, struct sloop_cmd *cmd,
			      const struct sloop_charge *charge)
{
	return false;
}
#endif

/**
 * sloop_dirty_write - write to the file, as a worker
 * @worker: the worker
 * @cmd: the write, pinned; gone when the function returns
 * @charge: who is charged for it
 *
 * What is remembered of the last writes is done with when the next one comes, as that
 * one pins the file. Bytes of another file than theirs cannot come to harm.
 *
 * Context: kernel thread, sleeps.
 */
void sloop_dirty_write(struct sloop_worker *worker, struct sloop_cmd *cmd,
		       const struct sloop_charge *charge)
{
	unsigned int noreclaim;

	if (!sloop_dirty_begin(&worker->dirty, cmd, charge)) {
		sloop_cmd_rw(cmd, true);
		return;
	}
	noreclaim = memalloc_noreclaim_save();
	sloop_cmd_rw(cmd, true);
	memalloc_noreclaim_restore(noreclaim);
}

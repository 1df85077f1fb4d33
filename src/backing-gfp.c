// SPDX-License-Identifier: GPL-2.0-only
/*
 * A task that uses the backing file directly, through the page cache, may hold a
 * lock of its inode while it allocates memory. If reclaim entered a filesystem or
 * started I/O there, it could wait for the device, whose worker waits for that
 * lock. So the mapping of a file that backs a device allocates without __GFP_IO
 * and __GFP_FS, for as long as there is a handle for it, whichever device it
 * belongs to. The workers themselves run with PF_MEMALLOC_NOIO.
 *
 * Nor does it allocate from the reserves, not even for a worker that has PF_MEMALLOC in
 * order to exceed the limit of a cgroup (io-dirty.c).
 */

#include <linux/list.h>
#include <linux/pagemap.h>
#include <linux/spinlock.h>

#include "device.h"

#define SLOOP_GFP_CLEAR	(__GFP_IO | __GFP_FS)
#define SLOOP_GFP_SET	__GFP_NOMEMALLOC
#define SLOOP_GFP_BITS	(SLOOP_GFP_CLEAR | SLOOP_GFP_SET)

/* The handles whose mapping is restricted: their gfp_node. */
static LIST_HEAD(sloop_gfp_backings);
static DEFINE_SPINLOCK(sloop_gfp_lock);

static struct sloop_backing *sloop_gfp_find(struct address_space *mapping)
{
	struct sloop_backing *backing;

	lockdep_assert_held(&sloop_gfp_lock);

	list_for_each_entry(backing, &sloop_gfp_backings, gfp_node)
		if (backing->gfp_mapping == mapping)
			return backing;
	return NULL;
}

/**
 * sloop_gfp_restrict - restrict the allocations of a handle's mapping
 * @backing: the handle, with its file; sloop_gfp_restore() has to follow
 */
void sloop_gfp_restrict(struct sloop_backing *backing)
{
	struct address_space *mapping = backing->file->f_mapping;
	struct sloop_backing *other;
	gfp_t mask;

	/* A file may get another one: Coda does that to one that is mapped. */
	backing->gfp_mapping = mapping;

	spin_lock(&sloop_gfp_lock);
	mask = mapping_gfp_mask(mapping);
	other = sloop_gfp_find(mapping);
	backing->gfp_saved = other ? other->gfp_saved : mask & SLOOP_GFP_BITS;
	list_add(&backing->gfp_node, &sloop_gfp_backings);
	mapping_set_gfp_mask(mapping, (mask & ~SLOOP_GFP_CLEAR) | SLOOP_GFP_SET);
	spin_unlock(&sloop_gfp_lock);
}

/**
 * sloop_gfp_restore - lift the restriction, if no other handle needs it
 * @backing: the handle, still with its file
 */
void sloop_gfp_restore(struct sloop_backing *backing)
{
	struct address_space *mapping = backing->gfp_mapping;

	spin_lock(&sloop_gfp_lock);
	list_del(&backing->gfp_node);
	if (!sloop_gfp_find(mapping))
		mapping_set_gfp_mask(mapping, (mapping_gfp_mask(mapping) &
					       ~SLOOP_GFP_BITS) |
					      backing->gfp_saved);
	spin_unlock(&sloop_gfp_lock);
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * A task that uses the backing file directly, through the page cache, may hold a
 * lock of its inode while it allocates memory. If reclaim entered a filesystem or
 * started I/O there, it could wait for the device, whose worker waits for that
 * lock. So the mapping of a file that backs a device allocates without __GFP_IO
 * and __GFP_FS, for as long as there is a handle for it, whichever device it
 * belongs to. The workers themselves run with PF_MEMALLOC_NOIO.
 */

#include <linux/list.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "device.h"

/**
 * struct sloop_gfp_mask - allocation mask of one mapping
 * @node: in sloop_gfp_masks
 * @mapping: held by the file of every handle that uses this
 * @saved: what it was, in the bits that are changed
 * @users: number of handles
 *
 * All under sloop_gfp_lock.
 */
struct sloop_gfp_mask {
	struct list_head	node;
	struct address_space	*mapping;
	gfp_t			saved;
	unsigned int		users;
};

#define SLOOP_GFP_BITS	(__GFP_IO | __GFP_FS)

static LIST_HEAD(sloop_gfp_masks);
static DEFINE_SPINLOCK(sloop_gfp_lock);

/**
 * sloop_gfp_mask_get - restrict the allocations of a mapping
 * @mapping: of a file that the caller holds until sloop_gfp_mask_put()
 *
 * Context: may sleep.
 * Return: what to give to sloop_gfp_mask_put(); NULL if there is no memory.
 */
struct sloop_gfp_mask *sloop_gfp_mask_get(struct address_space *mapping)
{
	struct sloop_gfp_mask *spare, *mask;

	spare = kzalloc(sizeof(*spare), GFP_KERNEL);
	if (!spare)
		return NULL;

	spin_lock(&sloop_gfp_lock);
	list_for_each_entry(mask, &sloop_gfp_masks, node)
		if (mask->mapping == mapping)
			goto found;

	mask = spare;
	spare = NULL;
	mask->mapping = mapping;
	mask->saved = mapping_gfp_mask(mapping) & SLOOP_GFP_BITS;
	list_add(&mask->node, &sloop_gfp_masks);
	mapping_set_gfp_mask(mapping,
			     mapping_gfp_mask(mapping) & ~SLOOP_GFP_BITS);
found:
	mask->users++;
	spin_unlock(&sloop_gfp_lock);
	kfree(spare);
	return mask;
}

/**
 * sloop_gfp_mask_put - undo sloop_gfp_mask_get()
 * @mask: from sloop_gfp_mask_get()
 */
void sloop_gfp_mask_put(struct sloop_gfp_mask *mask)
{
	bool last;

	spin_lock(&sloop_gfp_lock);
	last = --mask->users == 0;
	if (last) {
		list_del(&mask->node);
		mapping_set_gfp_mask(mask->mapping,
				     mapping_gfp_mask(mask->mapping) |
				     mask->saved);
	}
	spin_unlock(&sloop_gfp_lock);
	if (last)
		kfree(mask);
}

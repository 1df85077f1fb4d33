// SPDX-License-Identifier: GPL-2.0-only
/* bd_prepare_to_claim() takes holder operations (6.5) */
#include <linux/blkdev.h>

int probe(struct block_device *bdev, void *holder,
	  const struct blk_holder_ops *hops)
{
	return bd_prepare_to_claim(bdev, holder, hops) + sizeof(*hops);
}

// SPDX-License-Identifier: GPL-2.0-only
/* bdev_clear_flag() and BD_READ_ONLY took the place of bd_read_only (6.10) */
#include <linux/blkdev.h>

void probe(struct block_device *bdev)
{
	bdev_clear_flag(bdev, BD_READ_ONLY);
}

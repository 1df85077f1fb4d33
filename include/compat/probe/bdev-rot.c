// SPDX-License-Identifier: GPL-2.0-only
/* bdev_rot() took the place of bdev_nonrot() (7.0) */
#include <linux/blkdev.h>

bool probe(struct block_device *bdev)
{
	return bdev_rot(bdev);
}

// SPDX-License-Identifier: GPL-2.0-only
/* ->open() and ->release() take a gendisk and a blk_mode_t (6.5) */
#include <linux/blkdev.h>

int probe_open(struct gendisk *disk, blk_mode_t mode);
void probe_release(struct gendisk *disk);
int probe_ioctl(struct block_device *bdev, blk_mode_t mode, unsigned int cmd,
		unsigned long arg);

const struct block_device_operations probe = {
	.open = probe_open,
	.release = probe_release,
	.ioctl = probe_ioctl,
};

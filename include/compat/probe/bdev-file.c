// SPDX-License-Identifier: GPL-2.0-only
/* a block device is opened as a file (6.9) */
#include <linux/blkdev.h>

struct block_device *probe(dev_t devt);
struct block_device *probe(dev_t devt)
{
	struct file *file = bdev_file_open_by_dev(devt, BLK_OPEN_READ, NULL, NULL);

	return file_bdev(file);
}

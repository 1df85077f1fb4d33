// SPDX-License-Identifier: GPL-2.0-only
/* Compiles nowhere: if it does, a missing function would go unnoticed. */
#include <linux/blkdev.h>
#include <linux/blk-mq.h>

unsigned int probe(struct gendisk *disk)
{
	return disk_openers_of_no_kernel(disk);
}

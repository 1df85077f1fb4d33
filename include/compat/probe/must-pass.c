// SPDX-License-Identifier: GPL-2.0-only
/* Compiles everywhere: if it does not, the probing itself is broken. */
#include <linux/blkdev.h>
#include <linux/blk-mq.h>

unsigned int probe(struct gendisk *disk)
{
	return disk_openers(disk);
}

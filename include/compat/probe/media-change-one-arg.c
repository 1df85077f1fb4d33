// SPDX-License-Identifier: GPL-2.0-only
/* disk_force_media_change() lost its events argument (6.6) */
#include <linux/blkdev.h>

void probe(struct gendisk *disk)
{
	disk_force_media_change(disk);
}

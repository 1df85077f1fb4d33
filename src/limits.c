// SPDX-License-Identifier: GPL-2.0-only
/* Queue limits that follow from a backing file, and those of a device without. */

#include <linux/fs.h>

#include "device.h"

static void sloop_limits_of_discard(const struct sloop_backing *backing,
				    struct queue_limits *lim)
{
	unsigned int sectors = backing->discard_sectors;

	/* Without punching holes, zeroes are still written (io-nodata.c). */
	lim->max_write_zeroes_sectors = sectors;
	if (READ_ONCE(backing->no_discard))
		sectors = 0;
	lim->max_hw_discard_sectors = sectors;
	lim->discard_granularity = sectors ? backing->discard_granularity : 0;
}

/**
 * sloop_limits_of_dio - the limits that depend on the direct I/O mode
 * @backing: the handle, its mode chosen
 * @lim: limits under update
 *
 * The pages of a request go to the file unchanged, so their alignment has to
 * suit it.
 */
void sloop_limits_of_dio(const struct sloop_backing *backing,
			 struct queue_limits *lim)
{
	lim->dma_alignment = SECTOR_SIZE - 1;
	if (backing->dio)
		lim->dma_alignment = max_t(unsigned int, lim->dma_alignment,
					   backing->dio_mem_mask);
}

/**
 * sloop_limits_of_backing - the limits of a device on a file
 * @backing: the handle, its mode chosen
 * @lim: limits under update; validated by queue_limits_commit_update()
 * @bsize: logical block size in bytes
 *
 * Context: any.
 */
void sloop_limits_of_backing(const struct sloop_backing *backing,
			     struct queue_limits *lim, unsigned int bsize)
{
	struct file *file = backing->file;
	struct inode *inode = file->f_mapping->host;
	struct block_device *bdev = S_ISBLK(inode->i_mode) ?
				    I_BDEV(inode) : inode->i_sb->s_bdev;

	lim->logical_block_size = bsize;
	lim->physical_block_size = bsize;
	lim->io_min = bsize;
	sloop_limits_of_dio(backing, lim);

	lim->features &= ~(BLK_FEAT_WRITE_CACHE | BLK_FEAT_FUA |
			   BLK_FEAT_ROTATIONAL | BLK_FEAT_STABLE_WRITES);
	if (backing->stable_writes)
		lim->features |= BLK_FEAT_STABLE_WRITES;
	if (file->f_op->fsync && !backing->read_only)
		lim->features |= BLK_FEAT_WRITE_CACHE | BLK_FEAT_FUA;
	if (bdev && bdev_rot(bdev))
		lim->features |= BLK_FEAT_ROTATIONAL;

	sloop_limits_of_discard(backing, lim);
}

static int sloop_limits_of_unbound(struct request_queue *q,
				   struct queue_limits *lim)
{
	lim->logical_block_size = SECTOR_SIZE;
	lim->physical_block_size = SECTOR_SIZE;
	lim->io_min = SECTOR_SIZE;
	lim->dma_alignment = SECTOR_SIZE - 1;
	lim->features &= ~(BLK_FEAT_WRITE_CACHE | BLK_FEAT_FUA |
			   BLK_FEAT_ROTATIONAL | BLK_FEAT_STABLE_WRITES);
	lim->max_hw_discard_sectors = 0;
	lim->max_write_zeroes_sectors = 0;
	lim->discard_granularity = 0;
	compat_limits_forget_user(q, lim);

	return queue_limits_commit_update(q, lim);
}

/**
 * sloop_limits_reset - give a device the limits of one without a file
 * @dev: the device, unbound
 *
 * The queue is not frozen: a request that enters it now comes late and is refused,
 * whatever limits it has seen.
 *
 * Context: may sleep, also until somebody who changes a limit through sysfs has
 * waited for the I/O of the device.
 */
void sloop_limits_reset(struct sloop_device *dev)
{
	struct request_queue *q = dev->disk->queue;
	struct queue_limits lim = queue_limits_start_update(q);

	WARN_ON_ONCE(sloop_limits_of_unbound(q, &lim));
}

/**
 * sloop_limits_try_reset - do that if it can be done at once
 * @dev: the device, unbound
 *
 * Context: process context; waits for nobody.
 * Return: false if somebody else is changing the limits.
 */
bool sloop_limits_try_reset(struct sloop_device *dev)
{
	struct request_queue *q = dev->disk->queue;
	struct queue_limits lim;

	if (!compat_limits_trystart(q, &lim))
		return false;
	WARN_ON_ONCE(sloop_limits_of_unbound(q, &lim));
	return true;
}

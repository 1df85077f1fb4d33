/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an older kernel lacks, under the name that the newest one gives it.
 *
 * The module includes every block layer header through this file, before the
 * first of the macros below can change its meaning.
 */
#ifndef _SAFELOOP_COMPAT_BLOCK_H
#define _SAFELOOP_COMPAT_BLOCK_H

#include <linux/blkdev.h>
#include <linux/blk-mq.h>
#include <linux/blk-cgroup.h>
#include <linux/bvec.h>
#include <linux/file.h>
#include <linux/magic.h>
#include <linux/sched/mm.h>
#include <linux/timer.h>

#include "safeloop-config.h"

#ifndef HAVE_MUST_PASS
#error "the probes do not compile: see include/compat/probe/must-pass.log in the build folder"
#endif
#ifdef HAVE_MUST_FAIL
#error "the probes accept a function that does not exist"
#endif

/*
 * COMPAT_BDOPS_OPEN(fn) and COMPAT_BDOPS_RELEASE(fn) are written once, below the
 * newest form of the method; compat_bdop(fn) is what goes into the table.
 */
#ifdef HAVE_BDOPS_GENDISK
#define COMPAT_BDOPS_OPEN(fn)
#define COMPAT_BDOPS_RELEASE(fn)
#define compat_bdop(fn) fn
#else
typedef fmode_t blk_mode_t;
#define BLK_OPEN_READ	FMODE_READ
#define BLK_OPEN_WRITE	FMODE_WRITE
#define BLK_OPEN_EXCL	FMODE_EXCL

#define COMPAT_BDOPS_OPEN(fn)						\
static int fn##_bdop(struct block_device *bdev, blk_mode_t mode)	\
{									\
	return fn(bdev->bd_disk, mode);					\
}
#define COMPAT_BDOPS_RELEASE(fn)					\
static void fn##_bdop(struct gendisk *disk, blk_mode_t mode)		\
{									\
	fn(disk);							\
}
#define compat_bdop(fn) fn##_bdop
#endif

/*
 * A block device opened by its number, for reading. Opening it as a file is the
 * newest form; what is kept open is hidden here, only @bdev is for the caller.
 */
struct compat_bdev {
	struct block_device *bdev;
	struct file *file;
};

#ifdef HAVE_BDEV_FILE
static inline int compat_bdev_open(struct compat_bdev *cb, dev_t devt)
{
	cb->file = bdev_file_open_by_dev(devt, BLK_OPEN_READ, NULL, NULL);
	if (IS_ERR(cb->file))
		return PTR_ERR(cb->file);
	cb->bdev = file_bdev(cb->file);
	return 0;
}

static inline void compat_bdev_close(struct compat_bdev *cb)
{
	fput(cb->file);
}
#else
static inline int compat_bdev_open(struct compat_bdev *cb, dev_t devt)
{
	cb->bdev = blkdev_get_by_dev(devt, BLK_OPEN_READ, NULL);
	return PTR_ERR_OR_ZERO(cb->bdev);
}

static inline void compat_bdev_close(struct compat_bdev *cb)
{
	blkdev_put(cb->bdev, BLK_OPEN_READ);
}
#endif

#ifndef HAVE_CLAIM_HOPS
#define bd_prepare_to_claim(bdev, holder, hops) bd_prepare_to_claim(bdev, holder)
#endif

#ifndef HAVE_MEDIA_CHANGE_ONE_ARG
#define disk_force_media_change(disk) \
	disk_force_media_change(disk, DISK_EVENT_MEDIA_CHANGE)
#endif

#ifndef HAVE_BDEV_ROT
#define bdev_rot(bdev) (!bdev_nonrot(bdev))
#endif

#ifndef HAVE_TIMER_DELETE_SYNC
#define timer_delete_sync(timer) del_timer_sync(timer)
#endif

#ifdef HAVE_MQ_F_SHOULD_MERGE
#define COMPAT_MQ_F_MERGE BLK_MQ_F_SHOULD_MERGE
#else
#define COMPAT_MQ_F_MERGE 0
#endif

#ifdef HAVE_INIT_REQUEST_INT_NODE
typedef int compat_numa_node_t;
#else
typedef unsigned int compat_numa_node_t;
#endif

#ifndef HAVE_BVEC_ITER_BI_OFFSET
#define bi_offset bi_bvec_done
#endif

#ifndef HAVE_FREEZE_MEMFLAGS
static inline unsigned int compat_freeze_queue(struct request_queue *q)
{
	unsigned int memflags = memalloc_noio_save();

	blk_mq_freeze_queue(q);
	return memflags;
}

static inline void compat_unfreeze_queue(struct request_queue *q,
					 unsigned int memflags)
{
	blk_mq_unfreeze_queue(q);
	memalloc_noio_restore(memflags);
}

static inline void compat_unfreeze_queue_nomemrestore(struct request_queue *q)
{
	blk_mq_unfreeze_queue(q);
}

#define blk_mq_freeze_queue(q) compat_freeze_queue(q)
#define blk_mq_unfreeze_queue(q, memflags) compat_unfreeze_queue(q, memflags)
#define blk_mq_unfreeze_queue_nomemrestore(q) compat_unfreeze_queue_nomemrestore(q)
#endif

#ifndef HAVE_FREEZE_NON_OWNER
/* Without a record of who has frozen a queue, that is as good. */
#define blk_freeze_queue_start_non_owner(q) blk_freeze_queue_start(q)
#define blk_mq_unfreeze_queue_non_owner(q) \
	blk_mq_unfreeze_queue_nomemrestore(q)
#endif

#ifndef HAVE_QUEUE_LIMITS_UPDATE
/*
 * The subset of the newest struct queue_limits that the module sets, and its
 * two-step update on top of the setters. q->sysfs_lock is what the sysfs
 * attributes of these kernels take to change a limit, so it stands in for the
 * limits_lock.
 */
#define BLK_FEAT_WRITE_CACHE	(1u << 0)
#define BLK_FEAT_FUA		(1u << 1)
#define BLK_FEAT_ROTATIONAL	(1u << 2)
#define BLK_FEAT_STABLE_WRITES	(1u << 3)

struct compat_queue_limits {
	unsigned int features;
	unsigned int max_hw_sectors;
	unsigned int logical_block_size;
	unsigned int physical_block_size;
	unsigned int io_min;
	unsigned int dma_alignment;
	unsigned int max_hw_discard_sectors;
	unsigned int max_write_zeroes_sectors;
	unsigned int discard_granularity;
};

static inline struct compat_queue_limits
compat_queue_limits_read(struct request_queue *q)
{
	const struct queue_limits *lim = &q->limits;
	struct compat_queue_limits clim = {
		.max_hw_sectors			= lim->max_hw_sectors,
		.logical_block_size		= lim->logical_block_size,
		.physical_block_size		= lim->physical_block_size,
		.io_min				= lim->io_min,
		.dma_alignment			= lim->dma_alignment,
		.max_hw_discard_sectors		= lim->max_hw_discard_sectors,
		.max_write_zeroes_sectors	= lim->max_write_zeroes_sectors,
		.discard_granularity		= lim->discard_granularity,
	};

	if (test_bit(QUEUE_FLAG_WC, &q->queue_flags))
		clim.features |= BLK_FEAT_WRITE_CACHE;
	if (test_bit(QUEUE_FLAG_FUA, &q->queue_flags))
		clim.features |= BLK_FEAT_FUA;
	if (!blk_queue_nonrot(q))
		clim.features |= BLK_FEAT_ROTATIONAL;
	if (blk_queue_stable_writes(q))
		clim.features |= BLK_FEAT_STABLE_WRITES;
	return clim;
}

static inline int compat_queue_limits_apply(struct request_queue *q,
				const struct compat_queue_limits *clim)
{
	/* The rule of blk_validate_block_size(), which is not exported. */
	if (clim->logical_block_size < SECTOR_SIZE ||
	    clim->logical_block_size > PAGE_SIZE ||
	    !is_power_of_2(clim->logical_block_size))
		return -EINVAL;

	/* The block size setter only ever raises the two that depend on it. */
	q->limits.physical_block_size = clim->physical_block_size;
	q->limits.io_min = clim->io_min;
	blk_queue_logical_block_size(q, clim->logical_block_size);
	blk_queue_dma_alignment(q, clim->dma_alignment);
	blk_queue_max_write_zeroes_sectors(q, clim->max_write_zeroes_sectors);
	/* These two also reset what the administrator has set through sysfs. */
	if (q->limits.max_hw_sectors != clim->max_hw_sectors)
		blk_queue_max_hw_sectors(q, clim->max_hw_sectors);
	if (q->limits.max_hw_discard_sectors != clim->max_hw_discard_sectors)
		blk_queue_max_discard_sectors(q, clim->max_hw_discard_sectors);
	q->limits.discard_granularity = clim->discard_granularity;
	blk_queue_write_cache(q, clim->features & BLK_FEAT_WRITE_CACHE,
			      clim->features & BLK_FEAT_FUA);
	if (clim->features & BLK_FEAT_ROTATIONAL)
		blk_queue_flag_clear(QUEUE_FLAG_NONROT, q);
	else
		blk_queue_flag_set(QUEUE_FLAG_NONROT, q);
	if (clim->features & BLK_FEAT_STABLE_WRITES)
		blk_queue_flag_set(QUEUE_FLAG_STABLE_WRITES, q);
	else
		blk_queue_flag_clear(QUEUE_FLAG_STABLE_WRITES, q);
	return 0;
}

static inline struct compat_queue_limits
queue_limits_start_update(struct request_queue *q)
{
	mutex_lock(&q->sysfs_lock);
	return compat_queue_limits_read(q);
}

static inline int queue_limits_commit_update(struct request_queue *q,
				const struct compat_queue_limits *clim)
{
	int err = compat_queue_limits_apply(q, clim);

	mutex_unlock(&q->sysfs_lock);
	return err;
}

static inline void queue_limits_cancel_update(struct request_queue *q)
{
	mutex_unlock(&q->sysfs_lock);
}

static inline bool compat_limits_trystart(struct request_queue *q,
					  struct compat_queue_limits *clim)
{
	if (!mutex_trylock(&q->sysfs_lock))
		return false;
	*clim = compat_queue_limits_read(q);
	return true;
}

/* What has been set through sysfs; of discard, see above. */
static inline void compat_limits_forget_user(struct request_queue *q,
					     struct compat_queue_limits *clim)
{
	blk_queue_max_hw_sectors(q, clim->max_hw_sectors);
}

#define queue_limits compat_queue_limits
#else
/* What has been set through sysfs. */
static inline void compat_limits_forget_user(struct request_queue *q,
					     struct queue_limits *lim)
{
	lim->max_user_sectors = 0;
	lim->max_user_discard_sectors = UINT_MAX;
	lim->flags &= ~BLK_FLAG_WRITE_CACHE_DISABLED;
}

/* As queue_limits_start_update(), if that need not wait. No kernel has it. */
static inline bool compat_limits_trystart(struct request_queue *q,
					  struct queue_limits *lim)
{
	if (!mutex_trylock(&q->limits_lock))
		return false;
	*lim = q->limits;
	return true;
}
#endif

#ifndef HAVE_ALLOC_DISK_LIMITS
/*
 * Older kernels take the limits afterwards: only max_hw_sectors is set before
 * the disk is visible, everything else when a file is bound.
 */
static inline struct gendisk *
compat_alloc_disk(struct blk_mq_tag_set *set, const struct queue_limits *lim,
		  void *queuedata)
{
	struct gendisk *disk = blk_mq_alloc_disk(set, queuedata);

	if (!IS_ERR(disk)) {
		blk_queue_max_hw_sectors(disk->queue, lim->max_hw_sectors);
		blk_queue_flag_set(QUEUE_FLAG_NONROT, disk->queue);
	}
	return disk;
}

#undef blk_mq_alloc_disk
#define blk_mq_alloc_disk(set, lim, queuedata) \
	compat_alloc_disk(set, lim, queuedata)
#endif

#ifdef HAVE_MAPPING_STABLE_WRITES
#define compat_mapping_stable_writes(mapping) mapping_stable_writes(mapping)
#else
/* It was a property of filesystems once. */
#define compat_mapping_stable_writes(mapping) \
	((mapping)->host->i_sb->s_iflags & SB_I_STABLE_WRITES)
#endif

#ifdef HAVE_BDEV_CLEAR_FLAG
/* What BLKROSET has set. */
static inline void compat_bdev_clear_read_only(struct block_device *bdev)
{
	bdev_clear_flag(bdev, BD_READ_ONLY);
}
#else
static inline void compat_bdev_clear_read_only(struct block_device *bdev)
{
	bdev->bd_read_only = false;
}
#endif

/* fs/configfs/mount.c had it to itself once. */
#ifndef CONFIGFS_MAGIC
#define CONFIGFS_MAGIC	0x62656570
#endif

#endif /* _SAFELOOP_COMPAT_BLOCK_H */

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Changing a bound device: its offset, size limit, mode or file. Each is another
 * handle, published while the queue is frozen: no request sees half of a change,
 * and none is under way with the old one.
 */

#include <linux/file.h>
#include <linux/fs.h>

#include "device.h"
#include "trace.h"

/* Who wants limits changed as well has begun the update before the freeze. */
static void sloop_swap(struct sloop_device *dev, struct sloop_backing *backing,
		       struct queue_limits *lim)
{
	struct request_queue *q = dev->disk->queue;
	struct sloop_backing *old;
	unsigned int memflags;

	memflags = blk_mq_freeze_queue(q);
	old = sloop_backing_publish(dev, backing);
	if (lim)
		WARN_ON_ONCE(queue_limits_commit_update(q, lim));
	sloop_backing_retire(old);
	WARN_ON_ONCE(sloop_backing_pinned(old));	/* frozen: no requests */
	blk_mq_unfreeze_queue(q, memflags);

	trace_sloop_backing_retire(dev, old);
	sloop_backing_put(old);
}

/**
 * sloop_set_status - change a bound device (LOOP_SET_STATUS, LOOP_SET_STATUS64)
 * @dev: the device
 * @info: from userspace
 *
 * Of the flags, LO_FLAGS_AUTOCLEAR can be set and cleared, LO_FLAGS_PARTSCAN set;
 * the others are ignored. Direct I/O ends if the new offset does not allow it.
 *
 * Context: process context, may sleep.
 * Return: 0, -ENXIO, -EINVAL, -EOVERFLOW, -ENOMEM, -EINTR.
 */
int sloop_set_status(struct sloop_device *dev, const struct loop_info64 *info)
{
	struct gendisk *disk = dev->disk;
	struct sloop_backing *old, *backing;
	bool partscan = false;
	int err;

	err = mutex_lock_killable(&dev->lock);
	if (err)
		return err;

	err = -ENXIO;
	if (dev->state != SLOOP_BOUND)
		goto out_unlock;
	err = sloop_info_check(info);
	if (err)
		goto out_unlock;

	old = sloop_backing_current(dev);
	if (old->offset != info->lo_offset ||
	    old->sizelimit != info->lo_sizelimit) {
		err = -ENOMEM;
		backing = sloop_backing_clone(dev, old);
		if (!backing)
			goto out_unlock;
		backing->offset = info->lo_offset;
		backing->sizelimit = info->lo_sizelimit;
		backing->dio = old->dio && sloop_backing_can_dio(backing,
				queue_logical_block_size(disk->queue));

		/* What is cached belongs to the old offset. */
		sync_blockdev(disk->part0);
		invalidate_bdev(disk->part0);
		sloop_swap(dev, backing, NULL);
		sloop_set_size(dev, sloop_backing_sectors(backing));
	}

	memcpy(dev->file_name, info->lo_file_name, LO_NAME_SIZE);
	dev->file_name[LO_NAME_SIZE - 1] = '\0';

	partscan = !(dev->flags & LO_FLAGS_PARTSCAN) &&
		   (info->lo_flags & LO_FLAGS_PARTSCAN);
	dev->flags &= ~LOOP_SET_STATUS_CLEARABLE_FLAGS;
	dev->flags |= info->lo_flags & LOOP_SET_STATUS_SETTABLE_FLAGS;
	if (partscan)
		clear_bit(GD_SUPPRESS_PART_SCAN, &disk->state);
	err = 0;
out_unlock:
	mutex_unlock(&dev->lock);

	if (partscan)
		sloop_scan_partitions(dev);
	return err;
}

/**
 * sloop_set_capacity - take over a new size of the file (LOOP_SET_CAPACITY)
 * @dev: the device
 *
 * Return: 0, -ENXIO, -EINTR.
 */
int sloop_set_capacity(struct sloop_device *dev)
{
	int err;

	err = mutex_lock_killable(&dev->lock);
	if (err)
		return err;
	if (dev->state == SLOOP_BOUND)
		sloop_set_size(dev, sloop_backing_sectors(sloop_backing_current(dev)));
	else
		err = -ENXIO;
	mutex_unlock(&dev->lock);
	return err;
}

static int sloop_set_direct_io_locked(struct sloop_device *dev, bool dio)
{
	struct request_queue *q = dev->disk->queue;
	struct sloop_backing *old, *backing;
	struct queue_limits lim;

	if (dev->state != SLOOP_BOUND)
		return -ENXIO;

	old = sloop_backing_current(dev);
	if (old->dio == dio)
		return 0;
	if (dio && !sloop_backing_can_dio(old, queue_logical_block_size(q)))
		return -EINVAL;

	backing = sloop_backing_clone(dev, old);
	if (!backing)
		return -ENOMEM;
	backing->dio = dio;

	/* Direct I/O is spared writing back what is dirty now. */
	if (dio)
		vfs_fsync(backing->file, 0);

	lim = queue_limits_start_update(q);
	sloop_limits_of_dio(backing, &lim);
	sloop_swap(dev, backing, &lim);
	return 0;
}

/**
 * sloop_set_direct_io - switch between direct and buffered (LOOP_SET_DIRECT_IO)
 * @dev: the device
 * @dio: true for direct I/O
 *
 * Return: 0; -ENXIO; -EINVAL if the file, the offset or the block size does not
 * allow direct I/O; -ENOMEM; -EINTR.
 */
int sloop_set_direct_io(struct sloop_device *dev, bool dio)
{
	int err;

	err = mutex_lock_killable(&dev->lock);
	if (err)
		return err;
	err = sloop_set_direct_io_locked(dev, dio);
	mutex_unlock(&dev->lock);
	return err;
}

static int sloop_set_block_size_locked(struct sloop_device *dev,
				       unsigned long bsize)
{
	struct gendisk *disk = dev->disk;
	struct request_queue *q = disk->queue;
	struct sloop_backing *old, *backing;
	unsigned int memflags;
	struct queue_limits lim;
	int err;

	if (dev->state != SLOOP_BOUND)
		return -ENXIO;
	if (queue_logical_block_size(q) == bsize)
		return 0;

	old = sloop_backing_current(dev);
	if (!bsize)
		bsize = old->dio ? old->min_dio : SECTOR_SIZE;
	if (bsize < SECTOR_SIZE || bsize > UINT_MAX || !is_power_of_2(bsize))
		return -EINVAL;

	backing = sloop_backing_clone(dev, old);
	if (!backing)
		return -ENOMEM;
	backing->dio = old->dio && sloop_backing_can_dio(backing, bsize);

	sync_blockdev(disk->part0);
	invalidate_bdev(disk->part0);

	/* Too large a size is found out here: then nothing has changed. */
	lim = queue_limits_start_update(q);
	sloop_limits_of_backing(backing, &lim, bsize);
	memflags = blk_mq_freeze_queue(q);
	err = queue_limits_commit_update(q, &lim);
	if (!err) {
		sloop_backing_publish(dev, backing);
		sloop_backing_retire(old);
		WARN_ON_ONCE(sloop_backing_pinned(old));
	}
	blk_mq_unfreeze_queue(q, memflags);

	if (!err)
		trace_sloop_backing_retire(dev, old);
	sloop_backing_put(err ? backing : old);
	return err;
}

/**
 * sloop_set_block_size - change the logical block size (LOOP_SET_BLOCK_SIZE)
 * @dev: the device
 * @mode: how the caller has it open
 * @bdev: the block device that the caller has open
 * @bsize: size in bytes, 0 for the default of the file
 *
 * Direct I/O ends if the new size does not allow it.
 *
 * Return: 0; -EBUSY if the device is exclusively held by somebody else; -ENXIO;
 * -EINVAL for a size that is not a power of two in the kernel's range; -ENOMEM;
 * -EINTR.
 */
int sloop_set_block_size(struct sloop_device *dev, blk_mode_t mode,
			 struct block_device *bdev, unsigned long bsize)
{
	bool claim = !(mode & BLK_OPEN_EXCL);
	int err;

	if (claim) {
		err = bd_prepare_to_claim(bdev, sloop_set_block_size, NULL);
		if (err)
			return err;
	}

	err = mutex_lock_killable(&dev->lock);
	if (!err) {
		err = sloop_set_block_size_locked(dev, bsize);
		mutex_unlock(&dev->lock);
	}

	if (claim)
		bd_abort_claiming(bdev, sloop_set_block_size);
	return err;
}

static int sloop_change_fd_locked(struct sloop_device *dev, struct file *file)
{
	struct request_queue *q = dev->disk->queue;
	struct sloop_backing *old, *backing;
	unsigned int bsize = queue_logical_block_size(q);
	struct queue_limits lim;

	old = sloop_backing_current(dev);
	backing = sloop_backing_create(dev, file, old->offset, old->sizelimit,
				       true);
	if (!backing)
		return -ENOMEM;
	if (sloop_backing_sectors(backing) != sloop_backing_sectors(old)) {
		sloop_backing_put(backing);
		return -EINVAL;
	}
	backing->dio = (old->dio || (file->f_flags & O_DIRECT)) &&
		       sloop_backing_can_dio(backing, bsize);
	if (backing->dio)
		vfs_fsync(file, 0);

	dev_set_uevent_suppress(disk_to_dev(dev->disk), 1);
	disk_force_media_change(dev->disk);
	lim = queue_limits_start_update(q);
	sloop_limits_of_backing(backing, &lim, bsize);
	sloop_swap(dev, backing, &lim);
	dev_set_uevent_suppress(disk_to_dev(dev->disk), 0);
	return 0;
}

/* The device first, then the file, then the device again, now locked. */
static int sloop_change_fd_lock(struct sloop_device *dev, struct file *file)
{
	bool locked = false;
	int err;

	for (;;) {
		err = mutex_lock_killable(&dev->lock);
		if (err)
			break;
		if (dev->state != SLOOP_BOUND)
			err = -ENXIO;
		else if (!sloop_backing_current(dev)->read_only)
			err = -EINVAL;
		if (!err && locked)
			return 0;
		mutex_unlock(&dev->lock);
		if (err)
			break;

		err = sloop_chain_lock(dev, file);
		if (err)
			return err;
		locked = true;
	}
	if (locked)
		sloop_chain_unlock(file);
	return err;
}

/**
 * sloop_change_fd - put another file of the same size below (LOOP_CHANGE_FD)
 * @dev: the device, which has to be read-only
 * @bdev: the block device that the caller has open
 * @fd: descriptor of the new file
 *
 * The queue limits become those of the new file, but for the block size.
 *
 * Return: 0; -EBADF; -ENXIO; -EINVAL if the device is not read-only or the sizes
 * differ, or for a file that will not do; -ENOMEM; -EINTR. After an error the
 * device is what it was.
 */
int sloop_change_fd(struct sloop_device *dev, struct block_device *bdev,
		    unsigned int fd)
{
	bool partscan = false;
	struct file *file;
	int err;

	file = fget(fd);
	if (!file)
		return -EBADF;

	err = sloop_check_file(file);
	if (err)
		goto out_fput;

	err = sloop_change_fd_lock(dev, file);
	if (err)
		goto out_fput;
	err = sloop_change_fd_locked(dev, file);
	partscan = !err && (dev->flags & LO_FLAGS_PARTSCAN);
	mutex_unlock(&dev->lock);
	sloop_chain_unlock(file);

	if (partscan)
		sloop_scan_partitions(dev);
	if (!err)
		kobject_uevent(&disk_to_dev(dev->disk)->kobj, KOBJ_CHANGE);
out_fput:
	fput(file);
	return err;
}

/**
 * sloop_degrade_workfn - take discard out of the queue limits
 * @work: sloop_device::degrade_work; the queuer gave it a reference on the disk
 *
 * The file has refused to punch a hole. By now the device may be on another
 * file: that is looked up under the limits lock, which a bind takes as well.
 */
void sloop_degrade_workfn(struct work_struct *work)
{
	struct sloop_device *dev = container_of(work, struct sloop_device,
						degrade_work);
	struct request_queue *q = dev->disk->queue;
	struct queue_limits lim = queue_limits_start_update(q);
	const struct sloop_backing *backing;
	bool degrade;

	/* No reference: a detach would have to wait for this one to go. */
	rcu_read_lock();
	backing = rcu_dereference(dev->backing);
	degrade = backing && READ_ONCE(backing->no_discard);
	rcu_read_unlock();

	if (degrade) {
		unsigned int memflags = blk_mq_freeze_queue(q);

		lim.max_hw_discard_sectors = 0;
		lim.discard_granularity = 0;
		WARN_ON_ONCE(queue_limits_commit_update(q, &lim));
		blk_mq_unfreeze_queue(q, memflags);
	} else {
		queue_limits_cancel_update(q);
	}
	put_device(disk_to_dev(dev->disk));
}

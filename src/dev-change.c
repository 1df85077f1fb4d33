// SPDX-License-Identifier: GPL-2.0-only
/*
 * Changing a bound device: its offset, size limit, size, mode, block size or file.
 *
 * A change is prepared without a lock, as the filesystem may take its time, from the
 * handle that the device has then. If that is another one when the change is to be
 * made, it is prepared again. dev->lock is held for a look and for the change itself:
 * whoever wants to know what the device is, or to detach it, does not wait for a file.
 */

#include <linux/file.h>
#include <linux/fs.h>

#include "device.h"

/* The handle of a bound device, with a reference; or an errno. */
static struct sloop_backing *sloop_change_begin(struct sloop_device *dev)
{
	struct sloop_backing *old = ERR_PTR(-ENXIO);
	int err;

	err = mutex_lock_killable(&dev->lock);
	if (err)
		return ERR_PTR(err);
	if (dev->state == SLOOP_BOUND)
		old = sloop_backing_get(dev);
	mutex_unlock(&dev->lock);
	return old;
}

/* What is cached of the device and of its partitions belongs to what it was. */
static int sloop_sync_cache(struct gendisk *disk)
{
	struct block_device *part;
	unsigned long partno;
	int err, ret = 0;

	rcu_read_lock();
	xa_for_each(&disk->part_tbl, partno, part) {
		if (!kobject_get_unless_zero(&part->bd_device.kobj))
			continue;
		rcu_read_unlock();
		err = sync_blockdev(part);
		if (!err)
			invalidate_bdev(part);
		ret = ret ?: err;
		put_device(&part->bd_device);
		rcu_read_lock();
	}
	rcu_read_unlock();
	return ret;
}

/* Whoever asks for the size of the file now gets a newer answer than those before. */
static u64 sloop_size_ticket(struct sloop_device *dev)
{
	lockdep_assert_held(&dev->lock);
	return ++dev->size_tickets;
}

/*
 * Sets the size of the device, if it is still on the file that was asked. An answer
 * that is older than one that has been used is not; there is an event in any case.
 */
static bool sloop_size_use(struct sloop_device *dev, const struct file *file,
			   loff_t size, u64 ticket)
{
	struct sloop_backing *backing;
	bool used;

	mutex_lock(&dev->lock);
	backing = sloop_backing_current(dev);
	used = backing->file == file;
	if (used && ticket > dev->size_used) {
		dev->size_used = ticket;
		backing->file_size = size;
	}
	if (used)
		sloop_set_size(dev, sloop_backing_sectors(backing,
							  backing->file_size));
	mutex_unlock(&dev->lock);
	return used;
}

static void sloop_set_info(struct sloop_device *dev,
			   const struct loop_info64 *info)
{
	lockdep_assert_held(&dev->lock);

	memcpy(dev->file_name, info->lo_file_name, LO_NAME_SIZE);
	dev->file_name[LO_NAME_SIZE - 1] = '\0';
	dev->flags &= ~LOOP_SET_STATUS_CLEARABLE_FLAGS;
	dev->flags |= info->lo_flags & LOOP_SET_STATUS_SETTABLE_FLAGS;
}

static int sloop_set_window(struct sloop_device *dev,
			    struct sloop_backing *old,
			    const struct loop_info64 *info, u64 ticket)
{
	unsigned int bsize = queue_logical_block_size(dev->disk->queue);
	struct sloop_backing *backing;
	loff_t size;
	int ret;

	backing = sloop_backing_clone(dev, old);
	if (IS_ERR(backing))
		return PTR_ERR(backing);
	backing->offset = info->lo_offset;
	backing->sizelimit = info->lo_sizelimit;
	backing->dio = old->dio && sloop_backing_can_dio(backing, bsize);

	ret = sloop_file_size(backing->file, &size);
	if (!ret)
		ret = sloop_sync_cache(dev->disk);
	if (!ret)
		ret = sloop_swap_begin(dev, old, NULL);
	if (!ret) {
		sloop_set_info(dev, info);
		ret = sloop_swap_commit(dev, backing, NULL);
		sloop_size_use(dev, backing->file, size, ticket);
	}
	sloop_backing_put(backing);
	return ret;
}

/* Returns 1 to be called again. */
static int sloop_set_status_try(struct sloop_device *dev,
				const struct loop_info64 *info)
{
	struct sloop_backing *old;
	u64 ticket;
	int ret;

	ret = mutex_lock_killable(&dev->lock);
	if (ret)
		return ret;

	ret = -ENXIO;
	if (dev->state != SLOOP_BOUND)
		goto out_unlock;
	ret = sloop_info_check(info);
	if (ret)
		goto out_unlock;

	old = sloop_backing_get(dev);
	if (old->offset == info->lo_offset &&
	    old->sizelimit == info->lo_sizelimit) {
		sloop_set_info(dev, info);
		mutex_unlock(&dev->lock);
	} else {
		ticket = sloop_size_ticket(dev);
		mutex_unlock(&dev->lock);
		ret = sloop_set_window(dev, old, info, ticket);
	}
	sloop_backing_put(old);
	return ret;

out_unlock:
	mutex_unlock(&dev->lock);
	return ret;
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
 * Return: 0, -ENXIO, -EINVAL, -EOVERFLOW, -ENOMEM, -EINTR; an errno of the filesystem,
 * or of writing back what was cached. After an error the device is what it was.
 */
int sloop_set_status(struct sloop_device *dev, const struct loop_info64 *info)
{
	bool partscan = !(READ_ONCE(dev->flags) & LO_FLAGS_PARTSCAN) &&
			(info->lo_flags & LO_FLAGS_PARTSCAN);
	int ret;

	do {
		ret = sloop_set_status_try(dev, info);
	} while (ret > 0);
	if (ret || !partscan)
		return ret;

	clear_bit(GD_SUPPRESS_PART_SCAN, &dev->disk->state);
	sloop_scan_partitions(dev);
	return 0;
}

/**
 * sloop_set_capacity - take over a new size of the file (LOOP_SET_CAPACITY)
 * @dev: the device
 *
 * Return: 0, -ENXIO, -EINTR, an errno of the filesystem.
 */
int sloop_set_capacity(struct sloop_device *dev)
{
	struct sloop_backing *old;
	bool used = false;
	loff_t size;
	u64 ticket;
	int err;

	do {
		err = mutex_lock_killable(&dev->lock);
		if (err)
			return err;
		if (dev->state != SLOOP_BOUND) {
			mutex_unlock(&dev->lock);
			return -ENXIO;
		}
		old = sloop_backing_get(dev);
		ticket = sloop_size_ticket(dev);
		mutex_unlock(&dev->lock);

		err = sloop_file_size(old->file, &size);
		if (!err)
			used = sloop_size_use(dev, old->file, size, ticket);
		sloop_backing_put(old);
	} while (!err && !used);
	return err;
}

/* Returns 1 to be called again. */
static int sloop_set_direct_io_try(struct sloop_device *dev, bool dio)
{
	unsigned int bsize = queue_logical_block_size(dev->disk->queue);
	struct sloop_backing *old, *backing;
	struct queue_limits lim;
	int ret = 0;

	old = sloop_change_begin(dev);
	if (IS_ERR(old))
		return PTR_ERR(old);
	if (old->dio == dio)
		goto out_old;
	ret = -EINVAL;
	if (dio && !sloop_backing_can_dio(old, bsize))
		goto out_old;

	backing = sloop_backing_clone(dev, old);
	ret = PTR_ERR_OR_ZERO(backing);
	if (ret)
		goto out_old;
	backing->dio = dio;

	if (dio)
		ret = sloop_backing_write_back(dev, old);
	if (!ret)
		ret = sloop_swap_begin(dev, old, &lim);
	if (!ret) {
		sloop_limits_of_dio(backing, &lim);
		ret = sloop_swap_commit(dev, backing, &lim);
	}
	sloop_backing_put(backing);
out_old:
	sloop_backing_put(old);
	return ret;
}

/**
 * sloop_set_direct_io - switch between direct and buffered (LOOP_SET_DIRECT_IO)
 * @dev: the device
 * @dio: true for direct I/O
 *
 * Return: 0; -ENXIO; -EINVAL if the file, the offset or the block size does not
 * allow direct I/O; -ENOMEM; -EINTR; an errno of writing back what is dirty.
 */
int sloop_set_direct_io(struct sloop_device *dev, bool dio)
{
	int ret;

	do {
		ret = sloop_set_direct_io_try(dev, dio);
	} while (ret > 0);
	return ret;
}

/* Returns 1 to be called again. */
static int sloop_set_block_size_try(struct sloop_device *dev,
				    unsigned long bsize)
{
	struct request_queue *q = dev->disk->queue;
	struct sloop_backing *old, *backing;
	struct queue_limits lim;
	int ret = 0;

	old = sloop_change_begin(dev);
	if (IS_ERR(old))
		return PTR_ERR(old);
	if (queue_logical_block_size(q) == bsize)
		goto out_old;

	if (!bsize)
		bsize = old->dio ? old->min_dio : SECTOR_SIZE;
	ret = -EINVAL;
	if (bsize < SECTOR_SIZE || bsize > UINT_MAX || !is_power_of_2(bsize))
		goto out_old;

	backing = sloop_backing_clone(dev, old);
	ret = PTR_ERR_OR_ZERO(backing);
	if (ret)
		goto out_old;
	backing->dio = old->dio && sloop_backing_can_dio(backing, bsize);

	ret = sloop_sync_cache(dev->disk);
	if (!ret)
		ret = sloop_swap_begin(dev, old, &lim);
	if (!ret) {
		/* Too large a size is found out here. */
		sloop_limits_of_backing(backing, &lim, bsize);
		ret = sloop_swap_commit(dev, backing, &lim);
	}
	sloop_backing_put(backing);
out_old:
	sloop_backing_put(old);
	return ret;
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
 * Return: 0; -EBUSY if the device or a partition is exclusively held, other than the
 * device by the caller; -ENXIO; -EINVAL for a size that is not a power of two in the
 * kernel's range; -ENOMEM; -EINTR; an errno of writing back what is cached.
 */
int sloop_set_block_size(struct sloop_device *dev, blk_mode_t mode,
			 struct block_device *bdev, unsigned long bsize)
{
	int ret;

	ret = sloop_claim(bdev, mode);
	if (ret)
		return ret;
	do {
		ret = sloop_set_block_size_try(dev, bsize);
	} while (ret > 0);
	sloop_unclaim(bdev, mode);
	return ret;
}

/*
 * The size that counts is that of the device. The in-tree driver compares with the old
 * file as it is now; that one is asked if nothing else helps.
 */
static int sloop_change_fd_fits(struct sloop_device *dev,
				const struct sloop_backing *old,
				const struct sloop_backing *backing)
{
	sector_t sectors = sloop_backing_sectors(backing, backing->file_size);
	loff_t size;
	int err;

	if (sectors == get_capacity(dev->disk))
		return 0;
	err = sloop_file_size(old->file, &size);
	if (err)
		return err;
	return sectors == sloop_backing_sectors(old, size) ? 0 : -EINVAL;
}

/* What is cached is of the old file. For that, one event after all this is enough. */
static void sloop_forget_medium(struct sloop_device *dev)
{
	dev_set_uevent_suppress(disk_to_dev(dev->disk), 1);
	disk_force_media_change(dev->disk);
	dev_set_uevent_suppress(disk_to_dev(dev->disk), 0);
}

/* Returns 1 to be called again. */
static int sloop_change_fd_try(struct sloop_device *dev, struct file *file)
{
	unsigned int bsize = queue_logical_block_size(dev->disk->queue);
	struct sloop_backing *old, *backing;
	struct queue_limits lim;
	int ret;

	old = sloop_change_begin(dev);
	if (IS_ERR(old))
		return PTR_ERR(old);
	backing = sloop_backing_create(dev, file, old->offset, old->sizelimit,
				       true);
	ret = PTR_ERR_OR_ZERO(backing);
	if (ret)
		goto out_old;
	ret = sloop_change_fd_fits(dev, old, backing);
	if (ret)
		goto out_backing;
	backing->dio = (old->dio || (file->f_flags & O_DIRECT)) &&
		       sloop_backing_can_dio(backing, bsize);
	if (backing->dio)
		ret = sloop_backing_write_back(dev, backing);
	if (!ret)
		ret = sloop_swap_begin(dev, old, &lim);
	if (!ret) {
		sloop_limits_of_backing(backing, &lim, bsize);
		ret = sloop_swap_commit(dev, backing, &lim);
	}
	if (!ret)
		sloop_forget_medium(dev);
out_backing:
	sloop_backing_put(backing);
out_old:
	sloop_backing_put(old);
	return ret;
}

static int sloop_change_fd_check(struct sloop_device *dev, struct file *file)
{
	struct sloop_backing *old;
	bool read_only;

	old = sloop_change_begin(dev);
	if (IS_ERR(old))
		return PTR_ERR(old);
	read_only = old->read_only;
	sloop_backing_put(old);
	return read_only ? sloop_check_file_type(file) : -EINVAL;
}

/**
 * sloop_change_fd - put another file of the same size below (LOOP_CHANGE_FD)
 * @dev: the device, which has to be read-only
 * @fd: descriptor of the new file
 *
 * The queue limits become those of the new file, but for the block size.
 *
 * Return: 0; -EBADF; -ENXIO; -EINVAL if the device is not read-only or the sizes
 * differ, or for a file that will not do; -ENOMEM; -EINTR; an errno of the filesystem.
 * After an error the device is what it was.
 */
int sloop_change_fd(struct sloop_device *dev, unsigned int fd)
{
	struct file *file;
	int ret;

	file = fget(fd);
	if (!file)
		return -EBADF;

	ret = sloop_check_file(file);
	if (ret)
		goto out_fput;
	ret = mutex_lock_killable(&dev->change_fd_lock);
	if (ret)
		goto out_fput;
	ret = sloop_change_fd_check(dev, file);
	if (ret)
		goto out_unlock;
	ret = sloop_chain_announce(dev, file);
	if (ret)
		goto out_unlock;
	do {
		ret = sloop_change_fd_try(dev, file);
	} while (ret > 0);
	sloop_chain_withdraw(dev);
out_unlock:
	mutex_unlock(&dev->change_fd_lock);

	if (!ret) {
		if (READ_ONCE(dev->flags) & LO_FLAGS_PARTSCAN)
			sloop_scan_partitions(dev);
		kobject_uevent(&disk_to_dev(dev->disk)->kobj, KOBJ_CHANGE);
	}
out_fput:
	fput(file);
	return ret;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Binding a device to a file: all that can fail comes first and touches nothing
 * that anybody sees, then it is committed.
 */

#include <linux/capability.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>

#include "device.h"
#include "trace.h"

/**
 * sloop_info_check - is a loop_info64 acceptable?
 * @info: from userspace
 *
 * Return: 0; -EINVAL for encryption, which is gone; -EOVERFLOW for an offset or
 * a size limit that is not a file position.
 */
int sloop_info_check(const struct loop_info64 *info)
{
	if (info->lo_encrypt_key_size > LO_KEY_SIZE)
		return -EINVAL;
	if (info->lo_encrypt_type != LO_CRYPT_NONE) {
		pr_warn_ratelimited("encryption is not supported, use dm-crypt\n");
		return -EINVAL;
	}
	if (info->lo_offset > LLONG_MAX || info->lo_sizelimit > LLONG_MAX)
		return -EOVERFLOW;
	return 0;
}

/**
 * sloop_set_size - set the size of a device and tell userspace
 * @dev: the device
 * @sectors: size in 512-byte sectors
 */
void sloop_set_size(struct sloop_device *dev, sector_t sectors)
{
	if (!set_capacity_and_notify(dev->disk, sectors))
		kobject_uevent(&disk_to_dev(dev->disk)->kobj, KOBJ_CHANGE);
}

/**
 * sloop_scan_partitions - read the partition table
 * @dev: the device, open
 *
 * Context: takes open_mutex, so no lock of the driver may be held.
 */
void sloop_scan_partitions(struct sloop_device *dev)
{
	int err;

	mutex_lock(&dev->disk->open_mutex);
	err = bdev_disk_changed(dev->disk, false);
	mutex_unlock(&dev->disk->open_mutex);
	if (err)
		pr_warn("%s: partition scan failed: %d\n",
			dev->disk->disk_name, err);
}

/*
 * Requests of the previous binding have to be gone. That is waited for without a
 * lock: dev->lock is taken by the last closer of another binding, under
 * open_mutex. The state is looked at first, as -EBUSY goes before what is wrong
 * with the file, and again under the lock.
 */
static int sloop_bind_wait(struct sloop_device *dev)
{
	if (sloop_state(dev) != SLOOP_UNBOUND)
		return -EBUSY;
	return sloop_fence_wait(dev);
}

/* Returns 1 if it has to be waited for again. */
static int sloop_bind_lock(struct sloop_device *dev, struct file *file)
{
	int err;

	if (sloop_state(dev) != SLOOP_UNBOUND)
		return 1;
	err = sloop_chain_lock(dev, file);
	if (err)
		return err;
	err = mutex_lock_killable(&dev->lock);
	if (!err) {
		if (dev->state == SLOOP_UNBOUND && !READ_ONCE(dev->fence_up))
			return 0;
		mutex_unlock(&dev->lock);
		err = 1;
	}
	sloop_chain_unlock(file);
	return err;
}

static void sloop_bind_unlock(struct sloop_device *dev, struct file *file)
{
	mutex_unlock(&dev->lock);
	sloop_chain_unlock(file);
}

/*
 * The queue limits are the last thing that can fail, and what fails there has
 * changed nothing. No freeze: an unbound device has no I/O.
 */
static int sloop_bind_limits(struct sloop_device *dev,
			     struct sloop_backing *backing, bool dio,
			     unsigned int bsize)
{
	struct queue_limits lim;

	/*
	 * A direct I/O user gets the smallest block size that allows it, and
	 * buffered I/O if the one asked for does not.
	 */
	if (!bsize)
		bsize = dio && is_power_of_2(sloop_backing_min_dio(backing)) ?
			backing->min_dio : SECTOR_SIZE;
	backing->dio = dio && sloop_backing_can_dio(backing, bsize);

	lim = queue_limits_start_update(dev->disk->queue);
	sloop_limits_of_backing(backing, &lim, bsize);
	return queue_limits_commit_update(dev->disk->queue, &lim);
}

/* From here on nothing can fail. */
static void sloop_bind_commit(struct sloop_device *dev,
			      struct sloop_backing *backing,
			      const struct loop_config *config)
{
	struct device *ddev = disk_to_dev(dev->disk);

	/* Of the binding; the caller has the device open, and so one of its own. */
	__module_get(THIS_MODULE);

	/* One event, when all is in place. */
	dev_set_uevent_suppress(ddev, 1);
	disk_force_media_change(dev->disk);
	set_disk_ro(dev->disk, backing->read_only);

	dev->flags = config->info.lo_flags &
		     (LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN);
	if (sloop_part_shift)
		dev->flags |= LO_FLAGS_PARTSCAN;
	memcpy(dev->file_name, config->info.lo_file_name, LO_NAME_SIZE);
	dev->file_name[LO_NAME_SIZE - 1] = '\0';

	sloop_backing_publish(dev, backing);
	sloop_index_set_taken(dev);
	sloop_state_set(dev, SLOOP_BOUND);
	sloop_set_size(dev, sloop_backing_sectors(backing));

	if (dev->flags & LO_FLAGS_PARTSCAN)
		clear_bit(GD_SUPPRESS_PART_SCAN, &dev->disk->state);
	dev_set_uevent_suppress(ddev, 0);
	kobject_uevent(&ddev->kobj, KOBJ_CHANGE);
}

static int sloop_bind_locked(struct sloop_device *dev, blk_mode_t mode,
			     struct file *file,
			     const struct loop_config *config)
{
	const struct loop_info64 *info = &config->info;
	struct sloop_backing *backing;
	bool read_only, dio;
	int err;

	if (info->lo_flags & ~LOOP_CONFIGURE_SETTABLE_FLAGS)
		return -EINVAL;
	err = sloop_info_check(info);
	if (err)
		return err;
	if (config->block_size && (config->block_size < SECTOR_SIZE ||
				   !is_power_of_2(config->block_size)))
		return -EINVAL;

	err = sloop_lanes_start(dev);
	if (err)
		return err;

	read_only = (info->lo_flags & LO_FLAGS_READ_ONLY) ||
		    !(file->f_mode & FMODE_WRITE) || !(mode & BLK_OPEN_WRITE);
	if (!read_only) {
		err = sloop_swap_start(dev);
		if (err)
			return err;
	}
	dio = (info->lo_flags & LO_FLAGS_DIRECT_IO) ||
	      (file->f_flags & O_DIRECT);

	err = sloop_owner_create(dev);
	if (err)
		return err;

	backing = sloop_backing_create(dev, file, info->lo_offset,
				       info->lo_sizelimit, read_only);
	if (!backing)
		return -ENOMEM;

	err = sloop_bind_limits(dev, backing, dio, config->block_size);
	if (err)
		goto out_backing;

	err = sloop_sysfs_bind(dev);
	if (err)
		goto out_limits;

	/* Direct I/O is spared writing back what is dirty now. */
	if (backing->dio)
		vfs_fsync(file, 0);

	sloop_bind_commit(dev, backing, config);
	return 0;

out_limits:
	sloop_limits_reset(dev);
out_backing:
	sloop_backing_put(backing);
	return err;
}

/* The device must not change under somebody's exclusive hold. */
static int sloop_bind_claimed(struct sloop_device *dev, blk_mode_t mode,
			      struct block_device *bdev, struct file *file,
			      const struct loop_config *config)
{
	bool claim = !(mode & BLK_OPEN_EXCL);
	bool partscan = false;
	int err;

	if (claim) {
		err = bd_prepare_to_claim(bdev, sloop_bind, NULL);
		if (err)
			return err;
	}

	err = sloop_bind_lock(dev, file);
	if (!err) {
		err = sloop_bind_locked(dev, mode, file, config);
		partscan = !err && (dev->flags & LO_FLAGS_PARTSCAN);
		sloop_bind_unlock(dev, file);
	}

	if (partscan)
		sloop_scan_partitions(dev);
	if (claim)
		bd_abort_claiming(bdev, sloop_bind);
	return err;
}

/**
 * sloop_bind - bind a device to a file (LOOP_CONFIGURE, LOOP_SET_FD)
 * @dev: the device
 * @mode: how the caller has it open
 * @bdev: the block device that the caller has open
 * @config: from userspace; of LOOP_SET_FD the descriptor only
 *
 * Context: process context, may sleep.
 * Return: 0; -EBADF for a bad descriptor or the device itself; -EBUSY if the
 * device is bound or exclusively held by somebody else; -EINVAL for a file,
 * flags or a block size that will not do; -EOVERFLOW; -EINTR; -ENOMEM.
 */
int sloop_bind(struct sloop_device *dev, blk_mode_t mode,
	       struct block_device *bdev, const struct loop_config *config)
{
	struct file *file;
	int err;

	file = fget(config->fd);
	if (!file)
		return -EBADF;

	err = sloop_check_file(file);
	if (err)
		goto out_fput;

	do {
		err = sloop_bind_wait(dev);
		if (!err)
			err = sloop_bind_claimed(dev, mode, bdev, file, config);
	} while (err > 0);
out_fput:
	fput(file);
	return err;
}

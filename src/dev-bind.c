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

static bool sloop_holds_device(struct block_device *bdev, blk_mode_t mode)
{
	return (mode & BLK_OPEN_EXCL) && !bdev_is_partition(bdev);
}

/**
 * sloop_claim - keep exclusive users away for a moment
 * @bdev: what the caller has open, the disk or a partition
 * @mode: how
 *
 * It is the disk that is claimed: somebody else may have mounted another partition.
 *
 * Context: may sleep, also until another claim ends, without being killable.
 * Return: 0; -EBUSY if somebody else holds the disk or a partition exclusively, or the
 * caller a partition.
 */
int sloop_claim(struct block_device *bdev, blk_mode_t mode)
{
	if (sloop_holds_device(bdev, mode))
		return 0;
	return bd_prepare_to_claim(bdev_whole(bdev), sloop_claim, NULL);
}

/**
 * sloop_unclaim - let them come again
 * @bdev: as in sloop_claim()
 * @mode: likewise
 */
void sloop_unclaim(struct block_device *bdev, blk_mode_t mode)
{
	if (!sloop_holds_device(bdev, mode))
		bd_abort_claiming(bdev_whole(bdev), sloop_claim);
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

/**
 * struct sloop_binding - what a bind is about
 * @config: from userspace
 * @file: of its descriptor
 * @mode: how the caller has the device open
 * @backing: the handle to be published, NULL if @err
 * @bsize: logical block size in bytes
 * @err: what is wrong with @file or @config; reported after what is wrong with the
 *	device
 */
struct sloop_binding {
	const struct loop_config *config;
	struct file		*file;
	blk_mode_t		mode;
	struct sloop_backing	*backing;
	unsigned int		bsize;
	int			err;
};

static int sloop_config_check(const struct loop_config *config)
{
	int err;

	if (config->info.lo_flags & ~LOOP_CONFIGURE_SETTABLE_FLAGS)
		return -EINVAL;
	err = sloop_info_check(&config->info);
	if (err)
		return err;
	if (config->block_size && (config->block_size < SECTOR_SIZE ||
				   !is_power_of_2(config->block_size)))
		return -EINVAL;
	return 0;
}

/*
 * All that needs the filesystem, which may take its time, or never answer: nothing
 * is held meanwhile.
 */
static int sloop_bind_prepare(struct sloop_device *dev, struct sloop_binding *b)
{
	const struct loop_info64 *info = &b->config->info;
	struct file *file = b->file;
	struct sloop_backing *backing;
	bool dio;

	b->err = sloop_check_file_type(file);
	if (!b->err)
		b->err = sloop_config_check(b->config);
	if (b->err)
		return 0;

	backing = sloop_backing_create(dev, file, info->lo_offset,
			info->lo_sizelimit,
			(info->lo_flags & LO_FLAGS_READ_ONLY) ||
			!(file->f_mode & FMODE_WRITE) ||
			!(b->mode & BLK_OPEN_WRITE));
	if (IS_ERR(backing))
		return PTR_ERR(backing);
	b->backing = backing;

	/*
	 * A direct I/O user gets the smallest block size that allows it, and
	 * buffered I/O if the one asked for does not.
	 */
	dio = (info->lo_flags & LO_FLAGS_DIRECT_IO) ||
	      (file->f_flags & O_DIRECT);
	b->bsize = b->config->block_size;
	if (!b->bsize)
		b->bsize = dio && is_power_of_2(backing->min_dio) ?
			backing->min_dio : SECTOR_SIZE;
	backing->dio = dio && sloop_backing_can_dio(backing, b->bsize);
	return backing->dio ? sloop_backing_write_back(dev, backing) : 0;
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
			     const struct sloop_binding *b)
{
	struct queue_limits lim;

	lim = queue_limits_start_update(dev->disk->queue);
	sloop_limits_of_backing(b->backing, &lim, b->bsize);
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

	dev->wb_err = 0;
	sloop_backing_publish(dev, backing);
	sloop_index_set_taken(dev);
	sloop_state_set(dev, SLOOP_BOUND);
	sloop_set_size(dev, sloop_backing_sectors(backing, backing->file_size));

	if (dev->flags & LO_FLAGS_PARTSCAN)
		clear_bit(GD_SUPPRESS_PART_SCAN, &dev->disk->state);
	dev_set_uevent_suppress(ddev, 0);
	kobject_uevent(&ddev->kobj, KOBJ_CHANGE);
}

static int sloop_bind_locked(struct sloop_device *dev,
			     const struct sloop_binding *b)
{
	int err = b->err;

	if (err)
		return err;
	err = sloop_lanes_start(dev);
	if (err)
		return err;
	if (!b->backing->read_only) {
		err = sloop_swap_start(dev);
		if (err)
			return err;
	}
	err = sloop_owner_create(dev);
	if (err)
		return err;

	err = sloop_bind_limits(dev, b);
	if (err)
		return err;
	/* Whoever reads a file of it has to wait for dev->lock. */
	err = sloop_sysfs_bind(dev);
	if (err) {
		sloop_limits_reset(dev);
		return err;
	}

	sloop_bind_commit(dev, b->backing, b->config);
	return 0;
}

/*
 * The device must not change under somebody's exclusive hold, be it on a partition.
 * Whoever holds the whole device is no longer in doubt; a partition does not do.
 */
static int sloop_bind_claimed(struct sloop_device *dev,
			      struct block_device *bdev,
			      const struct sloop_binding *b)
{
	bool partscan = false;
	int err;

	err = sloop_claim(bdev, b->mode);
	if (err)
		return err;

	err = sloop_bind_lock(dev, b->file);
	if (!err) {
		err = sloop_bind_locked(dev, b);
		partscan = !err && (dev->flags & LO_FLAGS_PARTSCAN);
		sloop_bind_unlock(dev, b->file);
	}

	if (partscan)
		sloop_scan_partitions(dev);
	sloop_unclaim(bdev, b->mode);
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
 * flags or a block size that will not do; -EOVERFLOW; -EINTR; -ENOMEM; an errno of
 * the filesystem.
 */
int sloop_bind(struct sloop_device *dev, blk_mode_t mode,
	       struct block_device *bdev, const struct loop_config *config)
{
	struct sloop_binding b = {
		.config	= config,
		.mode	= mode,
	};
	int err;

	b.file = fget(config->fd);
	if (!b.file)
		return -EBADF;

	err = sloop_check_file(b.file);
	if (err)
		goto out_fput;
	err = sloop_bind_wait(dev);
	if (err)
		goto out_fput;
	err = sloop_bind_prepare(dev, &b);
	if (err)
		goto out_backing;

	do {
		err = sloop_bind_wait(dev);
		if (!err)
			err = sloop_bind_claimed(dev, bdev, &b);
	} while (err > 0);

out_backing:
	if (err && b.backing)
		sloop_backing_put(b.backing);
out_fput:
	fput(b.file);
	return err;
}

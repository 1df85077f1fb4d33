// SPDX-License-Identifier: GPL-2.0-only
/* Ioctls of a device: permission and dispatch. */

#include <linux/blkdev.h>
#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/uaccess.h>

#include "device.h"

static int sloop_ioctl_configure(struct sloop_device *dev, blk_mode_t mode,
				 struct block_device *bdev, void __user *arg)
{
	struct loop_config config;

	if (copy_from_user(&config, arg, sizeof(config)))
		return -EFAULT;
	return sloop_bind(dev, mode, bdev, &config);
}

static int sloop_ioctl_set_fd(struct sloop_device *dev, blk_mode_t mode,
			      struct block_device *bdev, unsigned int fd)
{
	struct loop_config config = { .fd = fd };

	return sloop_bind(dev, mode, bdev, &config);
}

static bool sloop_may_change(blk_mode_t mode)
{
	return (mode & BLK_OPEN_WRITE) || capable(CAP_SYS_ADMIN);
}

static int sloop_do_ioctl(struct block_device *bdev, blk_mode_t mode,
			  unsigned int cmd, unsigned long arg, bool compat)
{
	struct sloop_device *dev = bdev->bd_disk->private_data;

	switch (cmd) {
	case LOOP_SET_FD:
		return sloop_ioctl_set_fd(dev, mode, bdev, arg);
	case LOOP_CONFIGURE:
		return sloop_ioctl_configure(dev, mode, bdev,
					     (void __user *)arg);
	case LOOP_CHANGE_FD:
		return sloop_change_fd(dev, arg);
	case LOOP_CLR_FD:
		return sloop_clr_fd(dev);
	case LOOP_GET_STATUS:
	case LOOP_GET_STATUS64:
		return sloop_ioctl_get_status(dev, cmd, arg, compat);
	}

	if (!sloop_may_change(mode)) {
		switch (cmd) {
		case LOOP_SET_STATUS:
		case LOOP_SET_STATUS64:
		case LOOP_SET_CAPACITY:
		case LOOP_SET_DIRECT_IO:
		case LOOP_SET_BLOCK_SIZE:
			return -EPERM;
		}
	}

	switch (cmd) {
	case LOOP_SET_STATUS:
	case LOOP_SET_STATUS64:
		return sloop_ioctl_set_status(dev, cmd, arg, compat);
	case LOOP_SET_CAPACITY:
		return sloop_set_capacity(dev);
	case LOOP_SET_DIRECT_IO:
		return sloop_set_direct_io(dev, arg);
	case LOOP_SET_BLOCK_SIZE:
		return sloop_set_block_size(dev, mode, bdev, arg);
	default:
		return -EINVAL;
	}
}

/**
 * sloop_ioctl - ioctl of a device (uapi/linux/loop.h)
 * @bdev: the disk or a partition
 * @mode: how it was opened
 * @cmd: LOOP_*
 * @arg: as the command wants it
 *
 * Return: 0 or what the command gives; -EPERM for a change without write access
 * or CAP_SYS_ADMIN; -EINVAL for an unknown command.
 */
int sloop_ioctl(struct block_device *bdev, blk_mode_t mode, unsigned int cmd,
		unsigned long arg)
{
	return sloop_do_ioctl(bdev, mode, cmd, arg, false);
}

/**
 * sloop_compat_ioctl - the same for a 32-bit task
 * @bdev: the disk or a partition
 * @mode: how it was opened
 * @cmd: LOOP_*
 * @arg: as the command wants it, an address in 32 bits
 *
 * Return: as sloop_ioctl(), but -ENOIOCTLCMD (-ENOTTY for the task) for an
 * unknown command.
 */
int sloop_compat_ioctl(struct block_device *bdev, blk_mode_t mode,
		       unsigned int cmd, unsigned long arg)
{
#ifdef CONFIG_COMPAT
	switch (cmd) {
	case LOOP_CONFIGURE:
	case LOOP_SET_STATUS:
	case LOOP_GET_STATUS:
	case LOOP_SET_STATUS64:
	case LOOP_GET_STATUS64:
		arg = (unsigned long)compat_ptr(arg);
		break;
	case LOOP_SET_FD:
	case LOOP_CHANGE_FD:
	case LOOP_CLR_FD:
	case LOOP_SET_CAPACITY:
	case LOOP_SET_DIRECT_IO:
	case LOOP_SET_BLOCK_SIZE:
		break;
	default:
		return -ENOIOCTLCMD;
	}
	return sloop_do_ioctl(bdev, mode, cmd, arg, true);
#else
	return -ENOIOCTLCMD;
#endif
}

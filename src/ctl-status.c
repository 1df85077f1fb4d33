// SPDX-License-Identifier: GPL-2.0-only
/*
 * The status of a device in its three shapes: loop_info64, the older loop_info,
 * and the loop_info of a 32-bit task.
 */

#include <linux/blkdev.h>
#include <linux/compat.h>
#include <linux/uaccess.h>

#include "device.h"

#ifdef CONFIG_COMPAT
/* struct loop_info of uapi/linux/loop.h as a 32-bit compiler lays it out. */
struct sloop_compat_info {
	compat_int_t	lo_number;
	compat_dev_t	lo_device;
	compat_ulong_t	lo_inode;
	compat_dev_t	lo_rdevice;
	compat_int_t	lo_offset;
	compat_int_t	lo_encrypt_type;
	compat_int_t	lo_encrypt_key_size;
	compat_int_t	lo_flags;
	char		lo_name[LO_NAME_SIZE];
	unsigned char	lo_encrypt_key[LO_KEY_SIZE];
	compat_ulong_t	lo_init[2];
	char		reserved[4];
};
#endif

/*
 * The older shapes have no size limit, and what they say of encryption has always
 * been ignored. A value that does not fit is an error to the reader.
 */
#define SLOOP_INFO_FROM_OLD(info64, old) do {				\
	memset(info64, 0, sizeof(*(info64)));				\
	(info64)->lo_offset = (old)->lo_offset;				\
	(info64)->lo_flags = (old)->lo_flags;				\
	memcpy((info64)->lo_file_name, (old)->lo_name, LO_NAME_SIZE);	\
} while (0)

#define SLOOP_INFO_TO_OLD(old, info64) ({				\
	memset(old, 0, sizeof(*(old)));					\
	(old)->lo_number = (info64)->lo_number;				\
	(old)->lo_device = (info64)->lo_device;				\
	(old)->lo_inode = (info64)->lo_inode;				\
	(old)->lo_rdevice = (info64)->lo_rdevice;			\
	(old)->lo_offset = (info64)->lo_offset;				\
	(old)->lo_flags = (info64)->lo_flags;				\
	memcpy((old)->lo_name, (info64)->lo_file_name, LO_NAME_SIZE);	\
	((old)->lo_device == (info64)->lo_device &&			\
	 (old)->lo_inode == (info64)->lo_inode &&			\
	 (old)->lo_rdevice == (info64)->lo_rdevice &&			\
	 (old)->lo_offset == (info64)->lo_offset) ? 0 : -EOVERFLOW;	\
})

static int sloop_info_from_user(struct loop_info64 *info64, unsigned int cmd,
				unsigned long arg, bool compat)
{
	void __user *user = (void __user *)arg;

	if (cmd == LOOP_SET_STATUS64)
		return copy_from_user(info64, user, sizeof(*info64)) ?
		       -EFAULT : 0;
#ifdef CONFIG_COMPAT
	if (compat) {
		struct sloop_compat_info info;

		if (copy_from_user(&info, user, sizeof(info)))
			return -EFAULT;
		SLOOP_INFO_FROM_OLD(info64, &info);
		return 0;
	}
#endif
	{
		struct loop_info info;

		if (copy_from_user(&info, user, sizeof(info)))
			return -EFAULT;
		SLOOP_INFO_FROM_OLD(info64, &info);
		return 0;
	}
}

static int sloop_info_to_user(const struct loop_info64 *info64,
			      unsigned int cmd, unsigned long arg, bool compat)
{
	void __user *user = (void __user *)arg;
	int err;

	if (cmd == LOOP_GET_STATUS64)
		return copy_to_user(user, info64, sizeof(*info64)) ?
		       -EFAULT : 0;
#ifdef CONFIG_COMPAT
	if (compat) {
		struct sloop_compat_info info;

		err = SLOOP_INFO_TO_OLD(&info, info64);
		if (!err && copy_to_user(user, &info, sizeof(info)))
			err = -EFAULT;
		return err;
	}
#endif
	{
		struct loop_info info;

		err = SLOOP_INFO_TO_OLD(&info, info64);
		if (!err && copy_to_user(user, &info, sizeof(info)))
			err = -EFAULT;
		return err;
	}
}

/* The file is not asked: whoever wants to know what there is does not wait for it. */
static int sloop_get_status(struct sloop_device *dev, struct loop_info64 *info)
{
	const struct sloop_backing *backing;
	int err;

	err = mutex_lock_killable(&dev->lock);
	if (err)
		return err;
	if (dev->state != SLOOP_BOUND) {
		mutex_unlock(&dev->lock);
		return -ENXIO;
	}

	backing = sloop_backing_current(dev);
	memset(info, 0, sizeof(*info));
	info->lo_device = huge_encode_dev(backing->dev);
	info->lo_inode = backing->ino;
	info->lo_rdevice = huge_encode_dev(backing->rdev);
	info->lo_number = dev->number;
	info->lo_offset = backing->offset;
	info->lo_sizelimit = backing->sizelimit;
	info->lo_flags = dev->flags;
	if (backing->read_only)
		info->lo_flags |= LO_FLAGS_READ_ONLY;
	if (backing->dio)
		info->lo_flags |= LO_FLAGS_DIRECT_IO;
	memcpy(info->lo_file_name, dev->file_name, LO_NAME_SIZE);
	mutex_unlock(&dev->lock);
	return 0;
}

/**
 * sloop_ioctl_set_status - LOOP_SET_STATUS and LOOP_SET_STATUS64
 * @dev: the device
 * @cmd: which of the two
 * @arg: address in the caller's memory
 * @compat: the caller is a 32-bit task
 *
 * Return: -EFAULT, or what sloop_set_status() gives.
 */
int sloop_ioctl_set_status(struct sloop_device *dev, unsigned int cmd,
			   unsigned long arg, bool compat)
{
	struct loop_info64 info64;
	int err;

	err = sloop_info_from_user(&info64, cmd, arg, compat);
	return err ?: sloop_set_status(dev, &info64);
}

/**
 * sloop_ioctl_get_status - LOOP_GET_STATUS and LOOP_GET_STATUS64
 * @dev: the device
 * @cmd: which of the two
 * @arg: address in the caller's memory
 * @compat: the caller is a 32-bit task
 *
 * Return: 0; -EINVAL without an address; -ENXIO; -EOVERFLOW if a value does not
 * fit into the older structure; -EFAULT; -EINTR.
 */
int sloop_ioctl_get_status(struct sloop_device *dev, unsigned int cmd,
			   unsigned long arg, bool compat)
{
	struct loop_info64 info64;
	int err;

	if (!arg)
		return -EINVAL;
	err = sloop_get_status(dev, &info64);
	return err ?: sloop_info_to_user(&info64, cmd, arg, compat);
}

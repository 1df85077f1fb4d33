// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which files may back a device: regular files and block devices, unless the
 * device would end up below itself, through whichever loop driver.
 */

#include <linux/file.h>
#include <linux/magic.h>
#include <linux/major.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "device.h"

/* Serializes those who could make a cycle of devices at the same time. */
static DEFINE_MUTEX(sloop_chain_mutex);

/* Loop devices on loop devices: nobody stacks them deeper. */
#define SLOOP_CHAIN_MAX	32

/*
 * Regular files only by their looks: what is read is made up at that moment, and
 * what is written is a command. One to /sys/power/resume opens block devices.
 * Guards against mistakes: an overlay above such a filesystem hides it.
 */
static bool sloop_is_pseudo(const struct inode *inode)
{
	switch (inode->i_sb->s_magic) {
	case PROC_SUPER_MAGIC:
	case SYSFS_MAGIC:
	case CONFIGFS_MAGIC:
	case RDTGROUP_SUPER_MAGIC:
	case DEBUGFS_MAGIC:
	case TRACEFS_MAGIC:
	case SECURITYFS_MAGIC:
	case SELINUX_MAGIC:
	case SMACK_MAGIC:
	case CGROUP_SUPER_MAGIC:
	case CGROUP2_SUPER_MAGIC:
	case BPF_FS_MAGIC:
	case BINFMTFS_MAGIC:
	case EFIVARFS_MAGIC:
	case NSFS_MAGIC:
		return true;
	default:
		return false;
	}
}

/**
 * sloop_check_file - can a file back a device at all?
 * @file: the file
 *
 * Return: 0 or -EINVAL.
 */
int sloop_check_file(struct file *file)
{
	if (sloop_is_pseudo(file_inode(file)))
		return -EINVAL;
	if (!file->f_op->read_iter)
		return -EINVAL;
	if ((file->f_mode & FMODE_WRITE) && !file->f_op->write_iter)
		return -EINVAL;
	return 0;
}

/*
 * Another loop driver tells what it stands on through its own ioctl only, which
 * writes to user memory: a page is mapped for the length of the call.
 */
static int sloop_foreign_backing(struct block_device *bdev, dev_t *rdev)
{
	const struct block_device_operations *ops = bdev->bd_disk->fops;
	struct loop_info64 *info;
	unsigned long addr;
	int err;

	if (!ops->ioctl || !current->mm)
		return -EINVAL;

	info = kmalloc(sizeof(*info), GFP_KERNEL);
	if (!info)
		return -ENOMEM;

	addr = vm_mmap(NULL, 0, PAGE_ALIGN(sizeof(*info)),
		       PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	if (IS_ERR_VALUE(addr)) {
		err = addr;
		goto out_free;
	}

	err = ops->ioctl(bdev, BLK_OPEN_READ, LOOP_GET_STATUS64, addr);
	if (!err && copy_from_user(info, (void __user *)addr, sizeof(*info)))
		err = -EFAULT;
	if (!err)
		*rdev = huge_decode_dev(info->lo_rdevice);
	vm_munmap(addr, PAGE_ALIGN(sizeof(*info)));
out_free:
	kfree(info);
	return err == -ENXIO ? -EINVAL : err;
}

static int sloop_walk_chain(struct sloop_device *dev, struct block_device *bdev,
			    unsigned int depth);

static int sloop_walk_own(struct sloop_device *dev, struct sloop_device *below,
			  unsigned int depth)
{
	struct sloop_backing *backing;
	struct inode *inode;
	int err = 0;

	/* Whoever has it open is still served while it is detached: no one new. */
	if (sloop_state(below) != SLOOP_BOUND)
		return -EINVAL;
	backing = sloop_backing_get(below);
	if (!backing)
		return -EINVAL;
	inode = backing->file->f_mapping->host;
	if (S_ISBLK(inode->i_mode))
		err = sloop_walk_chain(dev, I_BDEV(inode), depth + 1);
	sloop_backing_put(backing);
	return err;
}

/* What another driver's device stands on is known by its number alone. */
static int sloop_walk_foreign(struct sloop_device *dev,
			      struct block_device *bdev, unsigned int depth)
{
	struct compat_bdev below;
	dev_t rdev;
	int err;

	err = sloop_foreign_backing(bdev, &rdev);
	if (err || !rdev)
		return err;
	err = compat_bdev_open(&below, rdev);
	if (err)
		return err == -ENXIO ? -EINVAL : err;
	err = sloop_walk_chain(dev, below.bdev, depth + 1);
	compat_bdev_close(&below);
	return err;
}

static int sloop_walk_chain(struct sloop_device *dev, struct block_device *bdev,
			    unsigned int depth)
{
	struct gendisk *disk = bdev->bd_disk;

	if (disk == dev->disk || depth == SLOOP_CHAIN_MAX)
		return -EBADF;
	if (sloop_is_own_disk(disk))
		return sloop_walk_own(dev, disk->private_data, depth);
	if (disk->major == LOOP_MAJOR)
		return sloop_walk_foreign(dev, bdev, depth);
	return 0;
}

static int sloop_check_chain(struct sloop_device *dev, struct file *file)
{
	struct inode *inode = file->f_mapping->host;

	if (S_ISREG(inode->i_mode))
		return 0;
	if (!S_ISBLK(inode->i_mode))
		return -EINVAL;
	lockdep_assert_held(&sloop_chain_mutex);
	return sloop_walk_chain(dev, I_BDEV(inode), 0);
}

/**
 * sloop_chain_lock - would a file put a device below itself? Keep others from doing so
 * @dev: the device that is to be backed by @file
 * @file: the file
 *
 * Context: may sleep; no lock of the driver held, as devices below may have to be
 * opened.
 * Return: 0, then sloop_chain_unlock() has to follow; -EBADF if the chain of loop
 * devices below @file leads back to @dev, or is too long; -EINVAL if a device in it is
 * unbound or being detached, or @file is neither a regular file nor a block device;
 * -EINTR; an errno of opening a device.
 */
int sloop_chain_lock(struct sloop_device *dev, struct file *file)
{
	bool stacked = S_ISBLK(file->f_mapping->host->i_mode);
	int err = 0;

	if (stacked)
		err = mutex_lock_killable(&sloop_chain_mutex);
	if (err)
		return err;
	err = sloop_check_chain(dev, file);
	if (err && stacked)
		mutex_unlock(&sloop_chain_mutex);
	return err;
}

/**
 * sloop_chain_unlock - the device is backed by the file, or will not be
 * @file: as in sloop_chain_lock()
 */
void sloop_chain_unlock(struct file *file)
{
	if (S_ISBLK(file->f_mapping->host->i_mode))
		mutex_unlock(&sloop_chain_mutex);
}

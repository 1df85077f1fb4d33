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
#include <linux/spinlock.h>
#include <linux/uaccess.h>

#include "device.h"

/* Serializes those who could make a cycle of devices at the same time. */
static DEFINE_MUTEX(sloop_chain_mutex);

/* Guards sloop_device::next_file, for whoever does not hold the mutex. */
static DEFINE_SPINLOCK(sloop_chain_next_lock);

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

/**
 * sloop_check_file_type - is it a file that a device can stand on?
 * @file: the file
 *
 * Return: 0, or -EINVAL if @file is neither a regular file nor a block device.
 */
int sloop_check_file_type(const struct file *file)
{
	umode_t mode = file->f_mapping->host->i_mode;

	return S_ISREG(mode) || S_ISBLK(mode) ? 0 : -EINVAL;
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

static int sloop_walk_file(struct sloop_device *dev, struct file *file,
			   unsigned int depth)
{
	struct inode *inode = file->f_mapping->host;

	if (!S_ISBLK(inode->i_mode))
		return 0;
	return sloop_walk_chain(dev, I_BDEV(inode), depth + 1);
}

/* The file that a change is about to put below a device. */
static struct file *sloop_chain_next(struct sloop_device *dev)
{
	struct file *file;

	spin_lock(&sloop_chain_next_lock);
	file = dev->next_file;
	if (file)
		get_file(file);
	spin_unlock(&sloop_chain_next_lock);
	return file;
}

static int sloop_walk_own(struct sloop_device *dev, struct sloop_device *below,
			  unsigned int depth)
{
	struct sloop_backing *backing;
	struct file *next;
	int err;

	/* Whoever has it open is still served while it is detached: no one new. */
	if (sloop_state(below) != SLOOP_BOUND)
		return -EINVAL;
	/* In this order: what is next now is not missed if it has become current. */
	next = sloop_chain_next(below);
	backing = sloop_backing_get(below);
	err = backing ? sloop_walk_file(dev, backing->file, depth) : -EINVAL;
	if (!err && next)
		err = sloop_walk_file(dev, next, depth);
	if (next)
		fput(next);
	if (backing)
		sloop_backing_put(backing);
	return err;
}

/*
 * What another driver's device stands on is known by its number alone, and that has
 * been in memory where another thread of the caller may have put a number of its
 * choice. So no device is opened that could not be a link of the chain: a loop device,
 * or a partition, which has the major number of all partitions.
 */
static bool sloop_may_be_chained(dev_t rdev)
{
	unsigned int major = MAJOR(rdev);

	return major == LOOP_MAJOR || major == BLOCK_EXT_MAJOR ||
		major == sloop_identity.major;
}

static int sloop_walk_foreign(struct sloop_device *dev,
			      struct block_device *bdev, unsigned int depth)
{
	struct compat_bdev below;
	dev_t rdev;
	int err;

	err = sloop_foreign_backing(bdev, &rdev);
	if (err || !sloop_may_be_chained(rdev))
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

/* Only a file that is a loop device can close a circle, or lengthen a chain. */
static bool sloop_is_chained(const struct file *file)
{
	struct inode *inode = file->f_mapping->host;
	const struct gendisk *disk;

	if (!S_ISBLK(inode->i_mode))
		return false;
	disk = I_BDEV(inode)->bd_disk;
	return sloop_is_own_disk(disk) || disk->major == LOOP_MAJOR;
}

/**
 * sloop_chain_lock - would a file put a device below itself? Keep others from doing so
 * @dev: the device that is to be backed by @file
 * @file: a regular file or a block device
 *
 * Those who wait for this wait for each other only: it is held while devices are
 * looked at, and until the file is published, but not while the file is waited for.
 *
 * Context: may sleep; no lock of the driver held, as devices below may have to be
 * opened.
 * Return: 0, then sloop_chain_unlock() has to follow; -EBADF if the chain of loop
 * devices below @file leads back to @dev, or is too long; -EINVAL if a device in it is
 * unbound or being detached; -EINTR; an errno of opening a device.
 */
int sloop_chain_lock(struct sloop_device *dev, struct file *file)
{
	int err;

	if (!sloop_is_chained(file))
		return 0;
	err = mutex_lock_killable(&sloop_chain_mutex);
	if (err)
		return err;
	err = sloop_walk_chain(dev, I_BDEV(file->f_mapping->host), 0);
	if (err)
		mutex_unlock(&sloop_chain_mutex);
	return err;
}

/**
 * sloop_chain_unlock - the device is backed by the file, or will not be
 * @file: as in sloop_chain_lock()
 */
void sloop_chain_unlock(struct file *file)
{
	if (sloop_is_chained(file))
		mutex_unlock(&sloop_chain_mutex);
}

static void sloop_chain_set_next(struct sloop_device *dev, struct file *file)
{
	spin_lock(&sloop_chain_next_lock);
	dev->next_file = file;
	spin_unlock(&sloop_chain_next_lock);
}

/**
 * sloop_chain_announce - a file is going to be put below a bound device
 * @dev: the device; the caller is the only one to do this
 * @file: a regular file or a block device, which the caller has a reference on
 *
 * As sloop_chain_lock(), for a change that has to wait for I/O: until
 * sloop_chain_withdraw(), whoever looks for a circle finds this file too.
 *
 * Context: as sloop_chain_lock().
 * Return: 0, then sloop_chain_withdraw() has to follow; an errno as there.
 */
int sloop_chain_announce(struct sloop_device *dev, struct file *file)
{
	int err;

	err = sloop_chain_lock(dev, file);
	if (err)
		return err;
	sloop_chain_set_next(dev, file);
	sloop_chain_unlock(file);
	return 0;
}

/**
 * sloop_chain_withdraw - the file is below the device, or will not be
 * @dev: the device
 */
void sloop_chain_withdraw(struct sloop_device *dev)
{
	sloop_chain_set_next(dev, NULL);
}

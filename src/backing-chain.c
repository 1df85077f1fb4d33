// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which files may back a device: regular files and block devices, unless the
 * device would end up below itself, through whichever loop driver.
 */

#include <linux/file.h>
#include <linux/major.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "device.h"

/* No chain is deeper than there are minors; a longer walk is a cycle. */
#define SLOOP_CHAIN_MAX	256

/**
 * sloop_check_file - can a file back a device at all?
 * @file: the file
 *
 * Return: 0 or -EINVAL.
 */
int sloop_check_file(struct file *file)
{
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

/*
 * One step down through another driver. What that one stands on is known by
 * number alone, and the walk goes on if the number is that of one of our disks.
 */
static int sloop_step_foreign(struct sloop_device *dev,
			      struct block_device *bdev, struct file **next)
{
	struct sloop_device *below;
	dev_t rdev;
	int err;

	err = sloop_foreign_backing(bdev, &rdev);
	if (err || !rdev)
		return err;

	below = sloop_dev_find(rdev, next);
	if (!below)
		return 0;
	if (below == dev)
		return -EBADF;
	return *next ? 0 : -EINVAL;
}

/**
 * sloop_check_chain - would @file put @dev below itself?
 * @dev: the device that is to be backed by @file
 * @file: the file
 *
 * Context: under sloop_chain_mutex if @file is a block device. May sleep.
 * Return: 0; -EBADF if the chain of loop devices below @file leads back to
 * @dev; -EINVAL if it ends in an unbound device, or @file is neither a regular
 * file nor a block device.
 */
int sloop_check_chain(struct sloop_device *dev, struct file *file)
{
	umode_t mode = file->f_mapping->host->i_mode;
	struct file *step = get_file(file);
	unsigned int depth;
	int err = 0;

	for (depth = 0; step && S_ISBLK(step->f_mapping->host->i_mode); depth++) {
		struct block_device *bdev = I_BDEV(step->f_mapping->host);
		struct gendisk *disk = bdev->bd_disk;
		struct file *next = NULL;

		lockdep_assert_held(&sloop_chain_mutex);
		if (disk == dev->disk || depth == SLOOP_CHAIN_MAX) {
			err = -EBADF;
		} else if (sloop_is_own_disk(disk)) {
			struct sloop_backing *below;

			below = sloop_backing_get(disk->private_data);
			if (below) {
				next = get_file(below->file);
				sloop_backing_put(below);
			} else {
				err = -EINVAL;
			}
		} else if (disk->major == LOOP_MAJOR) {
			err = sloop_step_foreign(dev, bdev, &next);
		}

		fput(step);
		step = next;
		if (err)
			break;
	}
	if (step)
		fput(step);

	if (!err && !S_ISREG(mode) && !S_ISBLK(mode))
		err = -EINVAL;
	return err;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is asked of a file when a device is put on it: its size, who it is, how direct
 * I/O to it has to look, whether holes can be punched.
 *
 * Each question may take for ever, if there is a server that does not answer. So they
 * are asked without any lock, and what the answers were is kept in the handle.
 *
 * They are asked with the credentials of the file: whoever binds it may be somebody
 * else than who opened it, and a FUSE filesystem answers its owner only.
 */

#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/stat.h>
#include <linux/statfs.h>

#include "device.h"

/*
 * A filesystem that refuses to tell is taken by what the inode says. Any other error
 * is one: a server that is gone, a file that is not there any more, a killed task.
 */
static bool sloop_stat_is_refused(int err)
{
	switch (err) {
	case -EACCES:
	case -EPERM:
	case -ENOSYS:
	case -EOPNOTSUPP:
		return true;
	default:
		return false;
	}
}

static int sloop_stat(struct file *file, struct kstat *stat, u32 mask)
{
	const struct cred *saved = override_creds(file->f_cred);
	int err;

	err = vfs_getattr_nosec(&file->f_path, stat, mask,
				AT_STATX_SYNC_AS_STAT);
	revert_creds(saved);
	if (!sloop_stat_is_refused(err))
		return err;

	*stat = (struct kstat) {
		.dev	= file_inode(file)->i_sb->s_dev,
		.ino	= file_inode(file)->i_ino,
		.rdev	= file_inode(file)->i_rdev,
		.size	= i_size_read(file_inode(file)),
	};
	return 0;
}

/* A node on some filesystem has no size: the device behind it does. */
static loff_t sloop_stat_size(const struct file *file, const struct kstat *stat)
{
	struct inode *inode = file->f_mapping->host;

	return S_ISBLK(inode->i_mode) ? i_size_read(inode) : stat->size;
}

/*
 * Where the filesystem does not tell (most do not), the device below does. A block
 * device tells vfs_getattr() since 6.13 only, and is asked directly.
 */
static void sloop_stat_dio(struct sloop_backing *backing,
			   const struct kstat *stat)
{
	struct inode *inode = backing->file->f_mapping->host;
	struct super_block *sb = inode->i_sb;

	if (S_ISBLK(inode->i_mode)) {
		backing->min_dio = bdev_logical_block_size(I_BDEV(inode));
		backing->dio_mem_mask = bdev_dma_alignment(I_BDEV(inode));
	} else if (stat->result_mask & STATX_DIOALIGN) {
		/* No alignment will do: statx(2). */
		backing->no_dio = !stat->dio_mem_align;
		backing->min_dio = max_t(u32, stat->dio_offset_align,
					 SECTOR_SIZE);
		backing->dio_mem_mask = min_t(unsigned long,
					      max(stat->dio_mem_align, 1U),
					      PAGE_SIZE) - 1;
	} else if (sb->s_bdev) {
		backing->min_dio = bdev_logical_block_size(sb->s_bdev);
		backing->dio_mem_mask = bdev_dma_alignment(sb->s_bdev);
	} else {
		backing->min_dio = SECTOR_SIZE;
		backing->dio_mem_mask = SECTOR_SIZE - 1;
	}
}

/*
 * Filesystems that have fallocate(), and do not punch holes, whatever the file. Of
 * others it may turn out with the first discard.
 */
static bool sloop_never_punches(const struct super_block *sb)
{
	return sb->s_magic == MSDOS_SUPER_MAGIC ||
		sb->s_magic == EXFAT_SUPER_MAGIC;
}

/*
 * Discard is a hole punched into a file. On a block device, fallocate() issues
 * write zeroes, so it is that capability that counts there.
 */
static int sloop_stat_discard(struct sloop_backing *backing)
{
	struct file *file = backing->file;
	struct inode *inode = file->f_mapping->host;
	const struct cred *saved;
	struct kstatfs statfs;
	int err;

	if (S_ISBLK(inode->i_mode)) {
		backing->discard_sectors =
			bdev_write_zeroes_sectors(I_BDEV(inode));
		backing->discard_granularity =
			max(bdev_discard_granularity(I_BDEV(inode)),
			    bdev_logical_block_size(I_BDEV(inode)));
		return 0;
	}
	if (!file->f_op->fallocate)
		return 0;

	saved = override_creds(file->f_cred);
	err = vfs_statfs(&file->f_path, &statfs);
	revert_creds(saved);
	if (err)
		return fatal_signal_pending(current) ? -EINTR : 0;
	backing->discard_sectors = UINT_MAX >> SECTOR_SHIFT;
	backing->discard_granularity = statfs.f_bsize;
	backing->no_discard = sloop_never_punches(inode->i_sb);
	return 0;
}

/*
 * Where a checksum is made of what is written, by the disk below (T10 PI) or by the
 * filesystem. btrfs has not always said so, and depends on it for direct I/O.
 */
static bool sloop_stat_is_stable(const struct file *file)
{
	struct address_space *mapping = file->f_mapping;
	struct super_block *sb = mapping->host->i_sb;

	if (S_ISBLK(mapping->host->i_mode))
		return bdev_stable_writes(I_BDEV(mapping->host));
	return compat_mapping_stable_writes(mapping) ||
		(sb->s_bdev && bdev_stable_writes(sb->s_bdev)) ||
		sb->s_magic == BTRFS_SUPER_MAGIC;
}

/**
 * sloop_backing_stat - ask all that a handle has to know of its file
 * @backing: the handle, not published yet; @file is set
 *
 * Context: may sleep, as long as the filesystem likes; without any lock.
 * Return: 0; an errno of the filesystem, -EINTR if the task has been killed.
 */
int sloop_backing_stat(struct sloop_backing *backing)
{
	struct file *file = backing->file;
	struct kstat stat;
	int err;

	err = sloop_stat(file, &stat,
			 STATX_SIZE | STATX_INO | STATX_DIOALIGN);
	if (err)
		return err;

	backing->file_size = sloop_stat_size(file, &stat);
	backing->dev = stat.dev;
	backing->rdev = stat.rdev;
	backing->ino = stat.ino;
	backing->stable_writes = sloop_stat_is_stable(file);
	sloop_stat_dio(backing, &stat);
	return sloop_stat_discard(backing);
}

/**
 * sloop_file_size - ask for the size of a file
 * @file: the file
 * @size: set to bytes
 *
 * The cached size would be stale on network filesystems.
 *
 * Context: as sloop_backing_stat().
 * Return: 0; an errno of the filesystem.
 */
int sloop_file_size(struct file *file, loff_t *size)
{
	struct kstat stat;
	int err = 0;

	if (!S_ISBLK(file->f_mapping->host->i_mode))
		err = sloop_stat(file, &stat, STATX_SIZE);
	if (!err)
		*size = sloop_stat_size(file, &stat);
	return err;
}

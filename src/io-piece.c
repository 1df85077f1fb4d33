// SPDX-License-Identifier: GPL-2.0-only
/*
 * A piece of swap on its way into the file: a copy, so that the request need not last
 * as long as the write does (io-swap.c).
 *
 * Where the file can, the pages go there directly, even if the device is buffered,
 * and the times of the file stay: that takes neither pages nor, if the blocks
 * have been written before, a transaction.
 */

#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/uio.h>

#include "device.h"

/* Tries without memory, so many ms apart, until that is an error: 30 s. */
#define SLOOP_PIECE_STARVED_MS	20
#define SLOOP_PIECE_STARVED	1500

static bool sloop_piece_add_page(struct sloop_piece *piece, gfp_t gfp)
{
	struct page *page = alloc_page(gfp);

	if (!page)
		return false;
	piece->bvec[piece->nr_pages++] = (struct bio_vec) {
		.bv_page = page,
		.bv_len = PAGE_SIZE,
	};
	return true;
}

/**
 * sloop_piece_init - get the one page that is always there
 * @piece: zeroed
 *
 * Context: process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int sloop_piece_init(struct sloop_piece *piece)
{
	return sloop_piece_add_page(piece, GFP_KERNEL) ? 0 : -ENOMEM;
}

/**
 * sloop_piece_grow - get the other pages, or some of them
 * @piece: the piece
 *
 * Out of the reserves, too: this is what memory is made with.
 *
 * Context: kernel thread, does not sleep.
 */
void sloop_piece_grow(struct sloop_piece *piece)
{
	unsigned int noreclaim = memalloc_noreclaim_save();

	while (piece->nr_pages < SLOOP_PIECE_PAGES)
		if (!sloop_piece_add_page(piece, GFP_NOIO | __GFP_NOWARN))
			break;
	memalloc_noreclaim_restore(noreclaim);
}

/**
 * sloop_piece_free - undo sloop_piece_init() and sloop_piece_grow()
 * @piece: the piece
 */
void sloop_piece_free(struct sloop_piece *piece)
{
	while (piece->nr_pages)
		__free_page(piece->bvec[--piece->nr_pages].bv_page);
}

/**
 * sloop_piece_copy - copy the next bytes of a write, as many as there are pages for
 * @piece: where to
 * @cmd: the write, which nobody may end meanwhile
 * @skip: how many bytes of it have been before
 *
 * Context: kernel thread, does not sleep.
 * Return: how many bytes.
 */
unsigned int sloop_piece_copy(struct sloop_piece *piece, struct sloop_cmd *cmd,
			      unsigned int skip)
{
	unsigned int room = piece->nr_pages * PAGE_SIZE, done = 0;
	struct request *rq = sloop_cmd_rq(cmd);
	struct req_iterator rq_iter;
	struct bio_vec segment, bv;

	rq_for_each_segment(segment, rq, rq_iter) {
		bv = segment;
		if (skip >= bv.bv_len) {
			skip -= bv.bv_len;
			continue;
		}
		bv.bv_offset += skip;
		bv.bv_len -= skip;
		skip = 0;
		while (bv.bv_len && done < room) {
			unsigned int at = done & ~PAGE_MASK;
			unsigned int n = min_t(unsigned int, bv.bv_len,
					       PAGE_SIZE - at);
			char *to = page_address(piece->bvec[done / PAGE_SIZE].bv_page);
			struct bio_vec part = bv;

			part.bv_len = n;
			memcpy_from_bvec(to + at, &part);
			bv.bv_offset += n;
			bv.bv_len -= n;
			done += n;
		}
		if (done == room)
			break;
	}
	return done;
}

/**
 * sloop_piece_check_file - if a file is not fit for swap, the log says so once
 * @dev: the device
 * @backing: the handle, referenced
 *
 * Holes, and blocks that have been reserved and never written, look alike to SEEK_HOLE.
 *
 * Context: kernel thread, sleeps, and may wait for the file as a write does.
 */
void sloop_piece_check_file(struct sloop_device *dev,
			    struct sloop_backing *backing)
{
	const char *name = dev->disk->disk_name;
	struct file *file = backing->file;
	loff_t hole, end;

	if (backing->swap_warned)
		return;
	backing->swap_warned = true;

	if (!sloop_backing_is_plain(backing)) {
		pr_warn("%s: swap on a file of %s, which may need memory to write it\n",
			name, file_inode(file)->i_sb->s_type->name);
		return;
	}
	if (!backing->isreg || backing->swap_file == file)
		return;

	end = i_size_read(file_inode(file));
	if (backing->sizelimit)
		end = min(end, backing->offset + backing->sizelimit);
	hole = vfs_llseek(backing->swap_file, backing->offset, SEEK_HOLE);
	if (hole >= 0 && hole < end)
		pr_warn("%s: swap on a file with blocks that have never been written, which takes memory; write it once\n",
			name);
}

static ssize_t sloop_piece_try(struct sloop_piece *piece, struct kiocb *iocb,
			       unsigned int skip, unsigned int bytes,
			       bool reserves, bool protect)
{
	struct file *file = iocb->ki_filp;
	unsigned int noreclaim = 0;
	struct iov_iter iter;
	ssize_t res;

	iov_iter_bvec(&iter, ITER_SOURCE, piece->bvec, piece->nr_pages,
		      skip + bytes);
	iov_iter_advance(&iter, skip);
	if (protect)
		file_start_write(file);
	if (reserves)
		noreclaim = memalloc_noreclaim_save();
	res = file->f_op->write_iter(iocb, &iter);
	if (reserves)
		memalloc_noreclaim_restore(noreclaim);
	if (protect)
		file_end_write(file);
	return res;
}

/*
 * After a direct write, does anything of the range lie in the page cache? The write has
 * thrown out what it could, but a folio that another write has dirtied stays, with what
 * it had read of its neighbourhood, and goes to the disk at some time.
 */
static bool sloop_piece_is_stale(const struct sloop_backing *backing, loff_t pos,
				 unsigned int bytes)
{
	struct address_space *mapping = backing->file->f_mapping;

	return !backing->dio &&
		filemap_range_has_page(mapping, pos, pos + bytes - 1);
}

/**
 * sloop_piece_write - put what has been copied into the file
 * @piece: the piece
 * @backing: the handle, referenced
 * @pos: first byte in the file
 * @bytes: how many
 * @ioprio: I/O priority of the write
 * @fua: it is to be durable
 *
 * Context: kernel thread, sleeps, for as long as the file likes.
 * Return: 0 or an errno of the filesystem.
 */
int sloop_piece_write(struct sloop_piece *piece, struct sloop_backing *backing,
		      loff_t pos, unsigned int bytes, unsigned short ioprio,
		      bool fua)
{
	struct file *file = backing->swap_file;
	unsigned int done = 0, starved = 0;
	bool dio = (file->f_mode & FMODE_CAN_ODIRECT) && !backing->swap_no_dio;
	ssize_t res;

	while (done < bytes) {
		struct kiocb iocb = {
			.ki_filp	= file,
			.ki_pos		= pos + done,
			.ki_ioprio	= ioprio,
			.ki_flags	= (dio ? IOCB_DIRECT : 0) |
					  (fua ? IOCB_DSYNC : 0),
		};
		/*
		 * Filesystems allocate with __GFP_NOFAIL, which may not be done
		 * with the reserves. Dirty pages would be written back on the way,
		 * which may not either.
		 */
		bool reserves = dio && !fua && !backing->isreg &&
			!filemap_range_needs_writeback(file->f_mapping,
						       pos + done,
						       pos + bytes - 1);

		res = sloop_piece_try(piece, &iocb, done, bytes - done,
				      reserves, backing->isreg);
		if (res > 0) {
			done += res;
			if (done == bytes && dio &&
			    sloop_piece_is_stale(backing, pos, bytes)) {
				/* Once more, through the page cache. */
				dio = false;
				done = 0;
			}
		} else if (res == -EINVAL && dio) {
			WRITE_ONCE(backing->swap_no_dio, true);
			dio = false;
		} else if (res == -ENOMEM && starved < SLOOP_PIECE_STARVED) {
			starved++;
			msleep(SLOOP_PIECE_STARVED_MS);
		} else {
			return res ?: -EIO;
		}
	}
	return 0;
}

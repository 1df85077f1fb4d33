/* SPDX-License-Identifier: GPL-2.0-only */
/* The backing handle, and the functions of the files backing*.c. */
#ifndef _SAFELOOP_BACKING_H
#define _SAFELOOP_BACKING_H

#include <linux/fs.h>
#include <linux/list.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/workqueue.h>

#include "compat/block.h"

struct sloop_device;

/* One hardware queue's share of the pins, on a cache line of its own. */
struct sloop_pins {
	atomic_t nr;
} ____cacheline_aligned_in_smp;

/**
 * struct sloop_backing - backing handle: all that a request needs of its file
 * @file: the backing file, a reference of the handle's own
 * @swap_file: @file opened again, so that writing swap does not change its times; or
 *	just another reference
 * @offset: first byte of the device within @file
 * @sizelimit: greatest size of the device in bytes, 0 for none
 * @file_size: size of @file in bytes, when it was last asked for
 * @dev: device number of the filesystem that @file is on
 * @rdev: device number of @file, if it is a block device
 * @ino: inode number of @file
 * @min_dio: smallest direct I/O in bytes, and its alignment within @file; not always
 *	a power of two
 * @dio_mem_mask: alignment mask of memory for direct I/O, in bytes
 * @discard_sectors: most sectors to be discarded in one go, 0 for none
 * @discard_granularity: bytes of which discards should consist
 * @read_only: writes are refused
 * @dio: requests are sent with IOCB_DIRECT; taken back, while the queue is frozen, after
 *	@no_dio
 * @nowait: @file may be tried with IOCB_NOWAIT
 * @isreg: @file is a regular file (its writes need freeze protection)
 * @stable_writes: data must not change while it is written to @file
 * @fsync_fua: IOCB_DSYNC cannot be relied on here, follow up with an fsync
 * @dio_worked: set once, when a request has moved bytes with IOCB_DIRECT
 * @no_dio: set at the start, if @file says that it cannot do direct I/O, or once, when
 *	it turns out so
 * @no_discard: set at the start, if that is known, or once, when @file turns out not to
 *	punch holes
 * @no_nowait: set once for reads or writes, when @file turns out not to do them with
 *	IOCB_NOWAIT
 * @refusals: tries in a row, of reads or writes, that would have blocked
 * @pause: reads or writes to come that are not tried, because many would have blocked
 * @swap_no_dio: set once, when @file turns out not to take swap with IOCB_DIRECT
 * @swap_warned: the swap thread has looked whether @file is fit for swap
 * @swap_begin: first sector of the area that has been written with swap, and not with
 *	data since
 * @swap_end: the sector after its last, 0 if there is none
 * @retired: set once; from then on no pin succeeds
 * @refs: references of the device and of short users that may sleep
 * @close_work: closes the file for a kernel thread
 * @rcu: the memory outlives a grace period, for sloop_backing_pin()
 * @gfp_node: in the list of backing-gfp.c, under its lock
 * @gfp_mapping: the mapping whose allocations are restricted
 * @gfp_saved: bits of the allocation mask that it had before
 * @nr_pins: number of elements of @pins
 * @pins: requests that use the handle, by hardware queue
 *
 * Immutable once published in sloop_device::backing, except for @file_size, which is
 * the control path's own, and for @dio, @dio_worked to @swap_end, @retired, @refs, @rcu,
 * @gfp_node and @pins.
 * A request pins it, and AIO completions hold that pin: nothing else leads a
 * request to a file.
 */
struct sloop_backing {
	struct file	*file;
	struct file	*swap_file;
	loff_t		offset;
	loff_t		sizelimit;
	loff_t		file_size;
	dev_t		dev;
	dev_t		rdev;
	u64		ino;
	unsigned int	min_dio;
	unsigned int	dio_mem_mask;
	unsigned int	discard_sectors;
	unsigned int	discard_granularity;
	bool		read_only;
	bool		dio;
	bool		nowait;
	bool		isreg;
	bool		stable_writes;
	bool		fsync_fua;

	bool		dio_worked;
	bool		no_dio;
	bool		no_discard;
	bool		no_nowait[2];
	int		refusals[2];
	int		pause[2];
	bool		swap_no_dio;
	bool		swap_warned;
	sector_t	swap_begin;
	sector_t	swap_end;
	bool		retired;
	refcount_t	refs;
	struct work_struct close_work;
	struct rcu_head	rcu;
	struct list_head gfp_node;
	struct address_space *gfp_mapping;
	gfp_t		gfp_saved;
	unsigned int	nr_pins;
	struct sloop_pins pins[];
};

/* Is direct I/O to be tried? */
static inline bool sloop_backing_is_direct(const struct sloop_backing *backing)
{
	return backing->dio && likely(!READ_ONCE(backing->no_dio));
}

/* backing.c */
struct sloop_backing *sloop_backing_create(struct sloop_device *dev,
		struct file *file, loff_t offset, loff_t sizelimit,
		bool read_only);
struct sloop_backing *sloop_backing_clone(struct sloop_device *dev,
		const struct sloop_backing *old);
void sloop_backing_put(struct sloop_backing *backing);
void sloop_backing_put_now(struct sloop_backing *backing);
struct sloop_backing *sloop_backing_get(struct sloop_device *dev);
struct sloop_backing *sloop_backing_current(struct sloop_device *dev);
struct sloop_backing *sloop_backing_publish(struct sloop_device *dev,
		struct sloop_backing *backing);
bool sloop_backing_pin(struct sloop_backing *backing, unsigned int lane);
void sloop_backing_unpin(struct sloop_backing *backing, unsigned int lane);
void sloop_backing_retire(struct sloop_backing *backing);
bool sloop_backing_pinned(const struct sloop_backing *backing);
bool sloop_backing_can_dio(const struct sloop_backing *backing,
			   unsigned int bsize);
bool sloop_backing_is_plain(const struct sloop_backing *backing);
sector_t sloop_backing_sectors(const struct sloop_backing *backing,
			       loff_t size);

/* backing-stat.c */
int sloop_backing_stat(struct sloop_backing *backing);
int sloop_file_size(struct file *file, loff_t *size);

/* backing-sync.c */
void sloop_note_write_error(struct sloop_device *dev, int err);
int sloop_backing_write_back(struct sloop_device *dev,
			     struct sloop_backing *backing);

/* backing-gfp.c */
void sloop_gfp_restrict(struct sloop_backing *backing);
void sloop_gfp_restore(struct sloop_backing *backing);

/* backing-chain.c */
int sloop_check_file(struct file *file);
int sloop_check_file_type(const struct file *file);
int sloop_chain_lock(struct sloop_device *dev, struct file *file);
void sloop_chain_unlock(struct file *file);
int sloop_chain_announce(struct sloop_device *dev, struct file *file);
void sloop_chain_withdraw(struct sloop_device *dev);

#endif /* _SAFELOOP_BACKING_H */

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The objects of the driver and the map of its functions, grouped by file.
 *
 * Lock order, outermost first:
 *
 *   dev->change_fd_lock one LOOP_CHANGE_FD of a device at a time
 *   claim		of the block device, sloop_claim()
 *   sloop_chain_mutex	a device is about to be backed by a loop device; the devices
 *			below it are opened to look at them
 *   disk->open_mutex	the block layer's; held in ->open() and ->release()
 *   dev->lock		what a device is: its state, flags, and which handle it has
 *   queue->limits_lock	queue limits, taken by queue_limits_start_update()
 *
 * Nothing that is ever held while waiting for I/O may be taken under open_mutex
 * (doc/design.md, "Detaching"); sloop_io_might_wait() has lockdep see to it.
 * dev->lock is held for a look or a change, and by nobody who waits for a file or for
 * requests. Whoever has frozen a queue takes it, and limits_lock, by trylock only
 * (dev-swap.c): what is held then may be what somebody else waits for.
 * sloop_index_mutex (the index of devices, but not its marks) is a leaf.
 */
#ifndef _SAFELOOP_DEVICE_H
#define _SAFELOOP_DEVICE_H

#include <linux/completion.h>
#include <linux/errseq.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/loop.h>
#include <linux/mempool.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "compat/block.h"

#include "backing.h"

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

/* Bio vectors that fit into a command; a larger request allocates an array. */
#define SLOOP_INLINE_BVECS	8

/**
 * enum sloop_state - state of a device
 * @SLOOP_UNBOUND: no backing file; a bind may begin
 * @SLOOP_BOUND: serves I/O from a backing file
 * @SLOOP_DRAINING: being detached: the I/O of present openers and stray
 *	requests is still served, a new open gets -ENXIO
 * @SLOOP_REMOVING: the disk is being deleted, or will be when the fence is down; a
 *	new open gets -ENXIO. Unbound again if the remover is killed before that.
 *
 * Written by sloop_state_set() alone.
 */
enum sloop_state {
	SLOOP_UNBOUND,
	SLOOP_BOUND,
	SLOOP_DRAINING,
	SLOOP_REMOVING,
};

/*
 * How many workers a device may have in the filesystem at once: for reads that block,
 * for what waits for the disk, for holes and zeroes, and for writes.
 */
#define SLOOP_READERS		32
#define SLOOP_SYNCERS		4
#define SLOOP_TRIMMERS		2
#define SLOOP_WRITERS		16

/**
 * struct sloop_owner - what finishes a stray detach
 * @dev: the device; when handed over, a reference on its disk is held
 * @file: the anonymous inode file; when handed over, its last reference is
 *	dropped, and its ->release() does the rest
 * @refs: the file's reference, and one of the work item
 * @backing: the handle that the device had, left for whoever closes its file: the
 *	closer that has waited, or the last user of this
 * @since: the last close, in jiffies
 * @done: the device is unbound, and @backing is set
 * @wait: where the closer waits for that
 */
struct sloop_owner {
	struct sloop_device	*dev;
	struct file		*file;
	refcount_t		refs;
	struct sloop_backing	*backing;
	unsigned long		since;
	bool			done;
	wait_queue_head_t	wait;
};

/**
 * struct sloop_lane - submission path of one hardware queue
 * @cmds: commands handed over by ->queue_rq(), newest first
 * @work: submits what has gathered, in order, in one go
 */
struct sloop_lane {
	struct llist_head	cmds;
	struct work_struct	work;
} ____cacheline_aligned_in_smp;

/**
 * struct sloop_range - some bytes of a file
 * @begin: the first
 * @end: the one after the last, 0 if there are none
 */
struct sloop_range {
	loff_t	begin;
	loff_t	end;
};

/**
 * struct sloop_dirty - what a worker has dirtied for cgroups with limited memory
 * @backing: the handle it was for, to be compared only
 * @now: since the last time that writing it back was started
 * @bytes: sum of the writes in @now
 * @last: what is being written back
 * @excess: what the cgroup had no room for
 */
struct sloop_dirty {
	const void		*backing;
	struct sloop_range	now;
	unsigned long		bytes;
	struct sloop_range	last;
	struct sloop_range	excess;
};

/**
 * struct sloop_worker - serves the commands of a crew, and may block
 * @work: queued when there are commands
 * @dev: the device
 * @crew: the crew
 * @idle_node: in sloop_crew::idle, while it is not @running
 * @running: it has looked for commands and found some
 * @dirty: its own
 */
struct sloop_worker {
	struct work_struct	work;
	struct sloop_device	*dev;
	struct sloop_crew	*crew;
	struct list_head	idle_node;
	bool			running;
	struct sloop_dirty	dirty;
};

/**
 * struct sloop_device - a loop device
 * @number: N of loopN
 * @disk: the disk; its reference count is that of this structure
 * @tag_set: one set of tags, shared by all hardware queues
 * @lanes: one for each hardware queue
 * @wq: runs lanes and workers; allocated by the first bind
 * @crews: the workers for what may block; likewise
 * @swap: what writes swap; allocated by the first bind that is not read-only
 * @bvec_pool: for vectors that cannot be allocated otherwise; likewise
 * @backing: the current handle; published and retired by the holder of the
 *	control path (@lock in %SLOOP_BOUND, the unbinder in %SLOOP_DRAINING)
 * @lock: serializes the control path: everything below
 * @state: read without @lock where a stale answer does no harm
 * @owner: there when the device is bound; made by a bind that finds none, kept
 *	until a stray detach hands it over, which takes it away in
 *	%SLOOP_DRAINING, without @lock
 * @flags: LO_FLAGS_AUTOCLEAR and LO_FLAGS_PARTSCAN of the present binding; the
 *	other flags are properties of the handle
 * @file_name: lo_file_name as given by userspace
 * @size_tickets: how often the file has been asked for its size
 * @size_used: number of the newest answer that has been used
 * @change_fd_lock: one LOOP_CHANGE_FD at a time
 * @next_file: what it is about to put below; see backing-chain.c
 * @visible: LOOP_CTL_REMOVE and LOOP_CTL_GET_FREE may find it; under
 *	sloop_index_mutex
 * @unbind_work: finishes a stray detach
 * @degrade_work: has the limits and the mode follow what the file turns out not to do
 * @drain_frozen: a work item has frozen the queue, and it is to drain
 * @drain_since: when it did, in jiffies
 * @fence_up: requests of the last binding may still be in the queue, and a bind
 *	has to wait
 * @fence_drained: they are not; only the limits are still to be reset
 * @fence_stuck: it takes long; the device is not given out
 * @fence_work: brings down the fence
 * @wb_err: errors of writing to the file that the next flush has to tell
 * @wb_err_time: when a request was told of the last of them, in nanoseconds
 * @late_io: requests that were refused because they came after the detach
 */
struct sloop_device {
	int			number;
	struct gendisk		*disk;
	struct blk_mq_tag_set	tag_set;
	struct sloop_lane	*lanes;
	struct workqueue_struct	*wq;
	struct sloop_crews	*crews;
	struct sloop_swap	*swap;
	mempool_t		*bvec_pool;
	struct sloop_backing __rcu *backing;

	struct mutex		lock;
	enum sloop_state	state;
	struct sloop_owner	*owner;
	unsigned int		flags;
	char			file_name[LO_NAME_SIZE];
	u64			size_tickets;
	u64			size_used;

	struct mutex		change_fd_lock;
	struct file		*next_file;
	bool			visible;

	struct delayed_work	unbind_work;
	struct delayed_work	degrade_work;
	bool			drain_frozen;
	unsigned long		drain_since;
	bool			fence_up;
	bool			fence_drained;
	bool			fence_stuck;
	struct delayed_work	fence_work;
	errseq_t		wb_err;
	u64			wb_err_time;
	atomic64_t		late_io;
};

/**
 * struct sloop_cmd - per-request data
 * @lane_node: in sloop_lane::cmds
 * @crew_node: in sloop_crew::cmds or sloop_swap::cmds, or in what was taken of those
 * @backing: the handle that this command has pinned
 * @lane: number of the hardware queue, which is also the index of its pin
 * @nowait: the try under way carries IOCB_NOWAIT
 * @direct: the last try carried IOCB_DIRECT
 * @write_started: freeze protection of the backing filesystem is held
 * @starved: tries that ended for lack of memory
 * @pooled: @bvec came from sloop_device::bvec_pool
 * @status: result for the submitter
 * @refs: of one try: the completion's and the submitter's
 * @res: result of one try, bytes or errno
 * @done: bytes that earlier tries have moved
 * @wb_since: errors of the device's syncs that this command does not have to tell
 * @mapping_since: likewise, of writing back the page cache of the file
 * @iocb: for read_iter and write_iter
 * @bvec: all vectors of the request, where one array is needed
 * @inline_bvec: used for @bvec if they fit
 *
 * Of 240 bytes, so that it has 512 with a request of 6.1 (272 bytes). A pointer more makes
 * that 576, and 128 of those are allocated in 80 KiB, not 64, for each device.
 */
struct sloop_cmd {
	union {
		struct llist_node	lane_node;
		struct list_head	crew_node;
	};
	struct sloop_backing	*backing;
	unsigned int		lane;
	bool			nowait;
	bool			direct;
	bool			write_started;
	bool			pooled;
	unsigned short		starved;
	blk_status_t		status;
	atomic_t		refs;
	int			res;
	unsigned int		done;
	errseq_t		wb_since;
	errseq_t		mapping_since;
	struct kiocb		iocb;
	struct bio_vec		*bvec;
	struct bio_vec		inline_bvec[SLOOP_INLINE_BVECS];
};

/* Under which names the driver appears; chosen once, at load. */
struct sloop_identity {
	char		*mode;
	const char	*disk_prefix;
	const char	*blkdev_name;
	int		major;		/* 0 until a dynamic one is given */
};

#define SLOOP_DEFAULT_QUEUE_DEPTH	128

/* globals.c */
extern struct sloop_identity sloop_identity;
extern struct workqueue_struct *sloop_ctl_wq;	/* for what waits for nobody */
extern struct workqueue_struct *sloop_slow_wq;	/* for what may wait for a file */
extern int sloop_part_shift;
extern int sloop_hw_queue_depth;

/* state.c */
void sloop_state_set(struct sloop_device *dev, enum sloop_state state);
static inline enum sloop_state sloop_state(const struct sloop_device *dev)
{
	return READ_ONCE(dev->state);
}

/* stats.c: counters for the whole module, in debugfs */
enum sloop_stat {
	SLOOP_STAT_BACKINGS_CREATED,
	SLOOP_STAT_BACKINGS_DESTROYED,
	SLOOP_STAT_DETACH_FAST,
	SLOOP_STAT_DETACH_STRAY,
	SLOOP_STAT_LATE_IO,
	SLOOP_STAT_SWAP_GIVEN_BACK,
	SLOOP_NR_STATS,
};
void sloop_stat_inc(enum sloop_stat stat);
void sloop_stats_init(void);
void sloop_stats_exit(void);

/* dev-index.c */
int sloop_index_alloc(struct sloop_device *dev, int number);
void sloop_index_free(struct sloop_device *dev);
void sloop_index_show(struct sloop_device *dev);
struct sloop_device *sloop_index_hide(int number);
int sloop_index_find_unbound(struct sloop_device **fenced);
void sloop_index_set_taken(struct sloop_device *dev);
void sloop_index_set_free(struct sloop_device *dev);
void sloop_index_drain(void (*remove)(struct sloop_device *dev));

/* dev-add.c */
int sloop_dev_add(int number);
int sloop_dev_ctl_remove(int number);
int sloop_dev_get_free(void);
void sloop_dev_remove_all(void);

/* dev-open.c */
extern const struct block_device_operations sloop_bdops;
/* Is a disk one of this driver's? */
static inline bool sloop_is_own_disk(const struct gendisk *disk)
{
	return disk->fops == &sloop_bdops;
}
void sloop_dev_count_inc(void);
void sloop_dev_count_dec(void);
void sloop_dev_count_wait(void);

/* dev-bind.c */
int sloop_bind(struct sloop_device *dev, blk_mode_t mode,
	       struct block_device *bdev, const struct loop_config *config);
int sloop_info_check(const struct loop_info64 *info);
int sloop_claim(struct block_device *bdev, blk_mode_t mode);
void sloop_unclaim(struct block_device *bdev, blk_mode_t mode);
void sloop_set_size(struct sloop_device *dev, sector_t sectors);
void sloop_scan_partitions(struct sloop_device *dev);

/* dev-swap.c */
int sloop_swap_begin(struct sloop_device *dev, const struct sloop_backing *old,
		     struct queue_limits *lim);
int sloop_swap_commit(struct sloop_device *dev, struct sloop_backing *backing,
		      struct queue_limits *lim);
void sloop_degrade_workfn(struct work_struct *work);

/* dev-change.c */
int sloop_change_fd(struct sloop_device *dev, unsigned int fd);
int sloop_set_status(struct sloop_device *dev, const struct loop_info64 *info);
int sloop_set_capacity(struct sloop_device *dev);
int sloop_set_direct_io(struct sloop_device *dev, bool dio);
int sloop_set_block_size(struct sloop_device *dev, blk_mode_t mode,
			 struct block_device *bdev, unsigned long bsize);

/* dev-unbind.c */
int sloop_clr_fd(struct sloop_device *dev);
void sloop_last_close(struct sloop_device *dev);
int sloop_owner_create(struct sloop_device *dev);
void sloop_owner_destroy(struct sloop_device *dev);
void sloop_unbind_workfn(struct work_struct *work);

/* dev-fence.c */
void sloop_queue_drain_init(struct sloop_device *dev);
bool sloop_queue_drain(struct sloop_device *dev);
unsigned long sloop_queue_drain_pause(const struct sloop_device *dev);
void sloop_queue_drain_end(struct sloop_device *dev);
void sloop_fence_raise(struct sloop_device *dev);
int sloop_fence_wait(struct sloop_device *dev);
int sloop_fence_wait_a_little(struct sloop_device *dev);
void sloop_fence_end(struct sloop_device *dev);
void sloop_fence_workfn(struct work_struct *work);

/* limits.c */
void sloop_limits_of_backing(const struct sloop_backing *backing,
			     struct queue_limits *lim, unsigned int bsize);
void sloop_limits_of_dio(const struct sloop_backing *backing,
			 struct queue_limits *lim);
void sloop_limits_reset(struct sloop_device *dev);
bool sloop_limits_try_reset(struct sloop_device *dev);

static inline struct request *sloop_cmd_rq(const struct sloop_cmd *cmd)
{
	return blk_mq_rq_from_pdu((void *)cmd);
}

static inline struct sloop_device *sloop_cmd_dev(const struct sloop_cmd *cmd)
{
	return sloop_cmd_rq(cmd)->q->queuedata;
}

/* io-submit.c */
extern const struct blk_mq_ops sloop_mq_ops;
bool sloop_dev_busy(struct sloop_device *dev);

/* io-crew.c */
int sloop_crews_alloc(struct sloop_device *dev, work_func_t func);
unsigned int sloop_crews_workers(void);
void sloop_crew_add(struct sloop_cmd *cmd);
unsigned int sloop_crew_take(struct sloop_device *dev,
			     struct sloop_worker *worker,
			     struct list_head *batch, unsigned int served);

/* io-scope.c */
void sloop_io_might_open(struct sloop_device *dev);
void sloop_io_might_wait(void);
unsigned int sloop_io_scope_enter(void);
void sloop_io_scope_leave(unsigned int saved);

/* io-end.c */
void sloop_cmd_to_worker(struct sloop_cmd *cmd, long res);
void sloop_cmd_end(struct sloop_cmd *cmd, blk_status_t status);
void sloop_cmd_degrade(struct sloop_cmd *cmd);
void sloop_complete_rq(struct request *rq);

/* io-sync.c */
void sloop_cmd_sample_errors(struct sloop_cmd *cmd);
int sloop_cmd_flush(struct sloop_cmd *cmd);
int sloop_cmd_fsync(struct sloop_cmd *cmd, bool datasync);

/* io-piece.c */

/* One page is there from the start, the others may be missing. */
#define SLOOP_PIECE_PAGES	32

/**
 * struct sloop_piece - pages that swap is copied to
 * @nr_pages: number of elements of @bvec that have a page
 * @bvec: the pages, whole
 */
struct sloop_piece {
	unsigned int	nr_pages;
	struct bio_vec	bvec[SLOOP_PIECE_PAGES];
};

int sloop_piece_init(struct sloop_piece *piece);
void sloop_piece_grow(struct sloop_piece *piece);
void sloop_piece_free(struct sloop_piece *piece);
unsigned int sloop_piece_copy(struct sloop_piece *piece, struct sloop_cmd *cmd,
			      unsigned int skip);
void sloop_piece_check_file(struct sloop_device *dev,
			    struct sloop_backing *backing);
int sloop_piece_write(struct sloop_piece *piece, struct sloop_backing *backing,
		      loff_t pos, unsigned int bytes, unsigned short ioprio,
		      bool fua);

/* io-swap.c */
int sloop_swap_start(struct sloop_device *dev);
void sloop_swap_stop(struct sloop_device *dev);
bool sloop_swap_queue(struct sloop_cmd *cmd);
bool sloop_swap_busy(struct sloop_device *dev);
bool sloop_swap_covers(const struct sloop_backing *backing,
		       const struct request *rq);

/* io-lane.c */
int sloop_lanes_alloc(struct sloop_device *dev);
void sloop_lanes_free(struct sloop_device *dev);
int sloop_lanes_start(struct sloop_device *dev);
bool sloop_cmd_wants_lane(const struct sloop_cmd *cmd);
void sloop_cmd_to_lane(struct sloop_cmd *cmd);
void sloop_lane_kick(struct sloop_device *dev, unsigned int lane);

/* io-cgroup.c */
struct sloop_charge {
	struct cgroup_subsys_state	*memcg_css;
	struct mem_cgroup		*old_memcg;
	bool				blkcg;
};
void sloop_charge_enter(struct sloop_charge *charge, struct request *rq,
			bool memory);
void sloop_charge_leave(struct sloop_charge *charge);

/* io-dirty.c */
void sloop_dirty_write(struct sloop_worker *worker, struct sloop_cmd *cmd,
		       const struct sloop_charge *charge);

/* io-rw.c */
enum sloop_try {
	SLOOP_TRY_CONSUMED,	/* the command may be gone already */
	SLOOP_TRY_WOULD_BLOCK,	/* nothing was done: leave it to a worker */
};
enum sloop_try sloop_cmd_rw(struct sloop_cmd *cmd, bool may_block);
int sloop_write_zeroes(struct sloop_backing *backing, loff_t pos, u64 len);
bool sloop_nowait_worth_it(struct sloop_backing *backing, unsigned int dir);

/* io-nodata.c */
void sloop_cmd_nodata(struct sloop_cmd *cmd);

/* ctl-misc.c */
int sloop_ctl_register(bool legacy);
void sloop_ctl_unregister(void);

/* ctl-ioctl.c */
int sloop_ioctl(struct block_device *bdev, blk_mode_t mode, unsigned int cmd,
		unsigned long arg);
int sloop_compat_ioctl(struct block_device *bdev, blk_mode_t mode,
		       unsigned int cmd, unsigned long arg);

/* ctl-status.c */
int sloop_ioctl_set_status(struct sloop_device *dev, unsigned int cmd,
			   unsigned long arg, bool compat);
int sloop_ioctl_get_status(struct sloop_device *dev, unsigned int cmd,
			   unsigned long arg, bool compat);

/* sysfs.c */
extern const struct attribute_group *sloop_disk_groups[];
int sloop_sysfs_bind(struct sloop_device *dev);
void sloop_sysfs_unbind(struct sloop_device *dev);

#endif /* _SAFELOOP_DEVICE_H */

// SPDX-License-Identifier: GPL-2.0-only
/* Adding, finding and removing devices. */

#include <linux/fs.h>
#include <linux/slab.h>

#include "device.h"
#include "trace.h"

/* The customary limit of the block layer, and what userspace is used to see. */
#define SLOOP_MAX_HW_SECTORS	2560u

/*
 * A hardware queue has a lane, whose work items are few for many requests. Each
 * costs memory in every device, bound or not.
 */
#define SLOOP_MAX_QUEUES	8u

static struct gendisk *sloop_alloc_disk(struct sloop_device *dev)
{
	struct queue_limits lim = {
		.max_hw_sectors = SLOOP_MAX_HW_SECTORS,
	};
	struct gendisk *disk;

	disk = blk_mq_alloc_disk(&dev->tag_set, &lim, dev);
	if (IS_ERR(disk))
		return disk;

	/* Partitions are scanned for on demand, unless max_part was given. */
	if (!sloop_part_shift)
		set_bit(GD_SUPPRESS_PART_SCAN, &disk->state);
	disk->major		= sloop_identity.major;
	disk->first_minor	= dev->number << sloop_part_shift;
	disk->minors		= 1 << sloop_part_shift;
	disk->fops		= &sloop_bdops;
	disk->private_data	= dev;
	disk->events		= DISK_EVENT_MEDIA_CHANGE;
	disk->event_flags	= DISK_EVENT_FLAG_UEVENT;
	snprintf(disk->disk_name, sizeof(disk->disk_name), "%s%d",
		 sloop_identity.disk_prefix, dev->number);
	return disk;
}

/**
 * sloop_dev_add - make a device
 * @number: its number, or a negative one for the lowest that is free
 *
 * Context: may sleep; no lock of the driver held.
 * Return: the number; -EINVAL if there is no minor for it, -EEXIST, -EINTR,
 * -ENOMEM, or what device_add_disk() gave.
 */
int sloop_dev_add(int number)
{
	struct sloop_device *dev;
	struct gendisk *disk;
	int ret;

	if (number > (int)(MINORMASK >> sloop_part_shift))
		return -EINVAL;

	dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	if (!dev)
		return -ENOMEM;

	mutex_init(&dev->lock);
	mutex_init(&dev->change_fd_lock);
	INIT_DELAYED_WORK(&dev->unbind_work, sloop_unbind_workfn);
	INIT_DELAYED_WORK(&dev->degrade_work, sloop_degrade_workfn);
	INIT_DELAYED_WORK(&dev->fence_work, sloop_fence_workfn);

	ret = sloop_index_alloc(dev, number);
	if (ret)
		goto out_free;

	dev->tag_set.ops = &sloop_mq_ops;
	dev->tag_set.nr_hw_queues = min(num_online_cpus(), SLOOP_MAX_QUEUES);
	dev->tag_set.queue_depth = sloop_hw_queue_depth;
	dev->tag_set.numa_node = NUMA_NO_NODE;
	dev->tag_set.cmd_size = sizeof(struct sloop_cmd);
	dev->tag_set.flags = BLK_MQ_F_STACKING | BLK_MQ_F_NO_SCHED_BY_DEFAULT |
			     BLK_MQ_F_TAG_HCTX_SHARED | COMPAT_MQ_F_MERGE;
	ret = blk_mq_alloc_tag_set(&dev->tag_set);
	if (ret)
		goto out_index;

	ret = sloop_lanes_alloc(dev);
	if (ret)
		goto out_tags;

	disk = sloop_alloc_disk(dev);
	if (IS_ERR(disk)) {
		ret = PTR_ERR(disk);
		goto out_lanes;
	}
	dev->disk = disk;
	sloop_io_might_open(dev);

	sloop_dev_count_inc();
	ret = device_add_disk(NULL, disk, sloop_disk_groups);
	if (ret)
		goto out_disk;

	sloop_queue_drain_init(dev);	/* adding the disk has set it otherwise */
	trace_sloop_dev_state(dev, SLOOP_UNBOUND, SLOOP_UNBOUND);
	number = dev->number;
	sloop_index_show(dev);
	return number;

out_disk:
	sloop_dev_count_dec();
	put_disk(disk);		/* never added: ->free_disk() is not called */
out_lanes:
	sloop_lanes_free(dev);
out_tags:
	blk_mq_free_tag_set(&dev->tag_set);
out_index:
	sloop_index_free(dev);
out_free:
	kfree(dev);
	return ret;
}

/* The structure goes with the last reference to the disk: sloop_free_disk(). */
static void sloop_dev_remove(struct sloop_device *dev)
{
	/* It cannot be bound any more, so neither has anything to do again. */
	sloop_fence_end(dev);
	if (cancel_delayed_work_sync(&dev->degrade_work))
		put_device(disk_to_dev(dev->disk));
	del_gendisk(dev->disk);
	blk_mq_free_tag_set(&dev->tag_set);
	sloop_index_free(dev);
	put_disk(dev->disk);
}

static int sloop_dev_condemn(struct sloop_device *dev)
{
	int ret;

	ret = mutex_lock_killable(&dev->lock);
	if (ret)
		return ret;
	if (dev->state != SLOOP_UNBOUND || disk_openers(dev->disk) > 0)
		ret = -EBUSY;
	else
		sloop_state_set(dev, SLOOP_REMOVING);
	mutex_unlock(&dev->lock);
	return ret;
}

/* Who wanted it removed has been killed. */
static void sloop_dev_reprieve(struct sloop_device *dev)
{
	mutex_lock(&dev->lock);
	sloop_state_set(dev, SLOOP_UNBOUND);
	mutex_unlock(&dev->lock);
}

/**
 * sloop_dev_ctl_remove - remove a device (LOOP_CTL_REMOVE)
 * @number: its number
 *
 * Return: 0; -EINVAL for a negative number, -ENODEV, -EBUSY if it is bound or
 * open, -EINTR.
 */
int sloop_dev_ctl_remove(int number)
{
	struct sloop_device *dev;
	int ret;

	if (number < 0) {
		pr_warn_once("removing an unspecified device is not supported\n");
		return -EINVAL;
	}

	dev = sloop_index_hide(number);
	if (IS_ERR(dev))
		return PTR_ERR(dev);

	ret = sloop_dev_condemn(dev);
	if (!ret) {
		/* Here the wait can be interrupted, in sloop_dev_remove() not. */
		ret = sloop_fence_wait(dev);
		if (ret)
			sloop_dev_reprieve(dev);
	}
	if (ret)
		sloop_index_show(dev);
	else
		sloop_dev_remove(dev);
	return ret;
}

/* None can be bound at once. One that will be in a moment is better than another one. */
static int sloop_dev_await_free(struct sloop_device *fenced)
{
	int number = fenced->number;
	int ret;

	ret = sloop_fence_wait_a_little(fenced);
	put_device(disk_to_dev(fenced->disk));
	if (ret)
		return ret;

	/* Of those who have waited for this one, only one can bind it. */
	ret = sloop_index_find_unbound(NULL);
	if (ret == -ENODEV)
		ret = sloop_dev_add(-1);
	return ret < 0 && ret != -EINTR ? number : ret;
}

/**
 * sloop_dev_get_free - number of an unbound device (LOOP_CTL_GET_FREE)
 *
 * If there is none that can be bound at once, a fence is waited for, but not long,
 * before one is added. Whoever asks may find it taken by another.
 *
 * Return: the number, or an errno of sloop_dev_add().
 */
int sloop_dev_get_free(void)
{
	struct sloop_device *fenced;
	int ret;

	ret = sloop_index_find_unbound(&fenced);
	if (ret != -ENODEV)
		return ret;
	return fenced ? sloop_dev_await_free(fenced) : sloop_dev_add(-1);
}

/**
 * sloop_dev_remove_all - remove every device at module exit
 *
 * None is bound or open, because either pins the module, and none can be added
 * any more.
 */
void sloop_dev_remove_all(void)
{
	sloop_index_drain(sloop_dev_remove);
	sloop_dev_count_wait();
}

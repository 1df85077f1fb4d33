// SPDX-License-Identifier: GPL-2.0-only
/* The methods of the block device that its users call. */

#include <linux/fs.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "device.h"

/* Devices whose memory is still in use; module exit waits for the last. */
static atomic_t sloop_nr_devices;
static DECLARE_WAIT_QUEUE_HEAD(sloop_nr_devices_wq);

void sloop_dev_count_inc(void)
{
	atomic_inc(&sloop_nr_devices);
}

void sloop_dev_count_dec(void)
{
	if (atomic_dec_and_test(&sloop_nr_devices))
		wake_up_all(&sloop_nr_devices_wq);
}

/*
 * A reference to a disk outlives its removal for as long as, say, a lookup of the
 * device node takes. The grace period, which waits for every task to have been off
 * the CPU of its own accord, covers the last instructions of sloop_free_disk().
 */
void sloop_dev_count_wait(void)
{
	wait_event(sloop_nr_devices_wq, !atomic_read(&sloop_nr_devices));
	synchronize_rcu_tasks();
}

/*
 * Called with open_mutex held, so without dev->lock: that may be held by an ioctl
 * which waits for I/O. A state that changes right after the check is no worse
 * than an open that came a little earlier: a device with openers stays in
 * service.
 */
static int sloop_open(struct gendisk *disk, blk_mode_t mode)
{
	struct sloop_device *dev = disk->private_data;

	switch (sloop_state(dev)) {
	case SLOOP_DRAINING:
	case SLOOP_REMOVING:
		return -ENXIO;
	default:
		return 0;
	}
}

/* Called with open_mutex held, for every close. */
static void sloop_release(struct gendisk *disk)
{
	if (disk_openers(disk) == 0)
		sloop_last_close(disk->private_data);
}

static void sloop_free_disk(struct gendisk *disk)
{
	struct sloop_device *dev = disk->private_data;

	sloop_owner_destroy(dev);
	sloop_lanes_free(dev);
	mutex_destroy(&dev->change_fd_lock);
	mutex_destroy(&dev->lock);
	kfree(dev);
	sloop_dev_count_dec();
}

COMPAT_BDOPS_OPEN(sloop_open)
COMPAT_BDOPS_RELEASE(sloop_release)

const struct block_device_operations sloop_bdops = {
	.owner		= THIS_MODULE,
	.open		= compat_bdop(sloop_open),
	.release	= compat_bdop(sloop_release),
	.ioctl		= sloop_ioctl,
	.compat_ioctl	= sloop_compat_ioctl,
	.free_disk	= sloop_free_disk,
};

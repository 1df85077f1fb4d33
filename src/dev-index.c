// SPDX-License-Identifier: GPL-2.0-only
/*
 * The devices by number, and which of them can be given out: what adds, binds and
 * unbinds devices stands on this, and this on none of them.
 */

#include <linux/mutex.h>
#include <linux/xarray.h>

#include "device.h"

/*
 * Every device that is unbound and has no fence is marked; a few others are too, so
 * whoever looks for one looks at its state as well.
 */
static DEFINE_XARRAY_ALLOC(sloop_index);
#define SLOOP_FREE	XA_MARK_1

/* Guards who is in the index, and sloop_device::visible. */
static DEFINE_MUTEX(sloop_index_mutex);

/**
 * sloop_index_set_free - a device can be given out again
 * @dev: the device, which has no fence, or will have none in a moment
 *
 * Context: process context, does not sleep.
 */
void sloop_index_set_free(struct sloop_device *dev)
{
	xa_set_mark(&sloop_index, dev->number, SLOOP_FREE);
}

/**
 * sloop_index_set_taken - a device is being bound
 * @dev: the device, open, under dev->lock
 *
 * Context: process context, does not sleep.
 */
void sloop_index_set_taken(struct sloop_device *dev)
{
	xa_clear_mark(&sloop_index, dev->number, SLOOP_FREE);
}

/**
 * sloop_index_alloc - give a device its number, and a place in the index
 * @dev: a new device, which nobody sees yet
 * @number: the number, or a negative one for the lowest that is free
 *
 * Context: process context, may sleep.
 * Return: 0, -EEXIST, -ENOMEM, or -EINTR if the task has been killed.
 */
int sloop_index_alloc(struct sloop_device *dev, int number)
{
	int ret;

	ret = mutex_lock_killable(&sloop_index_mutex);
	if (ret)
		return ret;
	if (number >= 0) {
		dev->number = number;
		ret = xa_insert(&sloop_index, number, dev, GFP_KERNEL);
		if (ret == -EBUSY)
			ret = -EEXIST;
	} else {
		u32 lowest = 0;

		ret = xa_alloc(&sloop_index, &lowest, dev, xa_limit_31b,
			       GFP_KERNEL);
		dev->number = lowest;
	}
	if (!ret)
		xa_set_mark(&sloop_index, dev->number, SLOOP_FREE);
	mutex_unlock(&sloop_index_mutex);
	return ret;
}

/**
 * sloop_index_free - take a device out of the index
 * @dev: the device, not visible
 *
 * Context: process context, may sleep.
 */
void sloop_index_free(struct sloop_device *dev)
{
	mutex_lock(&sloop_index_mutex);
	xa_erase(&sloop_index, dev->number);
	mutex_unlock(&sloop_index_mutex);
}

/**
 * sloop_index_show - let a device be found
 * @dev: the device, which the caller has made or hidden
 *
 * Context: process context, may sleep.
 */
void sloop_index_show(struct sloop_device *dev)
{
	mutex_lock(&sloop_index_mutex);
	dev->visible = true;
	mutex_unlock(&sloop_index_mutex);
}

/**
 * sloop_index_hide - find a device, and let nobody else find it
 * @number: its number
 *
 * Hidden, it is the caller's alone: nobody else can remove and free it.
 *
 * Context: process context, may sleep.
 * Return: the device, or -ENODEV or -EINTR as an error pointer.
 */
struct sloop_device *sloop_index_hide(int number)
{
	struct sloop_device *dev;
	int ret;

	ret = mutex_lock_killable(&sloop_index_mutex);
	if (ret)
		return ERR_PTR(ret);
	dev = xa_load(&sloop_index, number);
	if (dev && dev->visible)
		dev->visible = false;
	else
		dev = ERR_PTR(-ENODEV);
	mutex_unlock(&sloop_index_mutex);
	return dev;
}

static struct sloop_device *sloop_index_find(xa_mark_t mark)
{
	struct sloop_device *dev;
	unsigned long number;

	xa_for_each_marked(&sloop_index, number, dev, mark)
		if (dev->visible && sloop_state(dev) == SLOOP_UNBOUND &&
		    !READ_ONCE(dev->fence_stuck))
			return dev;
	return NULL;
}

/**
 * sloop_index_find_unbound - find a device that can be bound
 * @fenced: if there is none that can be at once, set to one whose fence is still up,
 *	with a reference on its disk, or to NULL; may be NULL itself
 *
 * Context: process context, may sleep.
 * Return: the number, -ENODEV, or -EINTR if the task has been killed.
 */
int sloop_index_find_unbound(struct sloop_device **fenced)
{
	struct sloop_device *dev;
	int ret;

	ret = mutex_lock_killable(&sloop_index_mutex);
	if (ret)
		return ret;
	dev = sloop_index_find(SLOOP_FREE);
	ret = dev ? dev->number : -ENODEV;
	if (!dev && fenced) {
		*fenced = sloop_index_find(XA_PRESENT);
		if (*fenced)
			get_device(disk_to_dev((*fenced)->disk));
	}
	mutex_unlock(&sloop_index_mutex);
	return ret;
}

/**
 * sloop_index_drain - have every device removed, at module exit
 * @remove: removes one, and calls sloop_index_free()
 *
 * Context: process context, may sleep; nobody can add a device any more.
 */
void sloop_index_drain(void (*remove)(struct sloop_device *dev))
{
	struct sloop_device *dev;
	unsigned long number;

	xa_for_each(&sloop_index, number, dev)
		remove(dev);
	xa_destroy(&sloop_index);	/* nodes that a lack of memory has left */
}

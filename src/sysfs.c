// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sysfs: the group "loop", there while a file is bound, and the group "safeloop",
 * there as long as the disk is.
 *
 * Removing a group waits for its readers, with open_mutex held: none of them may
 * sleep on I/O, nor on a lock that is held by somebody who does. dev->lock is none: the
 * readers of the first group take it. So what they read is whole also in the middle of
 * a bind, and none of them holds on to a file that LOOP_CHANGE_FD has replaced.
 */

#include <linux/device.h>
#include <linux/fs.h>
#include <linux/sysfs.h>

#include "device.h"

static struct sloop_device *sloop_of_device(struct device *ddev)
{
	return dev_to_disk(ddev)->private_data;
}

static ssize_t sloop_show_file(const struct sloop_backing *backing, char *buf)
{
	char *path = file_path(backing->file, buf, PAGE_SIZE - 1);
	ssize_t len;

	if (IS_ERR(path))
		return PTR_ERR(path);
	len = strlen(path);
	memmove(buf, path, len);
	buf[len++] = '\n';
	buf[len] = '\0';
	return len;
}

#define SLOOP_BACKING_ATTR(_name, _emit)				\
static ssize_t _name##_show(struct device *ddev,			\
			    struct device_attribute *attr, char *buf)	\
{									\
	struct sloop_device *dev = sloop_of_device(ddev);		\
	const struct sloop_backing *backing;				\
	ssize_t len;							\
									\
	len = mutex_lock_killable(&dev->lock);				\
	if (len)							\
		return len;						\
	backing = sloop_backing_current(dev);				\
	if (backing)							\
		len = _emit;						\
	mutex_unlock(&dev->lock);					\
	return len;							\
}									\
static DEVICE_ATTR_RO(_name)

#define SLOOP_FLAG_ATTR(_name, _flag)					\
static ssize_t _name##_show(struct device *ddev,			\
			    struct device_attribute *attr, char *buf)	\
{									\
	unsigned int flags = READ_ONCE(sloop_of_device(ddev)->flags);	\
									\
	return sysfs_emit(buf, "%d\n", !!(flags & (_flag)));		\
}									\
static DEVICE_ATTR_RO(_name)

SLOOP_BACKING_ATTR(backing_file, sloop_show_file(backing, buf));
SLOOP_BACKING_ATTR(offset, sysfs_emit(buf, "%lld\n", backing->offset));
SLOOP_BACKING_ATTR(sizelimit, sysfs_emit(buf, "%lld\n", backing->sizelimit));
SLOOP_BACKING_ATTR(dio, sysfs_emit(buf, "%d\n", backing->dio));
SLOOP_FLAG_ATTR(autoclear, LO_FLAGS_AUTOCLEAR);
SLOOP_FLAG_ATTR(partscan, LO_FLAGS_PARTSCAN);

static struct attribute *sloop_bound_attrs[] = {
	&dev_attr_backing_file.attr,
	&dev_attr_offset.attr,
	&dev_attr_sizelimit.attr,
	&dev_attr_autoclear.attr,
	&dev_attr_partscan.attr,
	&dev_attr_dio.attr,
	NULL,
};

static const struct attribute_group sloop_bound_group = {
	.name	= "loop",
	.attrs	= sloop_bound_attrs,
};

/* For the removal: the folder goes with all that is in it, not file by file. */
static const struct attribute_group sloop_bound_folder = {
	.name	= "loop",
};

/* Requests that came after a detach and were refused, since the disk was added. */
static ssize_t late_io_show(struct device *ddev, struct device_attribute *attr,
			    char *buf)
{
	struct sloop_device *dev = sloop_of_device(ddev);

	return sysfs_emit(buf, "%lld\n",
			  (long long)atomic64_read(&dev->late_io));
}
static DEVICE_ATTR_RO(late_io);

static struct attribute *sloop_disk_attrs[] = {
	&dev_attr_late_io.attr,
	NULL,
};

static const struct attribute_group sloop_disk_group = {
	.name	= "safeloop",
	.attrs	= sloop_disk_attrs,
};

const struct attribute_group *sloop_disk_groups[] = {
	&sloop_disk_group,
	NULL,
};

/**
 * sloop_sysfs_bind - show the group of a bound device
 * @dev: the device; until it is bound the files are empty
 *
 * Return: 0, or an errno of sysfs_create_group().
 */
int sloop_sysfs_bind(struct sloop_device *dev)
{
	return sysfs_create_group(&disk_to_dev(dev->disk)->kobj,
				  &sloop_bound_group);
}

/**
 * sloop_sysfs_unbind - hide it
 * @dev: the device
 *
 * Context: waits for readers of the files; holds no lock that they take.
 */
void sloop_sysfs_unbind(struct sloop_device *dev)
{
	sysfs_remove_group(&disk_to_dev(dev->disk)->kobj, &sloop_bound_folder);
}

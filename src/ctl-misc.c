// SPDX-License-Identifier: GPL-2.0-only
/* The control node: devices by number. */

#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

#include "device.h"

static long sloop_ctl_ioctl(struct file *file, unsigned int cmd,
			    unsigned long arg)
{
	switch (cmd) {
	case LOOP_CTL_ADD:
		return sloop_dev_add(arg);
	case LOOP_CTL_REMOVE:
		return sloop_dev_ctl_remove(arg);
	case LOOP_CTL_GET_FREE:
		return sloop_dev_get_free();
	default:
		return -ENOSYS;
	}
}

static const struct file_operations sloop_ctl_fops = {
	.owner		= THIS_MODULE,
	.open		= nonseekable_open,
	.unlocked_ioctl	= sloop_ctl_ioctl,
	.compat_ioctl	= sloop_ctl_ioctl,
	.llseek		= noop_llseek,
};

static struct miscdevice sloop_ctl_misc = {
	.fops		= &sloop_ctl_fops,
};

/**
 * sloop_ctl_register - make the control node appear
 * @legacy: as loop-control with its fixed minor, else as safeloop-control
 *
 * Return: 0 or an errno of misc_register(); -EBUSY if @legacy is taken.
 */
int sloop_ctl_register(bool legacy)
{
	sloop_ctl_misc.minor = legacy ? LOOP_CTRL_MINOR : MISC_DYNAMIC_MINOR;
	sloop_ctl_misc.name = legacy ? "loop-control" : "safeloop-control";
	return misc_register(&sloop_ctl_misc);
}

void sloop_ctl_unregister(void)
{
	misc_deregister(&sloop_ctl_misc);
}

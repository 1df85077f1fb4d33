// SPDX-License-Identifier: GPL-2.0-only
/* Loading and unloading, parameters, and under whose names the driver appears. */

#include <linux/major.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

#include "device.h"

/* The kernel knows how many devices userspace expects to find. */
#ifdef CONFIG_BLK_DEV_LOOP_MIN_COUNT
#define SLOOP_DEFAULT_COUNT	CONFIG_BLK_DEV_LOOP_MIN_COUNT
#else
#define SLOOP_DEFAULT_COUNT	8
#endif

static char *mode = "auto";

/* sysfs shows what auto has chosen. */
static int sloop_param_get_mode(char *buffer, const struct kernel_param *kp)
{
	const char *chosen = READ_ONCE(sloop_identity.mode);

	return scnprintf(buffer, PAGE_SIZE, "%s\n", chosen ? chosen : mode);
}

static const struct kernel_param_ops sloop_mode_ops = {
	.set	= param_set_charp,
	.get	= sloop_param_get_mode,
	.free	= param_free_charp,
};
module_param_cb(mode, &sloop_mode_ops, &mode, 0444);
__MODULE_PARM_TYPE(mode, "charp");
MODULE_PARM_DESC(mode, "replace: the names of the in-tree loop driver; coexist: names of its own (loopsN, safeloop-control); auto: replace if those names are free, else coexist. Default: auto");

static int max_loop = SLOOP_DEFAULT_COUNT;
static bool max_loop_given;

static int sloop_param_set_max_loop(const char *val,
				    const struct kernel_param *kp)
{
	int err = param_set_int(val, kp);

	if (!err)
		max_loop_given = true;
	return err;
}

static const struct kernel_param_ops sloop_max_loop_ops = {
	.set	= sloop_param_set_max_loop,
	.get	= param_get_int,
};
module_param_cb(max_loop, &sloop_max_loop_ops, &max_loop, 0444);
MODULE_PARM_DESC(max_loop, "Number of devices made at load; if given, device nodes beyond it make no device. Default: as the kernel is configured for loop, usually 8");

static int max_part;
module_param(max_part, int, 0444);
MODULE_PARM_DESC(max_part, "Partitions per device; if given, all devices are scanned for partitions. Default: 0, scanned on request");

static int sloop_param_set_depth(const char *val, const struct kernel_param *kp)
{
	int depth, err;

	err = kstrtoint(val, 0, &depth);
	if (err)
		return err;
	if (depth < 1)
		return -EINVAL;
	sloop_hw_queue_depth = depth;
	return 0;
}

static const struct kernel_param_ops sloop_depth_ops = {
	.set	= sloop_param_set_depth,
	.get	= param_get_int,
};
device_param_cb(hw_queue_depth, &sloop_depth_ops, &sloop_hw_queue_depth, 0444);
MODULE_PARM_DESC(hw_queue_depth, "Requests in flight per device. Default: " __stringify(SLOOP_DEFAULT_QUEUE_DEPTH));

/* The node of a device that does not exist has been opened. */
static void sloop_probe(dev_t devt)
{
	int number = MINOR(devt) >> sloop_part_shift;

	if (max_loop_given && max_loop && number >= max_loop)
		return;
	/* In the middle of __register_blkdev() the number is not known yet. */
	if (READ_ONCE(sloop_identity.major))
		sloop_dev_add(number);
}

#ifdef CONFIG_BLOCK_LEGACY_AUTOLOAD
#define SLOOP_PROBE	sloop_probe
#else
#define SLOOP_PROBE	NULL
#endif

/*
 * Userspace may add a device as soon as either is registered, so the identity
 * comes first.
 */
static int sloop_register_replace(void)
{
	int err;

	sloop_identity = (struct sloop_identity) {
		.mode		= "replace",
		.disk_prefix	= "loop",
		.blkdev_name	= "loop",
		.major		= LOOP_MAJOR,
	};
	err = sloop_ctl_register(true);
	if (err)
		return err;
	err = __register_blkdev(LOOP_MAJOR, "loop", SLOOP_PROBE);
	if (err) {
		sloop_ctl_unregister();
		sloop_dev_remove_all();
	}
	return err;
}

static int sloop_register_coexist(void)
{
	int err;

	sloop_identity = (struct sloop_identity) {
		.mode		= "coexist",
		.disk_prefix	= "loops",
		.blkdev_name	= "safeloop",
	};
	err = __register_blkdev(0, "safeloop", SLOOP_PROBE);
	if (err < 0)
		return err;
	WRITE_ONCE(sloop_identity.major, err);

	err = sloop_ctl_register(false);
	if (err) {
		unregister_blkdev(sloop_identity.major, "safeloop");
		sloop_dev_remove_all();
	}
	return err;
}

static int sloop_register(const char **why)
{
	int err;

	if (!strcmp(mode, "coexist")) {
		*why = "as asked for";
		return sloop_register_coexist();
	}
	if (!strcmp(mode, "replace")) {
		*why = "as asked for";
		err = sloop_register_replace();
		if (err == -EBUSY)
			pr_err("mode=replace: another driver has loop-control or block major %d\n",
			       LOOP_MAJOR);
		return err;
	}
	if (strcmp(mode, "auto")) {
		pr_err("mode=%s: not one of auto, replace, coexist\n", mode);
		return -EINVAL;
	}

	*why = "loop-control and its block major are free";
	err = sloop_register_replace();
	if (err != -EBUSY)
		return err;
	*why = "another driver has loop-control or its block major";
	return sloop_register_coexist();
}

static void sloop_unregister(void)
{
	unregister_blkdev(sloop_identity.major, sloop_identity.blkdev_name);
	sloop_ctl_unregister();
}

static int sloop_check_params(void)
{
	if (max_part > 0)
		sloop_part_shift = fls(max_part);
	if ((1UL << sloop_part_shift) > DISK_MAX_PARTS) {
		pr_err("max_part=%d: at most %d\n", max_part,
		       DISK_MAX_PARTS - 1);
		return -EINVAL;
	}
	/* Shown in sysfs, to compute minors from. */
	if (max_part > 0)
		max_part = (1UL << sloop_part_shift) - 1;
	if (max_loop > 1UL << (MINORBITS - sloop_part_shift)) {
		pr_err("max_loop=%d: at most %lu\n", max_loop,
		       1UL << (MINORBITS - sloop_part_shift));
		return -EINVAL;
	}
	return 0;
}

static void sloop_wqs_free(void)
{
	destroy_workqueue(sloop_slow_wq);
	destroy_workqueue(sloop_ctl_wq);
}

/* A queue has room for some hundred work items at a time. */
static int sloop_wqs_alloc(void)
{
	sloop_ctl_wq = alloc_workqueue("safeloop-ctl", WQ_UNBOUND, 0);
	if (!sloop_ctl_wq)
		return -ENOMEM;
	sloop_slow_wq = alloc_workqueue("safeloop-slow", WQ_UNBOUND,
					WQ_MAX_ACTIVE);
	if (!sloop_slow_wq) {
		destroy_workqueue(sloop_ctl_wq);
		return -ENOMEM;
	}
	return 0;
}

static int __init safeloop_init(void)
{
	const char *why = NULL;
	int i, err;

	err = sloop_check_params();
	if (err)
		return err;

	err = sloop_wqs_alloc();
	if (err)
		return err;
	sloop_stats_init();

	err = sloop_register(&why);
	if (err) {
		sloop_stats_exit();
		sloop_wqs_free();
		return err;
	}

	for (i = 0; i < max_loop; i++)
		sloop_dev_add(i);

	pr_info("version %s, mode %s: %s\n", SAFELOOP_VERSION,
		sloop_identity.mode, why);
	return 0;
}

/*
 * A bound or open device pins the module, and so does a work item that finishes a
 * detach, until its last instructions: those are waited for by the workqueue.
 */
static void __exit safeloop_exit(void)
{
	sloop_unregister();
	sloop_dev_remove_all();
	sloop_wqs_free();
	sloop_stats_exit();
}

module_init(safeloop_init);
module_exit(safeloop_exit);

MODULE_DESCRIPTION("Files as block devices, safely detached");
MODULE_VERSION(SAFELOOP_VERSION);
MODULE_LICENSE("GPL");
MODULE_ALIAS_BLOCKDEV_MAJOR(LOOP_MAJOR);
MODULE_ALIAS_MISCDEV(LOOP_CTRL_MINOR);
MODULE_ALIAS("devname:loop-control");

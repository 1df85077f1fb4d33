// SPDX-License-Identifier: GPL-2.0-only
/* Counters of the whole module, as lines of debugfs safeloop/stats. */

#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include "device.h"

static atomic64_t sloop_stats[SLOOP_NR_STATS];
static struct dentry *sloop_debugfs;

static const char *const sloop_stat_names[SLOOP_NR_STATS] = {
	[SLOOP_STAT_BACKINGS_CREATED]	= "backings_created",
	[SLOOP_STAT_BACKINGS_DESTROYED]	= "backings_destroyed",
	[SLOOP_STAT_DETACH_FAST]	= "detach_fast",
	[SLOOP_STAT_DETACH_STRAY]	= "detach_stray",
	[SLOOP_STAT_LATE_IO]		= "late_io",
	[SLOOP_STAT_SWAP_GIVEN_BACK]	= "swap_given_back",
};

void sloop_stat_inc(enum sloop_stat stat)
{
	atomic64_inc(&sloop_stats[stat]);
}

static int sloop_stats_show(struct seq_file *m, void *unused)
{
	int i;

	for (i = 0; i < SLOOP_NR_STATS; i++)
		seq_printf(m, "%s %lld\n", sloop_stat_names[i],
			   (long long)atomic64_read(&sloop_stats[i]));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(sloop_stats);

/* Without debugfs there are no counters to read, and nothing else is lost. */
void sloop_stats_init(void)
{
	sloop_debugfs = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("stats", 0444, sloop_debugfs, NULL,
			    &sloop_stats_fops);
}

void sloop_stats_exit(void)
{
	debugfs_remove_recursive(sloop_debugfs);
}

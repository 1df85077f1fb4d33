// SPDX-License-Identifier: GPL-2.0-only
/* A worker does I/O on behalf of the submitter's blkcg and memcg. */

#include <linux/blk-cgroup.h>
#include <linux/cgroup.h>
#include <linux/kthread.h>
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>

#include "device.h"

/**
 * sloop_charge_enter - charge what follows to the submitter of a request
 * @charge: remembers what sloop_charge_leave() has to undo
 * @rq: the request; it holds its bio's cgroup until it is ended, but the charge
 *	outlives it: the thread and the memory cgroup take their own references
 * @memory: charge memory too, not only I/O
 *
 * Context: kernel thread, may not sleep.
 */
void sloop_charge_enter(struct sloop_charge *charge, struct request *rq,
			bool memory)
{
	memset(charge, 0, sizeof(*charge));
#ifdef CONFIG_BLK_CGROUP
	{
		struct cgroup_subsys_state *css = bio_blkcg_css(rq->bio);

		if (!css || css == blkcg_root_css)
			return;
		kthread_associate_blkcg(css);
		charge->blkcg = true;
#ifdef CONFIG_MEMCG
		if (!memory)
			return;
		charge->memcg_css = cgroup_get_e_css(css->cgroup,
						     &memory_cgrp_subsys);
		charge->old_memcg =
			set_active_memcg(mem_cgroup_from_css(charge->memcg_css));
#endif
	}
#endif
}

/**
 * sloop_charge_leave - end what sloop_charge_enter() began
 * @charge: from sloop_charge_enter()
 */
void sloop_charge_leave(struct sloop_charge *charge)
{
#ifdef CONFIG_BLK_CGROUP
	if (!charge->blkcg)
		return;
#ifdef CONFIG_MEMCG
	if (charge->memcg_css) {
		set_active_memcg(charge->old_memcg);
		css_put(charge->memcg_css);
	}
#endif
	kthread_associate_blkcg(NULL);
#endif
}

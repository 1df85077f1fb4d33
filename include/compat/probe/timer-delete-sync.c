// SPDX-License-Identifier: GPL-2.0-only
/* timer_delete_sync() is the name of del_timer_sync() (6.2, and 6.1 at some time) */
#include <linux/timer.h>

int probe(struct timer_list *timer)
{
	return timer_delete_sync(timer);
}

// SPDX-License-Identifier: GPL-2.0-only
/* blk_freeze_queue_start_non_owner(): another task may unfreeze (6.13) */
#include <linux/blk-mq.h>

void probe(struct request_queue *q)
{
	blk_freeze_queue_start_non_owner(q);
	blk_mq_unfreeze_queue_non_owner(q);
}

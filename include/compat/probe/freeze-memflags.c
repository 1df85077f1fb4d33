// SPDX-License-Identifier: GPL-2.0-only
/* blk_mq_freeze_queue() returns the saved allocation scope (6.14) */
#include <linux/blk-mq.h>

void probe(struct request_queue *q)
{
	unsigned int memflags = blk_mq_freeze_queue(q);

	blk_mq_unfreeze_queue(q, memflags);
}

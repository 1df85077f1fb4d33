// SPDX-License-Identifier: GPL-2.0-only
/* limits are changed as a whole, features among them (6.9, 6.11) */
#include <linux/blkdev.h>

int probe(struct request_queue *q)
{
	struct queue_limits lim = queue_limits_start_update(q);

	lim.features |= BLK_FEAT_WRITE_CACHE | BLK_FEAT_FUA;
	return queue_limits_commit_update(q, &lim);
}

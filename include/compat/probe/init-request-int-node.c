// SPDX-License-Identifier: GPL-2.0-only
/* ->init_request() takes the NUMA node as an int, not unsigned (7.3) */
#include <linux/blk-mq.h>

int probe_init(struct blk_mq_tag_set *set, struct request *rq,
	       unsigned int hctx_idx, int numa_node);

const struct blk_mq_ops probe = {
	.init_request = probe_init,
};

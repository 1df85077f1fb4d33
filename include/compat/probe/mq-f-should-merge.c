// SPDX-License-Identifier: GPL-2.0-only
/* merging has to be asked for (gone in 6.14) */
#include <linux/blk-mq.h>

unsigned int probe = BLK_MQ_F_SHOULD_MERGE;

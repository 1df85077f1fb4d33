// SPDX-License-Identifier: GPL-2.0-only
/* struct bvec_iter calls its offset bi_offset (7.3) */
#include <linux/bvec.h>

unsigned int probe(struct bvec_iter iter)
{
	return iter.bi_offset;
}

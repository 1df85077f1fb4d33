// SPDX-License-Identifier: GPL-2.0-only
/* each mapping has it, not the filesystem only (6.7, 6.1.192) */
#include <linux/pagemap.h>

bool probe(const struct address_space *mapping)
{
	return mapping_stable_writes(mapping);
}

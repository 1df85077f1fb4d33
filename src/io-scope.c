// SPDX-License-Identifier: GPL-2.0-only
/* What it means to serve requests: for reclaim, for throttling and for lockdep. */

#include <linux/lockdep.h>
#include <linux/sched.h>

#include "device.h"

#define SLOOP_IO_FLAGS	(PF_LOCAL_THROTTLE | PF_MEMALLOC_NOIO)

/*
 * Stands for "requests are being served" in lockdep's eyes: those who serve them
 * hold it, and those who wait for them take it.
 */
#ifdef CONFIG_LOCKDEP
static struct lockdep_map sloop_io_map =
	STATIC_LOCKDEP_MAP_INIT("safeloop_io", &sloop_io_map);
#endif

/**
 * sloop_io_might_open - tell lockdep that serving a request may take open_mutex
 * @dev: a new device
 *
 * No code does. But a filesystem stays frozen until some process thaws it, a FUSE
 * server answers when it gets to it, and either may be opening a device first.
 * Userspace in the middle of a chain is what lockdep cannot see by itself.
 */
void sloop_io_might_open(struct sloop_device *dev)
{
	lock_map_acquire_read(&sloop_io_map);
	might_lock(&dev->disk->open_mutex);
	lock_map_release(&sloop_io_map);
}

/**
 * sloop_io_might_wait - the caller is about to wait for requests
 *
 * Lockdep complains if it holds open_mutex, or what somebody may need in order to
 * serve them.
 */
void sloop_io_might_wait(void)
{
	lock_map_acquire(&sloop_io_map);
	lock_map_release(&sloop_io_map);
}

/**
 * sloop_io_scope_enter - the caller begins to serve requests
 *
 * It must not recurse into I/O for memory, which could be I/O to this very
 * device, and is throttled for the device it writes to, not for others.
 *
 * Context: kernel thread.
 * Return: for sloop_io_scope_leave().
 */
unsigned int sloop_io_scope_enter(void)
{
	unsigned int saved = current->flags & SLOOP_IO_FLAGS;

	lock_map_acquire_read(&sloop_io_map);
	current->flags |= SLOOP_IO_FLAGS;
	return saved;
}

/**
 * sloop_io_scope_leave - the caller has served them
 * @saved: from sloop_io_scope_enter()
 */
void sloop_io_scope_leave(unsigned int saved)
{
	current->flags = (current->flags & ~SLOOP_IO_FLAGS) | saved;
	lock_map_release(&sloop_io_map);
}

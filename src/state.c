// SPDX-License-Identifier: GPL-2.0-only
/* The one writer of a device's state. */

#include "device.h"
#include "trace.h"

/* Bit M of element N: the step from state N to state M is legal. */
static const unsigned long sloop_next_states[] = {
	[SLOOP_UNBOUND]	 = BIT(SLOOP_BOUND) | BIT(SLOOP_REMOVING),
	[SLOOP_BOUND]	 = BIT(SLOOP_DRAINING),
	[SLOOP_DRAINING] = BIT(SLOOP_UNBOUND),
	[SLOOP_REMOVING] = BIT(SLOOP_UNBOUND),
};

/**
 * sloop_state_set - move a device to another state
 * @dev: the device
 * @state: its new state
 *
 * Context: under dev->lock. Readers without the lock see the new state together
 * with all that was written before the call.
 */
void sloop_state_set(struct sloop_device *dev, enum sloop_state state)
{
	lockdep_assert_held(&dev->lock);
	WARN_ON_ONCE(!(sloop_next_states[dev->state] & BIT(state)));

	trace_sloop_dev_state(dev, dev->state, state);
	smp_store_release(&dev->state, state);
}

// SPDX-License-Identifier: GPL-2.0-only
/* What is chosen once, when the module is loaded (main.c), and used all over it. */

#include "device.h"

/* For what devices have to do in the background; without a limit in time. */
struct workqueue_struct *sloop_ctl_wq;
struct workqueue_struct *sloop_slow_wq;

struct sloop_identity sloop_identity;

/* A device has so many bits of its minor number for partitions. */
int sloop_part_shift;

/* Requests in flight per device. */
int sloop_hw_queue_depth = SLOOP_DEFAULT_QUEUE_DEPTH;

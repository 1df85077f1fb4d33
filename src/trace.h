/* SPDX-License-Identifier: GPL-2.0-only */
/* Tracepoints of a device's and of a request's life. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM safeloop

#if !defined(_SAFELOOP_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _SAFELOOP_TRACE_H

#include <linux/tracepoint.h>

#include "device.h"

TRACE_DEFINE_ENUM(SLOOP_UNBOUND);
TRACE_DEFINE_ENUM(SLOOP_BOUND);
TRACE_DEFINE_ENUM(SLOOP_DRAINING);
TRACE_DEFINE_ENUM(SLOOP_REMOVING);

#define sloop_show_state(state)				\
	__print_symbolic(state,				\
		{ SLOOP_UNBOUND,	"unbound" },	\
		{ SLOOP_BOUND,		"bound" },	\
		{ SLOOP_DRAINING,	"draining" },	\
		{ SLOOP_REMOVING,	"removing" })

#define sloop_show_op(op)				\
	__print_symbolic(op,				\
		{ (__force int)REQ_OP_READ,		"READ" },	\
		{ (__force int)REQ_OP_WRITE,		"WRITE" },	\
		{ (__force int)REQ_OP_FLUSH,		"FLUSH" },	\
		{ (__force int)REQ_OP_DISCARD,	"DISCARD" },	\
		{ (__force int)REQ_OP_WRITE_ZEROES,	"WRITE_ZEROES" })

/* A device is added (unbound to unbound), bound, detached or removed. */
TRACE_EVENT(sloop_dev_state,
	TP_PROTO(const struct sloop_device *dev, enum sloop_state from,
		 enum sloop_state to),
	TP_ARGS(dev, from, to),
	TP_STRUCT__entry(
		__field(int, number)
		__field(int, from)
		__field(int, to)
	),
	TP_fast_assign(
		__entry->number = dev->number;
		__entry->from = from;
		__entry->to = to;
	),
	TP_printk("dev=%d %s -> %s", __entry->number,
		  sloop_show_state(__entry->from),
		  sloop_show_state(__entry->to))
);

/* The last close of a device that is to be detached. */
TRACE_EVENT(sloop_detach,
	TP_PROTO(const struct sloop_device *dev, bool stray),
	TP_ARGS(dev, stray),
	TP_STRUCT__entry(
		__field(int, number)
		__field(bool, stray)
	),
	TP_fast_assign(
		__entry->number = dev->number;
		__entry->stray = stray;
	),
	TP_printk("dev=%d %s", __entry->number,
		  __entry->stray ? "stray" : "fast")
);

DECLARE_EVENT_CLASS(sloop_backing,
	TP_PROTO(const struct sloop_device *dev,
		 const struct sloop_backing *backing),
	TP_ARGS(dev, backing),
	TP_STRUCT__entry(
		__field(int, number)
		__field(const void *, backing)
		__field(unsigned long, ino)
		__field(loff_t, offset)
		__field(bool, dio)
	),
	TP_fast_assign(
		__entry->number = dev ? dev->number : -1;
		__entry->backing = backing;
		__entry->ino = file_inode(backing->file)->i_ino;
		__entry->offset = backing->offset;
		__entry->dio = backing->dio;
	),
	TP_printk("dev=%d backing=%p ino=%lu offset=%lld dio=%d",
		  __entry->number, __entry->backing, __entry->ino,
		  __entry->offset, __entry->dio)
);

DEFINE_EVENT(sloop_backing, sloop_backing_create,
	TP_PROTO(const struct sloop_device *dev,
		 const struct sloop_backing *backing),
	TP_ARGS(dev, backing));
DEFINE_EVENT(sloop_backing, sloop_backing_publish,
	TP_PROTO(const struct sloop_device *dev,
		 const struct sloop_backing *backing),
	TP_ARGS(dev, backing));
DEFINE_EVENT(sloop_backing, sloop_backing_retire,
	TP_PROTO(const struct sloop_device *dev,
		 const struct sloop_backing *backing),
	TP_ARGS(dev, backing));
DEFINE_EVENT(sloop_backing, sloop_backing_destroy,
	TP_PROTO(const struct sloop_device *dev,
		 const struct sloop_backing *backing),
	TP_ARGS(dev, backing));

DECLARE_EVENT_CLASS(sloop_rq,
	TP_PROTO(const struct sloop_device *dev, struct request *rq, long arg),
	TP_ARGS(dev, rq, arg),
	TP_STRUCT__entry(
		__field(int, number)
		__field(int, tag)
		__field(int, op)
		__field(sector_t, sector)
		__field(unsigned int, bytes)
		__field(long, arg)
		__array(char, comm, TASK_COMM_LEN)
	),
	TP_fast_assign(
		__entry->number = dev->number;
		__entry->tag = rq->tag;
		__entry->op = (__force int)req_op(rq);
		__entry->sector = blk_rq_pos(rq);
		__entry->bytes = blk_rq_bytes(rq);
		__entry->arg = arg;
		memcpy(__entry->comm, current->comm, TASK_COMM_LEN);
	),
	TP_printk("dev=%d tag=%d %s sector=%llu bytes=%u arg=%ld comm=%s",
		  __entry->number, __entry->tag, sloop_show_op(__entry->op),
		  (unsigned long long)__entry->sector, __entry->bytes,
		  __entry->arg, __entry->comm)
);

/* The request has pinned its file; arg: 1 if it goes to a lane. */
DEFINE_EVENT(sloop_rq, sloop_rq_submit,
	TP_PROTO(const struct sloop_device *dev, struct request *rq, long arg),
	TP_ARGS(dev, rq, arg));
/* A lane or a completion passes it to a worker; arg: the result so far. */
DEFINE_EVENT(sloop_rq, sloop_rq_hand_over,
	TP_PROTO(const struct sloop_device *dev, struct request *rq, long arg),
	TP_ARGS(dev, rq, arg));
/* It is about to be ended; arg: errno. */
DEFINE_EVENT(sloop_rq, sloop_rq_complete,
	TP_PROTO(const struct sloop_device *dev, struct request *rq, long arg),
	TP_ARGS(dev, rq, arg));
/* It came after the detach and is refused. */
DEFINE_EVENT(sloop_rq, sloop_rq_late,
	TP_PROTO(const struct sloop_device *dev, struct request *rq, long arg),
	TP_ARGS(dev, rq, arg));

#endif /* _SAFELOOP_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>

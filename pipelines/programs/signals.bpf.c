// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * signals: each signal that a process or the kernel sends: from whom, to whom, and whether it got there.
 *
 * Tells: who killed my process. A sender that the kernel acts for (a fault, a timer) has code > 0.
 */
#include "event.h"

const volatile __u32 only_signal = 0;
const volatile __u32 only_target = 0;

struct signal_event {
	struct event head; /* the sender */
	__u32 signal;
	__s32 code; /* SI_*: 0 kill, -6 tgkill, > 0 the kernel */
	__u32 target; /* pid of the thread, or tgid when to_group */
	__u32 to_group;
	__u32 result; /* 0 delivered, 1 ignored, 2 already pending, 3 and 4 lost for want of memory */
	char target_comm[TASK_COMM_LEN];
};

SEC("tracepoint/signal/signal_generate")
int signals_generate(struct trace_event_raw_signal_generate *ctx)
{
	struct signal_event *event;
	__u32 signal = ctx->sig;
	__u32 target = ctx->pid;

	if ((only_signal && only_signal != signal) || (only_target && only_target != target))
		return 0;
	event = event_begin(signal_event);
	if (!event)
		return 0;
	event->signal = signal;
	event->code = ctx->code;
	event->target = target;
	event->to_group = ctx->group;
	event->result = ctx->result;
	bpf_core_read(event->target_comm, sizeof(event->target_comm), &ctx->comm);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

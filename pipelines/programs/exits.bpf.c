// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * exits: each process that ends: exit code or killing signal, how long it lived, its memory peak and page faults.
 *
 * Tells: what crashes or is killed, also when nobody logs it; short-lived processes that top never shows.
 */
#include "event.h"

struct exit_event {
	struct event head;
	__u64 lived_ns;
	__u64 peak_pages; /* most pages of memory that it ever had resident */
	__u64 minor_faults; /* of the last thread */
	__u64 major_faults;
	__u32 exit_code;
	__u32 signal; /* 0 when it ended by itself */
	__u32 dumped_core;
	__u32 unused;
};

SEC("tracepoint/sched/sched_process_exit")
int exits_process(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct exit_event *event;
	__u32 code;

	/* The process ends with its last thread. */
	if (BPF_CORE_READ(task, signal, live.counter))
		return 0;
	event = event_begin(exit_event);
	if (!event)
		return 0;
	code = BPF_CORE_READ(task, signal, group_exit_code);
	if (!code)
		code = BPF_CORE_READ(task, exit_code);
	event->lived_ns = event->head.time_ns - BPF_CORE_READ(task, group_leader, start_time);
	event->peak_pages = BPF_CORE_READ(task, signal, maxrss);
	event->minor_faults = BPF_CORE_READ(task, min_flt);
	event->major_faults = BPF_CORE_READ(task, maj_flt);
	event->exit_code = code >> 8 & 0xff;
	event->signal = code & 0x7f;
	event->dumped_core = code >> 7 & 1;
	event->unused = 0;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

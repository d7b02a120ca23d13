// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * schedlat: how long runnable threads wait for a CPU, and why threads leave the CPU.
 *
 * Tells: a machine or a container that is short of CPU. The histogram has every wait; waits of slow_ns and more are
 * reported one by one with who got the CPU too late and who had it before.
 *
 * Load the programs that end in _btf where the kernel has BTF of its own, else those that end in _raw.
 */
#include "event.h"
#include "histogram.h"

const volatile __u64 slow_ns = 10000000;

struct wait_event {
	struct event head; /* who had the CPU before */
	__u64 waited_ns;
	__u32 woken; /* tid that waited */
	__u32 woken_tgid;
	char woken_comm[TASK_COMM_LEN];
};

enum leaving {
	LEAVING_PREEMPTED, /* could have gone on */
	LEAVING_SLEEPING,
	LEAVING_BLOCKED, /* uninterruptible: a lock, a page */
	LEAVING_IO, /* uninterruptible, and the kernel counts it as waiting for IO */
	LEAVING_OTHER, /* stopped, traced, dying */
	LEAVING_REASONS,
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u32); /* tid */
	__type(value, __u64); /* runnable since */
} runnable SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct histogram);
} waits_us SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LEAVING_REASONS);
	__type(key, __u32); /* enum leaving */
	__type(value, __u64);
} leavings SEC(".maps");

#define TASK_RUNNING 0
#define TASK_INTERRUPTIBLE 1
#define TASK_UNINTERRUPTIBLE 2
#define TASK_STATES 0x7f /* what is above are hints: may freeze, may be killed, doesn't count as load */

/* The state's name, and its width, changed in 5.14. */
static __always_inline unsigned long state_of(struct task_struct *task)
{
	if (bpf_core_field_exists(task->__state))
		return BPF_CORE_READ(task, __state);
	return BPF_CORE_READ((struct task_struct___old *)task, state);
}

static __always_inline enum leaving reason(unsigned long state, bool in_iowait)
{
	switch (state & TASK_STATES) {
	case TASK_RUNNING:
		return LEAVING_PREEMPTED;
	case TASK_INTERRUPTIBLE:
		return LEAVING_SLEEPING;
	case TASK_UNINTERRUPTIBLE:
		return in_iowait ? LEAVING_IO : LEAVING_BLOCKED;
	default:
		return LEAVING_OTHER;
	}
}

static __always_inline int begin_wait(struct task_struct *task)
{
	__u32 tid = BPF_CORE_READ(task, pid);
	__u64 now = bpf_ktime_get_ns();

	if (tid) /* 0 is the idle task of each CPU */
		bpf_map_update_elem(&runnable, &tid, &now, BPF_ANY);
	return 0;
}

static __always_inline void report(struct task_struct *next, __u32 tid, __u64 waited)
{
	struct wait_event *event = event_begin(wait_event);

	if (!event)
		return;
	event->waited_ns = waited;
	event->woken = tid;
	event->woken_tgid = BPF_CORE_READ(next, tgid);
	bpf_core_read(event->woken_comm, sizeof(event->woken_comm), &next->comm);
	bpf_ringbuf_submit(event, 0);
}

static __always_inline void end_wait(struct task_struct *next)
{
	__u32 tid = BPF_CORE_READ(next, pid), zero = 0;
	__u64 *since = bpf_map_lookup_elem(&runnable, &tid);
	struct histogram *histogram = bpf_map_lookup_elem(&waits_us, &zero);
	__s64 waited;

	if (!since)
		return;
	waited = bpf_ktime_get_ns() - *since;
	bpf_map_delete_elem(&runnable, &tid);
	if (waited < 0 || !histogram)
		return;
	histogram_add(histogram, waited / 1000);
	if ((__u64)waited >= slow_ns)
		report(next, tid, waited);
}

static __always_inline int switched(struct task_struct *prev, struct task_struct *next, enum leaving leaving)
{
	__u32 slot = leaving;
	__u64 *count = bpf_map_lookup_elem(&leavings, &slot);

	if (count)
		*count += 1;
	if (leaving == LEAVING_PREEMPTED)
		begin_wait(prev);
	end_wait(next);
	return 0;
}

/* Since 5.18 the tracepoint says the state, since the task's own may have changed again by now. */
typedef void (*btf_trace_sched_switch___state)(void *, bool, struct task_struct *, struct task_struct *, unsigned int);

SEC("tp_btf/sched_wakeup")
int BPF_PROG(schedlat_wakeup_btf, struct task_struct *task)
{
	return begin_wait(task);
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(schedlat_wakeup_new_btf, struct task_struct *task)
{
	return begin_wait(task);
}

SEC("tp_btf/sched_switch")
int schedlat_switch_btf(__u64 *ctx)
{
	struct task_struct *prev = (void *)ctx[1], *next = (void *)ctx[2];
	unsigned long state;

	if (bpf_core_type_exists(btf_trace_sched_switch___state))
		state = (__u32)nth_argument(ctx, 3);
	else
		state = state_of(prev);
	return switched(prev, next, reason(state, BPF_CORE_READ_BITFIELD(prev, in_iowait)));
}

SEC("raw_tp/sched_wakeup")
int BPF_PROG(schedlat_wakeup_raw, struct task_struct *task)
{
	return begin_wait(task);
}

SEC("raw_tp/sched_wakeup_new")
int BPF_PROG(schedlat_wakeup_new_raw, struct task_struct *task)
{
	return begin_wait(task);
}

SEC("raw_tp/sched_switch")
int schedlat_switch_raw(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *prev = (void *)ctx->args[1], *next = (void *)ctx->args[2];
	unsigned long state;

	if (bpf_core_type_exists(btf_trace_sched_switch___state))
		state = (__u32)nth_argument(ctx->args, 3);
	else
		state = state_of(prev);
	return switched(prev, next, reason(state, BPF_CORE_READ_BITFIELD_PROBED(prev, in_iowait)));
}

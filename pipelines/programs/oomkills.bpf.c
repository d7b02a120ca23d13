// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * oomkills: each process that the kernel kills for want of memory: the victim and its memory, who asked for the page
 * that was one too many, and whether a control group or the machine had run out.
 *
 * Load one of the two programs: oomkills_fentry where the kernel has BTF of its own, else oomkills_kprobe.
 */
#include "event.h"

enum limit {
	LIMIT_MACHINE,
	LIMIT_CPUSET,
	LIMIT_MEMORY_POLICY,
	LIMIT_CGROUP,
};

struct oom_event {
	struct event head; /* who asked for memory */
	__u32 victim;
	__s32 score_adj;
	__s64 points;
	__u64 allowed_pages; /* memory that this limit allows in all */
	__s64 pages[RESIDENT_COUNTERS]; /* of the victim: file, anonymous, swapped, shared; may be a little below 0 */
	__u64 total_vm_pages;
	__u64 limited_cgroup; /* id of the control group that is full, or 0 */
	__u32 order; /* 2^order pages were asked for */
	enum limit limit;
	char victim_comm[TASK_COMM_LEN];
};

static __always_inline void read_resident(__s64 *pages, struct mm_struct *mm)
{
	struct mm_struct___plain *plain = (void *)mm;
	struct mm_struct___percpu *percpu = (void *)mm;

	if (bpf_core_field_exists(percpu->rss_stat[0].count)) {
		void *counter = (void *)mm + bpf_core_field_offset(percpu->rss_stat);
		/* The size of a counter depends on the kernel's configuration. */
		__u32 size = bpf_core_type_size(struct percpu_counter);

#pragma clang loop unroll(disable)
		for (int i = 0; i < RESIDENT_COUNTERS; i++, counter += size)
			pages[i] = BPF_CORE_READ((struct percpu_counter *)counter, count);
	} else if (bpf_core_field_exists(plain->rss_stat.count)) {
		bpf_core_read(pages, RESIDENT_COUNTERS * sizeof(*pages), &plain->rss_stat.count);
	} else {
		__builtin_memset(pages, 0, RESIDENT_COUNTERS * sizeof(*pages));
	}
}

static __always_inline enum limit limit_of(enum oom_constraint constraint)
{
	if (constraint == bpf_core_enum_value(enum oom_constraint, CONSTRAINT_MEMCG))
		return LIMIT_CGROUP;
	if (constraint == bpf_core_enum_value(enum oom_constraint, CONSTRAINT_CPUSET))
		return LIMIT_CPUSET;
	if (constraint == bpf_core_enum_value(enum oom_constraint, CONSTRAINT_MEMORY_POLICY))
		return LIMIT_MEMORY_POLICY;
	return LIMIT_MACHINE;
}

static __always_inline int report(struct oom_control *oc)
{
	struct task_struct *victim = BPF_CORE_READ(oc, chosen);
	struct mm_struct *mm = BPF_CORE_READ(victim, mm);
	struct oom_event *event = event_begin(oom_event);

	if (!event)
		return 0;
	event->victim = BPF_CORE_READ(victim, tgid);
	event->score_adj = BPF_CORE_READ(victim, signal, oom_score_adj);
	event->points = BPF_CORE_READ(oc, chosen_points);
	event->allowed_pages = BPF_CORE_READ(oc, totalpages);
	read_resident(event->pages, mm);
	event->total_vm_pages = BPF_CORE_READ(mm, total_vm);
	event->limited_cgroup = BPF_CORE_READ(oc, memcg, css.cgroup, kn, id);
	event->order = BPF_CORE_READ(oc, order);
	event->limit = limit_of(BPF_CORE_READ(oc, constraint));
	bpf_core_read(event->victim_comm, sizeof(event->victim_comm), &victim->comm);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("fentry/oom_kill_process")
int BPF_PROG(oomkills_fentry, struct oom_control *oc, const char *message)
{
	return report(oc);
}

SEC("kprobe/oom_kill_process")
int BPF_KPROBE(oomkills_kprobe, struct oom_control *oc, const char *message)
{
	return report(oc);
}

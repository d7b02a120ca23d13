/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How the programs of this folder report: one ring buffer, "events", of structs that all begin with struct event.
 *
 * head.type is the BTF id of the whole struct in the .BTF of the object itself, so that a reader needs no header of
 * ours: bpf_object__btf() and btf_dump__dump_type_data() print any event by name (README.md shows them).
 */
#ifndef EVENT_H
#define EVENT_H

#include "kernel.h"

struct event {
	__u32 type;
	__u32 tgid; /* the process, by what user space calls pid */
	__u32 tid;
	__u32 parent; /* tgid of the parent */
	__u32 uid;
	__u32 cpu;
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 cgroup;
	char comm[TASK_COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

/* Events that found no room. */
__u64 events_lost = 0;

/* Who is running now. In an interrupt that is whoever was interrupted. */
static __always_inline void event_describe(struct event *head, __u32 type)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 id = bpf_get_current_pid_tgid();

	head->type = type;
	head->tgid = id >> 32;
	head->tid = (__u32)id;
	head->parent = BPF_CORE_READ(task, real_parent, tgid);
	head->uid = (__u32)bpf_get_current_uid_gid();
	head->cpu = bpf_get_smp_processor_id();
	head->time_ns = bpf_ktime_get_ns();
	head->cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(head->comm, sizeof(head->comm));
}

/* A struct TYPE in the ring buffer, its head filled, or NULL. End it with bpf_ringbuf_submit. */
#define event_begin(TYPE)                                                              \
	({                                                                             \
		struct TYPE *begun = bpf_ringbuf_reserve(&events, sizeof(struct TYPE), 0); \
		if (begun)                                                             \
			event_describe(&begun->head, bpf_core_type_id_local(struct TYPE)); \
		else                                                                   \
			__sync_fetch_and_add(&events_lost, 1);                         \
		begun;                                                                 \
	})

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#endif

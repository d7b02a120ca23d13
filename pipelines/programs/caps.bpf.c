// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * caps: which capabilities processes are asked for, and whether they have them; once per process, capability and answer.
 *
 * Tells: what a service needs before its capabilities are cut down, and what it misses afterwards.
 *
 * Load caps_fexit where the kernel has BTF of its own, else caps_kprobe and caps_kretprobe.
 */
#include "event.h"

#define CAP_OPT_NOAUDIT 2

/* Report also the checks that the kernel makes out of curiosity, without meaning to refuse anything. */
const volatile bool with_noaudit = false;

struct capability_event {
	struct event head;
	__u64 effective; /* the set that the process has */
	__u32 capability; /* CAP_* */
	__s32 result; /* 0 granted, else a negative errno */
	__u32 user_ns; /* where it is needed */
	__u32 user_ns_level; /* 0: on the machine itself */
	__u32 noaudit;
	__u32 unused;
};

struct question {
	const struct cred *cred;
	struct user_namespace *user_ns;
	__u32 capability;
	__u32 options;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32); /* tid */
	__type(value, struct question);
} asking SEC(".maps");

struct seen {
	__u32 tgid;
	__u32 capability;
	__s32 result;
	__u32 user_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct seen);
	__type(value, __u8);
} reported SEC(".maps");

static __always_inline __u64 effective(const struct cred *cred)
{
	const struct cred___number *number = (const void *)cred;
	const struct cred___words *words = (const void *)cred;

	if (bpf_core_field_exists(number->cap_effective.val))
		return BPF_CORE_READ(number, cap_effective.val);
	return BPF_CORE_READ(words, cap_effective.cap[0]) |
	       (__u64)BPF_CORE_READ(words, cap_effective.cap[1]) << 32;
}

static __always_inline int answer(const struct question *question, int result)
{
	struct user_namespace *user_ns = question->user_ns;
	struct seen seen = {
		.tgid = bpf_get_current_pid_tgid() >> 32,
		.capability = question->capability,
		.result = result,
		.user_ns = BPF_CORE_READ(user_ns, ns.inum),
	};
	struct capability_event *event;
	bool noaudit = question->options & CAP_OPT_NOAUDIT;
	__u8 one = 1;

	if ((noaudit && !with_noaudit) || bpf_map_update_elem(&reported, &seen, &one, BPF_NOEXIST))
		return 0;
	event = event_begin(capability_event);
	if (!event)
		return 0;
	event->effective = effective(question->cred);
	event->capability = question->capability;
	event->result = result;
	event->user_ns = seen.user_ns;
	event->user_ns_level = BPF_CORE_READ(user_ns, level);
	event->noaudit = noaudit;
	event->unused = 0;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("fexit/cap_capable")
int BPF_PROG(caps_fexit, const struct cred *cred, struct user_namespace *user_ns, int capability, unsigned int options,
	     int result)
{
	struct question question = {
		.cred = cred,
		.user_ns = user_ns,
		.capability = capability,
		.options = options,
	};

	return answer(&question, result);
}

SEC("kprobe/cap_capable")
int BPF_KPROBE(caps_kprobe, const struct cred *cred, struct user_namespace *user_ns, int capability,
	       unsigned int options)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct question question = {
		.cred = cred,
		.user_ns = user_ns,
		.capability = capability,
		.options = options,
	};

	bpf_map_update_elem(&asking, &tid, &question, BPF_ANY);
	return 0;
}

SEC("kretprobe/cap_capable")
int BPF_KRETPROBE(caps_kretprobe, int result)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct question *question = bpf_map_lookup_elem(&asking, &tid);

	if (!question)
		return 0;
	answer(question, result);
	bpf_map_delete_elem(&asking, &tid);
	return 0;
}

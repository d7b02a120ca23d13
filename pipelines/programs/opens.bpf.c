// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * opens: each file that a process opens or tries to: path, flags, mode, what the call returned and how long it took.
 *
 * Tells: why a program doesn't find its configuration (only_failures), what a process touches (only_tgid), which file
 * system is slow to open files on.
 */
#include "event.h"

#define PATH_LEN 256

const volatile __u32 only_tgid = 0;
const volatile bool only_failures = false;

struct open_event {
	struct event head;
	__u64 took_ns;
	__s64 result; /* a descriptor, or a negative errno */
	__u64 flags; /* O_* */
	__u32 mode;
	char path[PATH_LEN]; /* as the process gave it */
};

struct pending {
	__u64 start_ns;
	__u64 flags;
	const char *path;
	__u32 mode;
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32); /* tid */
	__type(value, struct pending);
} opening SEC(".maps");

static __always_inline int begin(const char *path, __u64 flags, __u32 mode)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tid = (__u32)id;
	struct pending pending = {
		.start_ns = bpf_ktime_get_ns(),
		.flags = flags,
		.path = path,
		.mode = mode,
	};

	if (!only_tgid || only_tgid == id >> 32)
		bpf_map_update_elem(&opening, &tid, &pending, BPF_ANY);
	return 0;
}

/* The path is read now, not at the start: the call itself has brought the user's page into memory. */
static __always_inline void report(const struct pending *pending, __s64 result)
{
	struct open_event *event = event_begin(open_event);

	if (!event)
		return;
	event->took_ns = bpf_ktime_get_ns() - pending->start_ns;
	event->result = result;
	event->flags = pending->flags;
	event->mode = pending->mode;
	if (bpf_probe_read_user_str(event->path, sizeof(event->path), pending->path) < 0)
		event->path[0] = 0;
	bpf_ringbuf_submit(event, 0);
}

static __always_inline int end(struct trace_event_raw_sys_exit *ctx)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct pending *pending = bpf_map_lookup_elem(&opening, &tid);
	long result = ctx->ret;

	if (!pending)
		return 0;
	if (!only_failures || result < 0)
		report(pending, result);
	bpf_map_delete_elem(&opening, &tid);
	return 0;
}

/* arm64 never had this call. */
#if defined(__TARGET_ARCH_x86)
SEC("tracepoint/syscalls/sys_enter_open")
int opens_enter_open(struct trace_event_raw_sys_enter *ctx)
{
	return begin((const char *)ctx->args[0], ctx->args[1], ctx->args[2]);
}

SEC("tracepoint/syscalls/sys_exit_open")
int opens_exit_open(struct trace_event_raw_sys_exit *ctx)
{
	return end(ctx);
}
#endif

SEC("tracepoint/syscalls/sys_enter_openat")
int opens_enter_openat(struct trace_event_raw_sys_enter *ctx)
{
	return begin((const char *)ctx->args[1], ctx->args[2], ctx->args[3]);
}

SEC("tracepoint/syscalls/sys_exit_openat")
int opens_exit_openat(struct trace_event_raw_sys_exit *ctx)
{
	return end(ctx);
}

/* The third argument points to the user's struct open_how, which older kernels don't know. */
SEC("tracepoint/syscalls/sys_enter_openat2")
int opens_enter_openat2(struct trace_event_raw_sys_enter *ctx)
{
	struct open_how *how = (void *)ctx->args[2];
	__u64 flags = 0, mode = 0;

	if (bpf_core_type_exists(struct open_how)) {
		flags = BPF_CORE_READ_USER(how, flags);
		mode = BPF_CORE_READ_USER(how, mode);
	}
	return begin((const char *)ctx->args[1], flags, mode);
}

SEC("tracepoint/syscalls/sys_exit_openat2")
int opens_exit_openat2(struct trace_event_raw_sys_exit *ctx)
{
	return end(ctx);
}

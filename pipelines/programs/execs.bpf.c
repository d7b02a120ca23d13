// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * execs: each program that is started: file, arguments, container, and whether it runs with more rights than its caller.
 *
 * Tells: what a build, a cron job or an intruder really runs; set-user-id programs stand out by "secure" (AT_SECURE).
 * Hooks sched_process_exec, which fires after the new program is in place, so failed calls don't show.
 */
#include "event.h"

#define PATH_LEN 128
#define ARGS_LEN 512

struct exec_event {
	struct event head;
	__u32 inner_pid; /* the process's number inside its own pid name space */
	__u32 mount_ns;
	__u32 secure; /* 1: the kernel switched to another user, group or capabilities */
	__u32 argc;
	__u32 args_len;
	char path[PATH_LEN];
	char interpreter[PATH_LEN]; /* differs from path for scripts */
	char args[ARGS_LEN]; /* NUL after each; cut when longer */
};

/* pid.numbers has one entry for each level of pid name spaces; the last is what the process itself sees. */
static __always_inline __u32 inner_pid(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	struct upid *numbers = (void *)pid + bpf_core_field_offset(struct pid, numbers);
	struct upid *inner = (void *)numbers + level * bpf_core_type_size(struct upid);

	return BPF_CORE_READ(inner, nr);
}

static __always_inline __u32 read_args(char *args, struct task_struct *task)
{
	unsigned long start = BPF_CORE_READ(task, mm, arg_start);
	unsigned long len = BPF_CORE_READ(task, mm, arg_end) - start;

	if (len > ARGS_LEN - 1)
		len = ARGS_LEN - 1;
	barrier_var(len);
	len &= ARGS_LEN - 1;
	if (bpf_probe_read_user(args, len, (void *)start))
		return 0;
	return len;
}

static __always_inline int report(struct task_struct *task, struct linux_binprm *bprm, __u32 secure)
{
	struct exec_event *event = event_begin(exec_event);

	if (!event)
		return 0;
	event->inner_pid = inner_pid(task);
	event->mount_ns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	event->secure = secure;
	event->argc = BPF_CORE_READ(bprm, argc);
	bpf_probe_read_kernel_str(event->path, sizeof(event->path), BPF_CORE_READ(bprm, filename));
	bpf_probe_read_kernel_str(event->interpreter, sizeof(event->interpreter), BPF_CORE_READ(bprm, interp));
	event->args_len = read_args(event->args, task);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(execs_btf, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	return report(task, bprm, BPF_CORE_READ_BITFIELD(bprm, secureexec));
}

SEC("raw_tp/sched_process_exec")
int BPF_PROG(execs_raw, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	return report(task, bprm, BPF_CORE_READ_BITFIELD_PROBED(bprm, secureexec));
}

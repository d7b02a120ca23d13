// SPDX-License-Identifier: GPL-2.0-only OR MIT
// Type ids of the kernel, in a program and in a subprogram that libbpf places elsewhere; and one program without.
#define SEC(name) __attribute__((section(name), used))
#define TARGET 1

typedef unsigned long long u64;

struct task_struct {
	int pid;
} __attribute__((preserve_access_index));

struct file {
	unsigned int f_flags;
} __attribute__((preserve_access_index));

volatile u64 sink;

static __attribute__((noinline)) u64 first(u64 seed)
{
	return seed * 3 + __builtin_btf_type_id(*(struct file *)0, TARGET);
}

static __attribute__((noinline)) u64 second(u64 seed)
{
	return seed + __builtin_btf_type_id(*(struct task_struct *)0, TARGET);
}

SEC("kprobe/do_exit")
int ids(void *ctx)
{
	sink = __builtin_btf_type_id(*(struct task_struct *)0, TARGET);
	// In the other order than in the object.
	sink = second(sink);
	sink = first(sink);
	return 0;
}

SEC("kprobe/do_exit")
int fields(void *ctx)
{
	struct task_struct *task = 0;

	sink = (u64)&task->pid;
	return 0;
}

SEC("fentry/do_nanosleep")
int attached(u64 *ctx)
{
	struct file *file = 0;

	sink = (u64)&file->f_flags;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

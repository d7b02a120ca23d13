/* Every kind of relocation, with local types of another order and, on 32-bit kernels, another width. */

#define SEC(name) __attribute__((section(name), used))

enum field { BYTE_OFFSET, BYTE_SIZE, EXISTS, SIGNED, LSHIFT, RSHIFT };
enum { LOCAL, TARGET };
enum { TYPE_EXISTS, TYPE_SIZE, TYPE_MATCHES };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

enum state { RUNNING = 1, PAUSED = 2 };
enum wide { LARGE = 0x200000000ULL };

union both {
	long number;
};

struct inner {
	long b;
	int a;
};

struct list {
	struct list *next;
};

struct task {
	int pid;
	int hidden;
	struct inner inner;
	unsigned int sort : 7;
	signed int nice : 7;
	unsigned long flags;
	void *stack;
	struct list tasks;
	union both both;
	enum state state;
	char tail[];
};

struct task___lost {
	int lost;
};

struct missing {
	int x;
};

#pragma clang attribute pop

#define field(what, info) __builtin_preserve_field_info(what, info)
#define type(what, info) __builtin_preserve_type_info(*(what *)0, info)
#define value(of, name, info) __builtin_preserve_enum_value(*(of *)name, info)

char _license[] SEC("license") = "GPL";

SEC("raw_tp/loads")
long loads(struct task *task)
{
	return task->pid + task->flags + (long)task->stack + (long)task->tasks.next + task->hidden + task->inner.a +
	       task->tail[3];
}

/* A signed long does not keep its value in a narrower load. */
SEC("raw_tp/narrowed")
long narrowed(struct task *task)
{
	return task->inner.b;
}

SEC("raw_tp/fields")
long fields(struct task *task, struct task___lost *lost)
{
	return field(task->sort, BYTE_OFFSET) + field(task->sort, BYTE_SIZE) + field(task->sort, SIGNED) +
	       field(task->sort, LSHIFT) + field(task->sort, RSHIFT) + field(task->nice, SIGNED) +
	       field(task->nice, LSHIFT) + field(task->nice, RSHIFT) + field(task->stack, BYTE_SIZE) +
	       field(task->both, BYTE_SIZE) + field(task->pid, EXISTS) + field(lost->lost, EXISTS);
}

SEC("raw_tp/types")
long types(void)
{
	return type(struct task, TYPE_EXISTS) + type(struct missing, TYPE_EXISTS) + type(struct task, TYPE_SIZE) +
	       type(struct list, TYPE_SIZE) + type(struct list, TYPE_MATCHES) + type(union both, TYPE_MATCHES) +
	       __builtin_btf_type_id(*(struct missing *)0, TARGET) + __builtin_btf_type_id(*(struct task *)0, LOCAL);
}

SEC("raw_tp/enumerators")
long enumerators(void)
{
	return value(enum state, RUNNING, 1) + value(enum state, RUNNING, 0) + value(enum state, PAUSED, 0) +
	       value(enum wide, LARGE, 1);
}

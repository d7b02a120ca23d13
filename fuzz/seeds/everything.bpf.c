// What the programs of libbpf-tools have too little of: kfuncs, struct_ops, externs of every sort, maps in maps,
// subprograms, callbacks, data, flavors, bitfields and guards. Compiled for the fuzzers only, never loaded.
#define SEC(name) __attribute__((section(name), used))
#define CORE __attribute__((preserve_access_index))
#define NUMBER(name, val) int (*name)[val]
#define ksym __attribute__((section(".ksyms")))
#define kconfig __attribute__((section(".kconfig")))
#define weak __attribute__((weak))

typedef unsigned int u32;
typedef unsigned long long u64;
typedef _Bool bool;
enum libbpf_tristate { TRI_NO, TRI_YES, TRI_MODULE };

enum state { IDLE, BUSY = 7 };
struct list_head {
	struct list_head *next, *prev;
} CORE;
union value {
	int number;
	void *pointer;
} CORE;
struct task_struct {
	int pid;
	u32 flag : 3, other : 7;
	enum state state;
	union value value;
	struct {
		struct list_head list;
		char comm[16];
	};
	struct task_struct *parent;
	u64 tail[];
} CORE;
struct task_struct___old {
	long pid;
	long never_was;
} CORE;
struct sock;
struct tcp_congestion_ops {
	u32 (*ssthresh)(struct sock *sk);
	void (*init)(struct sock *sk);
	char name[16];
	u32 flags;
} CORE;

extern int LINUX_KERNEL_VERSION kconfig;
extern bool CONFIG_BPF kconfig weak;
extern enum libbpf_tristate CONFIG_MODULES kconfig weak;
extern char CONFIG_CC_VERSION_TEXT[64] kconfig weak;
struct rq {
	int cpu;
};
extern const struct rq runqueues ksym weak;
extern const void init_task ksym;
extern struct task_struct *bpf_task_acquire(struct task_struct *task) ksym;
extern void bpf_task_release(struct task_struct *task) ksym weak;

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static struct task_struct *(*current)(void) = (void *)35;
static long (*each)(void *map, void *callback, void *ctx, u64 flags) = (void *)164;
static long (*tail_call)(void *ctx, void *map, u32 index) = (void *)12;

const volatile int off = 0;
int counter;
char text[] = "some text";
void *pointer_to_data = &counter;

struct {
	NUMBER(type, 1);
	NUMBER(max_entries, 4);
	u32 *key;
	struct task_struct *value;
} plain SEC(".maps");
struct inner {
	NUMBER(type, 2);
	NUMBER(max_entries, 1);
	u32 *key;
	u64 *value;
} inner SEC(".maps");
struct {
	NUMBER(type, 12);
	NUMBER(max_entries, 2);
	u32 *key;
	struct inner *values[];
} outer SEC(".maps") = {.values = {&inner, 0}};

__attribute__((noinline)) static int helper(struct task_struct *task)
{
	return __builtin_preserve_field_info(task->flag, 4) + __builtin_preserve_enum_value(*(enum state *)BUSY, 1);
}
__attribute__((noinline)) int global(int x)
{
	return x * off + __builtin_preserve_type_info(*(struct task_struct___old *)0, 0);
}
static int callback(void *map, u32 *key, struct task_struct *value, int *sum)
{
	*sum += value->value.number;
	return 0;
}

SEC("kprobe/do_exit") int guarded(void *ctx)
{
	struct task_struct *task = current();
	struct task_struct___old *old = (void *)task;
	int sum = 0;

	if (__builtin_preserve_field_info(old->never_was, 2))
		sum += __builtin_preserve_field_info(old->never_was, 0);
	if (CONFIG_BPF && CONFIG_MODULES == TRI_MODULE && LINUX_KERNEL_VERSION > 0x50a00)
		sum += CONFIG_CC_VERSION_TEXT[3];
	if (&runqueues)
		sum += (long)&init_task;
	each(&plain, callback, &sum, 0);
	counter += sum + global(sum) + text[sum & 7];
	return map_lookup(&outer, &counter) ? helper(task) : 0;
}
SEC("tp_btf/sched_switch") int traced(u64 *ctx)
{
	struct task_struct *task = bpf_task_acquire((void *)ctx[0]);
	if (task)
		bpf_task_release(task);
	return 0;
}
SEC("?lsm/file_open") int decides(u64 *ctx) { return -((struct task_struct *)ctx[0])->comm[2]; }
SEC("fexit/tcp_v4_connect") int after(u64 *ctx) { return tail_call(ctx, &outer, 1); }
SEC("iter/task") int every(struct task_struct **ctx) { return ctx[0]->parent->pid; }
SEC("struct_ops/ssthresh") u32 ssthresh(u64 *ctx) { return 1; }
SEC("struct_ops/init") void init(u64 *ctx) { counter++; }
SEC(".struct_ops") struct tcp_congestion_ops ops = {
	.ssthresh = (void *)ssthresh, .init = (void *)init, .name = "fuzzed", .flags = 3};

char _license[] SEC("license") = "GPL";

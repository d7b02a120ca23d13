// Poisoned places behind guards of every shape, and places that no guard protects: the kernel's verifier says which of
// them it gets to. Nothing of the machine's headers is used, so that every kernel sees the same instructions.
#define SEC(name) __attribute__((section(name), used))
#define CORE __attribute__((preserve_access_index))
#define __noinline __attribute__((noinline))
#define exists(field) __builtin_preserve_field_info(field, 2)
#define opaque(value) asm volatile("" : "+r"(value))
#define NUMBER(name, val) int (*name)[val]

typedef unsigned int u32;
typedef unsigned long long u64;

// No kernel has these members.
struct task_struct {
	int pid;
	int never_was;
	long nor_was_this;
} CORE;

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static u64 (*ktime)(void) = (void *)5;
static u64 (*pid_tgid)(void) = (void *)14;
static struct task_struct *(*current)(void) = (void *)35;
static long (*probe_read)(void *to, u32 size, const void *from) = (void *)113;

const volatile int off = 0;
const volatile int on = 1;
const volatile u64 table[4] = {0, 1, 2, 3};
int variable;

struct {
	NUMBER(type, 1);
	NUMBER(max_entries, 4);
	u32 *key;
	u64 *value;
} map SEC(".maps");

// The poisoned places: offsets, so that nothing but the poison can be wrong.
#define poison() __builtin_preserve_field_info(((struct task_struct *)0)->never_was, 0)

#define PROGRAM(name, ...)                                                                                             \
	SEC("kprobe/do_exit") int name(void *ctx)                                                                      \
	{                                                                                                              \
		__VA_ARGS__;                                                                                               \
		return 0;                                                                                              \
	}

PROGRAM(a01_nothing, )
PROGRAM(a02_bare, return poison())
PROGRAM(a03_exists, if (exists(((struct task_struct *)0)->never_was)) return poison())
PROGRAM(a04_exists_not, if (!exists(((struct task_struct *)0)->never_was)) return poison())
PROGRAM(a05_exists_other, if (exists(((struct task_struct *)0)->pid)) return poison())
PROGRAM(a06_rodata_off, if (off) return poison())
PROGRAM(a07_rodata_on, if (on) return poison())
PROGRAM(a08_variable, if (variable) return poison())
PROGRAM(a09_table, if (table[2] == 3) return poison())
PROGRAM(a10_table_hit, if (table[2] == 2) return poison())
PROGRAM(a11_time, if (ktime() == 7) return poison())
PROGRAM(a12_time_even, if (!(ktime() & 1)) return poison())
PROGRAM(a13_both, if (ktime() == 7 && off) return poison())
PROGRAM(a14_either, if (ktime() == 7 || off) return poison())
PROGRAM(a15_lookup, u32 key = 1; u64 *value = map_lookup(&map, &key); if (!value) return poison())
PROGRAM(a16_lookup_found, u32 key = 1; u64 *value = map_lookup(&map, &key); if (value) return poison())
PROGRAM(a17_lookup_value, u32 key = 1; u64 *value = map_lookup(&map, &key); if (value && *value == 3) return poison())
PROGRAM(a18_twice, u64 now = ktime(); opaque(now); if (now == 3) { opaque(now); if (now != 3) return poison(); })
PROGRAM(a19_arithmetic, u64 x = off; opaque(x); x = x * 8 + 4; opaque(x); if (x != 4) return poison())
PROGRAM(a20_arithmetic_hit, u64 x = on; opaque(x); x = x * 8 + 4; opaque(x); if (x == 12) return poison())
PROGRAM(a21_mask, u64 x = ktime(); x &= 0xff; opaque(x); if (x == 0x80) return poison())
PROGRAM(a22_mask_never, u64 x = ktime(); x &= 0xff; opaque(x); if (x > 0x100) return poison())
PROGRAM(a23_shift, u64 x = pid_tgid() >> 32; opaque(x); if (x == 1) return poison())
PROGRAM(a24_word, u32 x = (u32)pid_tgid(); if (x > 1000) return poison())
PROGRAM(a25_signed, long x = (long)ktime(); opaque(x); if (x < 0) return poison())
PROGRAM(a26_null_map, void *none = &map; opaque(none); if (!none) return poison())
PROGRAM(a27_loop, for (u32 i = 0; i < 10; i++) { opaque(i); if (i == 9) return poison(); })
PROGRAM(a28_loop_never, for (u32 i = 0; i < 10; i++) { opaque(i); if (i == 20) return poison(); })
PROGRAM(a29_loop_guard, u64 sum = 0; for (u32 i = 0; i < 10; i++) { sum += ktime(); if (off) sum += poison(); } return (int)sum)
PROGRAM(a30_behind_return, if (on) return 1; return poison())
PROGRAM(a31_behind_maybe, if (ktime() == 9) return 1; return poison())
PROGRAM(a32_current, struct task_struct *t = current(); if (!t) return poison())
PROGRAM(a33_read, u64 x = 0; probe_read(&x, 8, ctx); if (x == 5) return poison())
PROGRAM(a34_context, u64 x = *(volatile u64 *)ctx; if (x == 5) return poison())

// What a caller knows goes with a static function, not with a global one.
static __noinline int static_poison(u64 how)
{
	opaque(how);
	return how == 5 ? poison() : 1;
}

__noinline int global_poison(int how)
{
	return how == 5 ? poison() : 1;
}

static __noinline u64 static_zero(void)
{
	u64 zero = 0;
	opaque(zero);
	return zero;
}

PROGRAM(b01_static, return static_poison(1))
PROGRAM(b02_static_hit, return static_poison(5))
PROGRAM(b03_static_maybe, return static_poison(ktime()))
PROGRAM(b04_static_not_called, if (off) return static_poison(5))
PROGRAM(b05_global, return global_poison(1))
PROGRAM(b06_global_not_called, if (off) return global_poison(5))
PROGRAM(b07_result, if (static_zero()) return poison())

// What goes over the stack.
PROGRAM(c01_spilled, volatile u64 slot = 0; if (slot) return poison())
PROGRAM(c02_spilled_constant, volatile u64 slot = 7; if (slot != 7) return poison())
PROGRAM(c03_spilled_word, volatile u32 slot = 7; if (slot != 7) return poison())
PROGRAM(c04_spilled_register, volatile u64 slot = on; if (slot != 1) return poison())
PROGRAM(c05_spilled_hit, volatile u64 slot = on; if (slot == 1) return poison())
PROGRAM(c03_spilled_half, volatile u64 slot; *(volatile u32 *)&slot = 7; if (*(volatile u32 *)&slot != 7) return poison())
PROGRAM(c03_zero_byte, volatile unsigned char slot[8]; slot[3] = 0; if (slot[3]) return poison())
PROGRAM(c06_overwritten, u64 slot = 0; probe_read(&slot, 8, ctx); if (slot) return poison())

PROGRAM(c07_read_part, u32 slot[4] = {1, 2, 3, 4}; probe_read(slot, 16, ctx); if (slot[2] == 9) return poison())
PROGRAM(c08_read_beside, u64 slot[2] = {1, 2}; probe_read(slot, 8, ctx); opaque(ctx); if (((volatile u64 *)slot)[1] != 2) return poison())

// Immediates stored at once, which old verifiers don't follow: `*(u64 *)(r10 - 8) = IMM` and `*(u32 *)(r10 - 4) = IMM`.
#define WIDE(imm) ".byte 0x7a, 0x0a, 0xf8, 0xff, " #imm ", 0, 0, 0; %0 = *(u64 *)(r10 - 8)"
#define HALF(imm) ".byte 0x62, 0x0a, 0xfc, 0xff, " #imm ", 0, 0, 0; %0 = *(u32 *)(r10 - 4)"
PROGRAM(d01_immediate, u64 x; asm volatile(WIDE(7) : "=r"(x)::"memory"); if (x != 7) return poison())
PROGRAM(d02_immediate_zero, u64 x; asm volatile(WIDE(0) : "=r"(x)::"memory"); if (x) return poison())
PROGRAM(d03_immediate_half, u64 x; asm volatile(HALF(7) : "=r"(x)::"memory"); if (x != 7) return poison())
PROGRAM(d04_immediate_half_zero, u64 x; asm volatile(HALF(0) : "=r"(x)::"memory"); if (x) return poison())

char LICENSE[] SEC("license") = "GPL";

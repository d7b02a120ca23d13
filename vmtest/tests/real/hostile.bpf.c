// Programs that try to fool the analysis of reachable code: it must neither call a poisoned place guarded that the
// verifier gets to, nor call one reachable that the verifier sees is dead. Nothing of the machine's headers is used.
#define SEC(name) __attribute__((section(name), used))
#define CORE __attribute__((preserve_access_index))
#define __noinline __attribute__((noinline))
#define __weak __attribute__((weak))
#define __ksym __attribute__((section(".ksyms")))
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
static long (*tail_call)(void *ctx, void *map, u32 index) = (void *)12;
static long (*probe_read)(void *to, u32 size, const void *from) = (void *)113;
static long (*probe_read_str)(void *to, u32 size, const void *from) = (void *)115;
static void *(*reserve)(void *ringbuf, u64 size, u64 flags) = (void *)131;
static void (*discard)(void *data, u64 flags) = (void *)133;

const volatile int off = 0;
const volatile int on = 1;
int variable;

struct {
	NUMBER(type, 1);
	NUMBER(max_entries, 4);
	u32 *key;
	u64 *value;
} hash SEC(".maps"), inner SEC(".maps");

struct {
	NUMBER(type, 2);
	NUMBER(max_entries, 4);
	u32 *key;
	u64 *value;
} array SEC(".maps");

struct {
	NUMBER(type, 6);
	NUMBER(max_entries, 4);
	u32 *key;
	u64 *value;
} percpu SEC(".maps");

struct {
	NUMBER(type, 3);
	NUMBER(max_entries, 4);
	NUMBER(key_size, 4);
	NUMBER(value_size, 4);
} programs SEC(".maps");

struct {
	NUMBER(type, 27);
	NUMBER(max_entries, 4096);
} ringbuf SEC(".maps");

struct {
	NUMBER(type, 13);
	NUMBER(max_entries, 4);
	u32 *key;
	struct {
		NUMBER(type, 1);
		NUMBER(max_entries, 4);
		u32 *key;
		u64 *value;
	} *values[];
} outer SEC(".maps") = {.values = {(void *)&inner}};

// The poisoned places: offsets, so that nothing but the poison can be wrong.
#define poison()                                                                                                       \
	({                                                                                                             \
		int offset = __builtin_preserve_field_info(((struct task_struct *)0)->never_was, 0);                   \
		opaque(offset);                                                                                        \
		offset;                                                                                                \
	})

#define PROGRAM(name, ...)                                                                                             \
	SEC("kprobe/do_exit") int name(void *ctx)                                                                      \
	{                                                                                                              \
		__VA_ARGS__;                                                                                           \
		return 0;                                                                                              \
	}
#define LOOKUP(map, number)                                                                                            \
	({                                                                                                             \
		u32 key = number;                                                                                      \
		u64 *found = map_lookup(&map, &key);                                                                   \
		opaque(found);                                                                                         \
		found;                                                                                                 \
	})
#define COPY(to, from) asm volatile("%0 = %1" : "=r"(to) : "r"(from))

static __noinline u64 *get(u32 key)
{
	return map_lookup(&hash, &key);
}

static __noinline u64 is_null(u64 *value)
{
	u64 null = 0;
	if (!value)
		null = 1;
	opaque(null);
	return null;
}

static __noinline u64 *same(u64 *value)
{
	opaque(value);
	return value;
}

static __noinline u64 clock(void)
{
	u64 now = ktime();
	opaque(now);
	return now & 0xff;
}

static __noinline u64 is_three(u64 number)
{
	u64 three = 0;
	if (number == 3)
		three = 1;
	opaque(three);
	return three;
}

// Copies of one value, and values of one origin that are no copies.
PROGRAM(a01_two_results, u64 *a = get(1); u64 *b = get(2); if (a) { opaque(b); if (!b) return poison(); })
PROGRAM(a02_null_seen_by_callee, u64 *v = get(1); opaque(v); if (!is_null(v)) { opaque(v); if (!v) return poison(); })
PROGRAM(a03_null_seen_behind_callee, u64 *v = get(1); u64 *w = same(v); if (v) { opaque(w); if (!w) return poison(); })
PROGRAM(a04_two_numbers, u64 a = clock(); u64 b = clock(); if (a == 3) { opaque(b); if (b != 3) return poison(); })
PROGRAM(a05_number_seen_by_callee, u64 a = clock(); if (is_three(a)) { opaque(a); if (a != 3) return poison(); })
PROGRAM(a06_copy, u64 x = ktime() & 0xff; u64 y; COPY(y, x); if (x == 3) { opaque(y); if (y != 3) return poison(); })
PROGRAM(a07_copy_plus, u64 x = ktime() & 0xff; u64 y; COPY(y, x); asm volatile("%0 += 4" : "+r"(y)); if (x == 3) { opaque(y); if (y != 7) return poison(); })
PROGRAM(a08_spilled_copy, u64 x = ktime() & 0xff; volatile u64 slot = x; if (x == 3) { if (slot != 3) return poison(); })
PROGRAM(a09_copies_differ, u64 x = ktime() & 0xff; u64 y; COPY(y, x); if (x != y) return poison())
PROGRAM(a10_itself, u64 x = ktime(); asm volatile goto("if %0 != %0 goto %l1" :: "r"(x) :: hit); return 0; hit: return poison())
PROGRAM(a11_minus_itself, u64 x = ktime(); asm volatile("%0 -= %0" : "+r"(x)); if (x == 5) return poison())
PROGRAM(a12_xor_itself, u64 x = ktime(); asm volatile("%0 ^= %0" : "+r"(x)); if (x == 5) return poison())
PROGRAM(a13_minus_copy, u64 x = ktime(); u64 y; COPY(y, x); asm volatile("%0 -= %1" : "+r"(x) : "r"(y)); if (x == 5) return poison())
PROGRAM(a14_low_half, u64 x = ktime(); u32 w = (u32)x; opaque(w); if (w == 3) { u32 z = (u32)x; opaque(z); if (z != 3) return poison(); })
PROGRAM(a15_narrow_copy, u64 x = ktime() & 0xff; u32 w = (u32)x; opaque(w); if (w == 3) { opaque(x); if (x != 3) return poison(); })
PROGRAM(a16_other_bit, u64 x = ktime(); u64 y = x & 8; opaque(y); opaque(x); if (x & 8) return 1; opaque(y); if (y) return poison())
PROGRAM(a17_twice_called, u64 a = clock(); u64 sum = 0; if (a == 3) sum = clock(); opaque(a); if (a == 3 && sum == 5) return poison())
PROGRAM(a18_loop_values, u64 last = 0; for (u32 i = 0; i < 4; i++) { u64 now = clock(); opaque(last); if (now == 3 && last == 4) return poison(); last = now; })
PROGRAM(a19_signed_extreme, u64 x = ktime(); asm volatile goto("r6 = %0; if w6 s> 0x7fffffff goto %l1" :: "r"(x) : "r6" : hit); return 0; hit: return poison())
PROGRAM(a20_signed_least, u64 x = ktime(); asm volatile goto("r6 = %0; if w6 s< -0x80000000 goto %l1" :: "r"(x) : "r6" : hit); return 0; hit: return poison())
PROGRAM(a21_narrow_twice, u64 x = ktime(); asm volatile goto("r6 = %0; if w6 != 3 goto +1; if w6 != 3 goto %l1" :: "r"(x) : "r6" : hit); return 0; hit: return poison())
PROGRAM(a22_shift_sign, u64 x = ktime() & 5; asm volatile("%0 <<= 56; %0 s>>= 56" : "+r"(x)); if ((long)x < 0) return poison())
PROGRAM(a23_shift_sign_hit, u64 x = ktime(); asm volatile("%0 <<= 56; %0 s>>= 56" : "+r"(x)); if ((long)x < 0) return poison())

// Pointers that can be null.
PROGRAM(b01_array, u64 *v = LOOKUP(array, 1); if (!v) return poison())
PROGRAM(b02_array_found, u64 *v = LOOKUP(array, 1); if (v) return poison())
PROGRAM(b03_array_outside, u64 *v = LOOKUP(array, 4); if (!v) return poison())
PROGRAM(b04_percpu, u64 *v = LOOKUP(percpu, 3); if (!v) return poison())
PROGRAM(b05_percpu_unknown, u64 *v = LOOKUP(percpu, (u32)ktime()); if (!v) return poison())
PROGRAM(b06_array_twice, u64 *v = LOOKUP(array, 1); if (!v) return 1; opaque(v); if (!v) return poison())
PROGRAM(b07_hash_twice, u64 *v = LOOKUP(hash, 1); if (!v) return 1; opaque(v); if (!v) return poison())
PROGRAM(b08_reserved, void *r = reserve(&ringbuf, 8, 0); if (!r) return poison(); discard(r, 0))
PROGRAM(b09_reserved_twice, void *r = reserve(&ringbuf, 8, 0); if (!r) return 1; opaque(r); if (!r) return poison(); discard(r, 0))
PROGRAM(b10_inner, void *m = LOOKUP(outer, 1); if (!m) return 1; opaque(m); if (!m) return poison())
PROGRAM(b11_zero_in_register, u64 *v = LOOKUP(hash, 1); u64 zero = off; opaque(zero); if (v == (u64 *)zero) return 1; opaque(v); if (!v) return poison())
PROGRAM(b12_zero_first, u64 *v = LOOKUP(hash, 1); if (!v) return 1; u64 zero = off; opaque(zero); opaque(v); asm volatile goto("if %0 == %1 goto %l2" :: "r"(zero), "r"(v) :: hit); return 0; hit: return poison())
PROGRAM(b13_zero_second, u64 *v = LOOKUP(hash, 1); if (!v) return 1; u64 zero = off; opaque(zero); opaque(v); asm volatile goto("if %0 == %1 goto %l2" :: "r"(v), "r"(zero) :: hit); return 0; hit: return poison())
PROGRAM(b14_spilled, u64 *volatile slot = LOOKUP(hash, 1); u64 *v = slot; if (!v) return 1; opaque(v); if (!slot) return poison())
PROGRAM(b15_context, void *c = ctx; opaque(c); if (!c) return poison())
PROGRAM(b16_stack, u64 a = 1; u64 *p = &a; opaque(p); if (!p) return poison())
PROGRAM(b17_variable, int *p = &variable; opaque(p); if (!p) return poison())
PROGRAM(b18_half, u64 *v = LOOKUP(hash, 1); if (!v) return 1; u64 p = (u64)v; asm volatile goto("r6 = %0; if w6 == 0 goto %l1" :: "r"(p) : "r6" : hit); return 0; hit: return poison())
PROGRAM(b19_later_lookup, u64 *a = 0; for (u32 i = 0; i < 2; i++) { u64 *b = get(i); if (a) { opaque(b); if (!b) return poison(); } a = b; })

// The stack behind pointers.
static __noinline void set(u64 *where)
{
	u64 value = ktime();
	opaque(where);
	*where = value;
}

struct pair {
	u64 *first;
	u64 *second;
};

static __noinline void set_second(struct pair *pair)
{
	u64 value = ktime();
	opaque(pair);
	*pair->second = value;
}

PROGRAM(c01_one_of_two, volatile u64 a = 7; volatile u64 b = 7; u64 *p; if (ktime() & 1) p = (u64 *)&a; else p = (u64 *)&b; opaque(p); *p = 8; if (a != 7) return poison())
PROGRAM(c02_set_by_callee, volatile u64 a = 7; set((u64 *)&a); if (a != 7) return poison())
PROGRAM(c03_set_through_struct, volatile u64 a = 7; struct pair pair = {0, (u64 *)&a}; opaque(ctx); set_second(&pair); if (a != 7) return poison())
PROGRAM(c04_not_set, volatile u64 a = 7; volatile u64 b = 7; probe_read((void *)&b, 8, ctx); if (a != 7) return poison())
PROGRAM(c05_unknown_size, volatile u64 a[2] = {7, 7}; u32 size = ktime(); if (size > 16) return 1; probe_read((void *)a, size, ctx); if (a[1] != 7) return poison())
PROGRAM(c06_string, volatile u64 a = 7; probe_read_str((void *)&a, 8, ctx); if (a != 7) return poison())
PROGRAM(c07_read_into_lower, volatile u64 a[4] = {7, 7, 7, 7}; probe_read((void *)a, 8, ctx); if (a[0] != 7) return poison())
PROGRAM(c08_index, volatile u64 a[4] = {7, 7, 7, 7}; u64 i = ktime() & 3; a[i] = 8; if (a[2] != 7) return poison())
PROGRAM(c09_byte_within, volatile u64 a = 7; ((volatile unsigned char *)&a)[3] = (unsigned char)ktime(); if (a != 7) return poison())
PROGRAM(c10_atomic, u64 a = 7; u64 *p = &a; opaque(p); __sync_fetch_and_add(p, 1); opaque(p); if (*p != 7) return poison())
PROGRAM(c11_halves, volatile u32 a[2] = {0, 0}; if (*(volatile u64 *)a) return poison())
PROGRAM(c12_pointer_over_zero, volatile u64 a = 0; *(void *volatile *)&a = (void *)&hash; if (a == 0) return poison())

// Control flow.
PROGRAM(d01_tail_call, tail_call(ctx, &programs, 1); return poison())
PROGRAM(d02_set_in_loop, u64 seen = 0; for (u32 i = 0; i < 3; i++) { opaque(seen); if (i == 2) seen = 1; } if (seen) return poison())
PROGRAM(d03_not_in_loop, u64 seen = 0; for (u32 i = 0; i < 3; i++) { opaque(seen); opaque(i); if (i == 3) seen = 1; } if (seen) return poison())
PROGRAM(d04_arithmetic, u64 a = exists(((struct task_struct *)0)->pid); u64 b = exists(((struct task_struct *)0)->never_was); opaque(a); opaque(b); if (a - b != 1) return poison())
PROGRAM(d05_xor, u64 b = exists(((struct task_struct *)0)->never_was); opaque(b); asm volatile("%0 ^= 1" : "+r"(b)); if (!b) return poison())
PROGRAM(d06_negate, u64 b = exists(((struct task_struct *)0)->never_was); opaque(b); b = -b; opaque(b); if (b) return poison())
PROGRAM(d07_swap, u64 b = exists(((struct task_struct *)0)->pid); opaque(b); b = __builtin_bswap64(b); opaque(b); if (b == 1) return poison())
PROGRAM(d08_divide, u64 b = exists(((struct task_struct *)0)->pid); opaque(b); asm volatile("%0 *= 12; %0 /= 4" : "+r"(b)); if (b != 3) return poison())
PROGRAM(d09_shift, u64 b = exists(((struct task_struct *)0)->pid); opaque(b); asm volatile("%0 <<= 40; %0 >>= 40" : "+r"(b)); if (!b) return poison())
PROGRAM(d10_by_variable_shift, u64 b = exists(((struct task_struct *)0)->pid); u64 s = on; opaque(s); opaque(b); asm volatile("%0 <<= %1" : "+r"(b) : "r"(s)); if (b != 2) return poison())
PROGRAM(d11_low_half, u64 b = exists(((struct task_struct *)0)->pid); b |= 1ull << 32; opaque(b); if ((u32)b != 1) return poison())
PROGRAM(d12_bit, u64 b = exists(((struct task_struct *)0)->never_was); opaque(b); asm volatile goto("if %0 & 1 goto %l1" :: "r"(b) :: hit); return 0; hit: return poison())
PROGRAM(d13_swap_masked, u64 b = ktime() & 7; b = __builtin_bswap64(b); opaque(b); if (b == 1) return poison())
PROGRAM(d14_swap_masked_16, u64 b = ktime() & 7; b = __builtin_bswap16(b); opaque(b); if (b == 1) return poison())
PROGRAM(d15_multiplied, u64 b = ktime(); b *= 2; opaque(b); if (b == 1) return poison())
PROGRAM(d16_or, u64 b = ktime() | 8; opaque(b); if (b == 1) return poison())

// Symbols of the kernel.
extern void no_such_kfunc(int) __ksym __weak;
extern const int no_such_variable __ksym __weak;
extern int bpf_prog_active __ksym __weak;
extern struct task_struct init_task __ksym __weak;

PROGRAM(e01_kfunc_guarded, if (no_such_kfunc) no_such_kfunc(1))
PROGRAM(e02_kfunc_called, no_such_kfunc(1))
PROGRAM(e03_no_variable, if (&no_such_variable) return poison())
PROGRAM(e04_no_variable_hit, if (!&no_such_variable) return poison())
PROGRAM(e05_percpu_variable, if (!&bpf_prog_active) return poison())
PROGRAM(e06_struct_variable, if (!&init_task) return poison())

char LICENSE[] SEC("license") = "GPL";

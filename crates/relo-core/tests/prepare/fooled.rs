//! What looks like a guard and is none, and what looks open and is not. Each was asked of the verifiers of 5.10, 6.1,
//! 6.12 and 7.2 (`hostile.bpf.c` of vmtest).

use relo_core::{Environment, KernelVersion};

use crate::case::Case;
use crate::compiler;

const KERNEL: &str = "struct task { int pid; long state; } task; int counter;";
const START: &str = r#"
struct task { int pid; int gone; long state; } CORE;
#define poison() ({ int at = __builtin_preserve_field_info(((struct task *)0)->gone, 0); opaque(at); at; })
#define opaque(value) asm volatile("" : "+r"(value))
#define COPY(to, from) asm volatile("%0 = %1" : "=r"(to) : "r"(from))
static void *(*reserve)(void *ringbuf, u64 size, u64 flags) = (void *)131;
const volatile int off = 0;
struct { NUMBER(type, 1); NUMBER(max_entries, 4); u32 *key; u64 *value; } hash SEC(".maps");
struct { NUMBER(type, 2); NUMBER(max_entries, 4); u32 *key; u64 *value; } array SEC(".maps");
struct { NUMBER(type, 27); NUMBER(max_entries, 4096); } ringbuf SEC(".maps");
struct { NUMBER(type, 13); NUMBER(max_entries, 4); NUMBER(key_size, 4);
         struct { NUMBER(type, 1); NUMBER(max_entries, 4); u32 *key; u64 *value; } *values[]; } outer SEC(".maps");
static __noinline u64 *get(u32 key) { return map_lookup(&hash, &key); }
static __noinline u64 is_null(u64 *value) { u64 null = 0; if (!value) null = 1; opaque(null); return null; }
static __noinline u64 clock(void) { u64 now = ktime(); opaque(now); return now & 0xff; }
extern int counter __ksym __weak;
"#;

/// How a program ends that does this: G guarded, R reachable, U unknown, on 5.4, 6.1, 6.12, 7.2, and where the version
/// is not known.
#[track_caller]
fn check(body: &str, want: &str) {
    let program = format!("{START}SEC(\"kprobe\") int f(void *ctx) {{ {body}; return 0; }}");
    let versions = [Some((5, 4)), Some((6, 1)), Some((6, 12)), Some((7, 2)), None];
    let end = |version: Option<(u32, u32)>| {
        let kernel_version = version.map(|(major, minor)| KernelVersion { major, minor, patch: 0 });
        let environment = Environment { kernel_version, ..Environment::default() };
        let case = Case { kernel: KERNEL, program: &program, environment, ..Case::default() };
        match case.codes()[..] {
            ["poisoned-guarded"] => 'G',
            ["poisoned-reachable"] => 'R',
            ["unknown"] => 'U',
            [..] => '?',
        }
    };
    assert_eq!(versions.map(end).iter().collect::<String>(), want, "{body}");
}

#[test]
fn results_of_one_place_are_not_one_value() {
    if !compiler::is_installed("results_of_one_place_are_not_one_value") {
        return;
    }
    check("u64 *a = get(1); u64 *b = get(2); if (a) { opaque(b); if (!b) return poison(); }", "RRRRR");
    check(
        "u64 a = clock(); u64 b = clock(); if (a == 3) { opaque(b); if (b != 3) return poison(); }",
        "RRRRR",
    );
    check(
        "u64 *a = 0; for (u32 i = 0; i < 2; i++) { u64 *b = get(i); if (a) { opaque(b); if (!b) return poison(); } a = b; }",
        "RRRRR",
    );
}

#[test]
fn callees_tell_of_values_of_callers() {
    if !compiler::is_installed("callees_tell_of_values_of_callers") {
        return;
    }
    check("u64 *v = get(1); opaque(v); if (!is_null(v)) { opaque(v); if (!v) return poison(); }", "UGGGU");
}

#[test]
fn copies_of_numbers() {
    if !compiler::is_installed("copies_of_numbers") {
        return;
    }
    let copy = "u64 x = ktime() & 0xff; u64 y; COPY(y, x);";
    check(&format!("{copy} if (x == 3) {{ opaque(y); if (y != 3) return poison(); }}"), "UUUUU");
    check(
        &format!(
            "{copy} asm volatile(\"%0 += 4\" : \"+r\"(y)); if (x == 3) {{ opaque(y); if (y != 7) return poison(); }}"
        ),
        "UUUUU",
    );
    check("u64 x = ktime(); asm volatile(\"%0 -= %0\" : \"+r\"(x)); if (x == 5) return poison()", "UUUUU");
    check(
        "u64 x = ktime() & 0xff; volatile u64 slot = x; if (x == 3) { if (slot != 3) return poison(); }",
        "UUUUU",
    );
    check(
        "u64 x = ktime() & 5; asm volatile(\"%0 = (s8)%0\" : \"+r\"(x)); if ((long)x < 0) return poison()",
        "UUUUU",
    );
    check(
        "u64 x = ktime(); asm volatile(\"%0 = (s8)%0\" : \"+r\"(x)); if ((long)x < 0) return poison()",
        "RRRRR",
    );
}

#[test]
fn null_asked_twice() {
    if !compiler::is_installed("null_asked_twice") {
        return;
    }
    let twice = |pointer: &str| {
        format!("void *r = {pointer}; opaque(r); if (!r) return 1; opaque(r); if (!r) return poison()")
    };
    check(&twice("map_lookup(&hash, &(u32){1})"), "UGGGU");
    check(&twice("reserve(&ringbuf, 8, 0)"), "UUGGU");
    check(&twice("map_lookup(&outer, &(u32){1})"), "UUUUU");
    let in_register = "u64 *v = map_lookup(&hash, &(u32){1}); u64 zero = off; opaque(zero);";
    check(
        &format!("{in_register} if (v == (u64 *)zero) return 1; opaque(v); if (!v) return poison()"),
        "UUUUU",
    );
}

#[test]
fn elements_that_are_there() {
    if !compiler::is_installed("elements_that_are_there") {
        return;
    }
    let absent = |map: &str, key: u32| {
        format!("u32 key = {key}; u64 *v = map_lookup(&{map}, &key); if (!v) return poison()")
    };
    check(&absent("hash", 0), "RRRRR");
    check(&absent("array", 0), "RRRUU");
    check(&absent("array", 4), "RRRRR");
}

#[test]
fn callbacks_are_called_by_those_who_get_them() {
    if !compiler::is_installed("callbacks_are_called_by_those_who_get_them") {
        return;
    }
    let each = |body: &str| {
        format!(
            "}} static long each(u32 i, void *p) {{ return poison(); }} SEC(\"kprobe\") int g(void *ctx) {{ {body}"
        )
    };
    let check = |body: &str, want: &str| {
        let program =
            format!("{START}SEC(\"kprobe\") int f(void *ctx) {{ return 0; {}; return 0; }}", each(body));
        let case = Case { kernel: KERNEL, program: &program, ..Case::default() };
        assert_eq!(case.codes()[1], want, "{body}");
    };
    check("loop(1, each, 0, 0)", "poisoned-reachable");
    check("loop(0, each, 0, 0)", "unknown");
    check("void *p = each; opaque(p); if (off) loop(1, p, 0, 0)", "unknown");
    check("if (off) loop(1, each, 0, 0)", "poisoned-guarded");
    check("if (ktime() & 1) loop(1, each, 0, 0)", "poisoned-reachable");
}

#[test]
fn arithmetic_and_age() {
    if !compiler::is_installed("arithmetic_and_age") {
        return;
    }
    let guard = "u64 b = exists(((struct task *)0)->gone); opaque(b);";
    check(&format!("{guard} asm volatile(\"%0 ^= 1\" : \"+r\"(b)); if (!b) return poison()"), "UGGGU");
    check(&format!("{guard} if (b) return poison()"), "GGGGG");
    check("if (off) return poison()", "RGGGG");
    check("if (!&counter) return poison()", "UUGGU");
}

//! Poisoned places, and whether the verifier gets to them.

use relo_core::{Environment, KernelVersion};

use crate::case::Case;
use crate::compiler;

const KERNEL: &str = "struct task { int pid; long state; } task;";
/// The program knows a field that the kernel lacks.
const TASK: &str = "struct task { int pid; int gone; long state; } CORE;\n";

#[track_caller]
fn check_in(environment: Environment<'_>, body: &str, want: &[&str]) {
    let program = format!("{TASK}{body}");
    Case { kernel: KERNEL, program: &program, environment, ..Case::default() }.check(want);
}

#[track_caller]
fn check(body: &str, want: &[&str]) {
    check_in(Environment::default(), body, want);
}

#[test]
fn guards_of_constants() {
    if !compiler::is_installed("guards_of_constants") {
        return;
    }
    check("SEC(\"kprobe\") long f(struct task *t) { return t->pid; }", &["f: would load"]);
    check(
        "SEC(\"kprobe\") long f(struct task *t) { return exists(t->gone) ? t->gone : t->pid; }",
        &["f: poisoned only behind guards"],
    );
    check(
        "SEC(\"kprobe\") long f(struct task *t) { return exists(t->pid) ? t->gone : 0; }",
        &["f: poisoned at instruction #, which can be reached: CO-RE relocation 1"],
    );
    check(
        "SEC(\"kprobe\") long f(struct task *t) { return t->gone; }",
        &["f: poisoned at instruction #, which can be reached: CO-RE relocation 0"],
    );
    check(
        "SEC(\"kprobe\") long f(struct task *t) { if (!exists(t->gone)) return 1; \
         if (t->pid > 7) return 2; probe_read(&(int){0}, 4, &t->gone); return 3; }",
        &["f: poisoned only behind guards"],
    );
    // A loop that ends, and the poisoned place behind a guard within it.
    check(
        "SEC(\"kprobe\") long f(struct task *t) { long sum = 0; \
         for (int i = 0; i < 100; i++) { sum += ktime(); if (exists(t->gone)) sum += t->gone; } return sum; }",
        &["f: poisoned only behind guards"],
    );
}

#[test]
fn branches_of_values_that_come_at_run_time() {
    if !compiler::is_installed("branches_of_values_that_come_at_run_time") {
        return;
    }
    check(
        "SEC(\"kprobe\") long f(struct task *t) { return t->pid == 5 ? t->gone : 0; }",
        &["f: poisoned at instruction #, which can be reached: CO-RE relocation 1"],
    );
    check(
        "SEC(\"kprobe\") long f(struct task *t) { return ktime() & 1 ? t->gone : 0; }",
        &["f: poisoned at instruction #, which can be reached: CO-RE relocation 0"],
    );
    // A byte is never 300: whether the verifier sees that depends on its version.
    check(
        "SEC(\"kprobe\") long f(struct task *t) { u64 v = *(volatile unsigned char *)t; \
         asm volatile(\"\" : \"+r\"(v)); if (v > 300) return t->gone; return 0; }",
        &[
            "f: unknown: instruction # is poisoned, and reached or not by the branch at #, which can't be decided here",
        ],
    );
    check(
        "SEC(\"kprobe\") long f(struct task *t) { u64 v = *(volatile unsigned char *)t; \
         asm volatile(\"%0 *= 7\" : \"+r\"(v)); if (v == 5000) return t->gone; return 0; }",
        &[
            "f: unknown: instruction # is poisoned, and reached or not by the branch at #, which can't be decided here",
        ],
    );
}

#[test]
fn guards_of_constants_in_rodata() {
    if !compiler::is_installed("guards_of_constants_in_rodata") {
        return;
    }
    let body = "const volatile bool use_gone = 0;\n\
                SEC(\"kprobe\") long f(struct task *t) { return use_gone ? t->gone : t->pid; }";
    check(body, &["f: poisoned only behind guards, as long as .rodata is what the file says"]);
    // Before 5.5 the verifier does not read them.
    let old = Environment {
        kernel_version: Some(KernelVersion { major: 5, minor: 4, patch: 0 }),
        ..Environment::default()
    };
    check_in(old, body, &["f: poisoned at instruction #, which can be reached: CO-RE relocation 0"]);
    // Variables change.
    check(
        "int use_gone = 0;\nSEC(\"kprobe\") long f(struct task *t) { return use_gone ? t->gone : t->pid; }",
        &["f: poisoned at instruction #, which can be reached: CO-RE relocation 0"],
    );
}

#[test]
fn subprograms() {
    if !compiler::is_installed("subprograms") {
        return;
    }
    // A static one is checked with what its callers know.
    check(
        "static __noinline long field(struct task *t, int how) { asm volatile(\"\"); return how ? t->gone : t->pid; }\n\
         SEC(\"kprobe\") long f(struct task *t) { return field(t, 0) + ktime(); }\n\
         SEC(\"kprobe\") long g(struct task *t) { return field(t, 1) + ktime(); }",
        &[
            "f: poisoned only behind guards",
            "g: poisoned at instruction #, which can be reached: CO-RE relocation 0",
        ],
    );
    // A global one is checked by itself, with any arguments; since 6.8 only if it can be called.
    let global = "__noinline long field(struct task *t, int how) { return how ? t->gone : t->pid; }\n\
                  SEC(\"kprobe\") long f(struct task *t) { return exists(t->gone) ? field(t, 1) : ktime(); }";
    let at = |major, minor| Environment {
        kernel_version: Some(KernelVersion { major, minor, patch: 0 }),
        ..Environment::default()
    };
    check_in(at(6, 1), global, &["f: poisoned at instruction #, which can be reached: CO-RE relocation 0"]);
    check_in(at(6, 8), global, &["f: poisoned only behind guards"]);
    // A callback of a helper.
    check(
        "static long each(u32 i, struct task **t) { return (*t)->gone; }\n\
         SEC(\"kprobe\") long f(struct task *t) { return loop(10, each, &t, 0); }",
        &["f: poisoned at instruction #, which can be reached: CO-RE relocation 0"],
    );
}

#[test]
fn an_empty_target() {
    if !compiler::is_installed("an_empty_target") {
        return;
    }
    let program = format!(
        "{TASK}SEC(\"kprobe\") long f(struct task *t) {{ return t->pid; }}\n\
         SEC(\"kprobe\") long g(struct task *t) {{ return exists(t->pid) ? t->pid : 1; }}\n\
         SEC(\"kprobe\") long h(void *ctx) {{ return ktime(); }}"
    );
    // A BTF that has no type at all is a target like any other.
    let mut empty = vec![0x9f, 0xeb, 1, 0];
    for word in [24u32, 0, 0, 0, 1] {
        empty.extend(word.to_le_bytes());
    }
    empty.push(0);
    let object = compiler::object("bpfel", &program);
    crate::case::prepare_bytes(&object, &empty, &Environment::default(), |open, prepared| {
        let statuses: Vec<String> =
            prepared.programs.iter().map(|program| format!("{}: {}", program.name, program.status)).collect();
        assert_eq!(
            statuses,
            [
                "f: poisoned at instruction 0, which can be reached: CO-RE relocation 0",
                "g: poisoned only behind guards",
                "h: would load",
            ]
        );
        let listing = prepared.listing(open, &prepared.programs[0]);
        assert!(listing.contains("call unknown#195896080"), "{listing}");
        assert!(listing.contains("CO-RE byte_off struct task.pid"), "{listing}");
        assert!(prepared.elf(open).is_ok());
    });
}

#[test]
fn the_other_byte_order() {
    if !compiler::is_installed("the_other_byte_order") {
        return;
    }
    let program = format!(
        "{TASK}const volatile int which = 2;\n\
         SEC(\"kprobe\") long f(struct task *t) {{ return which == 2 ? t->state : t->gone; }}"
    );
    let case = Case { kernel: KERNEL, program: &program, big_endian: true, ..Case::default() };
    case.check(&["f: poisoned only behind guards, as long as .rodata is what the file says"]);
    case.with(|open, prepared| {
        let listing = prepared.listing(open, &prepared.programs[0]);
        assert!(listing.contains("struct task.state: 8 -> 8"), "{listing}");
    });
}

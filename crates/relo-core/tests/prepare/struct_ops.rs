//! struct_ops variables against the kernel's structs.

use relo_core::{Environment, KernelBtf};

use crate::case::Case;
use crate::compiler;

const KERNEL: &str = "struct ops { int (*start)(void *ctx); int (*stop)(void *ctx); int flags; };\n\
                      struct bpf_struct_ops_ops { int refs; struct ops data; } value; struct ops ops;";
const PROGRAM: &str = "struct ops { int (*start)(void *ctx); int flags; };\n\
                       SEC(\"struct_ops/start\") int start(void *ctx) { return 0; }\n\
                       SEC(\".struct_ops\") struct ops my = { .start = start, .flags = 1 };";

#[track_caller]
fn check(kernel: &str, program: &str, want: &[&str]) {
    Case { kernel, program, ..Case::default() }.check(want);
}

#[test]
fn members_are_placed_in_the_kernels_struct() {
    if !compiler::is_installed("members_are_placed_in_the_kernels_struct") {
        return;
    }
    check(KERNEL, PROGRAM, &["start: would load"]);
    let moved = KERNEL.replace(
        "int (*start)(void *ctx); int (*stop)(void *ctx);",
        "int (*stop)(void *ctx); int (*start)(void *ctx);",
    );
    for (kernel, member) in [(KERNEL, 0), (&moved, 1)] {
        Case { kernel, program: PROGRAM, ..Case::default() }.with(|_, prepared| {
            let [ops] = &prepared.struct_ops[..] else { panic!("{:?}", prepared.struct_ops) };
            assert_eq!(ops.members.values().copied().collect::<Vec<_>>(), [member]);
            assert_eq!(ops.value_size, 32);
            let attach = prepared.programs[0].attach.as_ref().expect("a member");
            assert_eq!(attach.wanted, "struct ops.start");
        });
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    if !compiler::is_installed("what_does_not_fit_is_refused") {
        return;
    }
    let refused = |why: &str| {
        [format!("refused: struct_ops 'my': {why}"), format!("start: refused: struct_ops 'my': {why}")]
    };
    let check = |kernel: &str, why: &str| {
        let [object, program] = refused(why);
        check(kernel, PROGRAM, &[&object, &program]);
    };
    check("", "struct bpf_struct_ops_ops is not found in kernel BTF");
    check(&KERNEL.replace("int flags", "long flags"), "Error in size of member flags: 4 != 8(kernel)");
    check(&KERNEL.replace("int flags", "int other"), "Cannot find member flags in kernel BTF");
    check(
        &KERNEL.replace("int (*start)(void *ctx)", "int start"),
        "Unmatched member type start PTR != INT(kernel)",
    );
    // A member that the kernel lacks is left out when it is zero.
    Case {
        kernel: &KERNEL.replace("int flags", "int other"),
        program: &PROGRAM.replace(".flags = 1", ""),
        ..Case::default()
    }
    .with(|_, prepared| assert_eq!(prepared.struct_ops[0].skipped, ["flags"]));
}

#[test]
fn programs_that_nobody_refers_to() {
    if !compiler::is_installed("programs_that_nobody_refers_to") {
        return;
    }
    check(
        KERNEL,
        "SEC(\"struct_ops/start\") int start(void *ctx) { return 0; }",
        &[
            "start: refused: prog 'start': SEC(\"struct_ops\") program isn't referenced anywhere, did you forget to use it?",
        ],
    );
    let absent = Environment { kernel_btf: KernelBtf::Absent, ..Environment::default() };
    let case = Case { kernel: KERNEL, program: PROGRAM, environment: absent, ..Case::default() };
    assert_eq!(case.codes(), ["needs-kernel-btf"]);
}

#[test]
fn variables_that_are_not_created() {
    if !compiler::is_installed("variables_that_are_not_created") {
        return;
    }
    let optional = PROGRAM.replace("\".struct_ops\"", "\"?.struct_ops\"");
    check(
        &KERNEL.replace("int flags", "int other"),
        &optional,
        &[
            "start: refused: prog 'start': SEC(\"struct_ops\") program isn't referenced anywhere, did you forget to use it?",
        ],
    );
}

//! What programs are attached to: found, not found, not known.

use relo_core::{Environment, Found, KernelBtf};

use crate::case::Case;
use crate::compiler;

const KERNEL: &str = "int do_thing(void *t) { return 0; }\n\
    int bpf_lsm_file_open(void *file) { return 0; }\n\
    int bpf_iter_task(void *ctx) { return 0; }\n\
    typedef void (*btf_trace_sched_switch)(void *, bool);\n\
    btf_trace_sched_switch tracepoint;";

#[track_caller]
fn check_in(environment: Environment<'_>, section: &str, want: &str) {
    let program = format!("SEC(\"{section}\") int f(void *ctx) {{ return 0; }}");
    let case = Case { kernel: KERNEL, program: &program, environment, ..Case::default() };
    case.check(&[&format!("f: {want}")]);
}

#[track_caller]
fn check(section: &str, want: &str) {
    check_in(Environment::default(), section, want);
}

#[test]
fn what_loading_looks_up() {
    if !compiler::is_installed("what_loading_looks_up") {
        return;
    }
    let missing = |target: &str, what: &str| {
        format!(
            "refused: failed to find kernel BTF type ID of '{target}': {what} is not in the kernel's BTF \
             (vmlinux, no modules given)"
        )
    };
    for section in ["fentry/do_thing", "fexit/do_thing", "fmod_ret/do_thing", "fentry.s/do_thing"] {
        check(section, "would load");
    }
    check("fentry/do_other", &missing("do_other", "FUNC do_other"));
    check("fentry/sched_switch", &missing("sched_switch", "FUNC sched_switch"));
    check("tp_btf/sched_switch", "would load");
    check("tp_btf/sched_other", &missing("sched_other", "TYPEDEF btf_trace_sched_other"));
    check("lsm/file_open", "would load");
    check("lsm.s/file_open", "would load");
    check("lsm/file_close", &missing("file_close", "FUNC bpf_lsm_file_close"));
    check("iter/task", "would load");
    check("iter/tasks", &missing("tasks", "FUNC bpf_iter_tasks"));
    check("fentry/vmlinux:do_thing", "would load");
    check("fentry/mod:do_thing", &missing("mod:do_thing", "FUNC do_thing"));
}

#[test]
fn what_needs_the_kernels_own_btf() {
    if !compiler::is_installed("what_needs_the_kernels_own_btf") {
        return;
    }
    let absent = Environment { kernel_btf: KernelBtf::Absent, ..Environment::default() };
    check_in(absent, "fentry/do_thing", "needs BTF of the kernel's own for its attach target do_thing");
    check_in(absent, "lsm/file_open", "needs BTF of the kernel's own for its attach target file_open");
    check_in(absent, "iter/task", "needs BTF of the kernel's own for its attach target task");
    check_in(absent, "kprobe/do_thing", "would load");
    check_in(absent, "xdp", "would load");
}

#[test]
fn what_only_the_loader_knows() {
    if !compiler::is_installed("what_only_the_loader_knows") {
        return;
    }
    let at_run_time = "unknown: the loader says at run time what it is attached to";
    check("freplace/f", at_run_time);
    check("fentry", at_run_time);
    check("lsm", at_run_time);
}

/// Looked up when attaching, so that loading does not fail.
#[test]
fn what_attaching_looks_up() {
    if !compiler::is_installed("what_attaching_looks_up") {
        return;
    }
    let check = |section: &str, kallsyms: Option<&str>, want: Found| {
        let program = format!("SEC(\"{section}\") int f(void *ctx) {{ return 0; }}");
        let environment = Environment { kallsyms, ..Environment::default() };
        let case = Case { kernel: KERNEL, program: &program, environment, ..Case::default() };
        case.with(|_, prepared| {
            let attach = prepared.programs[0].attach.as_ref().expect("a target");
            let found = match attach.found {
                Found::Type(_) => Found::Type(relo_core::Candidate { btf: 0, id: btf::TypeId(0) }),
                ref other => other.clone(),
            };
            assert_eq!((found, attach.at_load), (want, false), "{section}");
            assert_eq!(prepared.programs[0].status.code(), "would-load");
        });
    };
    let typed = Found::Type(relo_core::Candidate { btf: 0, id: btf::TypeId(0) });
    let symbols = "ffffffff81000000 T do_hidden\nffffffff81000010 D __tracepoint_my_event\n";
    check("kprobe/do_thing", None, typed.clone());
    check("kretprobe/do_thing", None, typed.clone());
    check("kprobe/do_hidden", None, Found::Unknown);
    check("kprobe/do_hidden", Some(symbols), Found::Symbol);
    check("kprobe/do_nothing", Some(symbols), Found::Missing);
    check("tp/sched/sched_switch", None, typed.clone());
    check("raw_tp/sched_switch", None, typed);
    check("raw_tp/my_event", Some(symbols), Found::Symbol);
    check("tp/my/my_event", Some(symbols), Found::Symbol);
    check("tp/my/other", Some(symbols), Found::Missing);
}

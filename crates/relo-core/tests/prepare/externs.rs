//! Externs: kconfig values, kernel variables and addresses, kfuncs.

use relo_core::{Environment, KernelBtf, KernelVersion, Resolution};

use crate::case::Case;
use crate::compiler;

const CONFIG: &str =
    "# CONFIG_OFF is not set\nCONFIG_ON=y\nCONFIG_MODULE=m\nCONFIG_HZ=250\nCONFIG_TEXT=\"abc\"\n";

fn config(kconfig: &str) -> Environment<'_> {
    Environment { kconfig: Some(kconfig), ..Environment::default() }
}

#[track_caller]
fn check(kernel: &str, environment: Environment<'_>, program: &str, want: &[&str]) {
    Case { kernel, program, environment, ..Case::default() }.check(want);
}

#[test]
fn kconfig_values() {
    if !compiler::is_installed("kconfig_values") {
        return;
    }
    let all = "extern bool CONFIG_ON __kconfig; extern enum libbpf_tristate CONFIG_MODULE __kconfig;\n\
               extern int CONFIG_HZ __kconfig; extern char CONFIG_TEXT[8] __kconfig;\n\
               extern bool CONFIG_OFF __kconfig __weak; extern u32 LINUX_KERNEL_VERSION __kconfig;\n\
               SEC(\"kprobe\") long f(void *ctx) { return CONFIG_ON + CONFIG_MODULE + CONFIG_HZ + CONFIG_TEXT[1] \
               + CONFIG_OFF + LINUX_KERNEL_VERSION; }";
    let version = Some(KernelVersion { major: 6, minor: 1, patch: 2 });
    let environment = Environment { kernel_version: version, ..config(CONFIG) };
    let case = Case { program: all, environment, ..Case::default() };
    case.check(&["f: would load"]);
    case.with(|open, prepared| {
        let value = |name: &str| {
            let index = open.externs().iter().position(|external| external.name == name).expect("declared");
            prepared.externs[index].clone()
        };
        assert_eq!(value("CONFIG_ON"), Resolution::Value(vec![1]));
        assert_eq!(value("CONFIG_MODULE"), Resolution::Value(vec![2, 0, 0, 0]));
        assert_eq!(value("CONFIG_HZ"), Resolution::Value(vec![250, 0, 0, 0]));
        assert_eq!(value("CONFIG_TEXT"), Resolution::Value(b"abc\0".to_vec()));
        assert_eq!(value("CONFIG_OFF"), Resolution::Missing);
        assert_eq!(value("LINUX_KERNEL_VERSION"), Resolution::Value(vec![2, 1, 6, 0]));
    });
}

#[test]
fn kconfig_values_that_are_refused() {
    if !compiler::is_installed("kconfig_values_that_are_refused") {
        return;
    }
    let check = |declaration: &str, kconfig, why: &str| {
        let program = format!(
            "extern {declaration}; SEC(\"kprobe\") long f(void *ctx) {{ return *(volatile char *)&CONFIG_X; }}"
        );
        let want = [format!("refused: {why}"), format!("f: refused: {why}")];
        check("", config(kconfig), &program, &[&want[0], &want[1]]);
    };
    check(
        "bool CONFIG_X __kconfig",
        "CONFIG_X=m\n",
        "kconfig line 'CONFIG_X=m': value 'm' implies tristate or char type",
    );
    check(
        "int CONFIG_X __kconfig",
        "CONFIG_X=y\n",
        "kconfig line 'CONFIG_X=y': value 'y' implies bool, tristate, or char type",
    );
    check(
        "unsigned char CONFIG_X __kconfig",
        "CONFIG_X=256\n",
        "kconfig line 'CONFIG_X=256': value '256' doesn't fit in 1 bytes",
    );
    check("bool CONFIG_X __kconfig", "CONFIG_Y=y\n", "extern 'CONFIG_X': (strong) not resolved");
}

#[test]
fn kconfig_of_a_type_that_can_not_be() {
    if !compiler::is_installed("kconfig_of_a_type_that_can_not_be") {
        return;
    }
    check(
        "",
        config(CONFIG),
        "extern struct { int a; } CONFIG_X __kconfig;\n\
         SEC(\"kprobe\") long f(void *ctx) { return *(volatile char *)&CONFIG_X; }",
        &[
            "refused: extern 'CONFIG_X': type is unsupported",
            "refused: relo against 'CONFIG_X' for insn 0: extern relo failed to find extern",
            "f: refused: extern 'CONFIG_X': type is unsupported",
        ],
    );
}

#[test]
fn kconfig_that_is_not_given() {
    if !compiler::is_installed("kconfig_that_is_not_given") {
        return;
    }
    let nothing = Environment::default();
    check(
        "",
        nothing,
        "extern bool CONFIG_X __kconfig; SEC(\"kprobe\") long f(void *ctx) { return CONFIG_X; }",
        &["f: unknown: CONFIG_X needs the kernel's configuration, give it"],
    );
    check(
        "",
        nothing,
        "extern u32 LINUX_KERNEL_VERSION __kconfig; SEC(\"kprobe\") long f(void *ctx) { return LINUX_KERNEL_VERSION; }",
        &["f: unknown: LINUX_KERNEL_VERSION needs the kernel's version or symbols, give them"],
    );
    // A weak one is fine with any answer, unless something poisoned hangs on it.
    let guarded = "struct task { int gone; } CORE; extern bool CONFIG_X __kconfig __weak;\n\
                   SEC(\"kprobe\") long f(struct task *t) { return CONFIG_X ? t->gone : 0; }";
    let kernel = "struct task { int pid; } task;";
    check(
        kernel,
        nothing,
        guarded,
        &[
            "f: unknown: instruction # is poisoned, and reached or not by the branch at #, which can't be decided here",
        ],
    );
    check(kernel, config(""), guarded, &["f: poisoned only behind guards"]);
    check(
        kernel,
        config("CONFIG_X=y\n"),
        guarded,
        &["f: poisoned at instruction #, which can be reached: CO-RE relocation 0"],
    );
}

#[test]
fn kernel_variables() {
    if !compiler::is_installed("kernel_variables") {
        return;
    }
    let kernel = "struct rq { int cpu; }; struct rq runqueues SEC(\".data..percpu\"); int scalar;";
    let typed = "struct rq { int cpu; }; extern const struct rq runqueues __ksym; extern const int scalar __ksym;\n\
                 SEC(\"kprobe\") long f(void *ctx) { return (long)&runqueues + (long)&scalar; }";
    check(kernel, Environment::default(), typed, &["f: would load"]);
    Case { kernel, program: typed, ..Case::default() }.with(|open, prepared| {
        let of = |name: &str| open.externs().iter().zip(&prepared.externs).find(|(e, _)| e.name == name);
        let (_, runqueues) = of("runqueues").expect("declared");
        assert!(matches!(runqueues, Resolution::Type { percpu: true, .. }), "{runqueues:?}");
        let (_, scalar) = of("scalar").expect("declared");
        assert!(matches!(scalar, Resolution::Type { percpu: false, .. }), "{scalar:?}");
    });
    check(
        "int scalar;",
        Environment::default(),
        "struct rq { int cpu; }; extern const struct rq scalar __ksym;\n\
         SEC(\"kprobe\") long f(void *ctx) { return (long)&scalar; }",
        &[
            "refused: extern 'scalar': incompatible types, expected [#], but kernel has [#] INT",
            "f: refused: extern 'scalar': incompatible types, expected [#], but kernel has [#] INT",
        ],
    );
    let missing =
        "extern const int missing __ksym; SEC(\"kprobe\") long f(void *ctx) { return (long)&missing; }";
    check(
        "",
        Environment::default(),
        missing,
        &[
            "refused: extern 'missing': (strong) not resolved",
            "f: refused: extern 'missing': (strong) not resolved",
        ],
    );
    let weak = missing.replace("__ksym;", "__ksym __weak;");
    check("", Environment::default(), &weak, &["f: would load"]);
    let absent = Environment { kernel_btf: KernelBtf::Absent, ..Environment::default() };
    check("", absent, &weak, &["f: needs BTF of the kernel's own for the kernel symbol missing"]);
}

#[test]
fn weak_variables_guard() {
    if !compiler::is_installed("weak_variables_guard") {
        return;
    }
    let program = "struct task { int gone; } CORE; extern const int var __ksym __weak;\n\
                   SEC(\"kprobe\") long f(struct task *t) { return &var ? t->gone : 0; }";
    let task = "struct task { int pid; } task;";
    check(task, Environment::default(), program, &["f: poisoned only behind guards"]);
    // It is there: the poison is reached, and whether the verifier folds the test does not matter.
    let with_variable = format!("{task} int var;");
    let new = Environment {
        kernel_version: Some(KernelVersion { major: 6, minor: 12, patch: 0 }),
        ..Environment::default()
    };
    check(
        &with_variable,
        new,
        program,
        &["f: poisoned at instruction #, which can be reached: CO-RE relocation 0"],
    );
}

#[test]
fn addresses() {
    if !compiler::is_installed("addresses") {
        return;
    }
    let program = "extern const void here __ksym; SEC(\"kprobe\") long f(void *ctx) { return (long)&here; }";
    let symbols = |kallsyms| Environment { kallsyms: Some(kallsyms), ..Environment::default() };
    check(
        "",
        Environment::default(),
        program,
        &["f: unknown: here needs the kernel's symbols, give kallsyms"],
    );
    check("", symbols("ffffffff81000000 T here\n"), program, &["f: would load"]);
    check(
        "",
        symbols("ffffffff81000000 T there\n"),
        program,
        &[
            "refused: extern 'here': (strong) not resolved",
            "f: refused: extern 'here': (strong) not resolved",
        ],
    );
    check(
        "",
        symbols("ffffffff81000000 t here\nffffffff81000010 t here\n"),
        program,
        &[
            "refused: extern 'here': resolution is ambiguous: 0xffffffff81000000 or 0xffffffff81000010",
            "f: refused: extern 'here': resolution is ambiguous: 0xffffffff81000000 or 0xffffffff81000010",
        ],
    );
    let weak = program.replace("__ksym;", "__ksym __weak;");
    check("", symbols(""), &weak, &["f: would load"]);
    let case = Case { program, environment: symbols("ffffffff81234560 T here\n"), ..Case::default() };
    case.with(|open, prepared| {
        let listing = prepared.listing(open, &prepared.programs[0]);
        assert!(listing.contains("r0 = 0xffffffff81234560  ; here at 0xffffffff81234560"), "{listing}");
    });
}

#[test]
fn kfuncs() {
    if !compiler::is_installed("kfuncs") {
        return;
    }
    let kernel = "struct task { int pid; }; struct task *acquire(struct task *t) { return t; }\n\
                  int two(int a, int b) { return a; }";
    let check = |program: &str, want: &[&str]| check(kernel, Environment::default(), program, want);
    check(
        "struct task; extern struct task *acquire(struct task *t) __ksym;\n\
         SEC(\"kprobe\") long f(void *t) { return (long)acquire(t); }",
        // The object only declares the struct: a FWD is no STRUCT.
        &[
            "refused: extern 'acquire': func_proto [#] incompatible with vmlinux [#]",
            "f: refused: extern 'acquire': func_proto [#] incompatible with vmlinux [#]",
        ],
    );
    let acquire = "struct task { int pid; }; extern struct task *acquire___flavor(struct task *t) __ksym;\n\
                   SEC(\"kprobe\") long f(void *t) { return acquire___flavor(t)->pid; }";
    check(acquire, &["f: would load"]);
    let weak = "struct task { int pid; }; extern struct task *missing(struct task *t) __ksym __weak;\n\
                SEC(\"kprobe\") long f(void *t) { return missing ? (long)missing(t) : 0; }";
    check(weak, &["f: poisoned only behind guards"]);
    check(
        &weak.replace("missing ?", "1 ?"),
        &["f: poisoned at instruction #, which can be reached: kfunc, extern 0"],
    );
    check(
        "extern int two(int a) __ksym __weak; SEC(\"kprobe\") long f(void *t) { return two ? two(1) : 0; }",
        &["f: poisoned only behind guards"],
    );
    check(
        "extern int missing(int a) __ksym; SEC(\"kprobe\") long f(void *t) { return missing(1); }",
        &[
            "refused: extern 'missing': (strong) not resolved",
            "f: refused: extern 'missing': (strong) not resolved",
        ],
    );
}

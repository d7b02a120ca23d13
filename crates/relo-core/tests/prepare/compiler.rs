//! Programs and kernels written in C: clang makes an object of the one and the BTF of the other.

use std::env;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use object::{Object, ObjectSection};

/// What every source starts with. No header of the machine is read.
const PRELUDE: &str = r#"
#define SEC(name) __attribute__((section(name), used))
#define __ksym __attribute__((section(".ksyms")))
#define __kconfig __attribute__((section(".kconfig")))
#define __weak __attribute__((weak))
#define __noinline __attribute__((noinline))
#define CORE __attribute__((preserve_access_index))
#define exists(field) __builtin_preserve_field_info(field, 2)
#define bool _Bool
#define NUMBER(name, val) int (*name)[val]
typedef unsigned int u32;
typedef unsigned long long u64;
enum libbpf_tristate { TRI_NO = 0, TRI_YES = 1, TRI_MODULE = 2 };
static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*probe_read)(void *to, u32 size, const void *from) = (void *)113;
static u64 (*ktime)(void) = (void *)5;
static long (*loop)(u32 times, void *f, void *ctx, u64 flags) = (void *)181;
"#;

static CLANG: LazyLock<Option<&str>> = LazyLock::new(|| {
    let works = |name: &&str| {
        let version = Command::new(name).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    };
    ["clang-19", "clang"].into_iter().find(works)
});

/// Whether the test can run; says aloud when not, and fails where everything must be installed.
pub fn is_installed(test: &str) -> bool {
    if CLANG.is_some() {
        return true;
    }
    assert!(env::var_os("BTFPIPE_NO_SKIPS").is_none(), "{test} needs clang-19");
    println!("{test} skipped: no clang is installed");
    false
}

/// An object file, compiled for a target such as `bpfel`.
pub fn object(target: &str, source: &str) -> Vec<u8> {
    let mut clang = Command::new(CLANG.expect("asked for before"))
        .args([
            "-target",
            target,
            "-mcpu=v3",
            "-g",
            "-O2",
            "-Wno-everything",
            "-x",
            "c",
            "-c",
            "-",
            "-o",
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("clang");
    let mut stdin = clang.stdin.take().expect("piped");
    stdin.write_all(format!("{PRELUDE}{source}").as_bytes()).expect("clang reads");
    drop(stdin);
    let output = clang.wait_with_output().expect("clang");
    assert!(output.status.success(), "clang refuses\n{source}");
    output.stdout
}

/// The BTF of a kernel whose functions, variables and types the source has.
pub fn kernel(target: &str, source: &str) -> Vec<u8> {
    let object = object(target, source);
    let file = object::File::parse(&*object).expect("an ELF file");
    let section = file.section_by_name(".BTF").expect("types in the source");
    section.data().expect("a section").to_vec()
}

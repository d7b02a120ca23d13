//! The plugin clang with the vmlinux.h of a locked kernel: Debian's clang and bpftool, and the BTF of the kernel that runs here.

use pipeline::outcome::Code;
use pipeline::plan::Runs;

use crate::fixture::{OLD, World, deb, pipeline};
use crate::plugins::{has_programs, has_python, ship};

const REAL: &str = "debian/13/x86_64/6.12.0-real-amd64";

/// Knows no type but by vmlinux.h; libbpf's own headers take theirs from there as well.
const PROGRAM: &str = r#"
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "mine.h"

char LICENSE[] SEC("license") = "GPL";

SEC("kprobe/do_exit")
int exits(void *ctx)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    return BPF_CORE_READ(task, real_parent, tgid) + MINE;
}
"#;

fn write(world: &World, kernel: &str) {
    let entry = format!(
        "programs:\n  - uses: clang\n    files: [src/*.bpf.c]\n    reads: [src/*.h]\n    kernel: {kernel}\nsteps:"
    );
    let text = pipeline(&["real"]);
    let (before, after) = (text.split("programs:").next().unwrap(), text.split("steps:").nth(1).unwrap());
    world.write("pipelines/test.yaml", format!("{before}{entry}{after}").as_bytes());
}

#[test]
fn a_program_with_the_header_of_a_locked_kernel() {
    if !has_python() || !has_programs(&["clang-19", "bpftool"]) {
        return;
    }
    let Ok(btf) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        return eprintln!("skipped: this kernel shows no BTF");
    };
    let world = World::new();
    ship(&world, "clang");
    world.offer_package("real", REAL, deb(REAL, &btf));
    world.offer("real", OLD, 8);
    std::fs::create_dir(world.root.join("src")).unwrap();
    world.write("src/exits.bpf.c", PROGRAM.as_bytes());
    world.write("src/mine.h", b"#define MINE 0\n");
    write(&world, REAL);
    // Nothing is locked yet, and what is no locked kernel has no header.
    assert!(world.run().is_ok_and(|finished| finished.code != Code::Ok));
    let finished = world.run().unwrap();
    let said = pipeline::summary::to_markdown(&finished.summary);
    assert!(said.contains("exits"), "{said}");
    let records = &finished.records[REAL];
    let path = world.root.join("store/blobs").join(&records.to_string()[..2]).join(records.to_string());
    let records = std::fs::read_to_string(path).unwrap();
    for member in ["struct task_struct.real_parent", "struct task_struct.tgid"] {
        let is_it = |line: &&str| line.contains(member) && line.contains(r#""outcome":"relocated""#);
        assert!(records.lines().any(|line| is_it(&line)), "{member}: {records}");
    }
    // No type is what vmlinux.h doesn't have, so that all of the program's offsets are the kernel's own.
    let compiles = || world.planned("compile");
    assert!(compiles().iter().all(|(runs, _)| *runs == Runs::No), "{:?}", compiles());
    world.write("src/mine.h", b"#define MINE 1\n");
    assert!(compiles().iter().all(|(runs, why)| *runs == Runs::Yes && why.contains("exits.bpf.c")));
    // Another kernel is another header: that of a kernel with hardly a type compiles nothing.
    write(&world, OLD);
    assert!(compiles().iter().all(|(runs, _)| *runs == Runs::Yes), "{:?}", compiles());
    let failed = world.run().unwrap();
    let said = pipeline::summary::to_markdown(&failed.summary);
    assert!(failed.code == Code::Failed && said.contains("clang can't compile exits.bpf.c"), "{said}");
}

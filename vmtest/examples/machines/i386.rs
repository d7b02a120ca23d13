//! A kernel without BTF: what was made of its debug information, used where there is nothing else.

use std::fs;
use std::path::Path;

use vmtest::{Accel, Arch, Outcome, Verdict, VmSpec};

use crate::subject::{Object, minimized};
use crate::{Error, mutate};

/// Debian 12's.
const LIBBPF: (u32, u32) = (1, 1);
/// Where the program reads who sent the signal: it loads and attaches all the same.
const MOVED: &str = "task_struct";

/// Boots the kernel once. With the BTF the program must load, attach and report the signal that the guest sends; with the
/// same BTF and one struct's members moved it must not.
pub fn i386(kernel: &str, guest: &str, btf: &Path, object: &Path) -> Result<bool, Error> {
    let full = fs::read(btf)?;
    let object = Object { name: name(object), elf: fs::read(object)? };
    let good = minimized(&full, std::slice::from_ref(&object))?;
    let damaged = mutate::Btf::parse(good.clone());
    let structs = damaged.structs();
    let (moved, _) = structs.iter().find(|(_, name)| name == MOVED).ok_or("the object does not use it")?;
    let work = tempfile::tempdir()?;
    let mut spec = VmSpec::new(Arch::X86_64, kernel, work.path());
    spec.qemu = Some("qemu-system-i386".into());
    spec.guest = Some(guest.into());
    spec.oldest_libbpf = LIBBPF;
    spec.accel = Accel::Tcg;
    let checks = [object.check(&good, "good"), object.check(&damaged.moved(*moved, 8), "moved")];
    let report = vmtest::run(&spec, &checks, &mut |event| eprintln!("{event:?}"));
    let Outcome::Done(verdicts) = &report.outcome else {
        let console = report.attempts.last().map(|attempt| attempt.console.join("\n")).unwrap_or_default();
        return Err(format!("{:?}\n{console}", report.outcome).into());
    };
    println!(
        "{}, libbpf {}, BTF of its own: {}; ours: {} bytes of {}",
        report.kernel_release.as_deref().unwrap_or("?"),
        report.libbpf.as_deref().unwrap_or("?"),
        if report.kernel_btf.is_some() { "yes" } else { "none" },
        good.len(),
        full.len()
    );
    let mut right = report.kernel_btf.is_none();
    for verdict in verdicts {
        // Nothing to compare with is the best that such a kernel gives.
        let expect = if verdict.label == "good" { Verdict::Skipped } else { Verdict::LoadFailMinOnly };
        right &= verdict.verdict == expect && !verdict.programs.is_empty();
        if verdict.programs.is_empty() {
            println!("{} BTF: {}", verdict.label, verdict.detail.as_deref().unwrap_or("no program"));
        }
        for program in &verdict.programs {
            let detail = program.detail.as_deref().unwrap_or_default().replace('\n', ": ");
            println!("{} BTF: {} {}: {detail}", verdict.label, program.program, program.verdict);
        }
    }
    Ok(right)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

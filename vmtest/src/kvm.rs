//! Is KVM not only there, but of use? A device that opens and accepts a machine may still interpret its guests a
//! thousand times slower than silicon (module kvm_pvm, on hosts without hardware virtualization); QEMU then sits in the
//! firmware for minutes. So a few instructions are timed, without QEMU.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How long the test program may take. Hardware needs a few milliseconds, an interpreter seconds.
const LIMIT: Duration = Duration::from_millis(250);
/// How long a single step may hang before the whole test counts as hung.
const HUNG: Duration = Duration::from_secs(1);
/// The loop's iterations: three instructions each, run in slices that end with a port write, so that time is looked at
/// between them and no signal is needed.
const ITERATIONS: u32 = 2 << 20;
const SLICE: u32 = 8 << 10;

/// The test program finished, in this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed(pub Duration);

/// Why KVM is of no use, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub(crate) String);

/// Tests `/dev/kvm`, once in a process: takes a few milliseconds where it is of use, a quarter of a second where it is
/// not.
pub fn probe() -> Result<Speed, Unusable> {
    static ANSWER: OnceLock<Result<Speed, Unusable>> = OnceLock::new();
    ANSWER.get_or_init(|| probe_device(Path::new("/dev/kvm"))).clone()
}

/// The same for a guest of this machine's own architecture only: KVM runs no other.
pub(crate) fn probe_for(x86_64: bool) -> Result<Speed, Unusable> {
    if x86_64 == cfg!(target_arch = "x86_64") {
        return probe();
    }
    Err(Unusable(format!(
        "KVM runs only guests of the machine's own architecture, {}",
        std::env::consts::ARCH
    )))
}

fn probe_device(device: &Path) -> Result<Speed, Unusable> {
    let (send, result) = mpsc::channel();
    let path = device.to_owned();
    // A step that never returns keeps its thread; the process can end all the same.
    thread::spawn(move || send.send(measure(&path)));
    let measured = result.recv_timeout(LIMIT + HUNG);
    measured.unwrap_or_else(|_| Err(Unusable(format!("{} hangs", device.display())))).map_err(with_hints)
}

fn with_hints(Unusable(mut reason): Unusable) -> Unusable {
    if Path::new("/sys/module/kvm_pvm").exists() {
        reason.push_str("; it is kvm_pvm, which interprets 64-bit guests without hardware behind it");
    } else if no_virtualization_flag() {
        reason.push_str("; the processor shows no hardware virtualization (no vmx or svm flag)");
    }
    Unusable(reason)
}

fn no_virtualization_flag() -> bool {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpus.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|line| !line.split_whitespace().any(|flag| matches!(flag, "vmx" | "svm")))
}

fn measure(path: &Path) -> Result<Speed, Unusable> {
    let device = OpenOptions::new().read(true).write(true).open(path).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied => ": add the user to the group kvm",
            _ => "",
        };
        Unusable(format!("cannot open {}: {error}{advice}", path.display()))
    })?;
    let failed = |what: &str, error: io::Error| Unusable(format!("{} {what}: {error}", path.display()));
    let mut vm = vm::Vm::create(device, SLICE).map_err(|error| failed("makes no virtual machine", error))?;
    let start = Instant::now();
    for slice in 0..ITERATIONS / SLICE {
        vm.run_slice().map_err(|error| failed("runs no guest", error))?;
        if start.elapsed() > LIMIT {
            let percent = (slice + 1) * 100 / (ITERATIONS / SLICE);
            let limit = LIMIT.as_millis();
            return Err(Unusable(format!(
                "{} is too slow to be of use: {percent} % of the test program in {limit} ms",
                path.display()
            )));
        }
    }
    Ok(Speed(start.elapsed()))
}

#[cfg(target_arch = "x86_64")]
#[path = "kvm_x86_64.rs"]
mod vm;

#[cfg(not(target_arch = "x86_64"))]
mod vm {
    use std::fs::File;
    use std::io;

    /// Not written for this processor.
    pub struct Vm;

    impl Vm {
        pub fn create(_: File, _: u32) -> io::Result<Self> {
            Err(io::Error::new(io::ErrorKind::Unsupported, "the test is written for x86_64 only"))
        }

        pub fn run_slice(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(device: &str, expect: &str) {
        let reason = probe_device(Path::new(device)).unwrap_err().to_string();
        assert!(reason.contains(expect), "{reason}");
    }

    #[test]
    fn says_why_not() {
        check("/nowhere/kvm", "cannot open /nowhere/kvm: No such file");
        check("/dev/null", "/dev/null makes no virtual machine");
    }

    #[test]
    fn answers_in_time_whatever_this_machine_has() {
        let start = Instant::now();
        let answer = probe();
        assert!(start.elapsed() < LIMIT + HUNG + HUNG, "{answer:?}");
        println!("{answer:?} after {:?}", start.elapsed());
    }
}

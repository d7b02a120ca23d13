//! QEMU: where it is, and its command line.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::spec::{Accel, Arch};
use crate::{tsc, wire};

/// QEMU is not installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{program} is not on the PATH: install the Debian package {package} (apt-get install {package})")]
pub struct Missing {
    /// The program that was looked for.
    pub program: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
}

/// The QEMU for an architecture, from the PATH.
pub fn find(arch: Arch) -> Result<PathBuf, Missing> {
    find_in(arch, &env::var_os("PATH").unwrap_or_default())
}

fn find_in(arch: Arch, path: &OsString) -> Result<PathBuf, Missing> {
    let (program, package) = match arch {
        Arch::X86_64 => ("qemu-system-x86_64", "qemu-system-x86"),
        Arch::Arm64 => ("qemu-system-aarch64", "qemu-system-arm"),
    };
    env::split_paths(path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .ok_or(Missing { program, package })
}

/// What kind of file a kernel is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelFile {
    /// The unpacked ELF: QEMU enters it directly, through its PVH note.
    Vmlinux,
    /// The compressed image as shipped: firmware and decompression come first.
    BzImage,
    /// arm64's, not compressed.
    Image,
}

impl KernelFile {
    /// Reads the first bytes of the file.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let mut start = Vec::new();
        File::open(path)?.take(0x40).read_to_end(&mut start)?;
        Ok(match &start {
            _ if start.starts_with(b"\x7fELF") => KernelFile::Vmlinux,
            _ if start.get(0x38..0x3c) == Some(b"ARM\x64") => KernelFile::Image,
            _ => KernelFile::BzImage,
        })
    }
}

/// QEMU's machine type. q35 is the faster under TCG; both have the two 8250 serial ports that every kernel drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// PCI Express chipset of 2009.
    Q35,
    /// PCI chipset of 1996.
    Pc,
    /// No firmware to speak of, no PCI, no ACPI: what hangs the others is mostly not there.
    Microvm,
    /// arm64's, which exists nowhere else.
    Virt,
}

impl Machine {
    /// QEMU's name.
    pub fn name(self) -> &'static str {
        match self {
            Machine::Q35 => "q35",
            Machine::Pc => "pc",
            Machine::Microvm => "microvm",
            Machine::Virt => "virt",
        }
    }

    /// The machine for the nth boot of a kernel that came in this form first: another machine sometimes helps a kernel
    /// that hangs. Both the forms that an x86_64 kernel has are boots of the same kernel.
    pub fn for_attempt(first: KernelFile, attempt: usize, accel: Accel) -> Self {
        let machines = match first {
            KernelFile::Vmlinux if accel == Accel::Tcg && tsc::khz().is_some() => {
                [Machine::Q35, Machine::Pc, Machine::Microvm]
            }
            KernelFile::Vmlinux => [Machine::Q35, Machine::Pc, Machine::Q35],
            KernelFile::BzImage => [Machine::Pc, Machine::Q35, Machine::Pc],
            KernelFile::Image => [Machine::Virt; 3],
        };
        machines[attempt % machines.len()]
    }
}

/// The place for a disk that comes later; no name of a property.
const PORT: &str = "late";
/// Of zeros.
pub const DISK_BYTES: u64 = 128 << 30;

/// One boot's command line.
#[derive(Debug, Clone)]
pub struct Command<'a> {
    /// The program.
    pub qemu: &'a Path,
    /// Machine type.
    pub machine: Machine,
    /// Kvm or tcg.
    pub accel: Accel,
    /// Memory.
    pub memory_mib: u32,
    /// Kernel file.
    pub kernel: &'a Path,
    /// Initramfs file.
    pub initramfs: &'a Path,
    /// Where the console goes.
    pub console: &'a Path,
    /// What the guest must repeat.
    pub nonce: &'a str,
    /// What the guest may take for one pass of a check.
    pub pass_seconds: u64,
    /// For a guest that waits for its checks.
    pub shared: Option<Shared<'a>>,
    /// With a disk, for programs that watch one; in a machine that waits for its checks with a place for one, since a
    /// disk can't be kept in a state.
    pub disk: bool,
}

/// Memory shared with the host, and QEMU's control socket as its standard input.
#[derive(Debug, Clone, Copy)]
pub struct Shared<'a> {
    /// The file behind it.
    pub file: &'a Path,
    /// Its size, a power of two.
    pub mib: u32,
    /// The machine is to wait for a state that it goes on from.
    pub restore: bool,
}

impl Command<'_> {
    /// Program and arguments. The results' serial port is QEMU's standard output.
    pub fn line(&self) -> Vec<OsString> {
        let memory = self.memory_mib.to_string();
        let mut line = Line(vec![self.qemu.into()]);
        line.add(&["-M", self.machine.name(), "-accel", &self.accel.to_string(), "-cpu", self.cpu()]);
        line.add(&["-smp", "1", "-m", &memory]);
        line.add(&["-display", "none", "-monitor", "none", "-nodefaults", "-no-user-config", "-no-reboot"]);
        line.add_file("-chardev", "file,id=console,path=", self.console, "");
        line.add(&["-serial", "chardev:console", "-chardev"]);
        match self.shared {
            None => line.add(&["stdio,id=results,signal=off"]),
            Some(_) => line.add(&["socket,id=results,fd=1"]),
        }
        match self.machine {
            Machine::Q35 | Machine::Pc => line.add(&["-serial", "chardev:results"]),
            // It makes one by itself.
            Machine::Microvm => line.add(&["-device", "isa-serial,index=1,chardev=results"]),
            Machine::Virt => line.add(&["-device", "pci-serial,chardev=results"]),
        }
        if let Some(shared) = self.shared {
            line.add_shared(shared);
        }
        if self.disk {
            self.add_disk(&mut line);
        }
        line.add(&["-append", &self.kernel_parameters()]);
        line.0.extend(["-kernel".into(), self.kernel.into(), "-initrd".into(), self.initramfs.into()]);
        line.0
    }

    fn add_disk(&self, line: &mut Line) {
        match (self.shared, self.machine) {
            // It has no PCI.
            (_, Machine::Microvm) => {}
            (None, _) => {
                let disk = format!("if=none,id=disk,driver=null-co,read-zeroes=on,size={DISK_BYTES}");
                line.add(&["-drive", &disk, "-device", "nvme,serial=btfpipe,drive=disk"]);
            }
            // Its bus takes one at any time.
            (Some(_), Machine::Pc) => {}
            (Some(_), Machine::Q35 | Machine::Virt) => {
                line.add(&["-device", &format!("pcie-root-port,id={PORT}")]);
            }
        }
    }

    /// The bus for a disk that is plugged in when the machine is up, if it is to have one.
    pub fn late_disk(&self) -> Option<&'static str> {
        let bus = match self.machine {
            Machine::Q35 | Machine::Virt => Some(PORT),
            Machine::Pc => Some("pci.0"),
            Machine::Microvm => None,
        };
        bus.filter(|_| self.disk)
    }

    fn cpu(&self) -> &'static str {
        match (self.accel, self.machine) {
            (Accel::Kvm, _) => "host",
            // `max` spends its time on pointer authentication.
            (Accel::Auto | Accel::Tcg, Machine::Virt) => "cortex-a57",
            (Accel::Auto | Accel::Tcg, _) => "max",
        }
    }

    fn kernel_parameters(&self) -> String {
        // no_timer_check: the check of the timer fails at random under emulation. loglevel=6: some lines early in the
        // boot, since silence is how a dead machine is told from a slow one. Unknown NAME=value pairs become PID 1's
        // environment.
        let (console, results) = match self.machine {
            Machine::Q35 | Machine::Pc => ("console=ttyS0 no_timer_check".to_owned(), "/dev/ttyS1"),
            Machine::Microvm => (microvm_console(), "/dev/ttyS1"),
            Machine::Virt => ("console=ttyAMA0".to_owned(), "/dev/ttyS0"),
        };
        // A guest that waits hears later how much time it has.
        let (name, value) = match self.shared {
            None => (wire::SECONDS_ENV, self.pass_seconds.to_string()),
            Some(_) => (wire::SUPPLY_ENV, "memory".to_owned()),
        };
        format!(
            "{console} panic=-1 loglevel=6 {}={} {}={results} {name}={value}",
            wire::NONCE_ENV,
            self.nonce,
            wire::RESULTS_ENV,
        )
    }
}

/// Without ACPI and HPET the kernel has nothing to measure its time stamp counter against, and waits for ever; under TCG
/// it is that of this machine.
fn microvm_console() -> String {
    let counter = tsc::khz().map(|khz| format!(" tsc_early_khz={khz}")).unwrap_or_default();
    format!("console=ttyS0 no_timer_check{counter}")
}

/// A command line in the making.
struct Line(Vec<OsString>);

impl Line {
    fn add(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn add_file(&mut self, option: &str, prefix: &str, path: &Path, suffix: &str) {
        self.0.push(option.into());
        let mut value = file_option(prefix, path);
        value.push(suffix);
        self.0.push(value);
    }

    fn add_shared(&mut self, shared: Shared<'_>) {
        let Shared { file, mib, restore } = shared;
        self.add(&["-chardev", "socket,id=control,fd=0", "-mon", "chardev=control,mode=control"]);
        self.add_file(
            "-object",
            &format!("memory-backend-file,id=shared,share=on,size={mib}M,mem-path="),
            file,
            "",
        );
        // Its master migrates the memory with the rest of the machine.
        self.add(&["-device", "ivshmem-plain,memdev=shared,master=on"]);
        if restore {
            self.add(&["-S", "-incoming", "defer"]);
        }
    }
}

/// QEMU splits option values at commas; a comma in a path is doubled.
fn file_option(prefix: &str, path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = prefix.as_bytes().to_vec();
    for &byte in path.as_os_str().as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(b',');
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(accel: Accel) -> Vec<OsString> {
        line_of(Machine::Q35, accel, None)
    }

    fn line_of(machine: Machine, accel: Accel, shared: Option<Shared<'_>>) -> Vec<OsString> {
        command_of(machine, accel, shared).line()
    }

    fn command_of(machine: Machine, accel: Accel, shared: Option<Shared<'_>>) -> Command<'_> {
        Command {
            qemu: Path::new("/q"),
            machine,
            accel,
            memory_mib: 256,
            kernel: Path::new("/k,1"),
            initramfs: Path::new("/i"),
            console: Path::new("/c,1"),
            nonce: "77",
            pass_seconds: 15,
            shared,
            disk: false,
        }
    }

    #[track_caller]
    fn check_has(line: &[OsString], words: &[&str]) {
        assert!(line.windows(words.len()).any(|window| window == words), "{words:?} in {line:?}");
    }

    #[test]
    fn command_line() {
        let line = command(Accel::Tcg);
        assert_eq!(line[0], "/q");
        check_has(&line, &["-accel", "tcg", "-cpu", "max"]);
        check_has(&line, &["-chardev", "file,id=console,path=/c,,1"]);
        check_has(&line, &["-kernel", "/k,1", "-initrd", "/i"]);
        let parameters = line.iter().find(|word| word.to_string_lossy().contains("panic=-1")).unwrap();
        let parameters = parameters.to_str().unwrap();
        assert!(parameters.contains(" BTFPIPE_NONCE=77 ") && parameters.contains("no_timer_check"));
        check_has(&command(Accel::Kvm), &["-accel", "kvm", "-cpu", "host"]);
    }

    #[test]
    fn arm64() {
        let line = line_of(Machine::Virt, Accel::Tcg, None);
        check_has(&line, &["-M", "virt", "-accel", "tcg", "-cpu", "cortex-a57"]);
        check_has(&line, &["-device", "pci-serial,chardev=results"]);
        let parameters = line.iter().find(|word| word.to_string_lossy().contains("panic=-1")).unwrap();
        let parameters = parameters.to_str().unwrap();
        assert!(parameters.contains("console=ttyAMA0") && parameters.contains("BTFPIPE_RESULTS=/dev/ttyS0"));
    }

    #[test]
    fn microvm_is_told_the_time() {
        let line = line_of(Machine::Microvm, Accel::Tcg, None);
        check_has(&line, &["-M", "microvm", "-accel", "tcg", "-cpu", "max"]);
        check_has(&line, &["-device", "isa-serial,index=1,chardev=results"]);
        let told = line.iter().any(|word| word.to_string_lossy().contains(" tsc_early_khz="));
        assert_eq!(told, tsc::khz().is_some());
    }

    #[test]
    fn a_machine_that_waits() {
        let shared = |restore| Shared { file: Path::new("/s,1"), mib: 4, restore };
        let boots = line_of(Machine::Q35, Accel::Tcg, Some(shared(false)));
        check_has(&boots, &["-chardev", "socket,id=results,fd=1"]);
        check_has(&boots, &["-mon", "chardev=control,mode=control"]);
        let memory = "memory-backend-file,id=shared,share=on,size=4M,mem-path=/s,,1";
        check_has(&boots, &["-object", memory, "-device", "ivshmem-plain,memdev=shared,master=on"]);
        assert!(boots.iter().any(|word| word.to_string_lossy().ends_with(" BTFPIPE_SUPPLY=memory")));
        // A state fits only a machine with the same arguments.
        let mut restores = line_of(Machine::Q35, Accel::Tcg, Some(shared(true)));
        check_has(&restores, &["-S", "-incoming", "defer"]);
        restores.retain(|word| !["-S", "-incoming", "defer"].contains(&&*word.to_string_lossy()));
        assert_eq!(boots, restores);
    }

    #[test]
    fn a_disk_from_the_start_or_later() {
        let shared = Shared { file: Path::new("/s"), mib: 4, restore: false };
        let check = |machine, shared, words: &[&str], late| {
            let command = Command { disk: true, ..command_of(machine, Accel::Tcg, shared) };
            check_has(&command.line(), words);
            let disks = command.line().iter().filter(|word| word.to_string_lossy().contains("nvme")).count();
            assert_eq!((disks, command.late_disk()), (usize::from(shared.is_none()), late), "{machine:?}");
        };
        let disk = ["-device", "nvme,serial=btfpipe,drive=disk"];
        check(Machine::Q35, None, &disk, Some(PORT));
        check(Machine::Virt, Some(shared), &["-device", "pcie-root-port,id=late"], Some(PORT));
        check(Machine::Pc, Some(shared), &["-M", "pc"], Some("pci.0"));
        assert_eq!(command_of(Machine::Q35, Accel::Tcg, None).late_disk(), None);
    }

    #[test]
    fn a_missing_qemu_names_its_package() {
        let missing = find_in(Arch::X86_64, &"/nowhere".into()).unwrap_err();
        assert!(missing.to_string().contains("apt-get install qemu-system-x86"), "{missing}");
        let missing = find_in(Arch::Arm64, &"".into()).unwrap_err();
        assert!(missing.to_string().contains("qemu-system-arm"), "{missing}");
    }

    #[test]
    fn retries_take_the_other_machine() {
        let machines = |kernel, accel| [0, 1, 2].map(|n| Machine::for_attempt(kernel, n, accel));
        let last = if tsc::khz().is_some() { Machine::Microvm } else { Machine::Q35 };
        assert_eq!(machines(KernelFile::Vmlinux, Accel::Tcg), [Machine::Q35, Machine::Pc, last]);
        assert_eq!(machines(KernelFile::Vmlinux, Accel::Kvm), [Machine::Q35, Machine::Pc, Machine::Q35]);
        assert_eq!(machines(KernelFile::BzImage, Accel::Tcg), [Machine::Pc, Machine::Q35, Machine::Pc]);
    }
}

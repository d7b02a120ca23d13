//! QEMU: where it is, and its command line.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::spec::{Accel, Arch};
use crate::wire;

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
}

impl KernelFile {
    /// Reads the first bytes of the file.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let mut magic = [0; 4];
        File::open(path)?.read_exact(&mut magic)?;
        Ok(if &magic == b"\x7fELF" { KernelFile::Vmlinux } else { KernelFile::BzImage })
    }
}

/// QEMU's machine type. q35 is the faster under TCG; both have the two 8250 serial ports that every kernel drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// PCI Express chipset of 2009.
    Q35,
    /// PCI chipset of 1996.
    Pc,
}

impl Machine {
    /// QEMU's name.
    pub fn name(self) -> &'static str {
        match self {
            Machine::Q35 => "q35",
            Machine::Pc => "pc",
        }
    }

    /// The machine for the nth boot of such a kernel: another machine sometimes helps a kernel that hangs.
    pub fn for_attempt(kernel: KernelFile, attempt: usize) -> Self {
        let first = match kernel {
            KernelFile::Vmlinux => [Machine::Q35, Machine::Pc],
            KernelFile::BzImage => [Machine::Pc, Machine::Q35],
        };
        first[attempt % 2]
    }
}

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
}

impl Command<'_> {
    /// Program and arguments. The results' serial port is QEMU's standard output.
    pub fn line(&self) -> Vec<OsString> {
        let (accel, cpu) = match self.accel {
            Accel::Kvm => ("kvm", "host"),
            Accel::Auto | Accel::Tcg => ("tcg", "max"),
        };
        let memory = self.memory_mib.to_string();
        let mut line: Vec<OsString> = vec![self.qemu.into()];
        let mut add = |words: &[&str]| line.extend(words.iter().map(OsString::from));
        add(&["-M", self.machine.name(), "-accel", accel, "-cpu", cpu, "-smp", "1", "-m", &memory]);
        add(&["-display", "none", "-monitor", "none", "-nodefaults", "-no-user-config", "-no-reboot"]);
        add(&["-chardev"]);
        line.push(file_option("file,id=console,path=", self.console));
        let mut add = |words: &[&str]| line.extend(words.iter().map(OsString::from));
        add(&["-serial", "chardev:console"]);
        add(&["-chardev", "stdio,id=results,signal=off", "-serial", "chardev:results"]);
        add(&["-append", &self.kernel_parameters(), "-kernel"]);
        line.push(self.kernel.into());
        line.push("-initrd".into());
        line.push(self.initramfs.into());
        line
    }

    fn kernel_parameters(&self) -> String {
        // no_timer_check: the check of the timer fails at random under emulation. loglevel=6: some lines early in the
        // boot, since silence is how a dead machine is told from a slow one. Unknown NAME=value pairs become PID 1's
        // environment.
        format!(
            "console=ttyS0 panic=-1 no_timer_check loglevel=6 {}={} {}=/dev/ttyS1 {}={}",
            wire::NONCE_ENV,
            self.nonce,
            wire::RESULTS_ENV,
            wire::SECONDS_ENV,
            self.pass_seconds
        )
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
        Command {
            qemu: Path::new("/q"),
            machine: Machine::Q35,
            accel,
            memory_mib: 256,
            kernel: Path::new("/k,1"),
            initramfs: Path::new("/i"),
            console: Path::new("/c,1"),
            nonce: "77",
            pass_seconds: 15,
        }
        .line()
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
    fn a_missing_qemu_names_its_package() {
        let missing = find_in(Arch::X86_64, &"/nowhere".into()).unwrap_err();
        assert!(missing.to_string().contains("apt-get install qemu-system-x86"), "{missing}");
        let missing = find_in(Arch::Arm64, &"".into()).unwrap_err();
        assert!(missing.to_string().contains("qemu-system-arm"), "{missing}");
    }

    #[test]
    fn retries_take_the_other_machine() {
        let machines = |kernel| [0, 1, 2].map(|n| Machine::for_attempt(kernel, n));
        assert_eq!(machines(KernelFile::Vmlinux), [Machine::Q35, Machine::Pc, Machine::Q35]);
        assert_eq!(machines(KernelFile::BzImage), [Machine::Pc, Machine::Q35, Machine::Pc]);
    }
}

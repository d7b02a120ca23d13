//! Turns the bare initramfs into a system that libbpf feels at home in.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::wire::{KERNEL_CONFIG, KernelBtf};

const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";
const BTF_FOLDER: &str = "/sys/kernel/btf";

/// Type and place, in order. The last two are missing from some kernels; programs load without them.
const MOUNTS: [(&str, &str); 6] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("bpf", "/sys/fs/bpf"),
    ("tracefs", "/sys/kernel/tracing"),
    ("debugfs", "/sys/kernel/debug"),
];

/// Mounts all, lifts the limit on locked memory (kernels before 5.11 charge maps to it).
pub fn system() -> io::Result<()> {
    for (kind, place) in MOUNTS {
        let mounted = mount(kind, place, kind, MountFlags::empty(), None);
        if !matches!(kind, "tracefs" | "debugfs") {
            mounted.map_err(|error| io::Error::other(format!("mount {kind} on {place}: {error}")))?;
        }
    }
    let unlimited = Rlimit { current: None, maximum: None };
    setrlimit(Resource::Memlock, unlimited)?;
    Ok(())
}

/// Puts the kernel's configuration where libbpf looks for it (`extern … __kconfig`).
pub fn kernel_config(release: &str) -> io::Result<()> {
    if !Path::new(KERNEL_CONFIG).exists() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o755).create("/boot")?;
    fs::hard_link(KERNEL_CONFIG, format!("/boot/config-{release}"))
}

/// The kernel's own BTF, if it has one.
pub fn kernel_btf() -> Option<KernelBtf> {
    let bytes = fs::read(KERNEL_BTF).ok()?;
    Some(KernelBtf { size: bytes.len() as u64, crc32: crc32fast::hash(&bytes) })
}

/// Where the kernel's own BTF is, in sight of this process, whether or not it is hidden from the others. `None` where the
/// kernel has none.
#[allow(unsafe_code)]
pub fn uncover_kernel_btf() -> io::Result<Option<&'static str>> {
    let present = || Path::new(KERNEL_BTF).exists();
    if !present() && Path::new(BTF_FOLDER).exists() {
        // SAFETY: it only takes a number; from here on this process has mounts of its own.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } < 0 {
            return Err(io::Error::last_os_error());
        }
        unmount(BTF_FOLDER, UnmountFlags::DETACH)?;
    }
    Ok(present().then_some(KERNEL_BTF))
}

/// Makes the kernel's own BTF invisible as long as it lives.
pub struct Hidden(bool);

/// Covers the folder with an empty file system; a kernel without BTF has none.
pub fn hide_kernel_btf() -> io::Result<Hidden> {
    let present = Path::new(BTF_FOLDER).exists();
    if present {
        mount("tmpfs", BTF_FOLDER, "tmpfs", MountFlags::empty(), None)?;
    }
    Ok(Hidden(present))
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if self.0 {
            let _ = unmount(BTF_FOLDER, UnmountFlags::empty());
        }
    }
}

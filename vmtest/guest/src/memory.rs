//! The memory that the host shares: QEMU's ivshmem-plain, a PCI device whose second region is a file of the host. No
//! driver is needed, so that every kernel with PCI has it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::ptr;

use rustix::mm::{MapFlags, ProtFlags, mmap};

use crate::supply::{self, NotWork, Work};

const DEVICES: &str = "/sys/bus/pci/devices";
/// Red Hat's number for QEMU's devices, and that of ivshmem.
const VENDOR: &str = "0x1af4";
const DEVICE: &str = "0x1110";

/// All of it, mapped for the rest of this program's life.
pub struct SharedMemory {
    start: *const u8,
    size: usize,
}

impl SharedMemory {
    /// Finds the device.
    #[allow(unsafe_code)]
    pub fn map() -> io::Result<Self> {
        let device = find()?;
        fs::write(device.join("enable"), "1")?;
        let region: File = OpenOptions::new().read(true).write(true).open(device.join("resource2"))?;
        let size = region.metadata()?.len() as usize;
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let start = unsafe { mmap(ptr::null_mut(), size, ProtFlags::READ, MapFlags::SHARED, &region, 0)? };
        Ok(SharedMemory { start: start.cast(), size })
    }

    /// Writes the work's files where its list says; gives the work. To be called when the host said that it is there.
    pub fn unpack_work(&self) -> io::Result<Work> {
        let (work, contents) = supply::decode(self.content()).map_err(|reason| {
            io::Error::other(match reason {
                NotWork::Foreign => "the shared memory holds no checks",
                NotWork::Damaged => "the checks in the shared memory are damaged",
            })
        })?;
        for ((path, _), content) in work.files.iter().zip(contents) {
            fs::write(path, content)?;
        }
        Ok(work)
    }

    #[allow(unsafe_code)]
    fn content(&self) -> &[u8] {
        // SAFETY: mapped so long, and never unmapped; the host writes before it says go, and not after.
        unsafe { std::slice::from_raw_parts(self.start, self.size) }
    }
}

fn find() -> io::Result<PathBuf> {
    for entry in fs::read_dir(DEVICES)? {
        let device = entry?.path();
        if is(&device, "vendor", VENDOR) && is(&device, "device", DEVICE) {
            return Ok(device);
        }
    }
    Err(io::Error::other("the machine has no shared memory"))
}

fn is(device: &Path, file: &str, number: &str) -> bool {
    fs::read_to_string(device.join(file)).is_ok_and(|text| text.trim() == number)
}

//! A disk, read past all caches.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use crate::fork::wait_readable;

use super::actor::{Done, Scene, Want, Wants};

const DISKS: &str = "/sys/block";
const DRIVER: &str = "/sys/bus/pci/drivers/nvme";
/// How long a disk that was plugged in may take to come up.
const PATIENCE: Duration = Duration::from_secs(5);
/// To whom the kernel itself tells of new devices.
const FROM_KERNEL: u32 = 1;
const BLOCK: usize = 4096;
const SECTOR: u64 = 512;

/// A process reads a block.
pub fn read(scene: &Scene<'_>) -> Vec<Done> {
    vec![Done { what: "a process read a block of a disk", hooks: &[], wants: try_read(scene) }]
}

fn try_read(scene: &Scene<'_>) -> Wants {
    if !Path::new(DRIVER).exists() {
        return Err("this machine has no disk: its kernel has no driver for NVMe built in".to_owned());
    }
    let disk = wait_for_disk().map_err(|error| format!("devices: {error}"))?;
    let (name, path) = disk.ok_or_else(|| format!("no disk came up within {PATIENCE:?}"))?;
    // Four bits more are a place that begins with a block, too.
    let sector = u64::from_str_radix(scene.token, 16).map_err(|error| error.to_string())? << 4;
    let actor = scene.act(|_| {
        let file = File::options().read(true).custom_flags(libc::O_DIRECT).open(&path)?;
        let mut memory = vec![0; 2 * BLOCK];
        // Such a read wants a place that begins with a block.
        let start = memory.as_ptr().align_offset(BLOCK);
        let block =
            memory.get_mut(start..start + BLOCK).ok_or_else(|| io::Error::other("no aligned memory"))?;
        file.read_exact_at(block, sector * SECTOR)
    })?;
    let device = fs::metadata(&path).map_err(|error| error.to_string())?.rdev();
    Ok(vec![
        // Not who: the kernel may have a thread of its own hand it to the driver.
        ("took_ns", Want::Between(1, actor.nanos)),
        ("queued_ns", Want::Between(0, actor.nanos)),
        ("sector", Want::Hex(sector)),
        ("bytes", Want::Number(BLOCK as i128)),
        ("error", Want::Number(0)),
        ("major", Want::Number(libc::major(device).into())),
        ("minor", Want::Number(libc::minor(device).into())),
        ("operation", Want::Number(0)),
        ("disk", Want::Text(name)),
    ])
}

/// A disk that was plugged into the running machine may not be up yet.
fn wait_for_disk() -> io::Result<Option<(String, PathBuf)>> {
    let news = News::listen()?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = find_disk();
        if found.is_some() || !news.wait(deadline)? {
            return Ok(found);
        }
    }
}

/// What the kernel tells of its devices.
struct News(OwnedFd);

impl News {
    fn listen() -> io::Result<Self> {
        let protocol = Some(netlink::KOBJECT_UEVENT);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, protocol)?;
        bind(&socket, &SocketAddrNetlink::new(0, FROM_KERNEL))?;
        Ok(News(socket))
    }

    /// Until something is new; false when the time is over.
    fn wait(&self, deadline: Instant) -> io::Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || !wait_readable(self.0.as_fd(), left)? {
            return Ok(false);
        }
        // Whatever it is, the list of disks says more.
        recv(&self.0, &mut [0_u8; 4096], RecvFlags::DONTWAIT)?;
        Ok(true)
    }
}

fn find_disk() -> Option<(String, PathBuf)> {
    let mut disks: Vec<String> =
        fs::read_dir(DISKS).ok()?.filter_map(|disk| disk.ok()?.file_name().into_string().ok()).collect();
    disks.sort();
    disks.into_iter().find_map(|name| {
        let path = Path::new("/dev").join(&name);
        let is_block = fs::metadata(&path).is_ok_and(|seen| seen.file_type().is_block_device());
        is_block.then_some((name, path))
    })
}

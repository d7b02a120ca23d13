//! A disk, read past all caches.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::actor::{Done, Scene, Want, Wants};

const DISKS: &str = "/sys/block";
const BLOCK: usize = 4096;
const SECTOR: u64 = 512;

/// A process reads a block.
pub fn read(scene: &Scene<'_>) -> Vec<Done> {
    vec![Done { what: "a process read a block of a disk", hooks: &[], wants: try_read(scene) }]
}

fn try_read(scene: &Scene<'_>) -> Wants {
    let (name, path) =
        find_disk().ok_or("this machine has no disk: its kernel has no driver for NVMe built in")?;
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

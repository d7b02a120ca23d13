//! Going on from a machine that was up before, instead of booting one: what that takes beside the state.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::initramfs::{self, Programs};
use crate::qemu::{Command, Shared};
use crate::spec::Check;
use crate::states::{Key, KeyParts, StateFolder};
use crate::supply::{self, Work};
use crate::wire::Manifest;

/// The shared memory is part of a state, so that it must not grow with every object.
const SHARED_MIB: u32 = 16;
/// Larger than any sensible set of checks.
const SHARED_MIB_MAX: u32 = 1024;

/// What all waiting machines of a run share.
pub struct Warm<'a> {
    /// Where states are.
    pub states: &'a StateFolder,
    /// Without checks.
    pub initramfs: PathBuf,
    /// Size of the shared memory.
    pub mib: u32,
    manifest: Manifest,
    files: Vec<(String, &'a [u8])>,
}

impl<'a> Warm<'a> {
    /// `None` when there are more objects than sensible.
    pub fn prepare(
        states: &'a StateFolder,
        programs: &Programs,
        checks: &'a [Check],
        config: Option<&'a [u8]>,
        attach: bool,
        work: &Path,
    ) -> io::Result<Option<Self>> {
        let (manifest, files) = initramfs::gather(checks, config);
        let manifest = Manifest { attach, ..manifest };
        let bytes: usize = files.iter().map(|(path, content)| path.len() + content.len() + 64).sum();
        // The rest of the list is less than this.
        let bytes = bytes + serde_json::to_vec(&manifest)?.len() + 4096;
        let mib = u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX);
        if mib > SHARED_MIB_MAX {
            return Ok(None);
        }
        let path = work.join("waiting.cpio");
        fs::write(&path, initramfs::build_waiting(programs))?;
        let mib = mib.next_power_of_two().max(SHARED_MIB);
        Ok(Some(Warm { states, initramfs: path, mib, manifest, files }))
    }

    /// What the guest finds in the shared memory.
    pub fn work(&self, nonce: &str, seconds: u64) -> io::Result<Vec<u8>> {
        let work = Work {
            nonce: nonce.to_owned(),
            seconds: u32::try_from(seconds).unwrap_or(u32::MAX),
            manifest: self.manifest.clone(),
            files: self.files.iter().map(|(path, content)| (path.clone(), content.len() as u64)).collect(),
        };
        let contents: Vec<&[u8]> = self.files.iter().map(|(_, content)| *content).collect();
        Ok(supply::encode(&work, &contents)?)
    }

    /// What a state depends on: QEMU, the machine that it makes, kernel, guest program.
    pub fn key(&self, command: &Command<'_>) -> io::Result<Key> {
        let nowhere = Path::new("-");
        let same = Command {
            qemu: nowhere,
            kernel: nowhere,
            initramfs: nowhere,
            console: nowhere,
            nonce: "-",
            shared: Some(Shared { file: nowhere, mib: self.mib, restore: false }),
            ..command.clone()
        };
        let mut key = KeyParts::new();
        for word in same.line() {
            key.add(word.as_encoded_bytes());
        }
        for file in [command.qemu, command.kernel, &self.initramfs] {
            key.add_file(file)?;
        }
        Ok(key.finish())
    }
}

//! What was compared and booted before, by key: only whole conversations count, trouble is never remembered.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kernels::{Digest, Store};
use serde_json::{Value, json};

use crate::file::steps::{Accel, Verify};
use crate::kernel::content::Known;
use crate::kernel::engine::ProgramSet;
use crate::kernel::made::{Made, cells_from_json, cells_to_json, with_programs};
use crate::summary::Checked;
use crate::verify::verifying::{self, Verified};
use crate::work::key::{ENGINE, Key, VERIFIER};

/// The step `verify` on this machine.
#[derive(Debug, Clone)]
pub struct Verifier<'a> {
    /// The step's settings.
    pub settings: &'a Verify,
    /// Why no machine can run, if none can.
    pub lacks: Option<String>,
    /// The guest program and QEMU, by digest.
    machine: String,
    /// Whether what was done before counts for nothing.
    pub again: bool,
    /// Whether kernels are only compared on the host, because somebody asked.
    pub no_vm: bool,
}

impl<'a> Verifier<'a> {
    /// Looks at what this machine has. `again` forgets what was done before; with `no_vm` nothing is booted.
    pub fn new(settings: &'a Verify, store: Option<&Store>, again: bool, no_vm: bool) -> Verifier<'a> {
        let lacks = if no_vm { None } else { verifying::lacks() };
        let machine = if lacks.is_none() { machine(store) } else { String::new() };
        Verifier { settings, lacks, machine, again, no_vm }
    }

    /// Whether kernels of this architecture are booted.
    pub fn will_boot(&self, arch: kernels::Arch) -> bool {
        self.lacks.is_none() && self.why_not_booted(arch).is_none()
    }

    /// Why kernels of this architecture are compared on the host only, if they are.
    pub fn why_not_booted(&self, arch: kernels::Arch) -> Option<String> {
        self.no_vm.then(|| "--no-vm".to_owned()).or_else(|| verifying::why_not_booted(arch))
    }

    /// The key of booting a kernel with its packaged BTF.
    pub fn key(&self, known: &Known, made: &Made, set: &ProgramSet) -> Key {
        let Verify { accel, memory_mib, timeout, attach, old_libbpf } = self.settings;
        let accel = match accel {
            Accel::Auto => "auto",
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        };
        let key = Key::of("verify/1")
            .with("verifier", VERIFIER)
            .with("machine", &self.machine)
            .with("accel", accel)
            .with("memory", format!("{memory_mib} MiB"))
            .with("timeout", format!("{} s", timeout.as_secs()))
            .with("packages", known.packages)
            .with("btf", known.btf.sha256)
            .with("minimized", made.btf.sha256);
        // What was said before there was such a setting stays known.
        let key = if *attach { key.with("attach", "yes") } else { key };
        let key = if *old_libbpf { key.with("old libbpf", "yes") } else { key };
        with_programs(key, set)
    }

    /// What a machine said before.
    pub fn find(&self, store: &Store, key: &Key) -> Option<Verified> {
        let value = store.link(&key.text()).filter(|_| !self.again)?;
        let how = value["how"].as_str()?.to_owned();
        let checked = match value["checked"].as_str()? {
            "booted" => Checked::Booted(how),
            "host" => Checked::Host(how),
            _ => return None,
        };
        Some(Verified {
            checked,
            cells: cells_from_json(&value["cells"])?,
            notes: Vec::new(),
            no_verdict: None,
        })
    }

    /// Remembers what a machine said; without a verdict there is nothing to remember.
    pub fn keep(&self, store: &Store, key: &Key, verified: &Verified) -> Result<(), kernels::Error> {
        let (checked, how) = match &verified.checked {
            Checked::Booted(how) => ("booted", how),
            Checked::Host(how) => ("host", how),
            Checked::No => return Ok(()),
        };
        if verified.no_verdict.is_some() {
            return Ok(());
        }
        let value = json!({ "checked": checked, "how": how, "cells": cells_to_json(&verified.cells) });
        store.set_link(&key.text(), value)
    }

    /// The key of making every decision again with the packaged BTF.
    pub fn compare_key(&self, made: &Made, set: &ProgramSet) -> Key {
        let key = Key::of("compare/1").with("engine", ENGINE);
        let key = key.with("minimized", made.btf.sha256).with("records", made.records.sha256);
        with_programs(key, set)
    }

    /// Whether that found no difference before.
    pub fn is_compared(&self, store: &Store, key: &Key) -> bool {
        !self.again && store.link(&key.text()).is_some()
    }

    /// Remembers that it found none.
    pub fn compared(&self, store: &Store, key: &Key) -> Result<(), kernels::Error> {
        store.set_link(&key.text(), Value::Bool(true))
    }
}

const ARCHITECTURES: [vmtest::Arch; 2] = [vmtest::Arch::X86_64, vmtest::Arch::Arm64];

/// The digests of the guest programs and of QEMU.
fn machine(store: Option<&Store>) -> String {
    let shown =
        |digest: Option<Digest>| digest.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
    let one = |arch| {
        let guest = vmtest::guest(arch).map(Digest::of);
        let old = vmtest::old_libbpf(arch).map(Digest::of);
        let qemu = vmtest::qemu::find(arch).ok().and_then(|path| tool_digest(&path, store));
        format!("{arch} guest {} old libbpf {} qemu {}", shown(guest), shown(old), shown(qemu))
    };
    ARCHITECTURES.map(one).join(", ")
}

/// The digest of a program; large ones are read again only when size or times say that they are others.
fn tool_digest(path: &Path, store: Option<&Store>) -> Option<Digest> {
    let name = stamp(path)?;
    let known = store.and_then(|store| serde_json::from_value(store.link(&name)?).ok());
    known.or_else(|| Some(Digest::of_file(path).ok()?.0))
}

fn stamp(path: &Path) -> Option<String> {
    let seen = std::fs::metadata(path).ok()?;
    let times = (seen.mtime(), seen.mtime_nsec(), seen.ctime(), seen.ctime_nsec());
    Some(format!("tool/1 {} {} {} {times:?}", path.display(), seen.len(), seen.ino()))
}

/// Remembers the digest of QEMU, so that the next run needn't read it; what can't be remembered is read again.
pub fn remember_machine(store: &Store) {
    let remember = |arch| {
        let path = vmtest::qemu::find(arch).ok()?;
        let name = stamp(&path)?;
        match store.link(&name) {
            Some(_) => None,
            None => store.set_link(&name, json!(Digest::of_file(&path).ok()?.0)).ok(),
        }
    };
    for arch in ARCHITECTURES {
        let _: Option<()> = remember(arch);
    }
}

//! The commands on the store.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use kernels::{Digest, Lock, LockedKernel, Store};

use crate::outcome::{Code, Error};

/// Opens a store that is there; a command that only looks makes none.
fn open(store: Option<&Path>) -> Result<Store, Error> {
    let path = store.map_or_else(Store::default_path, |path| Ok(path.to_owned()))?;
    match path.join("blobs").is_dir() {
        true => Ok(Store::open(&path)?),
        false => Err(Error::NoStore(path)),
    }
}

/// What is in it.
pub fn stats(store: Option<&Path>) -> Result<String, Error> {
    let store = open(store)?;
    let stats = store.stats()?;
    let line = |count: u64, what: &str, bytes: u64| {
        format!("{count:>9} {what:<24}{:>12.1} MB\n", bytes as f64 / 1e6)
    };
    let mut text = line(stats.blobs, "blobs", stats.blob_bytes);
    text += &line(stats.derived, "derived values", stats.derived_bytes);
    text += &line(stats.parts, "files fetched in part", stats.part_bytes);
    let _ = writeln!(text, "{:>9} {:<24}{:>12.1} MB", "", "plugins' caches", stats.plugin_bytes as f64 / 1e6);
    Ok(text)
}

/// Reads everything; what is broken is removed.
pub fn verify(store: Option<&Path>) -> Result<(String, Code), Error> {
    let store = open(store)?;
    let faults = store.verify()?;
    let mut text = String::new();
    for fault in &faults {
        let removed = if store.is_read_only() { "" } else { "; removed" };
        let _ = writeln!(text, "BROKEN {}: {}{removed}", fault.path.display(), fault.reason);
    }
    let stats = store.stats()?;
    let _ = writeln!(
        text,
        "{} blobs and {} derived values are whole, {} files were broken",
        stats.blobs,
        stats.derived,
        faults.len()
    );
    Ok((text, if faults.is_empty() { Code::Ok } else { Code::Failed }))
}

/// Makes it smaller; `max` is in bytes.
pub fn collect(store: Option<&Path>, max: u64) -> Result<(String, Code), Error> {
    let store = open(store)?;
    Ok(match store.collect(max)? {
        Some(done) => {
            let megabytes = |bytes: u64| bytes as f64 / 1e6;
            let (removed, left) = (megabytes(done.bytes), megabytes(done.left));
            (format!("{} files with {removed:.1} MB removed, {left:.1} MB are left\n", done.files), Code::Ok)
        }
        None => ("another btfpipe has the store open; nothing was removed\n".to_owned(), Code::Transient),
    })
}

/// Why the store has a blob, or which blobs belong to a kernel: what the lock and derived values say of it.
pub fn why(store: Option<&Path>, lock: Option<&Path>, what: &str) -> Result<(String, Code), Error> {
    let store = open(store)?;
    let path = lock.map_or_else(|| PathBuf::from("kernels.lock"), Path::to_owned);
    let lock = match Lock::read(&path) {
        Err(error) if error.is_not_found() => Lock::default(),
        other => other?,
    };
    let mut text = String::new();
    let digests: Vec<Digest> = match what.parse() {
        Ok(digest) => vec![digest],
        Err(_) => {
            let kernel = lock.kernels.iter().find(|kernel| kernel.id.to_string() == what);
            let kernel =
                kernel.ok_or_else(|| Error::NoKernel { pattern: what.to_owned(), lock: path.clone() })?;
            parts(kernel).into_iter().map(|(_, digest)| digest).collect()
        }
    };
    let mut is_there = false;
    for digest in digests {
        match store.blob_size(&digest) {
            Some(size) => {
                is_there = true;
                let _ = writeln!(text, "{digest} {size} bytes");
            }
            None => _ = writeln!(text, "{digest} is not in the store"),
        }
        for kernel in &lock.kernels {
            for (part, _) in parts(kernel).iter().filter(|(_, other)| *other == digest) {
                let _ = writeln!(text, "  {part} of {} ({})", kernel.id, path.display());
            }
        }
        for found in store.uses(&digest)? {
            let _ = writeln!(text, "  {} of {:?}", found.at.trim_start_matches('/'), found.key);
        }
    }
    Ok((text, if is_there { Code::Ok } else { Code::Failed }))
}

/// The blobs of a locked kernel, and what each is.
fn parts(kernel: &LockedKernel) -> Vec<(String, Digest)> {
    let packages =
        kernel.packages.iter().map(|package| (format!("package {}", package.file), package.sha256));
    let blobs = [Some(("BTF", kernel.btf)), kernel.boot.map(|boot| ("boot image", boot))];
    packages.chain(blobs.into_iter().flatten().map(|(what, blob)| (what.to_owned(), blob.sha256))).collect()
}

//! A BTF that was made, kept with what it was made of.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use plugin::{Failure, Job, Level};
use sha2::{Digest, Sha256};

use crate::config::Wanted;
use crate::origin::{Origin, digest};
use crate::{pahole, vmlinux};

/// What was made.
pub struct Made {
    /// The BTF.
    pub btf: PathBuf,
    /// The sha256 of the debug package, or of the vmlinux.
    pub debug_sha256: String,
    /// Where that came from, with its version.
    pub debug: Origin,
}

/// Makes the BTF of a kernel, unless it was made before of the same with the same.
///
/// What failed before is not tried again: pahole takes minutes and gigabytes, and fails the same way.
pub fn of(job: &Job<'_>, wanted: &Wanted, flags: &[String], pahole: &str) -> Result<Made, Failure> {
    let file = wanted.debug.bring(job)?;
    let (debug_sha256, _) = digest(&file.path)?;
    let key = format!("{debug_sha256}\n{}\n{pahole}\n{}", wanted.release(), flags.join("\n"));
    let name: String = Sha256::digest(key.as_bytes()).iter().take(16).map(|b| format!("{b:02x}")).collect();
    let cache = job.cachedir().join("made");
    let (btf, failed) = (cache.join(format!("{name}.btf")), cache.join(format!("{name}.impossible")));
    if btf.is_file() {
        return Ok(Made { btf, debug_sha256, debug: file.origin });
    }
    if let Ok(reason) = fs::read_to_string(&failed) {
        return Err(Failure::tool(format!("{}: no BTF can be made: {reason}", wanted.id)).help(format!(
            "this was found before and is not tried again; add it to `impossible:`, or remove {}",
            failed.display()
        )));
    }
    make(job, wanted, flags, &file.path, &cache, &btf).inspect_err(|failure| {
        // What pahole says of this very input stays true.
        if failure.message.starts_with("pahole") {
            let kept = fs::write(&failed, &failure.message);
            kept.unwrap_or_else(|error| job.log(Level::Warn, format!("{}: {error}", failed.display())));
        }
    })?;
    Ok(Made { btf, debug_sha256, debug: file.origin })
}

fn make(
    job: &Job<'_>,
    wanted: &Wanted,
    flags: &[String],
    file: &Path,
    cache: &Path,
    btf: &Path,
) -> Result<(), Failure> {
    let at = |error: io::Error| Failure::tool(format!("{}: {error}", cache.display()));
    fs::create_dir_all(cache).map_err(at)?;
    // On the disk of the cache: an unpacked vmlinux has hundreds of megabytes.
    let work = tempfile::tempdir_in(cache).map_err(at)?;
    job.progress(0, None, "steps", format!("unpacking {}", file.display()));
    let vmlinux = vmlinux::unpack(file, wanted.release(), work.path())?;
    job.progress(1, None, "steps", format!("pahole makes the BTF of {}", wanted.release()));
    let output = work.path().join("btf");
    pahole::encode(&vmlinux, flags, &output)?;
    fs::rename(&output, btf).map_err(at)
}

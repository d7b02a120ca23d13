//! One package an architecture: the bundle of all its kernels.

use std::io::Write;
use std::path::PathBuf;

use bundle::{BundleBuilder, BundleMeta, KernelEntry, Layout, Package, ProgramEntry};
use kernels::{Arch, KernelId};

use crate::file::steps;
use crate::kernel::engine::ProgramSet;
use crate::kernel::made::{Made, with_programs};
use crate::outcome::Error;
use crate::work::key::{Key, WRITER};

/// What a bundle says of who made it.
pub const ENGINE: &str = concat!("btfpipe ", env!("CARGO_PKG_VERSION"));

/// A kernel on its way into a package.
#[derive(Debug, Clone, Copy)]
pub struct Packed<'a> {
    /// Which.
    pub id: &'a KernelId,
    /// Its build-id.
    pub build_id: Option<&'a str>,
    /// Its BTF and records, by digest.
    pub made: &'a Made,
}

/// What a package is made with.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// The package's name.
    pub name: &'a str,
    /// zstd's level, layouts, other words for versions.
    pub step: &'a steps::Package,
    /// The time that its files carry.
    pub epoch: u64,
    /// How many threads compress: it decides nothing.
    pub threads: usize,
}

impl Settings<'_> {
    /// The threads as compressors count them, at least one: none would make other bytes.
    pub fn workers(&self) -> u32 {
        u32::try_from(self.threads).unwrap_or(1).max(1)
    }
}

/// The key of a package.
pub fn key(settings: Settings<'_>, kernels: &[Packed<'_>], set: &ProgramSet) -> Key {
    let key = Key::of("package/1")
        .with("writer", WRITER)
        .with("engine", ENGINE)
        .with("name", settings.name)
        .with("arch", set.arch)
        .with("level", settings.step.level)
        .with("SOURCE_DATE_EPOCH", settings.epoch);
    let kernels = kernels.iter().fold(key, |key, Packed { id, build_id, made }| {
        let value = format!("{} {} {}", build_id.unwrap_or("-"), made.btf.sha256, made.records.sha256);
        let key = key.with(format!("kernel {id}"), value);
        match settings.step.aliases.of(id.distro(), id.version()) {
            [] => key,
            aliases => key.with(format!("aliases of {id}"), format!("{aliases:?}")),
        }
    });
    with_programs(kernels, set)
}

/// The key of a package in a layout of others. It is made of the package alone, whose key stands for its bytes.
pub fn layout_key(package: &Key, layout: Layout) -> Key {
    Key::of("layout/1").with("layout", layout).with("package", package.digest())
}

/// Writes the package of the kernels of one architecture, each with the files of its BTF and records: memory holds one of
/// them at a time.
pub fn package(
    settings: Settings<'_>,
    kernels: Vec<(Packed<'_>, PathBuf, PathBuf)>,
    set: &ProgramSet,
    out: &mut dyn Write,
) -> Result<Package, Error> {
    let Settings { name, step, epoch, .. } = settings;
    let meta = BundleMeta {
        name: name.to_owned(),
        arch: arch(set.arch),
        engine: ENGINE.to_owned(),
        source_date_epoch: epoch,
    };
    let mut builder = BundleBuilder::new(meta)?.threads(settings.workers());
    for (Packed { id, build_id, .. }, btf, records) in kernels {
        let entry = KernelEntry {
            distro: id.distro().to_owned(),
            version: id.version().to_owned(),
            version_aliases: step.aliases.of(id.distro(), id.version()).to_vec(),
            arch: arch(id.arch()),
            release: id.release().to_owned(),
            build_id: build_id.map(str::to_owned),
        };
        builder.add_kernel(entry, btf, records)?;
    }
    for program in &set.programs {
        let sha256 = bundle::Digest::of(&program.elf);
        builder.add_program(ProgramEntry { name: program.name.clone(), sha256 })?;
    }
    Ok(builder.write(step.level, out)?)
}

/// The same architecture in the bundle's words: the crates don't know each other.
pub fn arch(arch: Arch) -> bundle::Arch {
    match arch {
        Arch::X86_64 => bundle::Arch::X86_64,
        Arch::Arm64 => bundle::Arch::Arm64,
    }
}

/// Reads SOURCE_DATE_EPOCH, the time that packages carry; 0 when it isn't set.
pub fn source_date_epoch(value: Option<std::ffi::OsString>) -> Result<u64, Error> {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(0);
    };
    let text = value.to_string_lossy().into_owned();
    text.trim().parse().map_err(|_| Error::Epoch(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_given_or_zero() {
        let check = |value: Option<&str>, wanted: Option<u64>| {
            assert_eq!(source_date_epoch(value.map(Into::into)).ok(), wanted, "{value:?}");
        };
        check(None, Some(0));
        check(Some(""), Some(0));
        check(Some("1763856000"), Some(1_763_856_000));
        check(Some("yesterday"), None);
        check(Some("-1"), None);
    }
}

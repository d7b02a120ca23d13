//! What the loaders of others read: each consumer's paths, and the archive that it opens.
//!
//! No links, no pax headers, one plain copy for each name: the readers of others know nothing else, and compression
//! removes the repeats. `docs/layouts.md` says which consumer looks where, and what it gets wrong.

mod compressed;
mod elf;
mod members;

use std::fmt;
use std::str::FromStr;

use crate::arch::Arch;
use crate::archive::{self, END, Style};
use crate::error::Error;
use crate::frame;
use crate::pack::{PackOptions, write_pack};
use crate::reader::Bundle;

pub use members::Member;

/// A layout that some loader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layout {
    /// The seekable form of the bundle, for our own readers in Rust and C.
    Pack,
    /// The same, compressed so that Go's standard library reads it.
    PackDeflate,
    /// `custom-archive/…` of BTFHub's btfgen.sh: Kyanos, SkyWalking Rover.
    BtfhubCustomArchive,
    /// A tar.xz for each kernel, as in btfhub-archive.
    BtfhubArchive,
    /// `dist/btfhub/…`, which Tracee embeds.
    Tracee,
    /// `pkg/btfgen/btfs/…`, which Inspektor Gadget embeds.
    IgEmbed,
    /// The content of Inspektor Gadget's OCI layer.
    IgLayer,
    /// `minimized-btfs.tar.xz` of the Datadog agent.
    Datadog,
    /// `min_core_btfs.tar.gz` of bcc's libbpf-tools.
    Bcc,
    /// The archive of eunomia's tools.
    Eunomia,
    /// `/boot/vmlinux-…`, where libbpf itself looks.
    LibbpfPath,
}

/// The file around a layout's members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Pack(crate::pack::Method),
    TarZst,
    TarXz,
    TarGz,
}

/// A file to ship.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deliverable {
    /// What is in it.
    pub layout: Layout,
    /// Its name, see [`Layout::file`].
    pub file: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl Layout {
    /// All of them.
    pub const ALL: [Layout; 11] = [
        Layout::Pack,
        Layout::PackDeflate,
        Layout::BtfhubCustomArchive,
        Layout::BtfhubArchive,
        Layout::Tracee,
        Layout::IgEmbed,
        Layout::IgLayer,
        Layout::Datadog,
        Layout::Bcc,
        Layout::Eunomia,
        Layout::LibbpfPath,
    ];

    /// Its name in pipeline files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Pack => "pack",
            Layout::PackDeflate => "pack-deflate",
            Layout::BtfhubCustomArchive => "btfhub-custom-archive",
            Layout::BtfhubArchive => "btfhub-archive",
            Layout::Tracee => "tracee",
            Layout::IgEmbed => "ig-embed",
            Layout::IgLayer => "ig-layer",
            Layout::Datadog => "datadog",
            Layout::Bcc => "bcc",
            Layout::Eunomia => "eunomia",
            Layout::LibbpfPath => "libbpf-path",
        }
    }

    fn container(self) -> Container {
        match self {
            Layout::Pack => Container::Pack(crate::pack::Method::Zstd),
            Layout::PackDeflate => Container::Pack(crate::pack::Method::Deflate),
            Layout::BtfhubCustomArchive | Layout::BtfhubArchive | Layout::Tracee | Layout::IgEmbed => {
                Container::TarZst
            }
            Layout::LibbpfPath => Container::TarZst,
            Layout::Datadog => Container::TarXz,
            Layout::IgLayer | Layout::Bcc | Layout::Eunomia => Container::TarGz,
        }
    }

    /// The members of the layout, sorted by path; none for packs, which are no archives.
    pub fn members(self, bundle: &Bundle) -> Result<Vec<Member>, Error> {
        members::of(bundle, self)
    }

    /// The name of the file to ship, for the bundle `<name>-<arch>.tar.zst`.
    pub fn file(self, name: &str, arch: Arch) -> String {
        let extension = match self.container() {
            Container::Pack(_) => "btfpack",
            Container::TarZst => "tar.zst",
            Container::TarXz => "tar.xz",
            Container::TarGz => "tar.gz",
        };
        match self {
            Layout::Pack => format!("{name}-{arch}.{extension}"),
            _ => format!("{name}-{arch}-{self}.{extension}"),
        }
    }

    /// The file to ship. `level` is zstd's; gzip and xz have a fixed one.
    pub fn deliver(self, bundle: &Bundle, level: i32, threads: u32) -> Result<Deliverable, Error> {
        let index = bundle.index();
        let file = self.file(&index.name, index.arch);
        let bytes = match self.container() {
            Container::Pack(method) => {
                write_pack(bundle, PackOptions { method, level, ..PackOptions::default() })?
            }
            Container::TarZst => frame::compress(&self.tar(bundle)?, level, threads)?,
            Container::TarXz => compressed::xz(&self.tar(bundle)?)?,
            Container::TarGz => compressed::gzip(&self.tar(bundle)?)?,
        };
        Ok(Deliverable { layout: self, file, bytes })
    }

    /// The archive of the members, before it is compressed.
    pub fn tar(self, bundle: &Bundle) -> Result<Vec<u8>, Error> {
        tar(&self.members(bundle)?, bundle.source_date_epoch(), Style::PLAIN)
    }
}

/// An archive of regular files.
fn tar(members: &[Member], mtime: u64, style: Style) -> Result<Vec<u8>, Error> {
    let mut tar = Vec::new();
    for Member { path, content } in members {
        tar.extend(archive::styled_header(path, content.len() as u64, mtime, style)?);
        tar.extend(content);
        tar.resize(tar.len() + archive::padding(content.len() as u64), 0);
    }
    tar.resize(tar.len() + END, 0);
    Ok(tar)
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no layout has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown layout {0:?}")]
pub struct UnknownLayout(String);

impl FromStr for Layout {
    type Err = UnknownLayout;

    fn from_str(name: &str) -> Result<Layout, UnknownLayout> {
        let found = Layout::ALL.into_iter().find(|layout| layout.name() == name);
        found.ok_or_else(|| UnknownLayout(name.to_owned()))
    }
}

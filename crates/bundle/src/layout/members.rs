//! Under which paths a consumer looks for the BTF of each kernel.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::arch::Arch;
use crate::archive::Style;
use crate::error::Error;
use crate::index::IndexedKernel;
use crate::layout::{Layout, compressed, elf, tar};
use crate::reader::Bundle;

/// A file of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its path in the archive.
    pub path: String,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// Whom a path belongs to, so that a second one can be refused by name.
struct Owner {
    kernel: String,
    /// By its own version, not by an alias.
    own: bool,
    content: Vec<u8>,
}

/// The members of a layout, sorted by path; a copy for each alias of a version.
pub(super) fn of(bundle: &Bundle, layout: Layout) -> Result<Vec<Member>, Error> {
    if matches!(layout, Layout::Pack | Layout::PackDeflate) {
        return Ok(Vec::new());
    }
    let mut owners: BTreeMap<String, Owner> = BTreeMap::new();
    for kernel in &bundle.index().kernels {
        let entry = &kernel.entry;
        let content = content(bundle, kernel, layout)?;
        let aliases = entry.version_aliases.iter().map(|alias| (alias, false));
        for (version, own) in std::iter::once((&entry.version, true)).chain(aliases) {
            let path = path(layout, kernel, version)?;
            check(layout, &path)?;
            let owner = Owner { kernel: entry.key().to_string(), own, content: content.clone() };
            place(layout, path, owner, &mut owners)?;
        }
    }
    Ok(owners.into_iter().map(|(path, owner)| Member { path, content: owner.content }).collect())
}

/// A path has one content. A kernel that has it by its own version goes before one that has it by an alias.
fn place(
    layout: Layout,
    path: String,
    new: Owner,
    owners: &mut BTreeMap<String, Owner>,
) -> Result<(), Error> {
    match owners.entry(path) {
        Entry::Vacant(vacant) => {
            vacant.insert(new);
        }
        Entry::Occupied(mut old) if !old.get().own && new.own => {
            old.insert(new);
        }
        Entry::Occupied(old) if old.get().content == new.content || old.get().own && !new.own => {}
        Entry::Occupied(old) => {
            let (path, first, second) = (old.key().clone(), old.get().kernel.clone(), new.kernel);
            return Err(Error::SamePath { layout: layout.name(), path, first, second });
        }
    }
    Ok(())
}

fn path(layout: Layout, kernel: &IndexedKernel, version: &str) -> Result<String, Error> {
    let entry = &kernel.entry;
    let (distro, release) = (&entry.distro, &entry.release);
    let (word, machine) = (entry.arch.as_str(), entry.arch.machine());
    Ok(match layout {
        Layout::Pack | Layout::PackDeflate => String::new(),
        Layout::BtfhubCustomArchive => format!("custom-archive/{distro}/{version}/{word}/{release}.btf"),
        Layout::BtfhubArchive => format!("{distro}/{version}/{word}/{release}.btf.tar.xz"),
        Layout::Tracee => format!("dist/btfhub/{distro}/{version}/{word}/{release}.btf"),
        Layout::IgEmbed => {
            let folder = match entry.arch {
                Arch::X86_64 => "x86",
                Arch::Arm64 => "arm64",
            };
            format!("pkg/btfgen/btfs/{folder}/{distro}/{version}/{machine}/{release}.btf")
        }
        Layout::IgLayer => format!("{distro}/{version}/{machine}/{release}.btf"),
        // Two Ubuntus have kernels of one name; the others' releases name their distribution.
        Layout::Datadog if distro == "ubuntu" => format!("ubuntu/{version}/{release}.btf.tar.xz"),
        Layout::Datadog if DATADOG.contains(&distro.as_str()) => format!("{distro}/{release}.btf.tar.xz"),
        Layout::Datadog => return Err(Error::Platform(entry.key().to_string())),
        Layout::Bcc => format!("./{distro}/{version}/{machine}/{release}.btf"),
        Layout::Eunomia => format!("./btfhub-archive/{distro}/{version}/{machine}/{release}.btf"),
        Layout::LibbpfPath => format!("boot/vmlinux-{release}"),
    })
}

/// The distributions that Datadog's loader knows.
const DATADOG: [&str; 9] =
    ["amzn", "centos", "debian", "fedora", "opensuse-leap", "ol", "rhel", "sles", "ubuntu"];

/// What go:embed leaves out without a word: names with these, or that begin with a dot or an underscore.
const NOT_EMBEDDED: [char; 9] = ['"', '*', '<', '>', '?', '`', '\'', '|', ':'];

fn check(layout: Layout, path: &str) -> Result<(), Error> {
    let embedded = matches!(layout, Layout::BtfhubCustomArchive | Layout::Tracee | Layout::IgEmbed);
    let hidden = path.split('/').any(|part| part.starts_with(['.', '_']));
    if embedded && (hidden || path.contains(NOT_EMBEDDED) || path.contains('\\')) {
        return Err(Error::NotEmbedded { layout: layout.name(), path: path.to_owned() });
    }
    Ok(())
}

fn content(bundle: &Bundle, kernel: &IndexedKernel, layout: Layout) -> Result<Vec<u8>, Error> {
    let btf = bundle.btf_of(kernel).ok_or_else(|| Error::Missing(kernel.btf.btf_path()))?;
    match layout {
        Layout::BtfhubArchive => packed_alone(kernel, btf, bundle, Style::READ_ONLY),
        Layout::Datadog => packed_alone(kernel, btf, bundle, Style::PLAIN),
        Layout::LibbpfPath => Ok(elf::with_btf(btf, kernel.entry.arch, kernel.entry.build_id.as_deref())),
        _ => Ok(btf.to_vec()),
    }
}

/// A tar.xz of its own.
fn packed_alone(kernel: &IndexedKernel, btf: &[u8], bundle: &Bundle, style: Style) -> Result<Vec<u8>, Error> {
    let member = Member { path: format!("{}.btf", kernel.entry.release), content: btf.to_vec() };
    compressed::xz(&tar(&[member], bundle.source_date_epoch(), style)?)
}

//! Why a file gives no BTF, and what to do.

use std::fmt::Write;
use std::io;

use crate::FormatError;

/// A file without usable BTF.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct InputError {
    /// What was asked for.
    pub name: String,
    /// What is wrong with it.
    pub problem: Box<InputProblem>,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputProblem {
    /// The file can't be read.
    #[error("can't be read: {0}")]
    Read(io::Error),
    /// A folder.
    #[error("is a folder; give a file in it")]
    Folder,
    /// A layer is broken.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Nothing that is read here.
    #[error(
        "{}{found}; what is read here is raw BTF, ELF files with .BTF (vmlinux, .ko, .o), boot images (vmlinuz), \
             and these in xz, zstd, gzip, lz4, lzma and tar",
        within(layers)
    )]
    Unknown {
        /// What was undone before.
        layers: Vec<&'static str>,
        /// What it looks like.
        found: String,
    },
    /// An ELF file without BTF.
    #[error("an ELF file without a .BTF section{}", hint(*is_module))]
    NoSection {
        /// Whether it is a kernel module.
        is_module: bool,
    },
    /// Compressed again and again.
    #[error("packed in too many layers: {}", .0.join(" in "))]
    TooManyLayers(Vec<&'static str>),
    /// An archive with several files, or none.
    #[error("{}", several(.0))]
    Members(Vec<String>),
    /// An archive without the member that was asked for.
    #[error("the archive has no member {member:?}; it has {}", list(members))]
    NoMember {
        /// The name.
        member: String,
        /// The members.
        members: Vec<String>,
    },
    /// The name of a member is not complete.
    #[error("several members of the archive end with /{member}; give more of the name: {}", list(members))]
    SeveralSuch {
        /// The name.
        member: String,
        /// The members.
        members: Vec<String>,
    },
    /// A member of something that has none.
    #[error("there is no member {member:?}, since the file is no tar archive but {}", layers.join(" in "))]
    NoArchive {
        /// The name.
        member: String,
        /// What the file is.
        layers: Vec<&'static str>,
    },
    /// A module's BTF without its kernel's.
    #[error("is split BTF of a module, which goes on where that of vmlinux ends; give that with --base-btf")]
    NeedsBase,
    /// The BTF is broken.
    #[error("{section} is broken: {error}")]
    Broken {
        /// Where.
        section: &'static str,
        /// What.
        error: btf::Error,
    },
    /// A distilled base that does not fit the base given.
    #[error("the module was built for another kernel: {0}")]
    Base(btf::RebaseError),
}

/// Names what the file is, where that is known.
pub(super) fn unknown(bytes: &[u8], layers: &[&'static str]) -> InputProblem {
    let known = match bytes {
        [] => "empty",
        [b'!', b'<', b'a', b'r', b'c', b'h', b'>', ..] => {
            "an ar archive or Debian package (unpack it with dpkg-deb -x, and give the vmlinuz in it)"
        }
        [0xed, 0xab, 0xee, 0xdb, ..] => {
            "an RPM package (unpack it with rpm2cpio, and give the vmlinuz in it)"
        }
        [b'P', b'K', 3, 4, ..] => "a zip archive (unpack it first)",
        [b'B', b'Z', b'h', ..] => "compressed with bzip2 (unpack it first)",
        [b'0', b'7', b'0', b'7', b'0', ..] => "a cpio archive (unpack it first)",
        [0x89, b'L', b'Z', b'O', ..] => "compressed with lzo (unpack it first)",
        [b'M', b'Z', ..] => "a PE file that is no kernel",
        [b'#', ..] | [b'/', b'*', ..] | [b'/', b'/', ..] => "a text",
        _other => "",
    };
    let found = match known {
        "" => {
            let start: String = bytes.iter().take(8).fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            });
            format!("no file of a known kind, it starts with {start}")
        }
        known => known.to_owned(),
    };
    InputProblem::Unknown { layers: layers.to_vec(), found }
}

fn within(layers: &[&str]) -> String {
    if layers.is_empty() { String::new() } else { format!("within {}: ", layers.join(" in ")) }
}

fn hint(is_module: bool) -> &'static str {
    match is_module {
        true => "; the module was built without BTF, or pahole could not make it",
        false => {
            "; a kernel has one with CONFIG_DEBUG_INFO_BTF, a BPF object with clang -g, and strip may have removed it"
        }
    }
}

fn several(members: &[String]) -> String {
    match members {
        [] => "the archive has no file".to_owned(),
        [first, ..] => format!(
            "the archive has {} files; choose one as FILE:MEMBER, e.g. FILE:{first}: {}",
            members.len(),
            list(members)
        ),
    }
}

fn list(members: &[String]) -> String {
    const SHOWN: usize = 20;
    let shown = members.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match members.len().checked_sub(SHOWN) {
        None | Some(0) if members.is_empty() => "no file".to_owned(),
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

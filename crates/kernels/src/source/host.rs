//! The kernel that runs here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Offer, SourceError, field, names};
use crate::{Arch, Digest, Error, KernelId, LockedPackage, elf};

/// What a pipeline says.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Where the system is, such as a copy of another machine's `/etc`, `/proc/sys/kernel` and `/sys/kernel`.
    #[serde(default = "root")]
    root: PathBuf,
    /// The architecture, for a root of another machine.
    arch: Option<Arch>,
    /// Whether the BTFs of the modules that are loaded now are taken, too.
    #[serde(default)]
    modules: bool,
}

fn root() -> PathBuf {
    PathBuf::from("/")
}

const BTF: &str = "sys/kernel/btf";

/// The kernel that runs there.
pub(super) fn resolve(config: &Config) -> Result<Vec<Offer>, SourceError> {
    let root = &config.root;
    let (distro, version) = os_release(root)?;
    let arch = match config.arch {
        Some(arch) => arch,
        None => std::env::consts::ARCH.parse()?,
    };
    let id = KernelId::new(&distro, names::version(&distro, &version), arch, &running(root)?)?;
    let mut files = vec![file(root, "vmlinux", arch)?];
    if config.modules {
        for name in modules(root)? {
            files.push(file(root, &name, arch)?);
        }
    }
    let mut with = BTreeMap::from([("root".to_owned(), root.display().to_string())]);
    with.extend(build_id(root).map(|id| ("build-id".to_owned(), id)));
    Ok(vec![Offer { id, files, with }])
}

/// Its BTF, when it still runs.
pub(super) fn fetch(offer: &Offer) -> Result<Vec<PathBuf>, SourceError> {
    let root = Path::new(field(offer, "root")?);
    let now = running(root)?;
    if now != offer.id.release() {
        return Err(SourceError::Gone(format!("{} no longer runs here, {now} does", offer.id.release())));
    }
    Ok(offer.files.iter().map(|file| root.join(BTF).join(&file.name)).collect())
}

fn read(path: &Path) -> Result<Vec<u8>, SourceError> {
    Ok(std::fs::read(path).map_err(|cause| Error::io("read", path, cause))?)
}

/// Files of /sys have no size of their own.
fn file(root: &Path, name: &str, arch: Arch) -> Result<LockedPackage, SourceError> {
    let path = root.join(BTF).join(name);
    let (sha256, size) = Digest::of_file(&path).map_err(|error| match error.is_not_found() {
        true => SourceError::Config(format!(
            "{} is not there: the kernel has no BTF of its own (CONFIG_DEBUG_INFO_BTF)",
            path.display()
        )),
        false => error.into(),
    })?;
    let file = format!("{name}.btf");
    Ok(LockedPackage {
        name: name.to_owned(),
        version: String::new(),
        arch: arch.to_string(),
        file,
        sha256,
        size,
    })
}

fn running(root: &Path) -> Result<String, SourceError> {
    let release = read(&root.join("proc/sys/kernel/osrelease"))?;
    Ok(String::from_utf8_lossy(&release).trim().to_owned())
}

fn modules(root: &Path) -> Result<Vec<String>, SourceError> {
    let folder = root.join(BTF);
    let entries = std::fs::read_dir(&folder).map_err(|cause| Error::io("read", &folder, cause))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.retain(|name| name != "vmlinux");
    names.sort();
    Ok(names)
}

/// ID and VERSION_ID, without the quotes that shells want; a rolling distribution has no VERSION_ID.
fn os_release(root: &Path) -> Result<(String, String), SourceError> {
    let places = ["etc/os-release", "usr/lib/os-release"].map(|place| root.join(place));
    let text = places.iter().find_map(|place| std::fs::read_to_string(place).ok());
    let text = text.ok_or_else(|| {
        SourceError::Config(format!("neither {} nor {} is there", places[0].display(), places[1].display()))
    })?;
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
    };
    let id = value("ID").unwrap_or_else(|| "linux".to_owned());
    let version = value("VERSION_ID").or_else(|| value("BUILD_ID")).unwrap_or_else(|| "rolling".to_owned());
    Ok((names::distro(&id).to_owned(), version))
}

/// From the notes of the kernel's image: name size, descriptor size, type, name, descriptor, each padded to 4 bytes.
fn build_id(root: &Path) -> Option<String> {
    const GNU_BUILD_ID: u32 = 3;
    let notes = std::fs::read(root.join("sys/kernel/notes")).ok()?;
    let mut rest = &notes[..];
    loop {
        let word = |at: usize| Some(u32::from_ne_bytes(rest.get(at..at + 4)?.try_into().ok()?));
        let (name_size, size, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
        let name = rest.get(12..12usize.checked_add(name_size)?)?;
        let start = 12usize.checked_add(name_size.checked_next_multiple_of(4)?)?;
        let content = rest.get(start..start.checked_add(size)?)?;
        if kind == GNU_BUILD_ID && name == b"GNU\0" && !content.is_empty() {
            return Some(elf::to_hex(content));
        }
        rest = rest.get(start.checked_add(size.checked_next_multiple_of(4)?)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::tests::make_btf;
    use serde_json::json;

    fn root(os_release: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, content: &[u8]| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        write("etc/os-release", os_release.as_bytes());
        write("proc/sys/kernel/osrelease", b"4.18.0-80.el8.x86_64\n");
        write("sys/kernel/btf/vmlinux", &make_btf(3));
        write("sys/kernel/btf/nf_tables", &make_btf(1));
        let note = |name: &[u8; 4], kind: u32, content: &[u8]| {
            let words = [4, content.len() as u32, kind].map(u32::to_ne_bytes).concat();
            let pad = content.len().next_multiple_of(4) - content.len();
            [&words[..], name, content, &vec![0; pad]].concat()
        };
        write("sys/kernel/notes", &[note(b"Xen\0", 3, b"abc"), note(b"GNU\0", 3, &[0xab; 20])].concat());
        root
    }

    fn config(root: &Path, modules: bool) -> Config {
        serde_json::from_value(json!({"root": root, "arch": "x86_64", "modules": modules})).unwrap()
    }

    #[test]
    fn found_and_fetched() {
        let root = root("NAME=\"Red Hat\"\nID=\"rhel\"\nVERSION_ID=\"8.1\"\n");
        let offers = resolve(&config(root.path(), true)).unwrap();
        let [offer] = &offers[..] else { panic!("{offers:?}") };
        assert_eq!(offer.id.to_string(), "rhel/8/x86_64/4.18.0-80.el8.x86_64");
        assert_eq!(offer.with["build-id"], "ab".repeat(20));
        assert_eq!(offer.files[0].sha256, Digest::of(&make_btf(3)));
        assert_eq!(offer.files[1].file, "nf_tables.btf");
        let paths = fetch(offer).unwrap();
        assert_eq!(std::fs::read(&paths[1]).unwrap(), make_btf(1));
        std::fs::write(root.path().join("proc/sys/kernel/osrelease"), b"4.19\n").unwrap();
        assert!(matches!(fetch(offer), Err(SourceError::Gone(reason)) if reason.contains("4.19 does")));
        assert_eq!(resolve(&config(root.path(), false)).unwrap()[0].files.len(), 1);
    }

    #[test]
    fn what_a_system_may_lack() {
        let check = |os_release: &str, wanted: &str| {
            let root = root(os_release);
            assert!(resolve(&config(root.path(), false)).unwrap()[0].id.to_string().starts_with(wanted));
        };
        check("ID=arch\nBUILD_ID=rolling\n", "arch/rolling/");
        check("ID='amzn'\nVERSION_ID=2018.03\n", "amzn/1/");
        check("", "linux/rolling/");
        let root = root("ID=debian\n");
        std::fs::remove_file(root.path().join("sys/kernel/btf/vmlinux")).unwrap();
        let error = resolve(&config(root.path(), false)).unwrap_err().to_string();
        assert!(error.contains("CONFIG_DEBUG_INFO_BTF"), "{error}");
        std::fs::write(root.path().join("sys/kernel/notes"), [0xff; 30]).unwrap();
        assert_eq!(build_id(root.path()), None);
    }
}

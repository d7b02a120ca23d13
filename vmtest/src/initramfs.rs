//! What the guest finds: itself, a console, empty folders to mount on, and the checks.

use std::collections::BTreeMap;

use crate::cpio::Archive;
use crate::foresight::foresee;
use crate::session::{self, SessionFile};
use crate::spec::{Check, Libbpf};
use crate::wire::{Entry, KERNEL_CONFIG, MANIFEST, Manifest, OLD_LIBBPF, SESSION, Session};

/// What every guest finds.
const FOLDERS: [&str; 5] = ["checks", "dev", "proc", "sys", "tmp"];

/// The programs of a machine.
#[derive(Debug, Clone)]
pub struct Programs {
    /// PID 1.
    pub guest: Vec<u8>,
    /// What it starts for the checks with the older libbpf, where there are any.
    pub old_libbpf: Option<Vec<u8>>,
}

/// Builds the archive with the checks; with `attach` their programs are attached as well.
pub fn build(
    programs: &Programs,
    checks: &[Check],
    kernel_config: Option<&[u8]>,
    attach: bool,
) -> serde_json::Result<Vec<u8>> {
    let mut archive = start_with(programs);
    let (manifest, files) = gather(checks, kernel_config);
    let manifest = Manifest { attach, ..manifest };
    for (path, content) in &files {
        archive.file(relative(path), content);
    }
    archive.file(relative(MANIFEST), &serde_json::to_vec(&manifest)?);
    Ok(archive.finish())
}

/// Builds the archive for a guest that gets its checks later.
pub fn build_waiting(programs: &Programs) -> Vec<u8> {
    start_with(programs).finish()
}

/// Builds the archive for a person's command.
pub fn build_session(
    guest: &[u8],
    files: &[SessionFile],
    session: &Session,
    kernel_config: Option<&[u8]>,
) -> serde_json::Result<Vec<u8>> {
    let mut archive = start(guest);
    for folder in session::folders(files) {
        if !FOLDERS.contains(&folder.as_str()) {
            archive.folder(&folder);
        }
    }
    for SessionFile { path, content, program } in files {
        match program {
            true => archive.program(relative(path), content),
            false => archive.file(relative(path), content),
        }
    }
    if let Some(config) = kernel_config {
        archive.file(relative(KERNEL_CONFIG), config);
    }
    archive.file(relative(SESSION), &serde_json::to_vec(session)?);
    Ok(archive.finish())
}

/// The list of checks, and every file that they need with its path. Equal objects and equal BTFs are one file.
pub fn gather<'a>(
    checks: &'a [Check],
    kernel_config: Option<&'a [u8]>,
) -> (Manifest, Vec<(String, &'a [u8])>) {
    let mut stored = BTreeMap::new();
    let mut store = |content| {
        let next = format!("/checks/{}", stored.len());
        stored.entry(content).or_insert(next).clone()
    };
    let entries = checks.iter().map(|check| Entry {
        elf: store(check.elf.as_slice()),
        btf: store(&check.btf),
        old_libbpf: check.libbpf == Libbpf::Old,
        foreseen: foresee(check),
    });
    let manifest = Manifest { checks: entries.collect(), attach: false };
    let mut files: Vec<(String, &[u8])> =
        stored.into_iter().map(|(content, path): (&[u8], String)| (path, content)).collect();
    files.extend(kernel_config.map(|config| (KERNEL_CONFIG.to_owned(), config)));
    (manifest, files)
}

fn start_with(programs: &Programs) -> Archive {
    let mut archive = start(&programs.guest);
    if let Some(old) = &programs.old_libbpf {
        archive.program(relative(OLD_LIBBPF), old);
    }
    archive
}

fn start(guest: &[u8]) -> Archive {
    let mut archive = Archive::default();
    for folder in FOLDERS {
        archive.folder(folder);
    }
    // Without it PID 1 starts with no standard streams.
    archive.device("dev/console", 5, 1);
    archive.program("init", guest);
    archive
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(object: &str, elf: &[u8], btf: &[u8]) -> Check {
        Check { object: object.into(), elf: elf.into(), btf: btf.into(), ..Check::default() }
    }

    #[test]
    fn equal_contents_are_stored_once() {
        let checks = [check("a", b"elf-one", b"btf-one"), check("b", b"elf-two", b"btf-one")];
        let programs =
            |old: Option<&[u8]>| Programs { guest: b"guest".to_vec(), old_libbpf: old.map(<[u8]>::to_vec) };
        let built = |old| build(&programs(old), &checks, Some(b"CONFIG_HZ=250\n"), false).unwrap();
        let archive = built(None);
        let text = String::from_utf8_lossy(&archive);
        for once in ["elf-one", "elf-two", "btf-one", "CONFIG_HZ", "guest", "dev/console"] {
            assert_eq!(text.matches(once).count(), 1, "{once}");
        }
        let manifest =
            r#"{"checks":[{"elf":"/checks/0","btf":"/checks/1"},{"elf":"/checks/2","btf":"/checks/1"}]}"#;
        assert!(text.contains(manifest), "{text}");
        assert_eq!(archive, built(None));
        let with_old = built(Some(b"with 1.1"));
        let text = String::from_utf8_lossy(&with_old);
        assert!(text.contains("libbpf-old") && text.contains("with 1.1"), "{text}");
    }
}

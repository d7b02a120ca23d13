//! What the guest finds: itself, a console, empty folders to mount on, and the checks.

use std::collections::BTreeMap;

use crate::cpio::Archive;
use crate::spec::Check;
use crate::wire::{Entry, KERNEL_CONFIG, MANIFEST, Manifest};

/// Builds the archive. Equal objects and equal BTFs are stored once.
pub fn build(guest: &[u8], checks: &[Check], kernel_config: Option<&[u8]>) -> serde_json::Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["checks", "dev", "proc", "sys"] {
        archive.folder(folder);
    }
    // Without it PID 1 starts with no standard streams.
    archive.device("dev/console", 5, 1);
    archive.program("init", guest);
    if let Some(config) = kernel_config {
        archive.file(relative(KERNEL_CONFIG), config);
    }
    let mut stored = BTreeMap::new();
    let mut store = |content| {
        let next = format!("/checks/{}", stored.len());
        stored.entry(content).or_insert(next).clone()
    };
    let entries =
        checks.iter().map(|check| Entry { elf: store(check.elf.as_slice()), btf: store(&check.btf) });
    let manifest = Manifest { checks: entries.collect() };
    for (content, path) in &stored {
        archive.file(relative(path), content);
    }
    archive.file(relative(MANIFEST), &serde_json::to_vec(&manifest)?);
    Ok(archive.finish())
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(object: &str, elf: &[u8], btf: &[u8]) -> Check {
        Check {
            object: object.into(),
            elf: elf.into(),
            btf: btf.into(),
            label: String::new(),
            type_id_insns: vec![],
        }
    }

    #[test]
    fn equal_contents_are_stored_once() {
        let checks = [check("a", b"elf-one", b"btf-one"), check("b", b"elf-two", b"btf-one")];
        let archive = build(b"guest", &checks, Some(b"CONFIG_HZ=250\n")).unwrap();
        let text = String::from_utf8_lossy(&archive);
        for once in ["elf-one", "elf-two", "btf-one", "CONFIG_HZ", "guest", "dev/console"] {
            assert_eq!(text.matches(once).count(), 1, "{once}");
        }
        let manifest =
            r#"{"checks":[{"elf":"/checks/0","btf":"/checks/1"},{"elf":"/checks/2","btf":"/checks/1"}]}"#;
        assert!(text.contains(manifest), "{text}");
        assert_eq!(archive, build(b"guest", &checks, Some(b"CONFIG_HZ=250\n")).unwrap());
    }
}

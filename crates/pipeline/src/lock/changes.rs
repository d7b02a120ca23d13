//! What differs between two locks, for those who review it.

use std::collections::BTreeSet;
use std::fmt;

use kernels::source::release;
use kernels::{KernelId, Lock, LockedKernel};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A kernel that was not there.
    Added {
        /// Which.
        id: KernelId,
        /// The one of its series that is no longer there.
        supersedes: Option<KernelId>,
        /// Whether it has BTF of its own and the other one had not.
        own_btf: bool,
    },
    /// The same packages, of which more is known now.
    Completed(KernelId),
    /// The same name, other bytes: the source, or somebody on the way, exchanged the files.
    Changed {
        /// Which.
        id: KernelId,
        /// The files, before and now.
        files: Vec<String>,
    },
    /// A kernel that has BTF of its own now.
    OwnBtf(KernelId),
    /// A kernel that its source no longer names, though the pipeline asks the same.
    Lost(KernelId),
    /// A kernel that nobody asks for any more.
    Removed(KernelId),
}

impl Change {
    /// Whether somebody should look twice.
    pub fn is_loud(&self) -> bool {
        matches!(self, Change::Changed { .. } | Change::Lost(_))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Change::Added { id, supersedes, own_btf } => {
                write!(out, "added {id}")?;
                if let Some(old) = supersedes {
                    write!(out, ", in place of {}", old.release())?;
                }
                if *own_btf { write!(out, "; it has BTF of its own, the old one had none") } else { Ok(()) }
            }
            Change::Completed(id) => write!(out, "completed {id}"),
            Change::Changed { id, files } => {
                write!(out, "CHANGED {id}: the same name, other bytes: {}", files.join(", "))
            }
            Change::OwnBtf(id) => write!(out, "{id} now has BTF of its own"),
            Change::Lost(id) => write!(out, "LOST {id}: its source no longer has it"),
            Change::Removed(id) => write!(out, "removed {id}: nobody asks for it any more"),
        }
    }
}

/// Every difference: by kernel, what is gone last.
pub fn changes(before: &Lock, after: &Lock) -> Vec<Change> {
    let mut gone: Vec<&LockedKernel> =
        before.kernels.iter().filter(|kernel| after.find(&kernel.id).is_none()).collect();
    let mut changes = Vec::new();
    for kernel in &after.kernels {
        match before.find(&kernel.id) {
            Some(old) => changes.extend(change(old, kernel)),
            None => {
                let of_series = gone.iter().position(|old| is_same_series(&old.id, &kernel.id));
                let old = of_series.map(|index| gone.remove(index));
                changes.push(Change::Added {
                    id: kernel.id.clone(),
                    supersedes: old.map(|old| old.id.clone()),
                    own_btf: old.is_some_and(|old| kernel.own_btf && !old.own_btf),
                });
            }
        }
    }
    let asked = still_asked(before, after);
    changes.extend(gone.into_iter().map(|kernel| match asked.contains(&kernel.id) {
        true => Change::Lost(kernel.id.clone()),
        false => Change::Removed(kernel.id.clone()),
    }));
    changes
}

fn change(old: &LockedKernel, new: &LockedKernel) -> Option<Change> {
    if old == new {
        return None;
    }
    let files: Vec<String> = new
        .packages
        .iter()
        .filter(|package| !old.packages.contains(package))
        .map(|package| {
            let before = old.packages.iter().find(|other| other.file == package.file);
            let was = before.map_or("none".to_owned(), |other| other.sha256.to_string());
            format!("{} was {was}, is {}", package.file, package.sha256)
        })
        .collect();
    Some(if !files.is_empty() || old.packages.len() != new.packages.len() {
        Change::Changed { id: new.id.clone(), files }
    } else if new.own_btf && !old.own_btf {
        Change::OwnBtf(new.id.clone())
    } else {
        Change::Completed(new.id.clone())
    })
}

/// Kernels of requests that both locks have.
fn still_asked<'l>(before: &'l Lock, after: &Lock) -> BTreeSet<&'l KernelId> {
    let same = |old: &&kernels::LockedRequest| {
        after
            .requests
            .iter()
            .any(|new| (&new.pipeline, &new.plugin, &new.with) == (&old.pipeline, &old.plugin, &old.with))
    };
    before.requests.iter().filter(same).flat_map(|request| &request.kernels).collect()
}

fn is_same_series(a: &KernelId, b: &KernelId) -> bool {
    let series = |id: &KernelId| {
        (id.distro().to_owned(), id.version().to_owned(), id.arch(), release::series(id.release()))
    };
    series(a) == series(b)
}

#[cfg(test)]
mod tests {
    use kernels::{Digest, LockedBlob, LockedPackage, LockedRequest, LockedSource};
    use serde_json::json;

    use super::*;

    fn kernel(id: &str, content: &str, own_btf: bool) -> LockedKernel {
        LockedKernel {
            id: id.parse().unwrap(),
            build_id: None,
            source: LockedSource { plugin: "btfhub".into(), with: [].into() },
            packages: vec![LockedPackage {
                name: "x".into(),
                version: "1".into(),
                arch: "x86_64".into(),
                file: "x.btf".into(),
                sha256: Digest::of(content.as_bytes()),
                size: 1,
            }],
            btf: LockedBlob::of(content.as_bytes()),
            modules: None,
            boot: None,
            own_btf,
        }
    }

    fn lock(kernels: &[LockedKernel]) -> Lock {
        let request = LockedRequest {
            pipeline: "release".into(),
            plugin: "btfhub".into(),
            with: json!({}),
            kernels: kernels.iter().map(|kernel| kernel.id.clone()).collect(),
        };
        Lock { requests: vec![request], kernels: kernels.to_vec() }
    }

    fn check(before: &Lock, after: &Lock, wanted: &[&str]) {
        let found: Vec<String> = changes(before, after).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), wanted.len(), "{found:?}");
        for (line, wanted) in found.iter().zip(wanted) {
            assert!(line.contains(wanted), "{line:?}, not {wanted:?}");
        }
    }

    #[test]
    fn every_kind_of_change() {
        let (old, new) = ("debian/12/x86_64/6.1.0-49-amd64", "debian/12/x86_64/6.1.0-50-amd64");
        let one = lock(&[kernel(old, "a", false)]);
        check(&one, &one, &[]);
        check(&Lock::default(), &one, &["added debian/12/x86_64/6.1.0-49-amd64"]);
        check(&one, &lock(&[kernel(new, "b", false)]), &["6.1.0-50-amd64, in place of 6.1.0-49-amd64"]);
        check(&one, &lock(&[kernel(new, "b", true)]), &["it has BTF of its own, the old one had none"]);
        check(
            &one,
            &lock(&[kernel(old, "other", false)]),
            &["CHANGED debian/12/x86_64/6.1.0-49-amd64: the same name"],
        );
        check(&one, &lock(&[kernel(old, "a", true)]), &["now has BTF of its own"]);
        check(&one, &lock(&[]), &["LOST debian/12"]);
        check(&one, &Lock::default(), &["removed debian/12"]);
        let mut more = kernel(old, "a", false);
        more.build_id = Some("ab".into());
        check(&one, &lock(&[more]), &["completed debian/12"]);
        let loud: Vec<bool> = changes(&one, &lock(&[])).iter().map(Change::is_loud).collect();
        assert_eq!(loud, [true]);
    }
}

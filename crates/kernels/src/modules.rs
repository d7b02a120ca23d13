//! The split BTFs of kernel modules.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use btf::Btf;

use crate::compression::{Bound, Compression};
use crate::{Digest, FormatError, elf};

/// The largest modules of distributions have 20 MB, vendors' 100 MB.
pub(crate) const MAX_MODULE: usize = 128 << 20;
/// More would wait for the one reader, and a hostile package could fill memory with large modules.
const MAX_WORKERS: usize = 8;

/// A module's split BTF, on the BTF of its kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleBtf {
    /// The name that the kernel gives it, as in `/sys/kernel/btf`: `nf_conntrack`, not `nf-conntrack.ko`.
    pub name: String,
    /// The content of its .BTF section.
    pub btf: Vec<u8>,
}

/// A module whose BTF can't be used.
#[derive(Debug)]
pub struct BadModule {
    /// Its path in the package.
    pub path: String,
    /// What is wrong.
    pub fault: FormatError,
}

/// What the modules of a kernel give.
#[derive(Debug, Default)]
pub struct Modules {
    /// Those with BTF, sorted by name.
    pub with_btf: Vec<ModuleBtf>,
    /// Those that can't be used, sorted by path.
    pub bad: Vec<BadModule>,
    /// Number of modules without a .BTF section.
    pub without_btf: usize,
}

/// The module's name in the kernel, when the path is a module's: `.ko`, also compressed.
pub fn find_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let stem = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].iter().find_map(|suffix| file.strip_suffix(suffix))?;
    // The build makes KBUILD_MODNAME so (scripts/Makefile.lib: name-fix).
    (!stem.is_empty()).then(|| stem.replace('-', "_"))
}

/// The .BTF section of a module, compressed or not; None when it has none.
pub fn btf(bytes: &[u8]) -> Result<Option<Vec<u8>>, FormatError> {
    let unpacked;
    let module = if elf::is_elf(bytes) {
        bytes
    } else {
        let compression = Compression::resolve(bytes, "a module (ELF, also xz, zstd or gzip)")?;
        unpacked = compression.decode(bytes, Bound::AtMost { what: "the module", limit: MAX_MODULE })?;
        &unpacked
    };
    Ok(elf::section(module, ".BTF")?.filter(|btf| !btf.is_empty()).map(<[u8]>::to_vec))
}

/// One digest for all modules: sha256 over the lines `<sha256>  <name>\n`, sorted by name, as sha256sum prints them.
pub fn digest(modules: &[ModuleBtf]) -> Digest {
    let mut lines: Vec<String> =
        modules.iter().map(|module| format!("{}  {}\n", Digest::of(&module.btf), module.name)).collect();
    lines.sort_by(|a, b| a[64..].cmp(&b[64..]));
    Digest::of(lines.concat().as_bytes())
}

/// A module's file as read from a package.
pub(crate) struct ModuleFile {
    pub(crate) path: String,
    pub(crate) content: Result<Vec<u8>, FormatError>,
}

/// What is in the modules, in the order of their paths, before it is checked.
pub(crate) struct Taken(Vec<TakenModule>);

/// A module's path and its .BTF section, if it has one.
type TakenModule = (String, Result<Option<Vec<u8>>, FormatError>);

/// Runs `feed`, and takes the BTFs out of all files that it submits, in parallel with it.
///
/// The result does not depend on the order of work.
pub(crate) fn collect<E>(feed: impl FnOnce(&mut dyn FnMut(ModuleFile)) -> Result<(), E>) -> Result<Taken, E> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_WORKERS);
    // The reader is not held up, and memory holds a few modules, not thousands.
    let (sender, receiver) = sync_channel::<ModuleFile>(2 * workers);
    let receiver = Mutex::new(receiver);
    let (fed, taken) = thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(|| work(&receiver))).collect();
        let fed = feed(&mut |file| {
            // Fails only when all workers have panicked, which joining passes on.
            let _ = sender.send(file);
        });
        drop(sender);
        let mut taken: Vec<_> = handles
            .into_iter()
            .flat_map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        taken.sort_by(|(a, _), (b, _)| a.cmp(b));
        (fed, Taken(taken))
    });
    fed.map(|()| taken)
}

/// Split BTFs as they are, by the modules' names.
pub(crate) fn of_split(files: impl Iterator<Item = (String, Vec<u8>)>) -> Taken {
    let mut taken: Vec<TakenModule> = files.map(|(name, btf)| (name + ".ko", Ok(Some(btf)))).collect();
    taken.sort_by(|(a, _), (b, _)| a.cmp(b));
    Taken(taken)
}

fn work(files: &Mutex<Receiver<ModuleFile>>) -> Vec<TakenModule> {
    let next = || files.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
    let take = |file: ModuleFile| (file.path, file.content.and_then(|bytes| btf(&bytes)));
    std::iter::from_fn(next).map(take).collect()
}

impl Taken {
    /// Checks every BTF on the kernel's, and sorts the good from the bad.
    pub(crate) fn check<'b>(self, base: Arc<Btf<'b>>) -> Modules {
        let mut modules = Modules::default();
        let mut paths = BTreeMap::<String, String>::new();
        for (path, content) in self.0 {
            match content.and_then(|btf| btf.map(|btf| check_split(btf, base.clone())).transpose()) {
                Err(fault) => modules.bad.push(BadModule { path, fault }),
                Ok(None) => modules.without_btf += 1,
                Ok(Some(btf)) => {
                    let name = find_name(&path).unwrap_or_else(|| path.clone());
                    match paths.entry(name) {
                        Entry::Occupied(first) => {
                            let fault = FormatError::DuplicateModule(first.get().clone());
                            modules.bad.push(BadModule { path, fault });
                        }
                        Entry::Vacant(entry) => {
                            modules.with_btf.push(ModuleBtf { name: entry.key().clone(), btf });
                            entry.insert(path);
                        }
                    }
                }
            }
        }
        modules.with_btf.sort_by(|a, b| a.name.cmp(&b.name));
        modules
    }
}

fn check_split(bytes: Vec<u8>, base: Arc<Btf<'_>>) -> Result<Vec<u8>, FormatError> {
    Btf::parse_split(&bytes[..], base)?.check()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::tests::encode;
    use crate::elf::tests::make_elf;
    use crate::raw::tests::make_btf;

    #[test]
    fn names() {
        let check =
            |path: &str, wanted: Option<&str>| assert_eq!(find_name(path).as_deref(), wanted, "{path}");
        check("usr/lib/modules/6/kernel/nf-conntrack.ko", Some("nf_conntrack"));
        check("ext4.ko.xz", Some("ext4"));
        check("ext4.ko.zst", Some("ext4"));
        check("ext4.ko.gz", Some("ext4"));
        check("ext4.ko.bz2", None);
        check("modules.order", None);
        check("a.ko/b", None);
        check(".ko", None);
        check("", None);
    }

    #[test]
    fn btf_of_a_module() {
        let elf = make_elf(&[(".modinfo", b"x"), (".BTF", b"types")]);
        assert_eq!(btf(&elf).unwrap().unwrap(), b"types");
        for compression in [Compression::Xz, Compression::Zstd, Compression::Gzip] {
            assert_eq!(btf(&encode(compression, &elf)).unwrap().unwrap(), b"types");
        }
        assert_eq!(btf(&make_elf(&[(".BTF", b"")])).unwrap(), None);
        assert_eq!(btf(&make_elf(&[])).unwrap(), None);
        assert!(btf(b"").is_err());
        assert!(btf(b"not a module").is_err());
        assert!(btf(&elf[..50]).is_err());
    }

    #[test]
    fn a_broken_module_costs_no_other() {
        let good = make_elf(&[(".BTF", &make_btf(2))]);
        let broken_btf = make_elf(&[(".BTF", b"types")]);
        let mut files: Vec<(String, Result<Vec<u8>, FormatError>)> =
            (0..200).map(|i| (format!("m/m-{:03}.ko", 199 - i), Ok(good.clone()))).collect();
        files.push(("m/none.ko".into(), Ok(make_elf(&[]))));
        files.push(("m/cut.ko.xz".into(), Ok(encode(Compression::Xz, &good)[..40].to_vec())));
        files.push(("m/btf.ko".into(), Ok(broken_btf)));
        files.push(("m/large.ko".into(), Err(FormatError::TooLarge { what: "x", limit: 1 })));
        files.push(("n/m_000.ko".into(), Ok(good.clone())));
        let taken = collect(|submit| {
            files.into_iter().for_each(|(path, content)| submit(ModuleFile { path, content }));
            Ok::<(), ()>(())
        });
        let base = Arc::new(Btf::parse(make_btf(1)).unwrap());
        let modules = taken.unwrap().check(base);
        let names: Vec<&str> = modules.with_btf.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names.len(), 200);
        assert!(names.is_sorted() && names[0] == "m_000");
        assert_eq!(modules.without_btf, 1);
        let bad: Vec<&str> = modules.bad.iter().map(|module| module.path.as_str()).collect();
        assert_eq!(bad, ["m/btf.ko", "m/cut.ko.xz", "m/large.ko", "n/m_000.ko"]);
        assert_eq!(modules.bad[3].fault.to_string(), "another module has this name: m/m-000.ko");
        assert_eq!(collect(|_| Err(3)).err(), Some(3));
    }

    #[test]
    fn digest_is_of_sha256sum_lines() {
        let module = |name: &str, btf: &[u8]| ModuleBtf { name: name.into(), btf: btf.into() };
        let lines = format!("{}  a\n{}  b\n", Digest::of(b"2"), Digest::of(b"1"));
        assert_eq!(digest(&[module("b", b"1"), module("a", b"2")]), Digest::of(lines.as_bytes()));
        assert_eq!(digest(&[]), Digest::of(b""));
    }
}

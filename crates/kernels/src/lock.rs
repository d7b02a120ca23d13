//! `kernels.lock`: every kernel that a pipeline uses, pinned by hash.

use std::io::Write;
use std::path::Path;

use crate::{Error, KernelId, LockedKernel};

const VERSION: u32 = 1;
const HEADER: &str = "\
# Written by \"btfpipe lock\" and \"btfpipe update\": the kernels of the pipelines here, pinned by hash.
# Commit it and review its changes; don't edit it by hand.
";

/// The content of a `kernels.lock`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lock {
    /// What pipelines asked for, sorted, and which kernels were the answer.
    pub requests: Vec<LockedRequest>,
    /// The kernels, sorted by id, each id once.
    pub kernels: Vec<LockedKernel>,
}

/// What a pipeline asked a source, and the answer: as long as it asks the same, the source is not asked again.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedRequest {
    /// The pipeline's name.
    pub pipeline: String,
    /// The plugin's name.
    pub plugin: String,
    /// What the pipeline tells the plugin.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub with: serde_json::Value,
    /// The kernels of the answer, sorted; each is among those of the lock.
    pub kernels: Vec<KernelId>,
}

/// The file as it is.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    requests: Vec<LockedRequest>,
    kernels: Vec<LockedKernel>,
}

/// Read before the rest, so that a later version's new fields are not the message.
#[derive(serde::Deserialize)]
struct Version {
    version: u32,
}

impl Lock {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Lock, Error> {
        let text = std::fs::read_to_string(path).map_err(|cause| Error::io("read", path, cause))?;
        Lock::parse(&text).map_err(|error| match error {
            Error::Lock { reason, .. } => Error::Lock { path: Some(path.to_owned()), reason },
            other => other,
        })
    }

    /// Reads the text of a file.
    pub fn parse(text: &str) -> Result<Lock, Error> {
        let fault = |reason: String| Error::Lock { path: None, reason };
        let document: Document = match serde_saphyr::from_str_with_options(text, options()) {
            Ok(document) => document,
            Err(error) => {
                return Err(fault(find_other_version(text).unwrap_or_else(|| error.to_string())));
            }
        };
        if document.version != VERSION {
            return Err(fault(other_version(document.version)));
        }
        let lock = Lock { requests: document.requests, kernels: document.kernels }.sorted();
        lock.find_fault().map_or(Ok(lock), |reason| Err(fault(reason)))
    }

    /// The text of the file: the same for the same content.
    pub fn to_yaml(&self) -> String {
        let Lock { requests, kernels } = self.clone().sorted();
        let document = Document { version: VERSION, requests, kernels };
        let yaml = serde_yaml::to_string(&document).expect("strings, numbers and booleans are always YAML");
        format!("{HEADER}{yaml}")
    }

    /// Writes a file, as a whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            Some(_) | None => Path::new("."),
        };
        let write = || {
            let mut file = crate::store::temp_file(folder)?;
            file.write_all(self.to_yaml().as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(|cause| Error::io("write", path, cause))
    }

    /// The kernel of an id.
    pub fn find(&self, id: &KernelId) -> Option<&LockedKernel> {
        self.kernels.iter().find(|kernel| kernel.id == *id)
    }

    /// Adds a kernel in place of the one with its id.
    pub fn insert(&mut self, kernel: LockedKernel) {
        match self.kernels.binary_search_by(|other| other.id.cmp(&kernel.id)) {
            Ok(index) => self.kernels[index] = kernel,
            Err(index) => self.kernels.insert(index, kernel),
        }
    }

    fn sorted(mut self) -> Lock {
        self.kernels.sort_by(|a, b| a.id.cmp(&b.id));
        self.kernels.iter_mut().for_each(|kernel| kernel.packages.sort());
        self.requests.iter_mut().for_each(|request| request.kernels.sort());
        self.requests.sort_by_cached_key(|request| {
            (request.pipeline.clone(), request.plugin.clone(), request.with.to_string())
        });
        self
    }

    fn find_fault(&self) -> Option<String> {
        let twice = self.kernels.windows(2).find(|pair| pair[0].id == pair[1].id);
        if let Some([kernel, _]) = twice {
            return Some(format!("{} is there twice; remove one of the two", kernel.id));
        }
        let named = self.requests.iter().flat_map(|request| &request.kernels);
        if let Some(lost) = named.into_iter().find(|id| self.find(id).is_none()) {
            return Some(format!("a request names {lost}, which is not there; run \"btfpipe lock\""));
        }
        self.kernels.iter().find_map(|kernel| Some(format!("{}: {}", kernel.id, kernel.find_fault()?)))
    }
}

fn find_other_version(text: &str) -> Option<String> {
    let version = serde_saphyr::from_str_with_options::<Version>(text, options()).ok()?.version;
    (version != VERSION).then(|| other_version(version))
}

fn other_version(version: u32) -> String {
    format!(
        "version {version} of the format, this program knows {VERSION}; update btfpipe or write the file again"
    )
}

/// Room for tens of thousands of kernels; a lock needs no aliases.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_events: 20_000_000,
            max_nodes: 10_000_000,
            max_total_scalar_bytes: 1 << 30,
            max_anchors: 0,
            max_aliases: 0,
        },
        // A key "<<" is text like any other.
        merge_keys: serde_saphyr::options::MergeKeyPolicy::AsOrdinary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LockedBlob, LockedModules, LockedPackage, LockedSource};
    use proptest::prelude::*;

    const KERNEL: &str = "\
- id: debian/12/x86_64/6.1.0-50-cloud-amd64
  build-id: 00aa
  source:
    plugin: debian
    with:
      suite: bookworm
  packages:
  - name: linux-image-6.1.0-50-cloud-amd64
    version: 6.1.176-1
    arch: amd64
    file: linux-image-6.1.0-50-cloud-amd64_6.1.176-1_amd64.deb
    sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
    size: 26484304
  btf:
    sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
    size: 3
  modules:
    count: 2
    sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
  boot:
    sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
    size: 3
  own-btf: true
";

    fn document(kernels: &str) -> String {
        format!("{HEADER}version: 1\nkernels:\n{kernels}")
    }

    fn kernel(id: &str) -> LockedKernel {
        let mut kernel = Lock::parse(&document(KERNEL)).unwrap().kernels.remove(0);
        kernel.id = id.parse().unwrap();
        kernel
    }

    #[test]
    fn text_to_lock_and_back() {
        let text = document(KERNEL);
        let lock = Lock::parse(&text).unwrap();
        assert_eq!(lock.to_yaml(), text);
        assert_eq!(lock.kernels[0].btf, LockedBlob::of(b"abc"));
        assert_eq!(lock.kernels[0].source.with["suite"], "bookworm");
        let empty = Lock::default().to_yaml();
        assert_eq!(empty, format!("{HEADER}version: 1\nkernels: []\n"));
        assert_eq!(Lock::parse(&empty).unwrap(), Lock::default());
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let mut kernel = kernel("btfhub/20.04/x86_64/5.4.0-1");
        kernel.build_id = None;
        kernel.modules = None;
        kernel.boot = None;
        kernel.source.with.clear();
        let lock = Lock { kernels: vec![kernel], ..Lock::default() };
        let text = lock.to_yaml();
        for absent in ["build-id", "modules", "boot:", "with", "null"] {
            assert!(!text.contains(absent), "{absent} in {text}");
        }
        assert_eq!(Lock::parse(&text).unwrap(), lock);
    }

    #[test]
    fn sorted_whatever_the_order() {
        let ids = ["debian/12/arm64/6", "debian/11/x86_64/5", "alpine/3/x86_64/6", "debian/12/x86_64/6"];
        let mut lock = Lock::default();
        ids.iter().for_each(|id| lock.insert(kernel(id)));
        let mut found = ids.map(|id| id.parse::<KernelId>().unwrap());
        found.sort();
        assert!(lock.kernels.iter().map(|kernel| &kernel.id).eq(&found));
        let backwards = Lock { kernels: lock.kernels.iter().rev().cloned().collect(), ..Lock::default() };
        assert_eq!(backwards.to_yaml(), lock.to_yaml());
        assert_eq!(Lock::parse(&backwards.to_yaml()).unwrap(), lock);
        let mut again = kernel(ids[1]);
        again.own_btf = false;
        lock.insert(again.clone());
        assert_eq!((lock.kernels.len(), lock.find(&again.id)), (4, Some(&again)));
        assert_eq!(lock.find(&"x/1/arm64/1".parse().unwrap()), None);
    }

    #[test]
    fn refused() {
        let check = |text: String, wanted: &str| {
            let error = Lock::parse(&text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error:?}, not {wanted:?}");
        };
        check("version: 2\nkernels: []\nmore: 1".into(), "version 2 of the format");
        check("version: 2\nkernels: []".into(), "version 2 of the format");
        check(document(&KERNEL.repeat(2)), "6.1.0-50-cloud-amd64 is there twice");
        check(document(&KERNEL.replace("own-btf", "own-bft")), "own-bft");
        check(document(&KERNEL.replace("debian/12", "debian")), "not a kernel's identity");
        check(document(&KERNEL.replace("ba78", "BA78")), "not a sha256");
        check(document(&KERNEL.replace("00aa", "00a")), "build-id \"00a\"");
        check(document(&KERNEL.replace("file: ", "file: ../")), "not a plain file name");
        check(document(&KERNEL.replace("file: ", "file: -")), "not a plain file name");
        check(document(&KERNEL.replace("  own-btf: true", "  own-btf: true\n  own-btf: true")), "own-btf");
        check("kernels: &a []\nversion: *a".into(), "kernels.lock: ");
        check(String::new(), "kernels.lock: ");
    }

    #[test]
    fn requests_and_their_answers() {
        let request = |pipeline: &str, with: serde_json::Value, kernels: &[&str]| LockedRequest {
            pipeline: pipeline.into(),
            plugin: "debian".into(),
            with,
            kernels: kernels.iter().map(|id| id.parse().unwrap()).collect(),
        };
        let odd = serde_json::json!({
            "suites": ["sid", "no", "~", "1e3", "0x10", "", "007", "true", "a: b", "é\n#", "null"],
            "newest": 1, "deep": {"none": null, "yes": true, "half": 0.5},
        });
        let (one, two) = ("debian/12/arm64/6", "debian/12/x86_64/6");
        let mut lock = Lock {
            requests: vec![
                request("release", odd, &[one, two]),
                request("nightly", serde_json::Value::Null, &[one]),
            ],
            kernels: vec![kernel(one), kernel(two)],
        };
        let read = Lock::parse(&lock.to_yaml()).unwrap();
        assert_eq!(read.requests[0].pipeline, "nightly");
        assert_eq!(read.requests[1].kernels[0], two.parse().unwrap());
        assert_eq!(read.requests[1].with, lock.requests[0].with);
        assert_eq!(read.to_yaml(), lock.to_yaml());
        lock.kernels.pop();
        let error = Lock::parse(&lock.to_yaml()).unwrap_err().to_string();
        assert!(error.contains("a request names debian/12/x86_64/6"), "{error}");
    }

    #[test]
    fn files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernels.lock");
        assert!(Lock::read(&path).unwrap_err().is_not_found());
        let lock = Lock { kernels: vec![kernel("debian/12/x86_64/6.1")], ..Lock::default() };
        Lock::default().write(&path).unwrap();
        lock.write(&path).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), lock);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::write(&path, "version: []").unwrap();
        let error = Lock::read(&path).unwrap_err().to_string();
        assert!(error.starts_with(path.to_str().unwrap()), "{error}");
        assert!(lock.write(&folder.path().join("none/kernels.lock")).is_err());
    }

    /// Takes well below a second, also in a debug build; the budget of the YAML reader must not stop it.
    #[test]
    fn five_thousand_kernels() {
        let kernels = (0..5000).map(kernel_quickly).collect();
        let lock = Lock { kernels, ..Lock::default() }.sorted();
        assert_eq!(Lock::parse(&lock.to_yaml()).unwrap(), lock);
    }

    fn kernel_quickly(i: u32) -> LockedKernel {
        let blob = LockedBlob::of(&i.to_le_bytes());
        let release = format!("6.1.0-{i}-cloud-amd64");
        LockedKernel {
            id: KernelId::new("debian", "12", crate::Arch::X86_64, &release).unwrap(),
            build_id: Some("0123456789abcdef0123456789abcdef01234567".into()),
            source: LockedSource {
                plugin: "debian".into(),
                with: [("suite".into(), "bookworm".into())].into(),
            },
            packages: vec![LockedPackage {
                name: format!("linux-image-{release}"),
                version: "6.1.176-1".into(),
                arch: "amd64".into(),
                file: format!("linux-image-{release}_6.1.176-1_amd64.deb"),
                sha256: blob.sha256,
                size: 26_484_304,
            }],
            btf: blob,
            modules: Some(LockedModules { count: 1121, sha256: blob.sha256 }),
            boot: Some(blob),
            own_btf: true,
        }
    }

    proptest! {
        /// One library writes and another reads: strings that look like numbers, nulls, comments must survive.
        #[test]
        fn any_text_survives(
            texts in prop::collection::vec("(\\PC|[ :#'\"\\-\\n\\t]){0,12}|~|null|yes|No|0x1f|1e3|012|1_000|=|<<|\\.inf|2001-01-01|- x", 6)
        ) {
            // Unicode's own line separators are left out: the writer breaks lines at them by YAML 1.1, the reader goes
            // by YAML 1.2 and takes the indentation for text. No package or plugin name has one.
            let texts: Vec<String> =
                texts.iter().map(|text| text.replace(['\u{2028}', '\u{2029}', '\u{85}'], "")).collect();
            let mut kernel = kernel_quickly(1);
            kernel.source.plugin = texts[0].clone();
            kernel.source.with = [(texts[1].clone(), texts[2].clone())].into();
            kernel.packages[0].name = texts[3].clone();
            kernel.packages[0].version = texts[4].clone();
            kernel.packages[0].arch = texts[5].clone();
            let lock = Lock { kernels: vec![kernel], ..Lock::default() };
            prop_assert_eq!(Lock::parse(&lock.to_yaml()).map_err(|error| error.to_string()), Ok(lock));
        }

        #[test]
        fn any_input_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = Lock::parse(&text);
        }
    }
}

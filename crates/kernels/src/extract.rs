//! Packages in, BTFs and boot image out.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use btf::Btf;

use crate::deb::{self, Visit};
use crate::modules::{self, ModuleFile};
use crate::{BadModule, Error, FormatError, ModuleBtf, image};

/// Boot images of distributions have up to 60 MB.
const MAX_BOOT_IMAGE: usize = 256 << 20;
const MAX_CONFIG: usize = 4 << 20;

/// What is taken out of a kernel's packages.
#[derive(Debug)]
pub struct Extracted {
    /// The GNU build-id of vmlinux, in hex digits.
    pub build_id: Option<String>,
    /// The kernel's own BTF, checked.
    pub btf: Vec<u8>,
    /// The boot image as shipped.
    pub boot: Vec<u8>,
    /// The kernel's configuration.
    pub config: Option<Vec<u8>>,
    /// The modules' split BTFs, checked on the kernel's, sorted by name.
    pub modules: Vec<ModuleBtf>,
    /// Modules whose BTF can't be used, sorted by path: to be reported; they cost the others nothing.
    pub bad_modules: Vec<BadModule>,
    /// Number of modules that have no BTF.
    pub modules_without_btf: usize,
}

/// Takes BTFs, boot image and configuration of a release (`uname -r`) out of Debian packages.
///
/// One package (`linux-image-…`) or several (`linux-binary-…`, `linux-modules-…`, `linux-base-…`), in any order; where
/// two have the same file, the first one counts.
pub fn from_packages(packages: &[PathBuf], release: &str) -> Result<Extracted, Error> {
    let mut found = Found::new(release);
    let modules =
        modules::collect(|submit| packages.iter().try_for_each(|package| found.visit(package, submit)))?;
    let Found { boot, config, others, .. } = found;
    let Some(Placed { package, path, content }) = boot else {
        let names: Vec<_> = packages.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        return Err(Error::NoBootImage { release: release.to_owned(), packages: names.join(", "), others });
    };
    let fault = |fault| Error::Package { package: package.clone(), member: Some(path.clone()), fault };
    let boot = content.map_err(&fault)?;
    let kernel = image::unpack(&boot).map_err(&fault)?;
    let btf = image::btf(&kernel).map_err(&fault)?;
    let base = Btf::parse(btf).map_err(|error| fault(error.into()))?;
    let modules = modules.check(Arc::new(base));
    Ok(Extracted {
        // Odd notes of a kernel whose BTF is sound are no reason to go without it.
        build_id: image::build_id(&kernel).unwrap_or_default(),
        btf: btf.to_vec(),
        boot,
        config: config.and_then(|config| config.content.ok()),
        modules: modules.with_btf,
        bad_modules: modules.bad,
        modules_without_btf: modules.without_btf,
    })
}

/// What a path in a package is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    BootImage,
    Config,
    Module,
}

/// A file, and where it was.
struct Placed {
    package: PathBuf,
    path: String,
    content: Result<Vec<u8>, FormatError>,
}

/// What has been found so far.
struct Found<'r> {
    release: &'r str,
    boot: Option<Placed>,
    config: Option<Placed>,
    /// Releases of other boot images, for the message.
    others: Vec<String>,
}

impl<'r> Found<'r> {
    fn new(release: &'r str) -> Found<'r> {
        Found { release, boot: None, config: None, others: Vec::new() }
    }

    fn visit(&mut self, package: &Path, submit: &mut dyn FnMut(ModuleFile)) -> Result<(), Error> {
        let file = File::open(package).map_err(|cause| Error::io("read", package, cause))?;
        let deb = BufReader::with_capacity(256 << 10, file);
        deb::visit_files(deb, &mut Visitor { found: self, package, submit }).map_err(|fault| Error::Package {
            package: package.to_owned(),
            member: None,
            fault,
        })
    }

    /// Debian has `/boot` and `/lib/modules` up to 12, `/usr/lib/modules` from 13, all in it in split packages.
    fn find_wanted(&self, path: &str) -> Option<Wanted> {
        if let Some(file) = path.strip_prefix("boot/") {
            let name = file.strip_suffix(self.release)?;
            return match name {
                "vmlinuz-" => Some(Wanted::BootImage),
                "config-" => Some(Wanted::Config),
                _ => None,
            };
        }
        let modules = path.strip_prefix("usr/").unwrap_or(path).strip_prefix("lib/modules/")?;
        match modules.strip_prefix(self.release)?.strip_prefix('/')? {
            "vmlinuz" => Some(Wanted::BootImage),
            "config" => Some(Wanted::Config),
            file => modules::find_name(file).map(|_| Wanted::Module),
        }
    }

    fn remember_other(&mut self, path: &str) {
        let release = path.strip_prefix("boot/vmlinuz-").or_else(|| {
            path.strip_prefix("usr/").unwrap_or(path).strip_prefix("lib/modules/")?.strip_suffix("/vmlinuz")
        });
        // A few are enough to see what went wrong.
        if let Some(release) = release.filter(|_| self.others.len() < 8) {
            self.others.push(release.to_owned());
        }
    }
}

/// Reads one package.
struct Visitor<'v, 'r> {
    found: &'v mut Found<'r>,
    package: &'v Path,
    submit: &'v mut dyn FnMut(ModuleFile),
}

impl Visit for Visitor<'_, '_> {
    fn limit(&mut self, path: &str) -> Option<usize> {
        match self.found.find_wanted(path) {
            Some(Wanted::BootImage) => Some(MAX_BOOT_IMAGE),
            Some(Wanted::Config) => Some(MAX_CONFIG),
            Some(Wanted::Module) => Some(modules::MAX_MODULE),
            None => {
                self.found.remember_other(path);
                None
            }
        }
    }

    fn take(&mut self, path: &str, content: Result<Vec<u8>, FormatError>) {
        let path = path.to_owned();
        let place = match self.found.find_wanted(&path) {
            Some(Wanted::BootImage) => &mut self.found.boot,
            Some(Wanted::Config) => &mut self.found.config,
            Some(Wanted::Module) => return (self.submit)(ModuleFile { path, content }),
            None => return,
        };
        place.get_or_insert_with(|| Placed { package: self.package.to_owned(), path, content });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::Compression;
    use crate::compression::tests::encode;
    use crate::deb::tests::make_deb;
    use crate::elf::tests::make_elf;
    use crate::image::tests::{make_bzimage, make_payload, make_vmlinux};
    use crate::raw::tests::make_btf;

    const RELEASE: &str = "6.1.0-1-cloud-amd64";

    /// Writes packages to a folder, each with its files; `$R` in paths is the release.
    fn extract(packages: &[&[(&str, &[u8])]]) -> Result<Extracted, Error> {
        let folder = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for (index, files) in packages.iter().enumerate() {
            let files: Vec<(String, &[u8])> =
                files.iter().map(|(path, content)| (path.replace("$R", RELEASE), *content)).collect();
            let files: Vec<(&str, &[u8])> =
                files.iter().map(|(path, content)| (path.as_str(), *content)).collect();
            paths.push(folder.path().join(format!("{index}.deb")));
            std::fs::write(&paths[index], make_deb([".xz", ".zst"][index % 2], &files)).unwrap();
        }
        from_packages(&paths, RELEASE)
    }

    fn boot() -> Vec<u8> {
        make_bzimage(&make_payload(Compression::Zstd, &make_vmlinux()))
    }

    #[test]
    fn one_package_or_several() {
        let module = make_elf(&[(".BTF", &make_btf(1))]);
        let (xz, none) = (encode(Compression::Xz, &module), make_elf(&[]));
        let boot = boot();
        let check = |packages: &[&[(&str, &[u8])]]| {
            let found = extract(packages).unwrap();
            assert_eq!(found.build_id.as_deref(), Some("abababababababababababababababababababab"));
            assert_eq!(found.btf, make_btf(3));
            assert_eq!(found.config.as_deref(), Some(&b"CONFIG_BPF=y"[..]));
            let names: Vec<&str> = found.modules.iter().map(|module| module.name.as_str()).collect();
            assert_eq!(names, ["a_b", "c"]);
            assert_eq!(found.modules[0].btf, make_btf(1));
            assert_eq!(found.modules_without_btf, 1);
            assert_eq!(found.bad_modules.len(), 1);
            assert!(found.bad_modules[0].path.ends_with("broken.ko"));
            assert!(found.boot == boot);
        };
        check(&[&[
            ("./boot/vmlinuz-$R", &boot),
            ("./boot/config-$R", b"CONFIG_BPF=y"),
            ("./boot/vmlinuz-6.1.0-2", b"another release"),
            ("./boot/System.map-$R", b"map"),
            ("./lib/modules/$R/kernel/c.ko.xz", &xz),
            ("./lib/modules/$R/kernel/a-b.ko", &module),
            ("./lib/modules/$R/kernel/broken.ko", b"\x7fELF"),
            ("./lib/modules/$R/kernel/none.ko", &none),
            ("./lib/modules/6.1.0-2/kernel/d.ko", &module),
        ]]);
        check(&[
            &[("./usr/share/doc/x", b"meta")],
            &[
                ("./usr/lib/modules/$R/kernel/c.ko.xz", &xz),
                ("./usr/lib/modules/$R/kernel/a-b.ko", &module),
                ("./usr/lib/modules/$R/kernel/broken.ko", b"\x7fELF"),
                ("./usr/lib/modules/$R/kernel/none.ko", &none),
            ],
            &[("./usr/lib/modules/$R/vmlinuz", &boot)],
            &[
                ("./usr/lib/modules/$R/config", b"CONFIG_BPF=y"),
                ("./usr/lib/modules/$R/vmlinuz", b"not the first"),
            ],
        ]);
    }

    #[test]
    fn errors_say_where() {
        let check = |files: &[(&str, &[u8])], wanted: &str| {
            let error = extract(&[files]).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error:?}, not {wanted:?}");
        };
        check(&[], "usr/lib/modules/6.1.0-1-cloud-amd64/vmlinuz in 0.deb");
        check(&[("boot/vmlinuz-6.1.0-2", b"")], "in 0.deb; there are images of 6.1.0-2");
        check(&[("usr/lib/modules/7/vmlinuz", b"")], "there are images of 7");
        check(&[("boot/vmlinuz-$R", b"x")], "0.deb: boot/vmlinuz-6.1.0-1-cloud-amd64: not a kernel image");
        let without = make_bzimage(&make_payload(Compression::Xz, &make_elf(&[])));
        check(&[("boot/vmlinuz-$R", &without)], "CONFIG_DEBUG_INFO_BTF");
        let missing = from_packages(&["/nonexistent/a.deb".into()], RELEASE).unwrap_err();
        assert!(missing.is_not_found(), "{missing}");
    }
}

//! Packages and files in, BTFs and boot image out.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use btf::Btf;

use crate::deb::{self, Visit};
use crate::modules::{self, ModuleFile};
use crate::{BadModule, Error, FormatError, Input, InputError, InputProblem, ModuleBtf, image, input, rpm};

/// Boot images of distributions have up to 60 MB.
const MAX_BOOT_IMAGE: usize = 256 << 20;
const MAX_CONFIG: usize = 4 << 20;

/// What is taken out of a kernel's packages.
#[derive(Debug, Default)]
pub struct Extracted {
    /// The GNU build-id of vmlinux, in hex digits.
    pub build_id: Option<String>,
    /// The kernel's own BTF, checked.
    pub btf: Vec<u8>,
    /// Whether the boot image has BTF, which need not be the one above.
    pub own_btf: bool,
    /// The boot image as shipped; None for a kernel of which only the BTF is at hand.
    pub boot: Option<Vec<u8>>,
    /// The kernel's configuration.
    pub config: Option<Vec<u8>>,
    /// The modules' split BTFs, checked on the kernel's, sorted by name.
    pub modules: Vec<ModuleBtf>,
    /// Modules whose BTF can't be used, sorted by path: to be reported; they cost the others nothing.
    pub bad_modules: Vec<BadModule>,
    /// Number of modules that have no BTF.
    pub modules_without_btf: usize,
}

/// A file, and its name without folders, which tells a module's name; the path may be that of a store.
pub type NamedFile = (String, PathBuf);

/// Takes BTFs and boot image of a release (`uname -r`) out of files of any kind: Debian and RPM packages, and whatever
/// [`input::read`] reads.
///
/// A file that is BTF counts more than the BTF of a boot image in a package, so that a kernel may have its BTF from one
/// place and its boot image from another. Split BTF is that of a module.
pub fn from_files(files: &[NamedFile], release: &str) -> Result<Extracted, Error> {
    let mut packages = Vec::new();
    let mut plain = Plain::default();
    for (name, path) in files {
        if is_package(path)? { packages.push(path.clone()) } else { plain.add(name, path)? }
    }
    if plain.is_empty() {
        return from_packages(&packages, release);
    }
    let boot = match packages.is_empty() {
        true => Extracted::default(),
        false => boot_only(&packages, release)?,
    };
    plain.finish(boot)
}

/// Files that are no packages.
#[derive(Default)]
struct Plain {
    base: Option<(PathBuf, Input)>,
    modules: Vec<(String, Input)>,
}

impl Plain {
    fn add(&mut self, name: &str, path: &Path) -> Result<(), Error> {
        let input = input::read(path)?;
        if input.is_split() {
            let stem = name.split('.').next().unwrap_or(name);
            self.modules.push((stem.replace('-', "_"), input));
        } else if let Some((first, _)) = &self.base {
            let others = [first.display().to_string(), path.display().to_string()];
            return Err(Error::SeveralBtfs(others.join(" and ")));
        } else {
            self.base = Some((path.to_owned(), input));
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.base.is_none() && self.modules.is_empty()
    }

    fn finish(self, mut found: Extracted) -> Result<Extracted, Error> {
        let Some((path, input)) = self.base else {
            let name = self.modules.into_iter().next().map(|(_, input)| input.name).unwrap_or_default();
            return Err(InputError { name, problem: Box::new(InputProblem::NeedsBase) }.into());
        };
        if input.layers.contains(&"boot image") {
            found.own_btf = true;
            found.boot = Some(std::fs::read(&path).map_err(|cause| Error::io("read", &path, cause))?);
        }
        found.build_id = found.build_id.or_else(|| build_id(&path));
        found.btf = input.btf.to_vec();
        let base = Arc::new(input.parse(None)?);
        let modules =
            modules::of_split(self.modules.into_iter().map(|(name, input)| (name, input.btf.into_vec())));
        let modules = modules.check(base);
        (found.modules, found.bad_modules) = (modules.with_btf, modules.bad);
        Ok(found)
    }
}

/// What packages have beside BTF.
fn boot_only(packages: &[PathBuf], release: &str) -> Result<Extracted, Error> {
    let mut found = Found::new(release);
    packages.iter().try_for_each(|package| found.visit(package, &mut |_module| {}))?;
    let Found { boot, config, .. } = found;
    let boot = boot.and_then(|boot| boot.content.ok());
    let image = boot.as_ref().and_then(|boot| image::unpack(boot).ok());
    let build_id = image.as_ref().and_then(|image| image::build_id(image).ok()?);
    let own_btf = image.as_ref().is_some_and(|image| image::btf(image).is_ok());
    Ok(Extracted {
        build_id,
        own_btf,
        boot,
        config: config.and_then(|config| config.content.ok()),
        ..Extracted::default()
    })
}

/// A vmlinux tells its build-id; of other files it is not known.
fn build_id(path: &Path) -> Option<String> {
    let bytes = crate::FileBytes::open(path, 8 << 30).ok().filter(|bytes| crate::elf::is_elf(bytes))?;
    crate::elf::build_id(&bytes).ok().flatten()
}

fn is_package(path: &Path) -> Result<bool, Error> {
    use std::io::Read;
    let read = || {
        let mut start = Vec::new();
        File::open(path)?.take(8).read_to_end(&mut start)?;
        Ok(start == b"!<arch>\n" || start.starts_with(&rpm::MAGIC))
    };
    read().map_err(|cause| Error::io("read", path, cause))
}

/// Takes BTFs, boot image and configuration of a release (`uname -r`) out of Debian or RPM packages.
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
        own_btf: true,
        boot: Some(boot.clone()),
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
        let mut stream = BufReader::with_capacity(256 << 10, file);
        let start = stream.fill_buf().map_err(|cause| Error::io("read", package, cause))?;
        let is_rpm = start.starts_with(&rpm::MAGIC);
        let visitor = &mut Visitor { found: self, package, submit };
        let visited =
            if is_rpm { rpm::visit_files(stream, visitor) } else { deb::visit_files(stream, visitor) };
        visited.map_err(|fault| Error::Package { package: package.to_owned(), member: None, fault })
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
    use crate::rpm::tests::make_rpm;

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
            assert!(found.boot.as_ref() == Some(&boot) && found.own_btf);
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

    fn from_named(files: &[(&str, &[u8])]) -> Result<Extracted, Error> {
        let folder = tempfile::tempdir().unwrap();
        let mut named = Vec::new();
        for (index, (name, content)) in files.iter().enumerate() {
            // As in a store, where names are digests.
            let path = folder.path().join(index.to_string());
            std::fs::write(&path, content).unwrap();
            named.push(((*name).to_owned(), path));
        }
        from_files(&named, RELEASE)
    }

    #[test]
    fn files_of_any_kind() {
        let (btf, split) = (make_btf(3), make_split());
        let raw = from_named(&[("vmlinux.btf", &btf), ("nf-tables.btf", &split)]).unwrap();
        assert_eq!((&raw.btf, &raw.boot, raw.own_btf), (&btf, &None, false));
        assert_eq!(raw.modules.len(), 1, "{:?}", raw.bad_modules);
        assert_eq!((raw.modules[0].name.as_str(), &raw.modules[0].btf), ("nf_tables", &split));
        let elf = from_named(&[("vmlinux", &make_elf(&[(".BTF", &btf)]))]).unwrap();
        assert_eq!((elf.btf, elf.boot), (btf.clone(), None));
        let image = from_named(&[("vmlinuz", &boot())]).unwrap();
        assert!(image.own_btf && image.boot.as_ref() == Some(&boot()) && image.btf == btf);
        let rpm = make_rpm(
            Some(Compression::Zstd),
            &[
                (&format!("./lib/modules/{RELEASE}/vmlinuz"), &boot()),
                (&format!("./lib/modules/{RELEASE}/kernel/nf.ko"), &make_elf(&[(".BTF", &make_btf(1))])),
            ],
        );
        let rpm = from_named(&[("kernel-core.rpm", &rpm)]).unwrap();
        assert!(rpm.own_btf && rpm.boot == Some(boot()) && rpm.modules.len() == 1);
        // BTF from one place, the boot image from another.
        let without = make_bzimage(&make_payload(Compression::Xz, &make_elf(&[])));
        let deb = make_deb(".xz", &[(&format!("boot/vmlinuz-{RELEASE}"), &without)]);
        let both = from_named(&[("x.btf", &make_btf(5)), ("linux.deb", &deb)]).unwrap();
        assert_eq!((both.btf, both.boot, both.own_btf), (make_btf(5), Some(without), false));
        let deb_with = make_deb(".xz", &[(&format!("boot/vmlinuz-{RELEASE}"), &boot())]);
        let both = from_named(&[("x.btf", &make_btf(5)), ("linux.deb", &deb_with)]).unwrap();
        assert!(both.own_btf && both.btf == make_btf(5) && both.build_id.is_some());
        let check = |files: &[(&str, &[u8])], wanted: &str| {
            let error = from_named(files).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error:?}, not {wanted:?}");
        };
        check(&[("a.btf", &btf), ("b.btf", &btf)], "two BTFs of one kernel");
        check(&[("nf.btf", &split)], "is split BTF");
        check(&[("a.btf", b"")], "empty");
        check(&[("linux.deb", &deb)], "CONFIG_DEBUG_INFO_BTF");
    }

    /// One type that goes on after `make_btf(3)` and has no string of its own that is empty.
    fn make_split() -> Vec<u8> {
        let strings = b"more\0";
        let mut btf = vec![0x9f, 0xeb, 1, 0];
        for field in [24u32, 0, 16, 16, strings.len() as u32] {
            btf.extend(field.to_le_bytes());
        }
        btf.extend([[1, 0, 0, 0], [0, 0, 0, 1], [4, 0, 0, 0], [32, 0, 0, 1]].concat());
        btf.extend(strings);
        btf
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

//! Compiling a BPF program with clang: the same bytes in whatever folder it stands.
//!
//! clang runs inside the source's folder, on the bare file name, with every other folder mapped away and an environment
//! of two variables, so that neither paths nor the user's settings get into the object.

mod error;
mod makefile;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kernels::Arch;

pub use error::Error;
use error::{hint, io};
use makefile::parse_dependencies;

/// `bpf_core_type_matches` needs this clang.
const TYPE_MATCHES: u32 = 15;

/// The newest `clang-N` that is looked for.
const NEWEST: u32 = 40;

/// Where the C headers of the system are.
const SYSTEM: &str = "/usr/include";

/// What a pipeline can choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Folders to look for headers in, before those of the system.
    pub include: Vec<PathBuf>,
    /// `NAME` or `NAME=VALUE`.
    pub defines: Vec<String>,
    /// Whether a warning is an error.
    pub warnings_are_errors: bool,
}

/// A compiled program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// The ELF object.
    pub bytes: Vec<u8>,
    /// Every file that was read, headers of the system included: sorted, the source among them.
    pub deps: Vec<PathBuf>,
    /// The first line of `clang --version`.
    pub clang_version: String,
    /// What was run, without the names of the outputs: for people, not for keys, since it has paths of this machine.
    pub command: Vec<String>,
    /// What clang said nevertheless.
    pub warnings: String,
}

/// A clang.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clang {
    path: PathBuf,
    version: String,
    major: u32,
}

impl Clang {
    /// Finds one in `PATH`: `clang` when it is new enough for all relocation kinds, else the newest `clang-N` that is, else
    /// the old `clang`, which does for programs without `bpf_core_type_matches`.
    pub fn find() -> Result<Clang, Error> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Clang::find_in(&std::env::split_paths(&path).collect::<Vec<_>>())
    }

    fn find_in(folders: &[PathBuf]) -> Result<Clang, Error> {
        let find = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
        let plain = find("clang").map(Clang::at).transpose()?;
        if let Some(clang) = &plain
            && clang.major >= TYPE_MATCHES
        {
            return Ok(clang.clone());
        }
        match (TYPE_MATCHES..=NEWEST).rev().find_map(|major| find(&format!("clang-{major}"))) {
            Some(path) => Clang::at(path),
            None => plain.ok_or(Error::Missing),
        }
    }

    /// The clang of this path.
    pub fn at(path: impl Into<PathBuf>) -> Result<Clang, Error> {
        let path = path.into();
        let output = run(Command::new(&path).arg("--version"), &path)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().unwrap_or_default().trim().to_owned();
        match major(&version) {
            Some(major) => Ok(Clang { path, version, major }),
            None => Err(Error::NotClang { path }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The first line of what `--version` prints: part of the key of all that it compiles.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether it knows all relocation kinds. Without, programs that use `bpf_core_type_matches` don't compile.
    pub fn knows_type_matches(&self) -> bool {
        self.major >= TYPE_MATCHES
    }

    /// Compiles `source` for the kernels of `arch`.
    pub fn compile(&self, source: &Path, arch: Arch, options: &Options) -> Result<Compiled, Error> {
        let place = Place::of(source)?;
        let outputs = tempfile::tempdir().map_err(|error| io("a temporary folder", error))?;
        let (object, makefile) = (outputs.path().join("o"), outputs.path().join("d"));
        let arguments = self.arguments(&place, arch, options)?;
        let mut command = self.command(&place);
        command.args(&arguments).args(["-c", "-MD", "-MF"]).arg(&makefile).arg("-o").arg(&object);
        let warnings = self.finish(&mut command, source)?;
        Ok(Compiled {
            bytes: std::fs::read(&object).map_err(|error| io(&object.display().to_string(), error))?,
            deps: place.read_dependencies(&makefile)?,
            clang_version: self.version.clone(),
            command: std::iter::once(&self.path.clone().into_os_string())
                .chain(&arguments)
                .map(|part| part.to_string_lossy().into_owned())
                .collect(),
            warnings,
        })
    }

    /// Every file that compiling would read, without compiling: what a plan needs for its key.
    pub fn dependencies(&self, source: &Path, arch: Arch, options: &Options) -> Result<Vec<PathBuf>, Error> {
        let place = Place::of(source)?;
        let outputs = tempfile::tempdir().map_err(|error| io("a temporary folder", error))?;
        let makefile = outputs.path().join("d");
        let mut command = self.command(&place);
        command.args(self.arguments(&place, arch, options)?).args(["-M", "-MF"]).arg(&makefile);
        self.finish(&mut command, source)?;
        place.read_dependencies(&makefile)
    }

    /// A clang that sees nothing of the user's environment, in the source's folder.
    fn command(&self, place: &Place) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(&place.folder).env_clear().env("LC_ALL", "C");
        for name in ["PATH", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    fn arguments(&self, place: &Place, arch: Arch, options: &Options) -> Result<Vec<OsString>, Error> {
        let mut arguments: Vec<OsString> = Vec::new();
        if self.major >= 16 {
            arguments.push("--no-default-config".into());
        }
        // Both architectures are little-endian. v2 is what every kernel since 4.14 verifies.
        arguments.extend(["-target", "bpfel", "-mcpu=v2", "-O2", "-g", "-Wall"].map(OsString::from));
        arguments.push("-ffile-compilation-dir=.".into());
        arguments.push(format!("-D__TARGET_ARCH_{}", target(arch)).into());
        arguments.extend(options.defines.iter().map(|define| format!("-D{define}").into()));
        if options.warnings_are_errors {
            arguments.push("-Werror".into());
        }
        for (number, folder) in options.include.iter().enumerate() {
            let folder = absolute(folder)?;
            include(&mut arguments, "-I", &folder, &format!("include{number}"));
        }
        if let Some(folder) = multiarch(Path::new(SYSTEM), arch) {
            include(&mut arguments, "-idirafter", &folder, SYSTEM);
        }
        arguments.push(place.name.clone());
        Ok(arguments)
    }

    /// Runs it: what it said when it succeeded.
    fn finish(&self, command: &mut Command, source: &Path) -> Result<String, Error> {
        let output = run(command, &self.path)?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return Ok(stderr);
        }
        Err(Error::Failed {
            source_file: source.to_owned(),
            version: self.version.clone(),
            hint: hint(&stderr),
            stderr,
        })
    }
}

/// Where a source is: clang is called inside `folder`.
struct Place {
    folder: PathBuf,
    name: OsString,
}

impl Place {
    fn of(source: &Path) -> Result<Place, Error> {
        let path = absolute(source)?;
        match (path.parent(), path.file_name()) {
            // A name that begins with - is no option.
            (Some(folder), Some(name)) if path.is_file() => Ok(Place {
                folder: folder.to_owned(),
                name: if name.as_encoded_bytes().starts_with(b"-") {
                    joined("./", name)
                } else {
                    name.to_owned()
                },
            }),
            _ => Err(Error::NoFile(source.to_owned())),
        }
    }

    fn read_dependencies(&self, makefile: &Path) -> Result<Vec<PathBuf>, Error> {
        let text =
            std::fs::read_to_string(makefile).map_err(|error| io(&makefile.display().to_string(), error))?;
        let paths: BTreeSet<PathBuf> =
            parse_dependencies(&text).iter().map(|path| self.folder.join(path)).collect();
        Ok(paths.into_iter().collect())
    }
}

/// The major number of "Debian clang version 19.1.7 (3)".
fn major(version: &str) -> Option<u32> {
    let (_, number) = version.split_once("clang version ")?;
    number.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()
}

/// What `bpf_tracing.h` calls it.
fn target(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "x86",
        Arch::Arm64 => "arm64",
    }
}

/// Debian keeps `asm/types.h`, which `linux/bpf.h` needs, in a folder per architecture: that of `arch`, or of this machine,
/// whose types are the same. None where it is right in `/usr/include`.
fn multiarch(system: &Path, arch: Arch) -> Option<PathBuf> {
    if system.join("asm/types.h").is_file() {
        return None;
    }
    let wanted = match arch {
        Arch::X86_64 => "x86_64",
        Arch::Arm64 => "aarch64",
    };
    let folders = [wanted, std::env::consts::ARCH].map(|machine| system.join(format!("{machine}-linux-gnu")));
    folders.into_iter().find(|folder| folder.join("asm/types.h").is_file())
}

/// A folder for headers, called `name` in the object.
fn include(arguments: &mut Vec<OsString>, option: &str, folder: &Path, name: &str) {
    arguments.push(option.into());
    arguments.push(folder.into());
    let mut map = joined("-ffile-prefix-map=", folder.as_os_str());
    map.push("=");
    map.push(name);
    arguments.push(map);
}

fn joined(begin: &str, end: &OsStr) -> OsString {
    let mut joined = OsString::from(begin);
    joined.push(end);
    joined
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| io(&path.display().to_string(), error))
}

fn run(command: &mut Command, path: &Path) -> Result<Output, Error> {
    command.output().map_err(|error| io(&path.display().to_string(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let check = |version: &str, expected| assert_eq!(major(version), expected, "{version:?}");
        check("Debian clang version 14.0.6", Some(14));
        check("Debian clang version 19.1.7 (3~deb12u1)", Some(19));
        check("clang version 23.0.0git", Some(23));
        check("gcc (Debian 12.2.0-14) 12.2.0", None);
        check("clang version unknown", None);
        check("", None);
    }

    #[test]
    fn folder_of_the_architecture() {
        let system = tempfile::tempdir().unwrap();
        let folder = |name: &str| system.path().join(name);
        let add = |name: &str| {
            std::fs::create_dir_all(folder(name).join("asm")).unwrap();
            std::fs::write(folder(name).join("asm/types.h"), "").unwrap();
        };
        assert_eq!(multiarch(system.path(), Arch::Arm64), None);
        let here = format!("{}-linux-gnu", std::env::consts::ARCH);
        add(&here);
        assert_eq!(multiarch(system.path(), Arch::Arm64), Some(folder(&here)));
        assert_eq!(multiarch(system.path(), Arch::X86_64), Some(folder(&here)));
        add("aarch64-linux-gnu");
        assert_eq!(multiarch(system.path(), Arch::Arm64), Some(folder("aarch64-linux-gnu")));
        add("");
        assert_eq!(multiarch(system.path(), Arch::Arm64), None);
    }

    /// Scripts that only know `--version`.
    #[cfg(unix)]
    #[test]
    fn which_clang_is_taken() {
        use std::os::unix::fs::PermissionsExt;

        let check = |installed: &[(&str, &str)], expected: Result<&str, &str>| {
            let folder = tempfile::tempdir().unwrap();
            for (name, version) in installed {
                let path = folder.path().join(name);
                std::fs::write(&path, format!("#!/bin/sh\necho '{version}'\n")).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
            let found = Clang::find_in(&[folder.path().join("absent"), folder.path().to_owned()]);
            match (found, expected) {
                (Ok(clang), Ok(name)) => assert_eq!(clang.path(), folder.path().join(name)),
                (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
                (found, _) => panic!("{installed:?}: {found:?}"),
            }
        };
        let (old, new) = ("Debian clang version 14.0.6", "Debian clang version 19.1.7 (3)");
        check(&[], Err("install the Debian package clang-19"));
        check(&[("clang", new)], Ok("clang"));
        check(&[("clang", new), ("clang-21", "clang version 21.1.0")], Ok("clang"));
        check(
            &[("clang", old), ("clang-14", old), ("clang-16", "clang version 16.0.6"), ("clang-19", new)],
            Ok("clang-19"),
        );
        check(&[("clang-19", new)], Ok("clang-19"));
        check(&[("clang", old), ("clang-14", old)], Ok("clang"));
        check(&[("clang", "gcc 12")], Err("does not say that it is clang"));
    }
}

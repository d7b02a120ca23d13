//! What this machine has of what pipelines need, and which Debian package brings what is missing.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use kernels::Store;

use crate::outcome::Code;
use crate::project::clang::Clang;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked for.
    pub what: &'static str,
    /// How it stands.
    pub health: Health,
    /// In words: a version, or what is missing and what to do.
    pub text: String,
}

/// How something stands; the later ones are worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// It is there.
    Good,
    /// It can be done without.
    Poor,
    /// Pipelines that need it will fail.
    Bad,
}

/// All findings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis(pub Vec<Finding>);

/// Looks at everything. Changes nothing.
pub fn examine() -> Diagnosis {
    Diagnosis(vec![clang(), headers(), guest(), qemu(), kvm(), apt(), bpftool(), cage(), store()])
}

fn good(what: &'static str, text: impl Into<String>) -> Finding {
    Finding { what, health: Health::Good, text: text.into() }
}

fn poor(what: &'static str, text: impl Into<String>) -> Finding {
    Finding { what, health: Health::Poor, text: text.into() }
}

fn bad(what: &'static str, text: impl Into<String>) -> Finding {
    Finding { what, health: Health::Bad, text: text.into() }
}

fn clang() -> Finding {
    const WHAT: &str = "clang";
    match Clang::find() {
        Ok(clang) if clang.knows_type_matches() => {
            good(WHAT, format!("{} ({})", clang.version(), clang.path().display()))
        }
        Ok(clang) => poor(
            WHAT,
            format!(
                "{} is older than 15 and knows no type_matches: apt-get install clang-19",
                clang.version()
            ),
        ),
        Err(error) => bad(WHAT, format!("{error}; only .bpf.c files need it")),
    }
}

fn headers() -> Finding {
    const WHAT: &str = "BPF headers";
    match Path::new("/usr/include/bpf/bpf_helpers.h").is_file() {
        true => good(WHAT, "/usr/include/bpf"),
        false => bad(WHAT, "no bpf/bpf_helpers.h: apt-get install libbpf-dev; only .bpf.c files need it"),
    }
}

fn guest() -> Finding {
    const WHAT: &str = "guest program";
    match vmtest::guest(vmtest::Arch::X86_64) {
        Some(bytes) => good(WHAT, format!("built in, {} bytes", bytes.len())),
        None => {
            bad(WHAT, "this btfpipe was built without it and boots nothing; build with \"cargo xtask run\"")
        }
    }
}

fn qemu() -> Finding {
    const WHAT: &str = "QEMU";
    match vmtest::qemu::find(vmtest::Arch::X86_64) {
        Ok(path) => match first_line(&path, &["--version"]) {
            Some(version) => good(WHAT, format!("{version} ({})", path.display())),
            None => bad(WHAT, format!("{} doesn't say its version", path.display())),
        },
        Err(missing) => bad(WHAT, missing.to_string()),
    }
}

fn kvm() -> Finding {
    const WHAT: &str = "KVM";
    match vmtest::kvm::probe() {
        Ok(vmtest::kvm::Speed(time)) => {
            good(WHAT, format!("a test guest ran through in {:.1} ms", time.as_secs_f64() * 1000.0))
        }
        Err(unusable) => {
            poor(WHAT, format!("{unusable}; machines are emulated, which takes 5 to 10 times as long"))
        }
    }
}

fn apt() -> Finding {
    const WHAT: &str = "apt-get";
    match find("apt-get") {
        Some(path) => good(WHAT, first_line(&path, &["--version"]).unwrap_or_default()),
        None => poor(
            WHAT,
            "not here: the plugin debian can fetch nothing; locked kernels in the store still work",
        ),
    }
}

fn bpftool() -> Finding {
    const WHAT: &str = "bpftool";
    let path = find("bpftool")
        .or_else(|| Some(Path::new("/usr/sbin/bpftool").to_owned()).filter(|path| path.is_file()));
    match path {
        Some(path) => good(WHAT, first_line(&path, &["version"]).unwrap_or_default()),
        None => poor(WHAT, "not here: only the tests compare with it: apt-get install bpftool"),
    }
}

fn cage() -> Finding {
    const WHAT: &str = "plugins' cage";
    let level = cage::Level::of_this_machine();
    match level.missing() {
        missing if missing.is_empty() => {
            good(WHAT, format!("{}: files, network, processes, memory, disk", level.means()))
        }
        missing => {
            let (means, missing) = (level.means(), missing.join("; "));
            let help =
                "bubblewrap would hold that: apt-get install bubblewrap, and see that it may make namespaces";
            poor(WHAT, format!("{means}: on this machine plugins can {missing}; {help}"))
        }
    }
}

fn store() -> Finding {
    const WHAT: &str = "store";
    let path = match Store::default_path() {
        Ok(path) => path,
        Err(error) => return bad(WHAT, error.to_string()),
    };
    let existing = path.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(existing) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize) / (1 << 20);
            let text = format!("{}, {free} MiB free", path.display());
            // A dozen stock kernels with their packages.
            if free < 2048 {
                poor(WHAT, format!("{text}: a dozen kernels take 2 GiB"))
            } else {
                good(WHAT, text)
            }
        }
        Err(error) => bad(WHAT, format!("{}: {error}", existing.display())),
    }
}

fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

fn first_line(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.lines().next()?.trim().to_owned())
}

impl Diagnosis {
    /// 69 when something that pipelines need is missing.
    pub fn code(&self) -> Code {
        match self.0.iter().any(|finding| finding.health == Health::Bad) {
            true => Code::Environment,
            false => Code::Ok,
        }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        for Finding { what, health, text } in &self.0 {
            let word = match health {
                Health::Good => "good",
                Health::Poor => "poor",
                Health::Bad => "BAD ",
            };
            writeln!(out, "{word}  {what:<14} {text}")?;
        }
        let count = |wanted: Health| self.0.iter().filter(|finding| finding.health == wanted).count();
        match (count(Health::Bad), count(Health::Poor)) {
            (0, 0) => writeln!(out, "\nAll that pipelines need is here."),
            (0, _) => writeln!(out, "\nPipelines run here; what is poor makes them slower or narrower."),
            _ => writeln!(out, "\nPipelines that need what is BAD will fail."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_says_something() {
        let diagnosis = examine();
        assert_eq!(diagnosis.0.len(), 9);
        for finding in &diagnosis.0 {
            assert!(!finding.text.is_empty(), "{finding:?}");
        }
        let said = diagnosis.to_string();
        assert_eq!(said.lines().count(), 11, "{said}");
    }

    #[test]
    fn what_is_missing_decides() {
        let code =
            |health| Diagnosis(vec![good("a", "x"), Finding { what: "b", health, text: "y".into() }]).code();
        assert_eq!(code(Health::Good), Code::Ok);
        assert_eq!(code(Health::Poor), Code::Ok);
        assert_eq!(code(Health::Bad).number(), 69);
    }
}

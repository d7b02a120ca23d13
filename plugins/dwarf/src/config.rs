//! The pipeline's `with:`.

use plugin::Problem;
use serde::Deserialize;
use serde_json::Value;

use crate::origin::Origin;

/// What the pipeline asks for.
#[derive(Debug)]
pub struct Config {
    pub kernels: Vec<Wanted>,
    pub flags: Vec<String>,
    pub impossible: Vec<Impossible>,
}

/// A kernel, and where its parts are.
#[derive(Debug)]
pub struct Wanted {
    /// `DISTRO/VERSION/ARCH/RELEASE`
    pub id: String,
    pub debug: Origin,
    pub boot: Option<Origin>,
}

/// A kernel that gives no BTF.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Impossible {
    /// With `*` for any characters.
    pub kernel: String,
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kernels: Vec<WrittenKernel>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    impossible: Vec<Impossible>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKernel {
    id: String,
    debug: String,
    boot: Option<String>,
}

impl Config {
    /// Reads a `with:`; the first thing that is wrong is the error.
    pub fn parse(value: &Value) -> Result<Config, Problem> {
        let written =
            Written::deserialize(value).map_err(|error| problem(String::new(), error.to_string(), None))?;
        if let Some(index) = written.flags.iter().position(|flag| !is_flag(flag)) {
            let message = format!("{:?} is no flag of pahole", written.flags[index]);
            return Err(problem(format!("/flags/{index}"), message, Some("e.g. --btf_gen_floats")));
        }
        let mut kernels = Vec::new();
        for (index, kernel) in written.kernels.into_iter().enumerate() {
            kernels.push(Wanted::parse(kernel, &format!("/kernels/{index}"))?);
        }
        if kernels.is_empty() {
            return Err(problem("/kernels".to_owned(), "no kernel".to_owned(), None));
        }
        Ok(Config { kernels, flags: written.flags, impossible: written.impossible })
    }
}

impl Wanted {
    fn parse(written: WrittenKernel, at: &str) -> Result<Wanted, Problem> {
        if let Some(reason) = why_not(&written.id) {
            return Err(problem(format!("{at}/id"), format!("{}: {reason}", written.id), None));
        }
        let origin = |text: &str, key: &str| {
            Origin::parse(text).map_err(|failure| problem(format!("{at}/{key}"), failure.message, None))
        };
        let debug = origin(&written.debug, "debug")?;
        if let Some(word) = [debug.name(), &written.id].into_iter().find_map(find_debug_flavour) {
            let message = format!(
                "{} is of a kernel that is built for debugging (\"{word}\"); its structs are larger than those of the \
                 kernel that runs, and BTF of it gives wrong offsets",
                written.debug
            );
            let help = "take the debug information of the ordinary kernel, e.g. kernel-debuginfo";
            return Err(problem(format!("{at}/debug"), message, Some(help)));
        }
        let boot = written.boot.as_deref().map(|boot| origin(boot, "boot")).transpose()?;
        Ok(Wanted { id: written.id, debug, boot })
    }

    /// `uname -r`
    pub fn release(&self) -> &str {
        self.id.rsplit('/').next().unwrap_or_default()
    }
}

fn is_flag(flag: &str) -> bool {
    flag.starts_with('-') && flag.bytes().all(|b| b.is_ascii_graphic()) && !flag.contains("detached")
}

fn why_not(id: &str) -> Option<&'static str> {
    let parts: Vec<&str> = id.split('/').collect();
    let is_plain = |part: &&str| {
        !matches!(*part, "" | "." | "..")
            && !part.starts_with('-')
            && part.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
    };
    match parts.len() {
        4 if parts.iter().all(is_plain) => None,
        4 => Some("a part is empty or odd"),
        _ => Some("not DISTRO/VERSION/ARCH/RELEASE"),
    }
}

/// `kernel-debug-debuginfo`, `6.1.0+debug`, `4.18.0-80.el8.x86_64.debug`: kernels with lockdep and the like. `-dbg`,
/// `-dbgsym` and `-debuginfo` are debug information of ordinary ones.
fn find_debug_flavour(name: &str) -> Option<&'static str> {
    const ENDINGS: [&str; 3] = ["+debug", ".debug", "-debug"];
    if name.contains("kernel-debug-debuginfo") {
        return Some("kernel-debug");
    }
    let stem = [".rpm", ".deb", ".ddeb"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    // SUSE names the file of a vmlinux's debug information vmlinux-RELEASE.debug.
    let is_suse_file = stem.starts_with("vmlinux-") && stem.ends_with(".debug");
    ENDINGS.into_iter().find(|ending| stem.ends_with(ending) && !is_suse_file)
}

fn problem(path: String, message: String, help: Option<&str>) -> Problem {
    Problem { path, message, help: help.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ID: &str = "rhel/8/x86_64/4.18.0-80.el8.x86_64";

    fn check_wrong(config: Value, at: &str, wanted: &str) {
        let problem = Config::parse(&config).unwrap_err();
        assert_eq!(problem.path, at, "{problem:?}");
        assert!(problem.message.contains(wanted), "{problem:?}");
    }

    #[test]
    fn right_and_wrong() {
        let with = |id: &str, debug: &str| json!({"kernels": [{"id": id, "debug": debug}]});
        let config = Config::parse(&json!({
            "kernels": [{"id": ID, "debug": "kernel-debuginfo-4.18.0-80.el8.x86_64.rpm", "boot": "apt:linux-image"}],
            "flags": ["--btf_gen_floats"],
        }));
        let config = config.unwrap();
        assert_eq!((config.kernels[0].release(), config.flags.len()), ("4.18.0-80.el8.x86_64", 1));
        for debug in ["apt:linux-image-6.1-dbg", "vmlinux-5.3.18-default.debug", "x-dbgsym.ddeb"] {
            assert!(Config::parse(&with(ID, debug)).is_ok(), "{debug}");
        }
        for debug in
            ["kernel-debug-debuginfo-4.18.0.rpm", "p/vmlinux-4.18.0+debug", "apt:linux-image-6.1-debug"]
        {
            check_wrong(with(ID, debug), "/kernels/0/debug", "built for debugging");
        }
        check_wrong(with(&format!("{ID}.debug"), "vmlinux"), "/kernels/0/debug", "built for debugging");
        check_wrong(with("rhel/8", "x"), "/kernels/0/id", "not DISTRO");
        check_wrong(with("rhel/../x/y", "x"), "/kernels/0/id", "odd");
        check_wrong(with(ID, ""), "/kernels/0/debug", "no path");
        check_wrong(json!({"kernels": []}), "/kernels", "no kernel");
        check_wrong(json!({}), "", "kernels");
        check_wrong(json!({"kernels": [], "x": 1}), "", "unknown field");
        let flags =
            json!({"kernels": [{"id": ID, "debug": "x"}], "flags": ["--btf_encode_detached=/etc/passwd"]});
        check_wrong(flags, "/flags/0", "no flag");
    }
}

//! `plugin.yaml`: what a plugin says about itself before it runs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `plugin.yaml`. The host reads it; unknown keys are errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The protocol number that the plugin speaks.
    pub api: u32,
    /// The name that pipelines use, equal to the folder's name.
    pub name: String,
    /// The plugin's version, for messages.
    pub version: String,
    /// The command, never a shell string.
    pub run: RunCommand,
    /// Files of the plugin's folder that decide what it does: globs with `*`, `?` and `**`. They are hashed.
    #[serde(default)]
    pub runtime: Vec<String>,
    /// JSON Schema 2020-12 of the plugin's `with:`, relative to the folder.
    #[serde(default)]
    pub config_schema: Option<String>,
    /// What the plugin can do.
    #[serde(default)]
    pub provides: Vec<Provides>,
    /// What the plugin needs to do it.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Whether its results may be kept.
    #[serde(default)]
    pub cache: Cache,
    /// The longest time of an action, e.g. `90s`, `5m`, `1h`.
    #[serde(default)]
    pub timeout: Option<String>,
    /// What an action may use up.
    #[serde(default)]
    pub limits: Limits,
}

/// A command, the same everywhere or one per platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RunCommand {
    /// `run: [prog, arg…]`
    Everywhere(Vec<String>),
    /// `run: {linux-x86_64: [prog, arg…], linux-aarch64: […]}`, by operating system and architecture.
    PerPlatform(BTreeMap<String, Vec<String>>),
}

impl RunCommand {
    /// The command of a platform such as `linux-x86_64`.
    pub fn find_for(&self, platform: &str) -> Option<&[String]> {
        match self {
            RunCommand::Everywhere(command) => Some(command),
            RunCommand::PerPlatform(commands) => commands.get(platform).map(Vec::as_slice),
        }
    }
}

/// What a plugin can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provides {
    /// Says which kernels there are, and fetches their packages.
    Source,
    /// Fetches.
    Fetch,
    /// Makes a BPF object of a source.
    Build,
    /// Records relocations.
    Record,
    /// Makes a BTF out of a BTF.
    Transform,
    /// Makes a package.
    Package,
    /// Checks a package.
    Verify,
    /// Brings a package to its users.
    Publish,
}

impl Provides {
    /// The word of plugin.yaml.
    pub fn word(self) -> &'static str {
        match self {
            Provides::Source => "source",
            Provides::Fetch => "fetch",
            Provides::Build => "build",
            Provides::Record => "record",
            Provides::Transform => "transform",
            Provides::Package => "package",
            Provides::Verify => "verify",
            Provides::Publish => "publish",
        }
    }
}

/// What a plugin needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// Opens connections.
    #[serde(default)]
    pub network: bool,
    /// Programs that it starts; needed for those outside of the system's folders.
    #[serde(default)]
    pub exec: Vec<String>,
    /// What it reads besides its own folder, its inputs and the system: absolute paths, and `config` for all paths that
    /// its configuration names.
    #[serde(default)]
    pub read: Vec<String>,
    /// Where it writes: `out-only`, or `cache` as well.
    #[serde(default)]
    pub write: Option<String>,
    /// Takes several `run`s in one process.
    #[serde(default)]
    pub worker: bool,
}

/// What an action may use up; where nothing is said, the host has a limit of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Address space of each process, e.g. `512M`, `16G`.
    #[serde(default)]
    pub memory: Option<String>,
    /// All that lies in its folders, and what it adds to its cache.
    #[serde(default)]
    pub disk: Option<String>,
    /// Processes and threads at the same time.
    #[serde(default)]
    pub tasks: Option<usize>,
}

/// Whether results may be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Same inputs, same outputs.
    #[serde(default)]
    pub pure: bool,
}

impl Manifest {
    /// The longest time of an action; `Err` holds the text that is no duration.
    pub fn parse_timeout(&self) -> Result<Option<Duration>, String> {
        let Some(text) = &self.timeout else {
            return Ok(None);
        };
        parse_duration(text).map(Some).ok_or_else(|| text.clone())
    }
}

impl Limits {
    /// Bytes; `Err` holds the text that is no size.
    pub fn parse_memory(&self) -> Result<Option<u64>, String> {
        parse_optional_size(self.memory.as_deref())
    }

    /// Bytes; `Err` holds the text that is no size.
    pub fn parse_disk(&self) -> Result<Option<u64>, String> {
        parse_optional_size(self.disk.as_deref())
    }
}

fn parse_optional_size(text: Option<&str>) -> Result<Option<u64>, String> {
    text.map(|text| parse_size(text).ok_or_else(|| text.to_owned())).transpose()
}

/// `512K`, `512M`, `16G`, by powers of 1024.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// `500ms`, `90s`, `5m`, `1h`.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let check = |text, bytes: Option<u64>| assert_eq!(parse_size(text), bytes, "{text}");
        check("1K", Some(1024));
        check("512M", Some(512 << 20));
        check("16G", Some(16 << 30));
        for wrong in ["", "16", "G", "1.5G", "-1G", "1GB", "99999999999999999999G", "18446744073709551615G"] {
            check(wrong, None);
        }
    }

    #[test]
    fn durations() {
        let check = |text, seconds: Option<f64>| {
            assert_eq!(parse_duration(text), seconds.map(Duration::from_secs_f64), "{text}");
        };
        check("5m", Some(300.0));
        check("90s", Some(90.0));
        check("500ms", Some(0.5));
        check("2h", Some(7200.0));
        check("5", None);
        check("m", None);
        check("-5s", None);
        check("5 m", None);
        check("99999999999999999h", None);
    }

    #[test]
    fn a_command_per_platform() {
        let command = RunCommand::PerPlatform(BTreeMap::from([("linux-x86_64".into(), vec!["a".into()])]));
        assert_eq!(command.find_for("linux-x86_64").unwrap(), ["a"]);
        assert!(command.find_for("linux-aarch64").is_none());
        let command = RunCommand::Everywhere(vec!["a".into()]);
        assert_eq!(command.find_for("linux-aarch64").unwrap(), ["a"]);
    }
}

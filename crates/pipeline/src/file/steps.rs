//! What a pipeline does with its kernels and programs: the steps and their settings.

use std::time::Duration;

use plugin::Provides;

use crate::file::decode_with;
use crate::file::version_aliases::VersionAliases;
use crate::yaml::problem::{At, Problem, Problems, is_close};
use crate::yaml::{Fields, Node, Value, shortened};

/// The steps in the order of the data; each builds on the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steps {
    /// Minimize every kernel's BTF, with proof.
    pub minimize: bool,
    /// Make packages.
    pub package: Option<Package>,
    /// Boot the kernels and compare.
    pub verify: Option<Verify>,
    /// What plugins do in between, and afterwards.
    pub plugins: Vec<PluginStep>,
}

/// A step that a plugin does.
#[derive(Debug, Clone)]
pub struct PluginStep {
    /// Where the entry stands.
    pub at: At,
    /// Where the plugin's name stands.
    pub uses_at: At,
    /// The plugin's name.
    pub uses: String,
    /// What the plugin is told; a mapping.
    pub with: Node,
    /// Which of [`NAMES`] it stands behind.
    pub place: usize,
    /// What it is to do, of several things that the plugin can.
    pub only: Option<Provides>,
    /// The packages that it is for, with the place of each name; all if there is none.
    pub packages: Vec<(At, String)>,
}

impl PartialEq for PluginStep {
    fn eq(&self, other: &PluginStep) -> bool {
        let of = |step: &PluginStep| (step.at, step.uses.clone(), step.with.to_json(), step.place, step.only);
        of(self) == of(other) && self.packages == other.packages
    }
}

impl Eq for PluginStep {}

/// `package`: one tarball an architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// zstd's level, 1 to 22.
    pub level: i32,
    /// What is written beside the bundle.
    pub layouts: Vec<bundle::Layout>,
    /// What machines call their version otherwise.
    pub aliases: VersionAliases,
}

/// `verify`: QEMU, libbpf, comparison of instructions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verify {
    /// Hardware acceleration or emulation.
    pub accel: Accel,
    /// The machine's memory.
    pub memory_mib: u32,
    /// How long one object may take; boots have a watchdog of their own.
    pub timeout: Duration,
    /// Attach the programs, do what they watch, and read what they report.
    pub attach: bool,
    /// Relocate and load with an older libbpf as well.
    pub old_libbpf: bool,
}

/// How QEMU runs the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// KVM where it works, else emulation.
    Auto,
    /// KVM or nothing.
    Kvm,
    /// Emulation.
    Tcg,
}

impl Default for Package {
    fn default() -> Self {
        Package { level: 19, layouts: Vec::new(), aliases: VersionAliases::default() }
    }
}

impl Default for Verify {
    fn default() -> Self {
        Verify {
            accel: Accel::Auto,
            memory_mib: 512,
            timeout: Duration::from_secs(90),
            attach: false,
            old_libbpf: false,
        }
    }
}

/// The names under `steps:`, in the only order that makes sense.
pub const NAMES: [&str; 4] = ["record", "minimize", "package", "verify"];
/// The place of `minimize`, which plugins stand behind.
const MINIMIZE: usize = 1;
/// The values of `as`.
const ROLES: [Provides; 4] = [Provides::Transform, Provides::Package, Provides::Verify, Provides::Publish];
/// The layouts that `package` knows. The first is the bundle, which is always written.
pub fn layouts() -> Vec<&'static str> {
    std::iter::once("bundle").chain(bundle::Layout::ALL.map(bundle::Layout::name)).collect()
}
/// The values of `accel`.
pub const ACCELS: [&str; 3] = ["auto", "kvm", "tcg"];

impl Steps {
    /// Reads `steps:`.
    pub fn decode(node: &Node, problems: &mut Problems) -> Option<Steps> {
        let nodes = node.list("`steps`", problems)?;
        let mut steps = Steps::default();
        let mut done: Vec<usize> = Vec::new();
        // A step that can't be read may be the one that another needs.
        let mut is_whole = true;
        if nodes.is_empty() {
            problems.add(
                Problem::new(node.at, "`steps` is empty").help(format!("known here: {}", NAMES.join(", "))),
            );
        }
        for node in nodes {
            if let Some(uses) = plugin_of(node).filter(|_| done.contains(&MINIMIZE)) {
                let place = done.last().copied().unwrap_or_default();
                steps.plugins.extend(PluginStep::decode(node, uses, place, problems));
                continue;
            }
            let Some((mut fields, uses, place)) = decode_name(node, problems) else {
                is_whole = false;
                continue;
            };
            let counts = decode_counts(&mut fields, problems);
            let mut settings = Steps::default();
            settings.decode_settings(place, fields.optional("with"), problems);
            fields.finish(problems);
            if counts {
                check_order(uses, place, &done, is_whole, problems);
                done.push(place);
                steps.add(settings);
            }
        }
        Some(steps)
    }

    /// Leaves out what comes after a step.
    pub fn end_with(&mut self, last: &str) {
        let last = NAMES.iter().position(|name| *name == last).unwrap_or(NAMES.len());
        self.minimize &= last >= 1;
        self.package = self.package.take().filter(|_| last >= 2);
        self.verify = self.verify.take().filter(|_| last >= 3);
        self.plugins.retain(|step| step.place <= last);
    }

    fn add(&mut self, other: Steps) {
        self.minimize |= other.minimize;
        self.package = self.package.take().or(other.package);
        self.verify = self.verify.take().or(other.verify);
    }

    fn decode_settings(&mut self, place: usize, with: Option<&Node>, problems: &mut Problems) {
        let empty = Node::empty(crate::yaml::problem::At::START);
        let what = format!("`{}`", NAMES[place]);
        let Some(mut fields) = with.unwrap_or(&empty).fields(&what, problems) else {
            return;
        };
        match NAMES[place] {
            "minimize" => self.minimize = true,
            "package" => self.package = Some(Package::decode(&mut fields, problems)),
            "verify" => self.verify = Some(Verify::decode(&mut fields, problems)),
            _ => {}
        }
        fields.finish(problems);
    }
}

fn decode_counts(fields: &mut Fields, problems: &mut Problems) -> bool {
    match fields.optional("when") {
        None => true,
        Some(Node { value: Value::Boolean(counts), .. }) => *counts,
        Some(node) => {
            problems.add(node.wrong("`when`", "true or false"));
            true
        }
    }
}

/// The name in `uses`, where that can be a plugin's and is no slip for one of [`NAMES`].
fn plugin_of(node: &Node) -> Option<&str> {
    let Value::Map(entries) = &node.value else { return None };
    let (_, uses) = entries.iter().find(|(key, _)| key.text == "uses")?;
    let Value::Text(name) = &uses.value else { return None };
    let is_ours = NAMES.iter().any(|known| known == name || is_close(name, known));
    (!is_ours && crate::host::is_name(name)).then_some(name)
}

impl PluginStep {
    fn decode(node: &Node, uses: &str, place: usize, problems: &mut Problems) -> Option<PluginStep> {
        let mut fields = node.fields("a step", problems)?;
        let uses_at = fields.required("uses", problems)?.at;
        let counts = decode_counts(&mut fields, problems);
        let with = decode_with(node, &mut fields, problems);
        let only = fields.optional("as").and_then(|node| {
            one_of(node, "as", &ROLES.map(Provides::word), problems).map(|index| ROLES[index])
        });
        let mut packages = Vec::new();
        if let Some(nodes) = fields.optional("packages").and_then(|node| node.list("`packages`", problems)) {
            for node in nodes {
                packages.extend(node.text("a package", problems).map(|name| (node.at, name.to_owned())));
            }
        }
        fields.finish(problems);
        let step = PluginStep { at: node.at, uses_at, uses: uses.to_owned(), with, place, only, packages };
        counts.then_some(step)
    }
}

/// The step's fields, its `uses`, and its place among [`NAMES`].
fn decode_name<'a>(node: &'a Node, problems: &mut Problems) -> Option<(Fields<'a>, &'a Node, usize)> {
    let mut fields = node.fields("a step", problems)?;
    let uses = fields.required("uses", problems)?;
    let name = uses.text("`uses`", problems)?;
    let place = NAMES.iter().position(|known| *known == name);
    if place.is_none() {
        let problem = uses.problem(format!("unknown step `{}`", shortened(name)));
        problems.add(problem.did_you_mean(name, NAMES.into_iter()));
    }
    Some((fields, uses, place?))
}

fn check_order(uses: &Node, place: usize, done: &[usize], is_whole: bool, problems: &mut Problems) {
    let name = NAMES[place];
    if done.contains(&place) {
        problems.add(Problem::new(uses.at, format!("`{name}` is there twice")));
    } else if let Some(before) = place.checked_sub(1).filter(|before| is_whole && !done.contains(before)) {
        problems.add(Problem::new(uses.at, format!("`{name}` needs a `{}` step before it", NAMES[before])));
    }
}

impl Package {
    fn decode(fields: &mut Fields, problems: &mut Problems) -> Package {
        let mut package = Package::default();
        if let Some(level) =
            fields.optional("level").and_then(|node| node.integer("`level`", 1..=22, problems))
        {
            package.level = level as i32;
        }
        if let Some(nodes) = fields.optional("layouts").and_then(|node| node.list("`layouts`", problems)) {
            for layout in nodes {
                let place = one_of(layout, "layout", &layouts(), problems);
                let layout = place.and_then(|place| bundle::Layout::ALL.get(place.checked_sub(1)?));
                package.layouts.extend(layout);
            }
            package.layouts.sort();
            package.layouts.dedup();
        }
        if let Some(aliases) = fields.optional("aliases") {
            package.aliases = VersionAliases::decode(aliases, problems);
        }
        package
    }
}

impl Verify {
    fn decode(fields: &mut Fields, problems: &mut Problems) -> Verify {
        let mut verify = Verify::default();
        if let Some(accel) =
            fields.optional("accel").and_then(|node| one_of(node, "accelerator", &ACCELS, problems))
        {
            verify.accel = [Accel::Auto, Accel::Kvm, Accel::Tcg][accel];
        }
        if let Some(node) = fields.optional("memory") {
            match parse_mebibytes(node) {
                Some(size) => verify.memory_mib = size,
                None => problems.add(node.wrong("`memory`", "a size from 64M to 64G, such as 512M")),
            }
        }
        if let Some(node) = fields.optional("timeout") {
            match parse_duration(node) {
                Some(time) => verify.timeout = time,
                None => problems.add(node.wrong("`timeout`", "a time from 1s to 60m, such as 90s or 2m")),
            }
        }
        for (key, is_on) in [("attach", &mut verify.attach), ("old_libbpf", &mut verify.old_libbpf)] {
            match fields.optional(key) {
                None => {}
                Some(Node { value: Value::Boolean(wanted), .. }) => *is_on = *wanted,
                Some(node) => problems.add(node.wrong(&format!("`{key}`"), "true or false")),
            }
        }
        verify
    }
}

/// The index of the node's text among `known`, or a problem.
fn one_of(node: &Node, what: &str, known: &[&'static str], problems: &mut Problems) -> Option<usize> {
    let word = node.text(&format!("`{what}`"), problems)?;
    let index = known.iter().position(|name| *name == word);
    if index.is_none() {
        let problem = node.problem(format!("unknown {what} `{}`", shortened(word)));
        problems.add(problem.did_you_mean(word, known.iter().copied()));
    }
    index
}

/// `512M`, `2G`; 64 MiB to 64 GiB.
fn parse_mebibytes(node: &Node) -> Option<u32> {
    let (number, unit) = number_and_unit(node)?;
    let size = match unit {
        "M" | "MiB" => number,
        "G" | "GiB" => number.checked_mul(1024)?,
        _ => return None,
    };
    (64..=65_536).contains(&size).then_some(size)
}

/// `90s`, `2m`; one second to one hour.
fn parse_duration(node: &Node) -> Option<Duration> {
    let (number, unit) = number_and_unit(node)?;
    let seconds = match unit {
        "s" => number,
        "m" => number.checked_mul(60)?,
        _ => return None,
    };
    (1..=3600).contains(&seconds).then(|| Duration::from_secs(seconds.into()))
}

fn number_and_unit(node: &Node) -> Option<(u32, &str)> {
    let Value::Text(text) = &node.value else {
        return None;
    };
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..split].parse().ok()?, &text[split..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Node {
        Node::new(At::START, Value::Text(text.to_owned()))
    }

    #[test]
    fn sizes() {
        let check = |size, wanted| assert_eq!(parse_mebibytes(&text(size)), wanted, "{size}");
        check("512M", Some(512));
        check("2G", Some(2048));
        check("256MiB", Some(256));
        check("63M", None);
        check("65G", None);
        check("M", None);
        check("99999999999M", None);
        check("1.5G", None);
        check("", None);
    }

    #[test]
    fn times() {
        let check = |time, wanted: Option<u64>| {
            assert_eq!(parse_duration(&text(time)), wanted.map(Duration::from_secs), "{time}");
        };
        check("90s", Some(90));
        check("2m", Some(120));
        check("0s", None);
        check("2h", None);
        check("4294967295m", None);
    }
}

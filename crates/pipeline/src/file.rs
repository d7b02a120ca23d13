//! The pipeline file: what a vendor declares, read strictly.

use std::path::{Path, PathBuf};

use crate::problem::{At, Invalid, Problem, Problems};
use crate::steps::Steps;
use crate::yaml::{self, Fields, Node, Value};

/// The version of the file's format that this program reads.
pub const VERSION: i64 = 1;

/// A pipeline as declared. Nothing here has been looked up yet.
#[derive(Debug, Clone)]
pub struct PipelineFile {
    /// The file as it was named.
    pub path: PathBuf,
    /// Its text, for messages that come up later.
    pub text: String,
    /// Names the packages: `dist/NAME-ARCH.tar.zst`.
    pub name: String,
    /// Where the kernels come from, at least one.
    pub kernels: Vec<KernelSource>,
    /// Which programs, at least one.
    pub programs: Vec<ProgramPattern>,
    /// What to do with them.
    pub steps: Steps,
}

/// One entry under `kernels:`.
#[derive(Debug, Clone)]
pub struct KernelSource {
    /// Where the entry stands.
    pub at: At,
    /// The plugin's name.
    pub uses: String,
    /// What the plugin is told; a mapping.
    pub with: Node,
    /// Whether the entry counts.
    pub when: Condition,
}

/// `when:` of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// No `when:`, or `true`.
    Always,
    /// `false`.
    Never,
    /// `${profile.NAME}`: only with `--profile NAME`.
    Profile(String),
}

/// One entry under `programs:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramPattern {
    /// Where the entry stands.
    pub at: At,
    /// A path with `*`, `?` and `**`, from the folder that holds `pipelines/`.
    pub glob: String,
}

/// Why a pipeline file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It can't be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file as it was named.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It says something wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl PipelineFile {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| FileError::Read { path: path.to_owned(), error })?;
        Ok(Self::parse(path, &text)?)
    }

    /// Checks a text. All problems are found in one go.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Invalid> {
        let mut problems = Problems::default();
        let file = match yaml::parse(text) {
            Ok(node) => decode(path, text, &node, &mut problems),
            Err(problem) => {
                problems.add(problem);
                None
            }
        };
        problems.into_result(path, text)?;
        // A decoder that gives nothing has said why.
        file.ok_or_else(|| Invalid { path: path.to_owned(), text: text.to_owned(), problems: Vec::new() })
    }

    /// An error at a place of this file, for what only shows later, e.g. in a plugin's answer.
    pub fn invalid(&self, problem: Problem) -> Invalid {
        Invalid { path: self.path.clone(), text: self.text.clone(), problems: vec![problem] }
    }

    /// The folder that holds `pipelines/`, else the file's own: programs, lock and `dist/` are looked for there.
    pub fn root(&self) -> PathBuf {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let root = match folder.file_name() {
            Some(name) if name == "pipelines" => folder.parent().unwrap_or(Path::new("")),
            _ if folder.as_os_str().is_empty() && in_pipelines_folder() => Path::new(".."),
            _ => folder,
        };
        if root.as_os_str().is_empty() { PathBuf::from(".") } else { root.to_owned() }
    }

    /// The entries under `kernels:` that count with these profiles.
    pub fn sources<'a>(&'a self, profiles: &'a [String]) -> impl Iterator<Item = &'a KernelSource> {
        self.kernels.iter().filter(|source| match &source.when {
            Condition::Always => true,
            Condition::Never => false,
            Condition::Profile(name) => profiles.contains(name),
        })
    }
}

/// `cd pipelines && btfpipe run release.yaml`.
fn in_pipelines_folder() -> bool {
    std::env::current_dir().is_ok_and(|folder| folder.file_name().is_some_and(|name| name == "pipelines"))
}

fn decode(path: &Path, text: &str, node: &Node, problems: &mut Problems) -> Option<PipelineFile> {
    if matches!(node.value, Value::Null) {
        problems
            .add(Problem::new(At::START, "the file is empty").help("a pipeline begins with `version: 1`"));
        return None;
    }
    let mut fields = node.fields("a pipeline", problems)?;
    decode_version(&mut fields, problems);
    let name = decode_name(&mut fields, problems);
    let kernels = decode_list(&mut fields, "kernels", problems, decode_source);
    let programs = decode_list(&mut fields, "programs", problems, decode_program);
    let steps = fields.required("steps", problems).and_then(|steps| Steps::decode(steps, problems));
    fields.finish(problems);
    refuse_interpolation(node, problems);
    let (path, text) = (path.to_owned(), text.to_owned());
    Some(PipelineFile { path, text, name: name?, kernels: kernels?, programs: programs?, steps: steps? })
}

fn decode_version(fields: &mut Fields, problems: &mut Problems) {
    let Some(node) = fields.required("version", problems) else {
        return;
    };
    match node.value {
        Value::Integer(VERSION) => {}
        Value::Integer(other) => problems.add(
            Problem::new(node.at, format!("version {other} of the pipeline format is not known"))
                .help(format!("this btfpipe reads version {VERSION}")),
        ),
        _ => problems.add(node.wrong("`version`", &format!("{VERSION}"))),
    }
}

/// The name becomes part of file names.
fn decode_name(fields: &mut Fields, problems: &mut Problems) -> Option<String> {
    let node = fields.required("name", problems)?;
    let name = node.text("`name`", problems)?;
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && name.len() <= 64 && name.chars().all(good) && !name.starts_with(['.', '-']) {
        return Some(name.to_owned());
    }
    problems.add(Problem::new(node.at, format!("`{name}` can't name a package")).help(
        "a name has up to 64 letters, digits, `-`, `_` or `.`, and begins with a letter, digit or `_`",
    ));
    None
}

/// A list that must hold something.
fn decode_list<T>(
    fields: &mut Fields,
    key: &'static str,
    problems: &mut Problems,
    decode: fn(&Node, &mut Problems) -> Option<T>,
) -> Option<Vec<T>> {
    let node = fields.required(key, problems)?;
    let nodes = node.list(&format!("`{key}`"), problems)?;
    if nodes.is_empty() {
        problems.add(Problem::new(node.at, format!("`{key}` is empty")));
    }
    let decoded: Vec<Option<T>> = nodes.iter().map(|node| decode(node, problems)).collect();
    decoded.into_iter().collect()
}

fn decode_source(node: &Node, problems: &mut Problems) -> Option<KernelSource> {
    let mut fields = node.fields("a kernel source", problems)?;
    let uses = fields.required("uses", problems).and_then(|uses| decode_plugin_name(uses, problems));
    let with =
        fields.optional("with").cloned().unwrap_or(Node { at: node.at, value: Value::Map(Vec::new()) });
    if !matches!(with.value, Value::Map(_)) {
        problems.add(with.wrong("`with`", "a mapping"));
    }
    let when =
        fields.optional("when").map_or(Some(Condition::Always), |when| decode_condition(when, problems));
    fields.finish(problems);
    Some(KernelSource { at: node.at, uses: uses?, with, when: when? })
}

/// A plugin's name is a folder's name: no way out of `plugins/`.
fn decode_plugin_name(node: &Node, problems: &mut Problems) -> Option<String> {
    let name = node.text("`uses`", problems)?;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(good) {
        return Some(name.to_owned());
    }
    let problem = Problem::new(node.at, format!("`{name}` can't be a plugin's name"));
    problems.add(
        problem.help("a plugin is named by its folder under plugins/: small letters, digits, `-` and `_`"),
    );
    None
}

fn decode_condition(node: &Node, problems: &mut Problems) -> Option<Condition> {
    match &node.value {
        Value::Boolean(true) => return Some(Condition::Always),
        Value::Boolean(false) => return Some(Condition::Never),
        Value::Text(text) => {
            let name = text.strip_prefix("${profile.").and_then(|rest| rest.strip_suffix('}'));
            if let Some(name) = name.filter(|name| !name.is_empty() && !name.contains(['{', '}', '$'])) {
                return Some(Condition::Profile(name.to_owned()));
            }
        }
        Value::Null | Value::Integer(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => {}
    }
    problems.add(node.wrong("`when`", "true, false or ${profile.NAME}"));
    None
}

fn decode_program(node: &Node, problems: &mut Problems) -> Option<ProgramPattern> {
    let glob = node.text("a program", problems)?;
    match crate::glob::Glob::new(glob) {
        Ok(_) => Some(ProgramPattern { at: node.at, glob: glob.to_owned() }),
        Err(reason) => {
            problems.add(Problem::new(node.at, format!("`{glob}`: {reason}")));
            None
        }
    }
}

/// `${…}` is only known in `when:`; anywhere else it would be taken as it stands, silently.
fn refuse_interpolation(node: &Node, problems: &mut Problems) {
    let Value::Map(entries) = &node.value else { return };
    for (key, value) in entries {
        let nodes: Vec<&Node> = match (&*key.text, &value.value) {
            ("kernels", Value::List(sources)) => sources.iter().flat_map(outside_when).collect(),
            _ => vec![value],
        };
        for (at, text) in nodes.into_iter().flat_map(Node::texts) {
            if text.contains("${") {
                let problem = Problem::new(at, format!("`{text}`: nothing is interpolated here"));
                problems.add(problem.help("`${profile.NAME}` is known in `when:` only"));
            }
        }
    }
}

fn outside_when(source: &Node) -> Vec<&Node> {
    match &source.value {
        Value::Map(entries) => {
            entries.iter().filter(|(key, _)| key.text != "when").map(|(_, node)| node).collect()
        }
        _ => vec![source],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
version: 1
name: release
kernels:
  - uses: debian
    with: { suites: [bookworm], newest: 1 }
  - uses: btfhub
    when: ${profile.full}
programs:
  - pipelines/programs/*.bpf.c
steps:
  - uses: record
  - uses: minimize
  - uses: package
    with: { layouts: [bundle], level: 19 }
  - uses: verify
    with: { accel: auto, memory: 512M, timeout: 90s }
";

    #[test]
    fn a_good_file_is_read() {
        let file = PipelineFile::parse(Path::new("pipelines/release.yaml"), GOOD).unwrap();
        assert_eq!(file.name, "release");
        assert_eq!(file.kernels[0].with.to_json().to_string(), r#"{"suites":["bookworm"],"newest":1}"#);
        assert_eq!(file.kernels[1].when, Condition::Profile("full".into()));
        assert_eq!(file.sources(&[]).count(), 1);
        assert_eq!(file.sources(&["full".into()]).count(), 2);
        assert_eq!(file.programs[0].glob, "pipelines/programs/*.bpf.c");
        assert!(file.steps.verify.is_some());
    }

    #[test]
    fn the_root_holds_pipelines() {
        let check = |path: &str, root: &str| {
            let file = PipelineFile::parse(Path::new(path), GOOD).unwrap();
            assert_eq!(file.root(), Path::new(root), "{path}");
        };
        check("pipelines/release.yaml", ".");
        check("/src/x/pipelines/release.yaml", "/src/x");
        check("other/release.yaml", "other");
        check("release.yaml", ".");
    }

    /// GOOD with `old` replaced by `new` must give a message that begins with and contains these.
    #[track_caller]
    fn wrong(old: &str, new: &str, begins: &str, contains: &str) {
        assert!(GOOD.contains(old), "{old:?} isn't in the good file");
        let text = GOOD.replacen(old, new, 1);
        let error = PipelineFile::parse(Path::new("p.yaml"), &text)
            .expect_err("the file should be refused")
            .to_string();
        assert!(error.starts_with(begins), "{error}\nshould begin with\n{begins}");
        assert!(error.contains(contains), "{error}\nshould contain\n{contains}");
    }

    #[test]
    fn unknown_and_misspelt_keys() {
        wrong("name:", "nmae:", "p.yaml:2:1: unknown key `nmae` in a pipeline", "did you mean `name`?");
        wrong(
            "kernels:",
            "kernel:",
            "p.yaml:3:1: unknown key `kernel` in a pipeline",
            "did you mean `kernels`?",
        );
        wrong(
            "  - uses: debian",
            "  - use: debian",
            "p.yaml:4:5: unknown key `use` in a kernel source",
            "`uses`?",
        );
        wrong(
            "level: 19",
            "levl: 19",
            "p.yaml:14:32: unknown key `levl` in `package`",
            "did you mean `level`?",
        );
        wrong(
            "steps:",
            "colour: red\nsteps:",
            "p.yaml:10:1: unknown key `colour`",
            "known here: version, name, kernels",
        );
        wrong(
            "  - uses: record",
            "  - uses: recrod",
            "p.yaml:11:11: unknown step `recrod`",
            "did you mean `record`?",
        );
    }

    #[test]
    fn missing_keys_and_empty_lists() {
        wrong("version: 1\n", "", "p.yaml:1:1: a pipeline has no `version`", "");
        wrong("  - uses: debian\n    with", "  - with", "p.yaml:4:5: a kernel source has no `uses`", "");
        wrong(
            "programs:\n  - pipelines/programs/*.bpf.c",
            "programs: []",
            "p.yaml:8:11: `programs` is empty",
            "",
        );
        wrong(GOOD, "# nothing\n", "p.yaml:1:1: the file is empty", "a pipeline begins with `version: 1`");
        wrong(GOOD, "- a\n", "p.yaml:1:1: a pipeline must be a mapping, not a list", "");
    }

    #[test]
    fn wrong_types_and_values() {
        wrong(
            "version: 1",
            "version: 2",
            "p.yaml:1:10: version 2 of the pipeline format is not known",
            "version 1",
        );
        wrong("version: 1", "version: one", "p.yaml:1:10: `version` must be 1, not `one`", "");
        wrong("name: release", "name: 12", "p.yaml:2:7: `name` must be text, not 12", "quote it");
        wrong("name: release", "name: ../x", "p.yaml:2:7: `../x` can't name a package", "letters");
        wrong(
            "uses: debian",
            "uses: ../debian",
            "p.yaml:4:11: `../debian` can't be a plugin's name",
            "plugins/",
        );
        wrong("when: ${profile.full}", "when: ${env.HOME}", "p.yaml:7:11: `when` must be true, false or", "");
        wrong(
            "  - pipelines/programs/*.bpf.c",
            "  pipelines/*.c",
            "p.yaml:9:3: `programs` must be a list, not `pip",
            "",
        );
        wrong(
            "with: { suites: [bookworm], newest: 1 }",
            "with: [x]",
            "p.yaml:5:11: `with` must be a mapping",
            "",
        );
        wrong(
            "suites: [bookworm]",
            "suites: [\"${x}\"]",
            "p.yaml:5:22: `${x}`: nothing is interpolated here",
            "",
        );
        wrong("pipelines/programs/*.bpf.c", "\"\"", "p.yaml:9:5: ``: the path is empty", "");
    }

    #[test]
    fn wrong_steps() {
        wrong(
            "level: 19",
            "level: 23",
            "p.yaml:14:39: `level` must be a whole number from 1 to 22, not 23",
            "",
        );
        wrong(
            "layouts: [bundle]",
            "layouts: [btfhub]",
            "p.yaml:14:23: unknown layout `btfhub`",
            "known here: bundle",
        );
        wrong(
            "accel: auto",
            "accel: fast",
            "p.yaml:16:20: unknown accelerator `fast`",
            "known here: auto, kvm, tcg",
        );
        wrong(
            "memory: 512M",
            "memory: lots",
            "p.yaml:16:34: `memory` must be a size such as 512M, not `lots`",
            "",
        );
        wrong(
            "timeout: 90s",
            "timeout: 90",
            "p.yaml:16:49: `timeout` must be a time such as 90s or 2m, not 90",
            "",
        );
        wrong("  - uses: minimize\n", "", "p.yaml:12:11: `package` needs a `minimize` step before it", "");
        wrong("  - uses: minimize", "  - uses: record", "p.yaml:12:11: `record` is there twice", "");
        wrong(
            "  - uses: record\n  - uses: minimize",
            "  - uses: minimize\n  - uses: record",
            "p.yaml:11:11: `minimize`",
            "",
        );
    }

    #[test]
    fn what_is_not_yaml() {
        wrong("name: release", "name: a\nname: b", "p.yaml:3:1: duplicate mapping key", "name");
        wrong("suites: [bookworm]", "suites: [bookworm", "p.yaml:", "");
        wrong("name: release", "name: *nowhere", "p.yaml:2:7: ", "");
        wrong("version: 1\n", "version: 1\n---\n", "p.yaml:", "");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let text = GOOD.replace("version: 1", "version: 3").replace("accel: auto", "acel: auto");
        let error = PipelineFile::parse(Path::new("p.yaml"), &text).unwrap_err();
        assert_eq!(error.problems.len(), 2, "{error}");
    }
}

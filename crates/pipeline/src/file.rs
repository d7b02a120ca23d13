//! The pipeline file: what a vendor declares, read strictly.

mod builders;
mod given;
pub mod glob;
mod include;
mod inputs;
mod packages;
mod part;
mod profiles;
mod scope;
pub mod selection;
pub mod steps;
pub mod version_aliases;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use builders::ProgramBuilder;
pub use given::{Environment, Given};
pub use include::SHIPPED;
pub use inputs::{Input, Inputs, Kind};
pub use packages::Package;
pub use part::DEFAULT_SET;
pub(crate) use part::decode_with;
pub use profiles::Profile;

use crate::file::steps::Steps;
use crate::yaml::problem::{self, At, Invalid, Problem, Problems, Text, Texts};
use crate::yaml::{self, Fields, Node, Value, shortened};
use part::Part;
use scope::{ProfileScope, Scope};

/// The version of the file's format that this program reads.
pub const VERSION: i64 = 1;

/// A pipeline as declared. No plugin, program or kernel has been looked up yet.
#[derive(Debug, Clone)]
pub struct PipelineFile {
    /// The file as it was named.
    pub path: PathBuf,
    /// Its text and those of its fragments, for messages that come up later.
    pub texts: Texts,
    /// Names the packages: `dist/NAME-ARCH.tar.zst`.
    pub name: String,
    /// What can be given with `--set`.
    pub inputs: Inputs,
    /// All profiles: declared, or named by a `when:`.
    pub profiles: BTreeSet<String>,
    /// The variables of the environment that it names.
    pub variables: BTreeSet<String>,
    /// Where the kernels come from, at least one.
    pub kernels: Vec<KernelSource>,
    /// Which programs; at least one, or a builder.
    pub programs: Vec<ProgramPattern>,
    /// Programs that plugins make.
    pub builders: Vec<ProgramBuilder>,
    /// Which packages, at least one.
    pub packages: Vec<Package>,
    /// What to do with them.
    pub steps: Steps,
}

/// One entry under `kernels:`.
#[derive(Debug, Clone)]
pub struct KernelSource {
    /// Where the entry stands.
    pub at: At,
    /// Where the plugin's name stands.
    pub uses_at: At,
    /// The plugin's name.
    pub uses: String,
    /// What the plugin is told; a mapping.
    pub with: Node,
    /// Whether the entry counts.
    pub when: bool,
}

/// One path under `programs:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramPattern {
    /// Where the path stands.
    pub at: At,
    /// The set that it belongs to.
    pub set: String,
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
    pub fn read(path: &Path, given: &Given) -> Result<Self, FileError> {
        match read_text(path) {
            Ok(text) => Ok(Self::parse(path, &text, given)?),
            Err(Unread::Failed(error)) => Err(FileError::Read { path: path.to_owned(), error }),
            Err(Unread::NotUtf8(text, problem)) => {
                let texts = vec![Text { name: path.display().to_string(), text, included: None }];
                Err(Invalid { texts, problems: vec![problem] }.into())
            }
        }
    }

    /// Checks a text. All problems are found in one go.
    pub fn parse(path: &Path, text: &str, given: &Given) -> Result<Self, Invalid> {
        let texts = vec![Text { name: path.display().to_string(), text: text.to_owned(), included: None }];
        let mut reader = Reader { path, given, texts, problems: Problems::default(), incomplete: false };
        let node = yaml::parse(text, 0, &mut reader.problems);
        let file = node.and_then(|node| reader.pipeline(&node));
        let Reader { texts, problems, .. } = reader;
        problems.into_result(&texts)?;
        // Whoever gives nothing has said why.
        let file = file.ok_or_else(|| Invalid { texts: texts.clone(), problems: Vec::new() })?;
        Ok(PipelineFile { texts, ..file })
    }

    /// An error at a place of this file, for what only shows later, e.g. in a plugin's answer.
    pub fn invalid(&self, problem: Problem) -> Invalid {
        Invalid { texts: self.texts.clone(), problems: vec![problem] }
    }

    /// A place in this file or its fragments, for messages.
    pub fn place(&self, at: At) -> String {
        problem::place(&self.texts, at)
    }

    /// The folder that holds `pipelines/`, else the file's own: programs, lock and `dist/` are looked for there.
    pub fn root(&self) -> PathBuf {
        root_of(&self.path)
    }

    /// The plugins that make programs or do steps.
    pub fn step_plugins(&self) -> impl Iterator<Item = &str> {
        let builders = self.builders.iter().filter(|entry| entry.when).map(|entry| entry.uses.as_str());
        builders.chain(self.steps.plugins.iter().map(|entry| entry.uses.as_str()))
    }

    /// The entries under `kernels:` that count.
    pub fn sources(&self) -> impl Iterator<Item = &KernelSource> {
        self.kernels.iter().filter(|source| source.when)
    }
}

/// The folder that holds `pipelines/`, for a pipeline file of this path.
pub fn root_of(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap_or(Path::new(""));
    let root = match folder.file_name() {
        Some(name) if name == "pipelines" => folder.parent().unwrap_or(Path::new("")),
        _ if folder.as_os_str().is_empty() && in_pipelines_folder() => Path::new(".."),
        _ => folder,
    };
    if root.as_os_str().is_empty() { PathBuf::from(".") } else { root.to_owned() }
}

/// `cd pipelines && btfpipe run release.yaml`.
fn in_pipelines_folder() -> bool {
    std::env::current_dir().is_ok_and(|folder| folder.file_name().is_some_and(|name| name == "pipelines"))
}

/// Why there is no text.
enum Unread {
    Failed(std::io::Error),
    /// The text with replacement characters, and what is wrong.
    NotUtf8(String, Problem),
}

fn read_text(path: &Path) -> Result<String, Unread> {
    use std::io::Read;
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(yaml::LARGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > yaml::LARGEST {
            return Err(std::io::Error::other("larger than 1 MiB, which no pipeline file is"));
        }
        Ok(bytes)
    };
    let bytes = read().map_err(Unread::Failed)?;
    yaml::decode(bytes).map_err(|(text, problem)| Unread::NotUtf8(text, problem))
}

/// A file being read, with its fragments.
struct Reader<'a> {
    path: &'a Path,
    given: &'a Given,
    texts: Texts,
    problems: Problems,
    /// A fragment could not be read: what is missing may be there.
    incomplete: bool,
}

impl Reader<'_> {
    fn pipeline(&mut self, node: &Node) -> Option<PipelineFile> {
        if matches!(node.value, Value::Null) {
            let problem = Problem::new(At::START, "the file is empty");
            self.problems.add(problem.help("a pipeline begins with `version: 1`"));
            return None;
        }
        let mut fields = node.fields("a pipeline", &mut self.problems)?;
        decode_version(&mut fields, &mut self.problems);
        let name = fields.required("name", &mut self.problems);
        let inputs = inputs::decode(&mut fields, &mut self.problems);
        let profiles = profiles::decode(&mut fields, &mut self.problems);
        let variables = decode_variables(&mut fields, &mut self.problems);
        let mut scope = Scope {
            inputs: self.values(&inputs, profiles.as_ref()),
            profiles: Some(ProfileScope {
                declared: profiles.as_ref().map(|profiles| profiles.keys().cloned().collect()),
                named: BTreeSet::new(),
                on: self.given.profiles.iter().cloned().collect(),
            }),
            variables,
            named: BTreeSet::new(),
            environment: &self.given.environment,
        };
        let name = name.map(|name| scope.resolve(name, &mut self.problems));
        let name = name.and_then(|name| decode_name(&name, &mut self.problems));
        let mut part = Part::default();
        if let Some(node) = fields.optional("include") {
            part = self.includes(node, &mut scope);
        }
        part.add(Part::decode(&mut fields, &mut scope, &mut self.problems), &mut self.problems);
        let packages = packages::decode(
            &mut fields,
            name.as_deref().unwrap_or_default(),
            &part.sets(),
            &mut scope,
            &mut self.problems,
        );
        self.refuse_missing(&fields, &part);
        for key in ["version", "inputs", "profiles", "env"] {
            if let Some(node) = fields.peek(key) {
                scope::refuse(node, &mut self.problems);
            }
        }
        fields.finish(&mut self.problems);
        let variables = scope.named;
        let profiles = self.known_profiles(scope.profiles.unwrap_or_default());
        let (_, steps) = part.steps?;
        let Part { kernels, programs, builders, .. } = part;
        let (path, texts) = (self.path.to_owned(), Texts::new());
        let name = name?;
        Some(PipelineFile {
            path,
            texts,
            name,
            inputs,
            profiles,
            variables,
            kernels,
            programs,
            builders,
            packages,
            steps,
        })
    }

    /// The inputs' values: defaults, then what profiles set, then `--set`.
    fn values(
        &mut self,
        inputs: &Inputs,
        profiles: Option<&BTreeMap<String, Profile>>,
    ) -> BTreeMap<String, Option<Node>> {
        let mut values = BTreeMap::new();
        for (profile, declared) in profiles.into_iter().flatten() {
            // Those that are off are checked, too.
            let mut set = BTreeMap::new();
            for (key, node) in &declared.set {
                let origin: Arc<str> = Arc::from(format!("--profile {profile}, line {}", node.at.line));
                let check = |input: &Input, problems: &mut Problems| {
                    input.check(&key.text, node, problems).map(|node| Node { origin: Some(origin), ..node })
                };
                inputs::give(inputs, &mut set, (&key.text, key.at), check, &mut self.problems);
            }
            if self.given.profiles.contains(profile) {
                values.extend(set);
            }
        }
        let given = self.given;
        for word in &given.set {
            let at = given::argument(&mut self.texts, "--set", word);
            let Some((name, value)) = word.split_once('=') else {
                let problem = Problem::new(at, "not NAME=VALUE");
                self.problems.add(problem.help("write --set NAME=VALUE"));
                continue;
            };
            let parse = |input: &Input, problems: &mut Problems| {
                let value = input.parse(name, value, at, problems)?;
                Some(Node { origin: Some(Arc::from(format!("--set {}", shortened(word)))), ..value })
            };
            inputs::give(inputs, &mut values, (name, at), parse, &mut self.problems);
        }
        let missing = |name: &str, input: &Input| {
            Problem::new(input.at, format!("the input `{name}` has no value"))
                .help(format!("give it on the command line: --set {name}=…, or declare a default"))
        };
        inputs::complete(inputs, values, missing, &mut self.problems)
    }

    /// A pipeline has these, from wherever.
    fn refuse_missing(&mut self, fields: &Fields<'_>, part: &Part) {
        let there = [
            ("kernels", !part.kernels.is_empty()),
            ("programs", part.has_programs()),
            ("steps", part.steps.is_some()),
        ];
        for (key, there) in there {
            if !there && !self.incomplete && fields.peek(key).is_none() {
                fields.missing(key, &mut self.problems);
            }
        }
    }

    /// Those under `profiles:`, or else those that are asked for; whoever turns on another one made a slip.
    fn known_profiles(&mut self, scope: ProfileScope) -> BTreeSet<String> {
        let known = scope.declared.unwrap_or(scope.named);
        for profile in &self.given.profiles {
            if !known.contains(profile) && !self.incomplete {
                let at = given::argument(&mut self.texts, "--profile", profile);
                let problem = Problem::new(at, "there is no such profile");
                let problem = problem.did_you_mean(profile, known.iter().map(String::as_str));
                self.problems.add(if known.is_empty() {
                    problem.help("the pipeline has no profiles")
                } else {
                    problem
                });
            }
        }
        known
    }
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
fn decode_name(node: &Node, problems: &mut Problems) -> Option<String> {
    let name = node.text("`name`", problems)?;
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && name.len() <= 64 && name.chars().all(good) && !name.starts_with(['.', '-']) {
        return Some(name.to_owned());
    }
    problems.add(node.problem(format!("`{}` can't name a package", shortened(name))).help(
        "a name has up to 64 letters, digits, `-`, `_` or `.`, and begins with a letter, digit or `_`",
    ));
    None
}

/// Reads `env:`, the variables that `${env.NAME}` may name.
fn decode_variables(fields: &mut Fields, problems: &mut Problems) -> BTreeSet<String> {
    let Some(nodes) = fields.optional("env").and_then(|node| node.list("`env`", problems)) else {
        return BTreeSet::new();
    };
    let mut variables = BTreeSet::new();
    for node in nodes {
        let Some(name) = node.text("a variable", problems) else {
            continue;
        };
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.contains("${") {
            continue; // Told by whoever refuses `${…}` here.
        }
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(good) {
            let problem = node.problem(format!("`{}` can't name a variable", shortened(name)));
            problems.add(
                problem.help("list names only, such as CI_COMMIT_TAG; the value comes from the environment"),
            );
        }
        variables.insert(name.to_owned());
    }
    variables
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
        let file = PipelineFile::parse(Path::new("pipelines/release.yaml"), GOOD, &Given::default()).unwrap();
        assert_eq!(file.name, "release");
        assert_eq!(file.kernels[0].with.to_json().to_string(), r#"{"suites":["bookworm"],"newest":1}"#);
        assert_eq!(file.sources().count(), 1);
        let full = Given { profiles: vec!["full".into()], ..Given::default() };
        let file = PipelineFile::parse(Path::new("pipelines/release.yaml"), GOOD, &full).unwrap();
        assert_eq!(file.sources().count(), 2);
        assert_eq!(file.programs[0].glob, "pipelines/programs/*.bpf.c");
        assert!(file.steps.verify.is_some());
    }

    #[test]
    fn the_root_holds_pipelines() {
        let check = |path: &str, root: &str| {
            let file = PipelineFile::parse(Path::new(path), GOOD, &Given::default()).unwrap();
            assert_eq!(file.root(), Path::new(root), "{path}");
        };
        check("pipelines/release.yaml", ".");
        check("/src/x/pipelines/release.yaml", "/src/x");
        check("other/release.yaml", "other");
        check("release.yaml", ".");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let text = GOOD.replace("version: 1", "version: 3").replace("accel: auto", "acel: auto");
        let error = PipelineFile::parse(Path::new("p.yaml"), &text, &Given::default()).unwrap_err();
        assert_eq!(error.problems.len(), 2, "{error}");
    }
}

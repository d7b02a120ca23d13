//! What a pipeline file and its fragments have in common: kernels, programs and steps.

use std::collections::BTreeMap;

use super::scope::Scope;
use super::{KernelSource, ProgramBuilder, ProgramPattern, builders};
use crate::file::steps::Steps;
use crate::yaml::problem::{At, Problem, Problems};
use crate::yaml::{Fields, Node, Value, shortened};

/// The set of programs that a plain list is.
pub const DEFAULT_SET: &str = "default";

/// The parts that add up.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub kernels: Vec<KernelSource>,
    pub programs: Vec<ProgramPattern>,
    pub builders: Vec<ProgramBuilder>,
    /// With their place.
    pub steps: Option<(At, Steps)>,
}

impl Part {
    /// Reads what is there of `kernels`, `programs` and `steps`.
    pub fn decode(fields: &mut Fields, scope: &mut Scope<'_>, problems: &mut Problems) -> Part {
        let mut part = Part::default();
        let mut resolved = |key, problems: &mut Problems| -> Option<Node> {
            fields.optional(key).map(|node| scope.resolve(node, problems))
        };
        if let Some(node) = resolved("kernels", problems) {
            part.kernels = decode_list(&node, "kernels", problems, decode_source);
        }
        if let Some(node) = resolved("programs", problems) {
            decode_programs(&node, &mut part, problems);
        }
        if let Some(node) = resolved("steps", problems) {
            part.steps = Steps::decode(&node, problems).map(|steps| (node.at, steps));
        }
        part
    }

    /// Puts another part behind this one; only one may have steps.
    pub fn add(&mut self, other: Part, problems: &mut Problems) {
        self.kernels.extend(other.kernels);
        self.programs.extend(other.programs);
        self.builders.extend(other.builders);
        match (&self.steps, other.steps) {
            (Some(_), Some((at, _))) => {
                let problem = Problem::new(at, "`steps` are there already, from a fragment");
                problems.add(problem.help("steps don't add up: keep them in one place"));
            }
            (None, Some(steps)) => self.steps = Some(steps),
            (_, None) => {}
        }
    }
}

/// A list that must hold something.
pub(super) fn decode_list<T>(
    node: &Node,
    key: &str,
    problems: &mut Problems,
    decode: impl Fn(&Node, &mut Problems) -> Option<T>,
) -> Vec<T> {
    let Some(nodes) = node.list(&format!("`{key}`"), problems) else {
        return Vec::new();
    };
    if nodes.is_empty() {
        problems.add(node.problem(format!("`{key}` is empty")));
    }
    nodes.iter().filter_map(|node| decode(node, problems)).collect()
}

fn decode_source(node: &Node, problems: &mut Problems) -> Option<KernelSource> {
    let mut fields = node.fields("a kernel source", problems)?;
    let (uses_at, uses, with) = decode_plugin(node, &mut fields, problems);
    let when = decode_when(&mut fields, problems);
    fields.finish(problems);
    Some(KernelSource { at: node.at, uses_at, uses: uses?, with, when })
}

/// A plugin and what it is told: where its name stands, its name unless that is none, and `with`.
pub(super) fn decode_plugin(
    node: &Node,
    fields: &mut Fields,
    problems: &mut Problems,
) -> (At, Option<String>, Node) {
    let uses = fields.required("uses", problems);
    let uses_at = uses.map_or(node.at, |uses| uses.at);
    let uses = uses.and_then(|uses| decode_plugin_name(uses, problems));
    (uses_at, uses, decode_with(node, fields, problems))
}

/// What a plugin is told; nothing if left out.
pub(crate) fn decode_with(node: &Node, fields: &mut Fields, problems: &mut Problems) -> Node {
    let with = fields.optional("with").cloned().unwrap_or(Node::empty(node.at));
    if !matches!(with.value, Value::Map(_)) {
        problems.add(with.wrong("`with`", "a mapping"));
    }
    with
}

/// A plugin's name is a folder's name: no way out of `plugins/`.
fn decode_plugin_name(node: &Node, problems: &mut Problems) -> Option<String> {
    let name = node.text("`uses`", problems)?;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(good) {
        return Some(name.to_owned());
    }
    problems.add(
        node.problem(format!("`{}` can't be a plugin's name", shortened(name)))
            .help("a plugin is named by its folder under plugins/: small letters, digits, `-` and `_`"),
    );
    None
}

/// `when:`, true if it isn't there.
pub(super) fn decode_when(fields: &mut Fields, problems: &mut Problems) -> bool {
    let Some(node) = fields.optional("when") else {
        return true;
    };
    match node.value {
        Value::Boolean(value) => value,
        _ => {
            let problem = node.wrong("`when`", "true or false");
            problems
                .add(problem.help("it is for ${profile.NAME}, or ${input.NAME} of an input `type: boolean`"));
            true
        }
    }
}

/// A list of paths and builders, or sets of them by name.
fn decode_programs(node: &Node, part: &mut Part, problems: &mut Problems) {
    let Value::Map(sets) = &node.value else {
        if !matches!(node.value, Value::List(_)) {
            return problems
                .add(node.wrong("`programs`", "a list of paths, or a mapping of such lists by name"));
        }
        return decode_set(node, "programs", DEFAULT_SET, part, problems);
    };
    if sets.is_empty() {
        problems.add(node.problem("`programs` is empty"));
    }
    for (key, node) in sets {
        if !super::inputs::is_name(&key.text) {
            let problem =
                Problem::new(key.at, format!("`{}` can't name a set of programs", shortened(&key.text)));
            problems
                .add(problem.help("a name has small letters, digits, `-` and `_`, and begins with a letter"));
        }
        decode_set(node, &shortened(&key.text), &key.text, part, problems);
    }
}

fn decode_set(node: &Node, key: &str, set: &str, part: &mut Part, problems: &mut Problems) {
    enum Entry {
        Path(ProgramPattern),
        Builder(ProgramBuilder),
    }
    let decode = |node: &Node, problems: &mut Problems| match &node.value {
        Value::Map(_) => builders::decode(node, set, problems).map(Entry::Builder),
        _ => decode_program(node, set, problems).map(Entry::Path),
    };
    for entry in decode_list(node, key, problems, decode) {
        match entry {
            Entry::Path(pattern) => part.programs.push(pattern),
            Entry::Builder(builder) => part.builders.push(builder),
        }
    }
}

fn decode_program(node: &Node, set: &str, problems: &mut Problems) -> Option<ProgramPattern> {
    let glob = decode_glob(node, problems)?.to_owned();
    Some(ProgramPattern { at: node.at, set: set.to_owned(), glob })
}

/// A path that may have `*` in it.
pub(super) fn decode_glob<'a>(node: &'a Node, problems: &mut Problems) -> Option<&'a str> {
    let glob = node.text("a program", problems)?;
    match crate::file::glob::Glob::new(glob) {
        Ok(_) => Some(glob),
        Err(reason) => {
            problems.add(node.problem(format!("`{}`: {reason}", shortened(glob))));
            None
        }
    }
}

impl Part {
    /// Whether there is any program.
    pub fn has_programs(&self) -> bool {
        !self.programs.is_empty() || !self.builders.is_empty()
    }

    /// The sets of programs, with where each begins.
    pub fn sets(&self) -> BTreeMap<&str, At> {
        let mut sets = BTreeMap::new();
        let paths = self.programs.iter().map(|pattern| (pattern.set.as_str(), pattern.at));
        let built = self.builders.iter().map(|builder| (builder.set.as_str(), builder.at));
        for (set, at) in paths.chain(built) {
            let first = sets.entry(set).or_insert(at);
            *first = at.min(*first);
        }
        sets
    }
}

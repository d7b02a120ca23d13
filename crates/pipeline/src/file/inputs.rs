//! Declared inputs: their types, their values, and who may give them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::yaml::problem::{At, Problem, Problems};
use crate::yaml::{Fields, Node, Value, shortened};

/// An input as declared.
#[derive(Debug, Clone)]
pub struct Input {
    /// Where.
    pub at: At,
    /// What its value must be.
    pub kind: Kind,
    /// The value when nobody gives one.
    pub default: Option<Node>,
    /// The only values, if they are limited.
    pub one_of: Option<Vec<String>>,
    /// What it is for.
    pub description: Option<String>,
    /// Its declaration is wrong, which was told: nothing more is said of it.
    pub(super) broken: bool,
}

/// What an input's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A list of texts.
    List,
}

/// The words for [`Kind`] in a file.
const KINDS: [(&str, Kind); 4] =
    [("text", Kind::Text), ("integer", Kind::Integer), ("boolean", Kind::Boolean), ("list", Kind::List)];

/// All inputs by name.
pub type Inputs = BTreeMap<String, Input>;

/// Reads `inputs:`.
pub(super) fn decode(fields: &mut Fields, problems: &mut Problems) -> Inputs {
    let mut inputs = Inputs::new();
    for (key, node) in fields.optional("inputs").map_or(&[][..], |node| node.entries("`inputs`", problems)) {
        let broken = Input {
            at: key.at,
            kind: Kind::Text,
            default: None,
            one_of: None,
            description: None,
            broken: true,
        };
        if !is_name(&key.text) {
            let problem = Problem::new(key.at, format!("`{}` can't name an input", shortened(&key.text)));
            problems
                .add(problem.help("a name has small letters, digits, `-` and `_`, and begins with a letter"));
            inputs.insert(key.text.to_lowercase(), broken.clone());
        }
        let input = decode_one(&key.text, key.at, node, problems).unwrap_or(broken);
        inputs.insert(key.text.clone(), input);
    }
    inputs
}

pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 64
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
}

/// `NAME: DEFAULT`, or a mapping that says more.
fn decode_one(name: &str, at: At, node: &Node, problems: &mut Problems) -> Option<Input> {
    let what = format!("the input `{name}`");
    if !matches!(node.value, Value::Map(_)) {
        let Some(kind) = kind_of(&node.value) else {
            problems
                .add(node.wrong(&what, "a default value, or a mapping with type:, default:, description:"));
            return None;
        };
        let input = Input { at, kind, default: None, one_of: None, description: None, broken: false };
        return Some(Input { default: Some(input.check(name, node, problems)?), ..input });
    }
    let mut fields = node.fields(&what, problems)?;
    let default = fields.optional("default");
    let kind = fields.optional("type").map(|node| decode_kind(node, problems));
    let one_of = fields.optional("one_of").and_then(|node| decode_one_of(node, problems));
    let description = fields.optional("description").and_then(|node| node.text("`description`", problems));
    fields.finish(problems);
    let kind = match kind {
        Some(kind) => kind?,
        None => default.and_then(|node| kind_of(&node.value)).unwrap_or(Kind::Text),
    };
    let description = description.map(str::to_owned);
    let input = Input { at, kind, default: None, one_of, description, broken: false };
    let default = match default {
        Some(node) => Some(input.check(name, node, problems)?),
        None => None,
    };
    Some(Input { default, ..input })
}

fn decode_kind(node: &Node, problems: &mut Problems) -> Option<Kind> {
    let word = node.text("`type`", problems)?;
    let kind = KINDS.iter().find(|(known, _)| *known == word).map(|(_, kind)| *kind);
    if kind.is_none() {
        let problem = Problem::new(node.at, format!("unknown type `{}`", shortened(word)));
        problems.add(problem.did_you_mean(word, KINDS.iter().map(|(known, _)| *known)));
    }
    kind
}

fn decode_one_of(node: &Node, problems: &mut Problems) -> Option<Vec<String>> {
    let nodes = node.list("`one_of`", problems)?;
    if nodes.is_empty() {
        problems.add(Problem::new(node.at, "`one_of` is empty, so no value is allowed"));
        return None;
    }
    nodes
        .iter()
        .map(|node| {
            let scalar = node.scalar();
            if scalar.is_none() {
                problems.add(node.wrong("a value of `one_of`", "text or a number"));
            }
            scalar
        })
        .collect()
}

fn kind_of(value: &Value) -> Option<Kind> {
    match value {
        Value::Text(_) => Some(Kind::Text),
        Value::Integer(_) => Some(Kind::Integer),
        Value::Boolean(_) => Some(Kind::Boolean),
        Value::List(_) => Some(Kind::List),
        Value::Null | Value::Float(_) | Value::Map(_) => None,
    }
}

impl Kind {
    /// What a value of it is, for messages.
    pub fn words(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Integer => "a whole number",
            Kind::Boolean => "true or false",
            Kind::List => "a list of texts",
        }
    }

    /// The value that a word of the command line stands for.
    fn parse(self, word: &str, at: At) -> Option<Value> {
        match self {
            Kind::Text => Some(Value::Text(word.to_owned())),
            Kind::Integer => word.parse().ok().map(Value::Integer),
            Kind::Boolean => word.parse().ok().map(Value::Boolean),
            Kind::List => {
                let words = word.split(',').map(str::trim).filter(|word| !word.is_empty());
                Some(Value::List(words.map(|word| Node::new(at, Value::Text(word.to_owned()))).collect()))
            }
        }
    }
}

impl Input {
    /// The value, when it is one that this input takes.
    pub(super) fn check(&self, name: &str, node: &Node, problems: &mut Problems) -> Option<Node> {
        let what = format!("the input `{name}`");
        let is_text = |node: &Node| matches!(node.value, Value::Text(_));
        let fits = match (&node.value, self.kind) {
            (Value::List(nodes), Kind::List) => nodes.iter().all(is_text),
            (value, kind) => kind_of(value) == Some(kind),
        };
        if !fits {
            problems.add(node.wrong(&what, self.kind.words()));
            return None;
        }
        let words: Vec<(&Node, String)> = match &node.value {
            Value::List(nodes) => nodes.iter().filter_map(|node| Some((node, node.scalar()?))).collect(),
            _ => node.scalar().map(|word| (node, word)).into_iter().collect(),
        };
        for (node, word) in words {
            if let Some(one_of) = self.one_of.as_ref().filter(|one_of| !one_of.contains(&word)) {
                let problem = node.problem(format!("{what} can't be `{}`", shortened(&word)));
                problems.add(problem.did_you_mean(&word, one_of.iter().map(String::as_str)));
                return None;
            }
        }
        Some(node.clone())
    }

    /// The value of a word after `--set NAME=`.
    pub(super) fn parse(&self, name: &str, word: &str, at: At, problems: &mut Problems) -> Option<Node> {
        let Some(value) = self.kind.parse(word, at) else {
            let wanted = self.kind.words();
            problems.add(Problem::new(
                at,
                format!("the input `{name}` must be {wanted}, not `{}`", shortened(word)),
            ));
            return None;
        };
        self.check(name, &Node::new(at, value), problems)
    }
}

/// Gives a value to an input that must be declared.
pub(super) fn give(
    inputs: &Inputs,
    values: &mut BTreeMap<String, Node>,
    (name, at): (&str, At),
    value: impl FnOnce(&Input, &mut Problems) -> Option<Node>,
    problems: &mut Problems,
) {
    match inputs.get(name) {
        Some(input) if input.broken => {}
        Some(input) => {
            if let Some(value) = value(input, problems) {
                values.insert(name.to_owned(), value);
            }
        }
        None => {
            let problem = Problem::new(at, format!("there is no input `{}`", shortened(name)));
            let problem = problem.did_you_mean(name, inputs.keys().map(String::as_str));
            problems.add(match inputs.is_empty() {
                true => problem.help("inputs are declared under `inputs:`"),
                false => problem,
            });
        }
    }
}

/// Every input's value: what was given, else the default; None for those that have no value, which is told.
pub(super) fn complete(
    inputs: &Inputs,
    mut values: BTreeMap<String, Node>,
    missing: impl Fn(&str, &Input) -> Problem,
    problems: &mut Problems,
) -> BTreeMap<String, Option<Node>> {
    let mut all = BTreeMap::new();
    for (name, input) in inputs {
        let value = values.remove(name).or_else(|| {
            let default = input.default.clone()?;
            let origin = format!("its default in line {}", default.at.line);
            Some(Node { origin: Some(Arc::from(origin)), ..default })
        });
        if value.is_none() && !input.broken {
            problems.add(missing(name, input));
        }
        all.insert(name.clone(), value);
    }
    all
}

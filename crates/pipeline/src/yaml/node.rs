//! A YAML value that knows where it stands, and what messages say of it.

use std::sync::Arc;

use super::Fields;
use crate::yaml::problem::{At, Problem, Problems};

/// A YAML value and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where the value begins.
    pub at: At,
    /// What it is.
    pub value: Value,
    /// Where the value comes from, if not from the place itself: "`--set level=3`".
    pub origin: Option<Arc<str>>,
}

/// What YAML can say, after aliases and merge keys are resolved.
#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// Text, quoted or not.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(Key, Node)>),
}

/// A mapping's key and where it stands.
#[derive(Debug, Clone)]
pub struct Key {
    /// Where the key begins.
    pub at: At,
    /// Its text.
    pub text: String,
}

impl Node {
    /// A value of the file itself.
    pub fn new(at: At, value: Value) -> Node {
        Node { at, value, origin: None }
    }

    /// A mapping without entries, for what isn't there.
    pub fn empty(at: At) -> Node {
        Node::new(at, Value::Map(Vec::new()))
    }

    /// What kind of value this is, in words for a message.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Boolean(_) => "true or false",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The text, or a problem that says what `what` must be.
    pub fn text<'a>(&'a self, what: &str, problems: &mut Problems) -> Option<&'a str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null
            | Value::Boolean(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::List(_)
            | Value::Map(_) => {
                problems.add(self.wrong(what, "text"));
                None
            }
        }
    }

    /// The whole number within `range`, or a problem.
    pub fn integer(
        &self,
        what: &str,
        range: std::ops::RangeInclusive<i64>,
        problems: &mut Problems,
    ) -> Option<i64> {
        match &self.value {
            Value::Integer(number) if range.contains(number) => Some(*number),
            _ => {
                let wanted = format!("a whole number from {} to {}", range.start(), range.end());
                problems.add(self.wrong(what, &wanted));
                None
            }
        }
    }

    /// The list's nodes, or a problem.
    pub fn list<'a>(&'a self, what: &str, problems: &mut Problems) -> Option<&'a [Node]> {
        match &self.value {
            Value::List(nodes) => Some(nodes),
            _ => {
                problems.add(self.wrong(what, "a list"));
                None
            }
        }
    }

    /// The mapping's entries, or a problem.
    pub fn entries<'a>(&'a self, what: &str, problems: &mut Problems) -> &'a [(Key, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => {
                problems.add(self.wrong(what, "a mapping"));
                &[]
            }
        }
    }

    /// The mapping's fields, or a problem.
    pub fn fields<'a>(&'a self, what: &'a str, problems: &mut Problems) -> Option<Fields<'a>> {
        match &self.value {
            Value::Map(entries) => {
                Some(Fields { what, at: self.at, entries, asked: Vec::new(), forbidden: Vec::new() })
            }
            _ => {
                let problem = self.wrong(what, "a mapping");
                problems.add(match (&self.value, what) {
                    (Value::Text(text), "a kernel source" | "a step" | "an include") => {
                        problem.help(format!("write `uses: {}`", shortened(text)))
                    }
                    _ => problem,
                });
                None
            }
        }
    }

    /// "`what` must be `wanted`, not …".
    pub fn wrong(&self, what: &str, wanted: &str) -> Problem {
        let problem = self.problem(format!("{what} must be {wanted}, not {}", self.shown()));
        match (&self.value, wanted) {
            (Value::Integer(_) | Value::Float(_) | Value::Boolean(_), "text") if self.origin.is_none() => {
                problem.help(format!("quote it to make it text: \"{}\"", self.scalar().unwrap_or_default()))
            }
            (Value::Text(text), "true or false") if matches!(text.as_str(), "yes" | "no" | "on" | "off") => {
                problem.help(format!("`{text}` is text in YAML 1.2"))
            }
            _ => problem,
        }
    }

    /// A problem with this value, and where the value comes from.
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        let problem = Problem::new(self.at, message);
        match &self.origin {
            Some(origin) => problem.help(format!("the value comes from {origin}")),
            None => problem,
        }
    }

    /// The text of a scalar, as it would be written.
    pub fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Boolean(value) => Some(value.to_string()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Float(number) => Some(format!("{number:?}")),
            Value::Text(text) => Some(text.clone()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    fn shown(&self) -> String {
        match &self.value {
            Value::Text(text) => format!("`{}`", shortened(text)),
            _ => self.scalar().unwrap_or_else(|| self.kind().to_owned()),
        }
    }

    /// The value as JSON, for plugins and keys.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Boolean(value) => (*value).into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Text(text) => text.as_str().into(),
            Value::List(nodes) => nodes.iter().map(Node::to_json).collect(),
            Value::Map(entries) => {
                let pairs = entries.iter().map(|(key, node)| (key.text.clone(), node.to_json()));
                serde_json::Value::Object(pairs.collect())
            }
        }
    }

    /// The value that a JSON pointer such as `/suites/0` leads to; the last that exists when it leads nowhere.
    pub fn at_pointer(&self, pointer: &str) -> &Node {
        let mut here = self;
        for part in pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            let next = match &here.value {
                Value::List(nodes) => part.parse::<usize>().ok().and_then(|index| nodes.get(index)),
                Value::Map(entries) => {
                    entries.iter().find_map(|(key, node)| (key.text == part).then_some(node))
                }
                Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => {
                    None
                }
            };
            match next {
                Some(node) => here = node,
                None => break,
            }
        }
        here
    }

    /// Where a JSON pointer leads.
    pub fn place(&self, pointer: &str) -> At {
        self.at_pointer(pointer).at
    }

    /// Where a key of this mapping stands; the mapping's own place without it.
    pub fn key_place(&self, wanted: &str) -> At {
        match &self.value {
            Value::Map(entries) => {
                entries.iter().find(|(key, _)| key.text == wanted).map_or(self.at, |(key, _)| key.at)
            }
            _ => self.at,
        }
    }

    /// Every text within, with its place.
    pub fn texts(&self) -> Vec<(At, &str)> {
        match &self.value {
            Value::Text(text) => vec![(self.at, text)],
            Value::List(nodes) => nodes.iter().flat_map(Node::texts).collect(),
            Value::Map(entries) => entries.iter().flat_map(|(_, node)| node.texts()).collect(),
            Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Float(_) => Vec::new(),
        }
    }
}

/// As much of a text as a message can take.
pub fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    let line: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() > MOST { format!("{line}…") } else { line }
}

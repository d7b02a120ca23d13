//! YAML as a tree whose every node knows where it stands: the base of messages that name line and column.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, MergeKeyPolicy, Spanned};

use crate::problem::{At, Problem, Problems};

/// A YAML value and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where the value begins.
    pub at: At,
    /// What it is.
    pub value: Value,
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

/// Reads one document. Duplicate keys, several documents and anything that blows up are refused.
pub fn parse(text: &str) -> Result<Node, Problem> {
    let options = serde_saphyr::options! {
        merge_keys: MergeKeyPolicy::Merge,
        with_snippet: false,
        strict_booleans: true,
        budget: serde_saphyr::budget! { max_nodes: 20_000, max_depth: 64, max_aliases: 1_000, max_documents: 1 },
    };
    serde_saphyr::from_str_with_options::<Node>(text, options).map_err(|error| {
        let at = error.location().map_or(At::START, at_of);
        Problem::new(at, message_of(&error))
    })
}

/// The first line of what the parser says, without the place, which [`Problem`] shows.
fn message_of(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let line = text.lines().next().unwrap_or("not YAML");
    let line = line.split(" at line ").next().unwrap_or(line);
    let line = line.strip_prefix("error: ").unwrap_or(line);
    match line.split_once(": line ") {
        Some((before, _)) => before.to_owned(),
        None => line.to_owned(),
    }
}

fn at_of(location: Location) -> At {
    let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).max(1);
    At { line: number(location.line()), column: number(location.column()) }
}

impl Node {
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

    /// The mapping's fields, or a problem.
    pub fn fields<'a>(&'a self, what: &'a str, problems: &mut Problems) -> Option<Fields<'a>> {
        match &self.value {
            Value::Map(entries) => Some(Fields { what, at: self.at, entries, asked: Vec::new() }),
            _ => {
                problems.add(self.wrong(what, "a mapping"));
                None
            }
        }
    }

    /// "`what` must be `wanted`, not …".
    pub fn wrong(&self, what: &str, wanted: &str) -> Problem {
        let problem = Problem::new(self.at, format!("{what} must be {wanted}, not {}", self.shown()));
        match (&self.value, wanted) {
            (Value::Integer(_) | Value::Float(_) | Value::Boolean(_), "text") => {
                problem.help("quote it to make it text")
            }
            _ => problem,
        }
    }

    fn shown(&self) -> String {
        match &self.value {
            Value::Boolean(value) => value.to_string(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Text(text) => format!("`{text}`"),
            Value::Null | Value::List(_) | Value::Map(_) => self.kind().to_owned(),
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

    /// Where a JSON pointer such as `/suites/0` leads; the last place that exists when it leads nowhere.
    pub fn place(&self, pointer: &str) -> At {
        let mut here = self;
        for part in pointer.split('/').skip(1) {
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
        here.at
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

/// A mapping read key by key: what was never asked for is unknown.
#[derive(Debug)]
pub struct Fields<'a> {
    what: &'a str,
    at: At,
    entries: &'a [(Key, Node)],
    asked: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The value of `key`, or a problem when it isn't there.
    pub fn required(&mut self, key: &'static str, problems: &mut Problems) -> Option<&'a Node> {
        let found = self.optional(key);
        if found.is_none() {
            // A misspelt key is told as that, not twice.
            if self.misspelt(key).is_none() {
                problems.add(Problem::new(self.at, format!("{} has no `{key}`", self.what)));
            }
        }
        found
    }

    /// The value of `key` if it is there.
    pub fn optional(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        self.entries.iter().find_map(|(name, node)| (name.text == key).then_some(node))
    }

    /// Reports every key that nobody asked for.
    pub fn finish(self, problems: &mut Problems) {
        for (key, _) in self.entries {
            if !self.asked.contains(&key.text.as_str()) {
                let problem = Problem::new(key.at, format!("unknown key `{}` in {}", key.text, self.what));
                problems.add(problem.did_you_mean(&key.text, self.asked.iter().copied()));
            }
        }
    }

    fn misspelt(&self, key: &str) -> Option<&'a Key> {
        self.entries.iter().map(|(name, _)| name).find(|name| crate::problem::is_close(&name.text, key))
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Node { at: at_of(spanned.referenced), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Float(number as f64), Value::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element::<Node>()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = pairs.next_key::<Spanned<String>>()? {
            let key = Key { at: at_of(key.referenced), text: key.value };
            entries.push((key, pairs.next_value::<Node>()?));
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, place: &str, line: u32, column: u32) {
        let node = parse(text).unwrap_or_else(|problem| panic!("{text:?}: {problem:?}"));
        assert_eq!(node.place(place), At { line, column }, "{text:?} {place}");
    }

    #[test]
    fn nodes_know_their_place() {
        check("a: 1\nb:\n  - x\n  - {y: z}\n", "", 1, 1);
        check("a: 1\nb:\n  - x\n  - {y: z}\n", "/a", 1, 4);
        check("a: 1\nb:\n  - x\n  - {y: z}\n", "/b/0", 3, 5);
        check("a: 1\nb:\n  - x\n  - {y: z}\n", "/b/1/y", 4, 9);
        check("a: 1\nb:\n  - x\n  - {y: z}\n", "/b/1/nothing/here", 4, 5);
        check("é: 1\nb: \"ü\"\n", "/b", 2, 4);
    }

    #[test]
    fn values_keep_their_type() {
        let node =
            parse("t: text\nq: \"12\"\ni: 12\nn: -3\nb: true\nz: ~\nno: no\nl: [1, a]\nf: 1.5\n").unwrap();
        let json = node.to_json().to_string();
        let wanted = r#"{"t":"text","q":"12","i":12,"n":-3,"b":true,"z":null,"no":"no","l":[1,"a"],"f":1.5}"#;
        assert_eq!(json, wanted);
    }

    #[test]
    fn merge_keys_and_aliases_are_resolved() {
        let node = parse("base: &b {x: 1}\nuse: {<<: *b, y: 2}\n").unwrap();
        assert_eq!(node.to_json()["use"].to_string(), r#"{"y":2,"x":1}"#);
    }

    #[test]
    fn what_blows_up_is_refused() {
        for text in ["a: 1\na: 2\n", "a: [1\n", "a:\n\t- b\n", "a: 1\n---\nb: 2\n", &"[".repeat(20_000), ""] {
            let start: String = text.chars().take(20).collect();
            let outcome = parse(text);
            assert!(
                matches!(&outcome, Err(_) | Ok(Node { value: Value::Null, .. })),
                "{start:?}: {outcome:?}"
            );
        }
    }
}

//! YAML as a tree whose every node knows where it stands: the base of messages that name line and column.

mod fields;
mod mistakes;
mod node;
pub mod problem;
mod reading;

use serde_saphyr::MergeKeyPolicy;
use serde_saphyr::options::DuplicateKeyPolicy;

pub use fields::Fields;
pub use node::{Key, Node, Value, shortened};

use crate::yaml::problem::{At, Problem, Problems};

/// Larger than any file that a person writes.
pub const LARGEST: u64 = 1 << 20;

/// Reads one document of the text with this number. Duplicate keys, several documents and anything that blows up are
/// refused.
pub fn parse(text: &str, number: u16, problems: &mut Problems) -> Option<Node> {
    let options = serde_saphyr::options! {
        merge_keys: MergeKeyPolicy::Merge,
        // All of them are told, each with the place of the first.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
        strict_booleans: true,
        reject_unsupported_tags: true,
        budget: serde_saphyr::budget! { max_nodes: 20_000, max_depth: 64, max_aliases: 1_000, max_documents: 1 },
    };
    match serde_saphyr::from_str_with_options::<Node>(text, options) {
        Ok(mut node) => {
            number_places(&mut node, number);
            refuse_duplicates(&node, problems);
            Some(node)
        }
        Err(error) => {
            problems.add(within(mistakes::explained(&error, text), number));
            None
        }
    }
}

/// The text of a file's bytes.
pub fn decode(bytes: Vec<u8>) -> Result<String, (String, Problem)> {
    String::from_utf8(bytes).map_err(|error| {
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        (text, mistakes::not_utf8(error.as_bytes(), error.utf8_error().valid_up_to()))
    })
}

fn within(problem: Problem, number: u16) -> Problem {
    Problem { at: At { text: number, ..problem.at }, ..problem }
}

fn number_places(node: &mut Node, number: u16) {
    node.at.text = number;
    match &mut node.value {
        Value::List(nodes) => nodes.iter_mut().for_each(|node| number_places(node, number)),
        Value::Map(entries) => {
            for (key, node) in entries {
                key.at.text = number;
                number_places(node, number);
            }
        }
        Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => {}
    }
}

fn refuse_duplicates(node: &Node, problems: &mut Problems) {
    match &node.value {
        Value::List(nodes) => nodes.iter().for_each(|node| refuse_duplicates(node, problems)),
        Value::Map(entries) => {
            let mut first: std::collections::BTreeMap<&str, At> = std::collections::BTreeMap::new();
            for (key, node) in entries {
                if let Some(first) = first.get(key.text.as_str()) {
                    let problem =
                        Problem::new(key.at, format!("the key `{}` is there twice", shortened(&key.text)));
                    problems.add(problem.help(format!("the first is in line {}", first.line)));
                } else {
                    first.insert(&key.text, key.at);
                }
                refuse_duplicates(node, problems);
            }
        }
        Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> Node {
        let mut problems = Problems::default();
        let node = parse(text, 0, &mut problems).filter(|_| problems.is_empty());
        node.unwrap_or_else(|| panic!("{text:?}: {problems:?}"))
    }

    fn check(text: &str, place: &str, line: u32, column: u32) {
        let node = good(text);
        assert_eq!(node.place(place), At::new(line, column), "{text:?} {place}");
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
        let node = good("t: text\nq: \"12\"\ni: 12\nn: -3\nb: true\nz: ~\nno: no\nl: [1, a]\nf: 1.5\n");
        let json = node.to_json().to_string();
        let wanted = r#"{"t":"text","q":"12","i":12,"n":-3,"b":true,"z":null,"no":"no","l":[1,"a"],"f":1.5}"#;
        assert_eq!(json, wanted);
    }

    #[test]
    fn merge_keys_and_aliases_are_resolved() {
        let node = good("base: &b {x: 1}\nuse: {<<: *b, y: 2}\n");
        assert_eq!(node.to_json()["use"].to_string(), r#"{"y":2,"x":1}"#);
    }

    #[test]
    fn what_blows_up_is_refused() {
        for text in ["a: 1\na: 2\n", "a: [1\n", "a:\n\t- b\n", "a: 1\n---\nb: 2\n", &"[".repeat(20_000), ""] {
            let start: String = text.chars().take(20).collect();
            let mut problems = Problems::default();
            let node = parse(text, 0, &mut problems);
            let empty = matches!(&node, Some(Node { value: Value::Null, .. }));
            assert!(empty || !problems.is_empty(), "{start:?}: {node:?}");
        }
    }
}

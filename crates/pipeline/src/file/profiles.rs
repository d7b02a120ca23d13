//! Declared profiles: what each is for, and which inputs it sets.

use std::collections::BTreeMap;

use super::inputs::is_name;
use crate::yaml::problem::{At, Problem, Problems};
use crate::yaml::{Fields, Key, Node, Value, shortened};

/// A profile as declared.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Where.
    pub at: At,
    /// What it is for.
    pub description: Option<String>,
    /// The inputs that it sets.
    pub(super) set: Vec<(Key, Node)>,
}

/// Reads `profiles:`; None when there is no such section.
pub(super) fn decode(fields: &mut Fields, problems: &mut Problems) -> Option<BTreeMap<String, Profile>> {
    let entries = fields.optional("profiles")?.entries("`profiles`", problems);
    let mut profiles = BTreeMap::new();
    for (key, node) in entries {
        if !is_name(&key.text) {
            let problem = Problem::new(key.at, format!("`{}` can't name a profile", shortened(&key.text)));
            problems
                .add(problem.help("a name has small letters, digits, `-` and `_`, and begins with a letter"));
        }
        if let Some(profile) = decode_one(key, node, problems) {
            profiles.insert(key.text.clone(), profile);
        }
    }
    Some(profiles)
}

/// Nothing, a description, or a mapping that says more.
fn decode_one(key: &Key, node: &Node, problems: &mut Problems) -> Option<Profile> {
    let at = key.at;
    match &node.value {
        Value::Null => return Some(Profile { at, description: None, set: Vec::new() }),
        Value::Text(text) => return Some(Profile { at, description: Some(text.clone()), set: Vec::new() }),
        Value::Map(_) => {}
        _ => {
            problems.add(node.wrong("a profile", "a description, or a mapping with description: and set:"));
            return None;
        }
    }
    let mut fields = node.fields("a profile", problems)?;
    let description = fields.optional("description").and_then(|node| node.text("`description`", problems));
    let set = fields.optional("set").map_or(&[][..], |node| node.entries("`set`", problems));
    fields.finish(problems);
    Some(Profile { at, description: description.map(str::to_owned), set: set.to_vec() })
}

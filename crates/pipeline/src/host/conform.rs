//! A plugin's configuration against the plugin's JSON Schema, told at the place in the pipeline file.
//!
//! Only keywords that say something about one value by itself are looked at: `type`, `enum`, `const`, `required`,
//! `properties`, `additionalProperties: false`, `items`, `uniqueItems`, and limits of numbers and lengths. What else a
//! schema says is for editors; the plugin itself has the last word.

use serde_json::Value as Json;

use crate::yaml::problem::{Problem, Problems};
use crate::yaml::{Node, Value, shortened};

/// Adds a problem for everything in `node` that the schema forbids; `plugin` is whose schema it is.
pub fn check(schema: &Json, node: &Node, plugin: &str, problems: &mut Problems) {
    let what = format!("`with` of {plugin}");
    check_value(schema, node, &what, problems);
}

fn check_value(schema: &Json, node: &Node, what: &str, problems: &mut Problems) {
    if let Some(wanted) = schema.get("type").and_then(wrong_type(node)) {
        return problems.add(node.wrong(what, &wanted));
    }
    if let Some(known) = schema["enum"].as_array().filter(|known| !known.contains(&node.to_json())) {
        return problems.add(not_allowed(node, what, known));
    }
    if schema.get("const").is_some_and(|wanted| *wanted != node.to_json()) {
        return problems.add(node.wrong(what, &format!("`{}`", schema["const"])));
    }
    if let Some(wanted) = outside(schema, node) {
        return problems.add(node.wrong(what, &wanted));
    }
    match &node.value {
        Value::Map(_) => check_map(schema, node, what, problems),
        Value::List(nodes) => check_list(schema, nodes, what, problems),
        Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => {}
    }
}

/// What the value must be instead, when it is of another type.
fn wrong_type(node: &Node) -> impl Fn(&Json) -> Option<String> {
    move |wanted| {
        let names: Vec<&str> = match wanted {
            Json::Array(names) => names.iter().filter_map(Json::as_str).collect(),
            name => name.as_str().into_iter().collect(),
        };
        let is = |name: &&str| match &node.value {
            Value::Null => *name == "null",
            Value::Boolean(_) => *name == "boolean",
            Value::Integer(_) => matches!(*name, "integer" | "number"),
            Value::Float(_) => *name == "number",
            Value::Text(_) => *name == "string",
            Value::List(_) => *name == "array",
            Value::Map(_) => *name == "object",
        };
        let known = !names.is_empty() && !names.iter().any(is);
        known.then(|| names.iter().map(|name| in_words(name)).collect::<Vec<_>>().join(" or "))
    }
}

fn in_words(name: &str) -> &str {
    match name {
        "null" => "nothing",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "text",
        "array" => "a list",
        "object" => "a mapping",
        other => other,
    }
}

fn not_allowed(node: &Node, what: &str, known: &[Json]) -> Problem {
    let word = node.scalar().unwrap_or_default();
    let problem = node.problem(format!("{what} can't be `{}`", shortened(&word)));
    let known: Vec<String> =
        known.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect();
    problem.did_you_mean(&word, known.iter().map(String::as_str))
}

/// What the value must be instead, when it is outside of a limit.
fn outside(schema: &Json, node: &Node) -> Option<String> {
    let limit = |name: &str| schema.get(name).and_then(Json::as_f64);
    let (size, least, most, of) = match &node.value {
        Value::Integer(number) => (*number as f64, "minimum", "maximum", ""),
        Value::Float(number) => (*number, "minimum", "maximum", ""),
        Value::Text(text) => (text.chars().count() as f64, "minLength", "maxLength", " characters long"),
        Value::List(nodes) => (nodes.len() as f64, "minItems", "maxItems", " entries long"),
        Value::Null | Value::Boolean(_) | Value::Map(_) => return None,
    };
    let (least, most) = (limit(least), limit(most));
    if least.is_none_or(|least| size >= least) && most.is_none_or(|most| size <= most) {
        return None;
    }
    Some(match (least, most) {
        (Some(least), Some(most)) => format!("{least} to {most}{of}"),
        (Some(least), None) => format!("at least {least}{of}"),
        (None, most) => format!("at most {}{of}", most.unwrap_or_default()),
    })
}

fn check_map(schema: &Json, node: &Node, what: &str, problems: &mut Problems) {
    let entries = node.entries(what, problems);
    let empty = serde_json::Map::new();
    let known = schema["properties"].as_object().unwrap_or(&empty);
    let has = |name: &str| entries.iter().any(|(key, _)| key.text == name);
    let strict = schema["additionalProperties"] == false;
    let mut misspelt = Vec::new();
    for (key, value) in entries {
        match known.get(&key.text) {
            Some(schema) => check_value(schema, value, &format!("`{}`", shortened(&key.text)), problems),
            None if strict => {
                misspelt.push(key.text.as_str());
                let problem =
                    Problem::new(key.at, format!("unknown key `{}` in {what}", shortened(&key.text)));
                problems.add(problem.did_you_mean(&key.text, known.keys().map(String::as_str)));
            }
            None => {}
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
        let is_told = misspelt.iter().any(|word| crate::yaml::problem::is_close(word, name));
        if !has(name) && !is_told {
            let about = known.get(name).and_then(|schema| schema["description"].as_str());
            let problem = Problem::new(node.at, format!("{what} has no `{name}`"));
            problems.add(about.into_iter().fold(problem, Problem::help));
        }
    }
}

fn check_list(schema: &Json, nodes: &[Node], what: &str, problems: &mut Problems) {
    let values: Vec<Json> = nodes.iter().map(Node::to_json).collect();
    for (index, node) in nodes.iter().enumerate() {
        if schema["uniqueItems"] == true && values[..index].contains(&values[index]) {
            let word = node.scalar().unwrap_or_else(|| "an entry".to_owned());
            problems.add(node.problem(format!("`{}` is there twice in {what}", shortened(&word))));
        } else if let Some(schema) = schema.get("items") {
            check_value(schema, node, &format!("an entry of {what}"), problems);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::problem::Text;

    fn said(schema: &str, text: &str) -> Vec<String> {
        let mut problems = Problems::default();
        let node = crate::yaml::parse(text, 0, &mut problems).unwrap();
        check(&serde_json::from_str(schema).unwrap(), &node, "p", &mut problems);
        let texts = vec![Text { name: "f".into(), text: text.into(), included: None }];
        let invalid = problems.into_result(&texts).err();
        invalid.map_or(Vec::new(), |invalid| invalid.problems.into_iter().map(|one| one.message).collect())
    }

    #[test]
    fn keywords() {
        let check = |schema: &str, text: &str, wanted: &[&str]| {
            assert_eq!(said(schema, text), wanted, "{schema} {text}");
        };
        check(r#"{"type":"object"}"#, "a: 1", &[]);
        check(r#"{"type":["string","null"]}"#, "1", &["`with` of p must be text or nothing, not 1"]);
        check(r#"{"properties":{"a":{"enum":[1,"x"]}}}"#, "a: y", &["`a` can't be `y`"]);
        check(r#"{"properties":{"a":{"const":3}}}"#, "a: 4", &["`a` must be `3`, not 4"]);
        check(r#"{"properties":{"a":{"minimum":1,"maximum":9}}}"#, "a: 10", &["`a` must be 1 to 9, not 10"]);
        check(
            r#"{"properties":{"a":{"minItems":1}}}"#,
            "a: []",
            &["`a` must be at least 1 entries long, not a list"],
        );
        check(
            r#"{"properties":{"a":{"maxLength":2}}}"#,
            "a: abc",
            &["`a` must be at most 2 characters long, not `abc`"],
        );
        check(r#"{"required":["suites"]}"#, "{}", &["`with` of p has no `suites`"]);
        check(
            r#"{"required":["ab"],"properties":{"ab":{}},"additionalProperties":false}"#,
            "abb: 1",
            &["unknown key `abb` in `with` of p"],
        );
        check(
            r#"{"items":{"type":"integer"},"uniqueItems":true}"#,
            "[1, 1, x]",
            &["`1` is there twice in `with` of p", "an entry of `with` of p must be a whole number, not `x`"],
        );
        check(r#"{"pattern":"^x$","if":{},"not":{}}"#, "y", &[]);
    }
}

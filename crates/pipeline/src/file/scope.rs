//! `${…}`: what stands for a whole value, and where that value comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::given::{Environment, NoVariable};
use crate::yaml::problem::{At, Problem, Problems};
use crate::yaml::{Node, Value, shortened};

/// What `${…}` can stand for in one text.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    /// The inputs that the text declares; None for one that has no value, which was told.
    pub inputs: BTreeMap<String, Option<Node>>,
    /// Profiles, in the pipeline file; a fragment has none.
    pub profiles: Option<ProfileScope>,
    /// Variables that the text declares.
    pub variables: BTreeSet<String>,
    /// Those of them that some `${env.NAME}` names.
    pub named: BTreeSet<String>,
    /// Where they are looked up.
    pub environment: &'a Environment,
}

/// Which profiles there are, and which are on.
#[derive(Debug, Default)]
pub(super) struct ProfileScope {
    /// Those under `profiles:`, if there is such a section.
    pub declared: Option<BTreeSet<String>>,
    /// Those that `${profile.NAME}` asks for.
    pub named: BTreeSet<String>,
    /// Those that are on.
    pub on: BTreeSet<String>,
}

const FORMS: &str = "known are ${input.NAME}, ${profile.NAME} and ${env.NAME}";

impl Scope<'_> {
    /// The value with everything put in for its `${…}`.
    pub fn resolve(&mut self, node: &Node, problems: &mut Problems) -> Node {
        let value = match &node.value {
            Value::Text(text) if text.contains("${") => return self.look_up(node.at, text, problems),
            Value::List(nodes) => {
                Value::List(nodes.iter().map(|node| self.resolve(node, problems)).collect())
            }
            Value::Map(entries) => Value::Map(
                entries.iter().map(|(key, node)| (key.clone(), self.resolve(node, problems))).collect(),
            ),
            Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => {
                return node.clone();
            }
        };
        Node { at: node.at, value, origin: node.origin.clone() }
    }

    fn look_up(&mut self, at: At, text: &str, problems: &mut Problems) -> Node {
        match self.find(text) {
            Ok((value, origin)) => place(at, &value, &origin),
            Err((message, help)) => {
                let problem = help.into_iter().fold(Problem::new(at, message), Problem::help);
                problems.add_last(problem);
                Node::new(at, Value::Null)
            }
        }
    }

    fn find(&mut self, text: &str) -> Result<(Value, Arc<str>), (String, Vec<String>)> {
        let shown = shortened(text);
        let inner = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        let Some(inner) = inner.filter(|inner| !inner.contains(['{', '}', '$'])) else {
            let help = "nothing is put together of parts; give the whole value by an input".to_owned();
            return Err((format!("`{shown}`: ${{…}} stands for a whole value only"), vec![help]));
        };
        match inner.split_once('.') {
            Some(("input", name)) => self.input(name),
            Some(("profile", name)) => self.profile(name),
            Some(("env", name)) => self.variable(name),
            _ => {
                let known = ["input", "profile", "env"];
                let word = inner.split('.').next().unwrap_or_default();
                let near = known.iter().find(|known| crate::yaml::problem::is_close(word, known));
                let hint = near.and_then(|near| {
                    let (_, name) = inner.split_once('.')?;
                    Some(format!("did you mean `${{{near}.{name}}}`?"))
                });
                Err((format!("`{shown}` stands for nothing"), vec![hint.unwrap_or_else(|| FORMS.to_owned())]))
            }
        }
    }

    fn input(&self, name: &str) -> Result<(Value, Arc<str>), (String, Vec<String>)> {
        match self.inputs.get(name) {
            Some(Some(node)) => {
                let origin =
                    node.origin.clone().unwrap_or_else(|| Arc::from(format!("line {}", node.at.line)));
                Ok((node.value.clone(), origin))
            }
            // Told where the input is declared.
            Some(None) => Err((String::new(), Vec::new())),
            None => {
                let problem =
                    Problem::new(At::START, "").did_you_mean(name, self.inputs.keys().map(String::as_str));
                let mut help = problem.help;
                if self.inputs.is_empty() {
                    help.push("inputs are declared under `inputs:`".to_owned());
                }
                Err((format!("there is no input `{}`", shortened(name)), help))
            }
        }
    }

    fn profile(&mut self, name: &str) -> Result<(Value, Arc<str>), (String, Vec<String>)> {
        let Some(profiles) = &mut self.profiles else {
            let help =
                "declare an input `type: boolean`, and give it with `with:` where the fragment is included";
            return Err(("a fragment knows no profiles".to_owned(), vec![help.to_owned()]));
        };
        if let Some(declared) = profiles.declared.as_ref().filter(|declared| !declared.contains(name)) {
            let known = declared.iter().map(String::as_str);
            let problem = Problem::new(At::START, "").did_you_mean(name, known);
            return Err((format!("there is no profile `{}`", shortened(name)), problem.help));
        }
        profiles.named.insert(name.to_owned());
        let on = profiles.on.contains(name);
        Ok((Value::Boolean(on), Arc::from(if on { "--profile" } else { "a profile that is off" })))
    }

    fn variable(&mut self, name: &str) -> Result<(Value, Arc<str>), (String, Vec<String>)> {
        if !self.variables.contains(name) {
            let mut help = Problem::new(At::START, "")
                .did_you_mean(name, self.variables.iter().map(String::as_str))
                .help;
            help.push(format!(
                "only variables under `env:` are read; add it there: env: [{}]",
                shortened(name)
            ));
            return Err((format!("the variable `{}` is not declared", shortened(name)), help));
        }
        self.named.insert(name.to_owned());
        match self.environment.find(name) {
            Ok(value) => Ok((Value::Text(value), Arc::from(format!("the environment's {name}")))),
            Err(NoVariable::Unset) => {
                let help = "set it, or use an input, which can have a default".to_owned();
                Err((format!("the environment has no `{name}`"), vec![help]))
            }
            Err(NoVariable::NotUtf8) => Err((format!("the environment's `{name}` is not UTF-8"), Vec::new())),
        }
    }
}

/// The value at another place: everything in it is told where it is used.
fn place(at: At, value: &Value, origin: &Arc<str>) -> Node {
    let value = match value {
        Value::List(nodes) => Value::List(nodes.iter().map(|node| place(at, &node.value, origin)).collect()),
        other => other.clone(),
    };
    Node { at, value, origin: Some(origin.clone()) }
}

/// `${…}` where nothing is put in would be taken as it stands, silently.
pub(super) fn refuse(node: &Node, problems: &mut Problems) {
    for (at, text) in node.texts() {
        if text.contains("${") {
            let problem =
                Problem::new(at, format!("`{}`: nothing is put in for ${{…}} here", shortened(text)));
            problems.add(
                problem.help("${…} works under `kernels`, `programs`, `packages`, `steps` and in `with:`"),
            );
        }
    }
}

//! Fragments: parts of pipelines in files of their own, or shipped with btfpipe.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::inputs::{self, Inputs};
use super::part::{Part, decode_when};
use super::scope::Scope;
use super::{Reader, decode_version, scope};
use crate::yaml::problem::{At, Problem, Text, place};
use crate::yaml::{self, Node, shortened};

/// The fragments that come with btfpipe.
pub const SHIPPED: [(&str, &str); 2] = [
    ("debian-cloud", include_str!("../../../../pipelines/fragments/debian-cloud.yaml")),
    ("proven-packages", include_str!("../../../../pipelines/fragments/proven-packages.yaml")),
];

/// More texts than any pipeline has.
const MOST: usize = 100;

impl Reader<'_> {
    /// All that `include:` brings, in its order.
    pub(super) fn includes(&mut self, node: &Node, scope: &mut Scope<'_>) -> Part {
        let mut all = Part::default();
        let yaml::Value::List(entries) = &node.value else {
            let problem = node.wrong("`include`", "a list");
            self.problems.add(match node.scalar() {
                Some(name) => problem.help(format!("write `include: [{{ uses: {} }}]`", shortened(&name))),
                None => problem,
            });
            self.incomplete = true;
            return all;
        };
        for entry in entries {
            let entry = scope.resolve(entry, &mut self.problems);
            let part = self.include(&entry);
            self.incomplete |= part.is_none();
            all.add(part.unwrap_or_default(), &mut self.problems);
        }
        all
    }

    fn include(&mut self, entry: &Node) -> Option<Part> {
        let mut fields = entry.fields("an include", &mut self.problems)?;
        let uses = fields.required("uses", &mut self.problems);
        let with = fields.optional("with").map_or(&[][..], |node| node.entries("`with`", &mut self.problems));
        let counts = decode_when(&mut fields, &mut self.problems);
        fields.finish(&mut self.problems);
        let uses = uses?;
        let name = uses.text("`uses`", &mut self.problems)?;
        if !counts {
            return Some(Part::default());
        }
        if self.texts.len() >= MOST {
            self.problems.add(uses.problem(format!("more than {MOST} fragments")));
            return None;
        }
        let (name, text) = self.fragment(uses, name)?;
        let number = u16::try_from(self.texts.len()).ok()?;
        self.texts.push(Text { name, text: text.clone(), included: Some(uses.at) });
        let node = yaml::parse(&text, number, &mut self.problems)?;
        self.part(&node, entry, with)
    }

    /// The fragment's name for messages, and its text.
    fn fragment(&mut self, uses: &Node, name: &str) -> Option<(String, String)> {
        if !name.contains('/') {
            return match SHIPPED.iter().find(|(known, _)| *known == name) {
                Some((_, text)) => Some((format!("btfpipe's {name}"), (*text).to_owned())),
                None => {
                    let problem = uses.problem(format!("btfpipe ships no fragment `{}`", shortened(name)));
                    let problem = problem.did_you_mean(name, SHIPPED.iter().map(|(known, _)| *known));
                    let help = format!("for a file of your own write its path: ./{}", shortened(name));
                    self.problems.add(problem.help(help));
                    None
                }
            };
        }
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let path: PathBuf = folder.join(name.strip_prefix("./").unwrap_or(name));
        match super::read_text(&path) {
            Ok(text) => Some((path.display().to_string(), text)),
            Err(super::Unread::Failed(error)) => {
                let reason = match error.kind() {
                    std::io::ErrorKind::NotFound => "no such file".to_owned(),
                    _ => error.to_string(),
                };
                let problem = uses.problem(format!("`{}`: {reason}", shortened(name)));
                self.problems.add(problem.help(format!("the path begins at {}", shown_folder(folder))));
                None
            }
            Err(super::Unread::NotUtf8(text, problem)) => {
                let number = u16::try_from(self.texts.len()).ok()?;
                self.texts.push(Text { name: path.display().to_string(), text, included: Some(uses.at) });
                self.problems.add(Problem { at: At { text: number, ..problem.at }, ..problem });
                None
            }
        }
    }

    fn part(&mut self, node: &Node, entry: &Node, with: &[(yaml::Key, Node)]) -> Option<Part> {
        if matches!(node.value, yaml::Value::Null) {
            self.problems
                .add(Problem::new(node.at, "the fragment is empty").help("it begins with `version: 1`"));
            return None;
        }
        let mut fields = node.fields("a fragment", &mut self.problems)?;
        decode_version(&mut fields, &mut self.problems);
        let declared = inputs::decode(&mut fields, &mut self.problems);
        let values = self.values_of_fragment(&declared, entry, with);
        let mut scope = Scope {
            inputs: values,
            profiles: None,
            variables: BTreeSet::new(),
            named: BTreeSet::new(),
            environment: &self.given.environment,
        };
        let part = Part::decode(&mut fields, &mut scope, &mut self.problems);
        if let Some(node) = fields.peek("inputs") {
            scope::refuse(node, &mut self.problems);
        }
        for key in ["name", "include", "profiles", "env", "packages", "matrix"] {
            if let Some(at) = fields.forbid(key) {
                let problem = Problem::new(at, format!("`{key}` can't stand in a fragment"));
                self.problems.add(
                    problem.help("it belongs into the pipeline that includes it; a fragment gets inputs"),
                );
            }
        }
        fields.finish(&mut self.problems);
        Some(part)
    }

    fn values_of_fragment(
        &mut self,
        declared: &Inputs,
        entry: &Node,
        with: &[(yaml::Key, Node)],
    ) -> BTreeMap<String, Option<Node>> {
        let mut values = BTreeMap::new();
        for (key, node) in with {
            let mut node = node.clone();
            let from = format!("`with:` at {}", place(&self.texts, node.at));
            let origin = match &node.origin {
                Some(origin) => format!("{from}, which is {origin}"),
                None => from,
            };
            let check = |input: &inputs::Input, problems: &mut _| {
                let checked = input.check(&key.text, &node, problems)?;
                node = checked;
                node.origin = Some(Arc::from(origin));
                Some(node)
            };
            inputs::give(declared, &mut values, (&key.text, key.at), check, &mut self.problems);
        }
        let missing = |name: &str, input: &inputs::Input| {
            let what = input.description.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
            Problem::new(entry.at, format!("the fragment wants the input `{name}`{}", shortened(&what)))
                .help(format!("give it here: with: {{ {name}: … }}"))
        };
        inputs::complete(declared, values, missing, &mut self.problems)
    }
}

fn shown_folder(folder: &Path) -> String {
    if folder.as_os_str().is_empty() { "the current folder".to_owned() } else { folder.display().to_string() }
}

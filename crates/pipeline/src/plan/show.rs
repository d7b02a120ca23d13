//! A plan for people, for programs and for Graphviz.

use std::fmt::{self, Write};

use serde_json::{Value, json};

use super::making::few;
use super::{Action, Plan, Runs};

/// Of equal actions only so many are listed.
const LISTED: usize = 12;

impl Plan {
    /// How many actions may run.
    pub fn running(&self) -> usize {
        self.actions.iter().filter(|action| action.runs != Runs::No).count()
    }

    /// As JSON, `"v": 1`; all actions, in their order.
    pub fn to_json(&self) -> String {
        let action = |(id, action): (usize, &Action)| -> Value {
            json!({
                "id": id, "step": action.phase.name(), "subject": action.subject, "runs": action.runs.word(),
                "reason": action.reason, "inputs": action.inputs, "needs": action.needs,
                "key": action.key.as_ref().map(|key| key.digest().to_string()),
            })
        };
        let actions: Vec<Value> = self.actions.iter().enumerate().map(action).collect();
        format!("{:#}\n", json!({ "v": 1, "name": self.name, "actions": actions }))
    }

    /// As a graph in DOT; what runs is drawn bold, what may run dashed.
    pub fn to_dot(&self) -> String {
        let mut out =
            String::from("digraph plan {\n  rankdir=LR;\n  node [shape=box, fontname=monospace];\n");
        for (id, action) in self.actions.iter().enumerate() {
            let style = match action.runs {
                Runs::Yes => "bold",
                Runs::Perhaps => "dashed",
                Runs::No => "filled",
            };
            let label = quoted(&format!("{}\n{}", action.phase, action.subject));
            // Writing into a string can't fail.
            let _ =
                writeln!(out, "  a{id} [label={label}, style={style}, tooltip={}];", quoted(&action.reason));
            for needed in &action.needs {
                let _ = writeln!(out, "  a{needed} -> a{id};");
            }
        }
        out.push_str("}\n");
        out
    }
}

fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{text}\"")
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        writeln!(out, "{}: {} actions, {} to run", self.name, self.actions.len(), self.running())?;
        let wide =
            self.actions.iter().map(|action| action.subject.chars().count()).max().unwrap_or(0).min(64);
        let mut groups: Vec<Vec<&Action>> = Vec::new();
        for action in &self.actions {
            // Equal words are told once, whatever else the plan does in between.
            let is_like = |group: &&mut Vec<&Action>| {
                let first = group[0];
                (first.phase, first.runs, &first.reason) == (action.phase, action.runs, &action.reason)
            };
            match groups.iter_mut().find(is_like) {
                Some(group) => group.push(action),
                None => groups.push(vec![action]),
            }
        }
        groups.sort_by_key(|group| group[0].phase);
        groups.iter().try_for_each(|group| show(group, wide, out))
    }
}

fn show(group: &[&Action], wide: usize, out: &mut fmt::Formatter) -> fmt::Result {
    let (phase, reason) = (group[0].phase, &group[0].reason);
    let verb = match group[0].runs {
        Runs::Yes => "run ",
        Runs::Perhaps => "may ",
        Runs::No => "keep",
    };
    let listed = if group[0].runs == Runs::No && group.len() > 3 { 0 } else { group.len().min(LISTED) };
    for Action { subject, inputs, runs, .. } in &group[..listed] {
        writeln!(out, "  {verb} {phase:<8} {subject:<wide$}  {reason}")?;
        if *runs != Runs::No && !inputs.is_empty() {
            writeln!(out, "                reads {}", few(inputs))?;
        }
    }
    let more = group.len() - listed;
    match (more, listed) {
        (0, _) => Ok(()),
        (_, 0) => writeln!(out, "  {verb} {phase:<8} {:<wide$}  {reason}", format!("all {more}")),
        _ => writeln!(out, "  {verb} {phase:<8} {:<wide$}  {reason}", format!("and {more} more")),
    }
}

//! Entries under `programs:` that a plugin makes objects of.

use super::part::{decode_glob, decode_list, decode_plugin, decode_when};
use crate::file::selection::Selection;
use crate::yaml::problem::{At, Problems};
use crate::yaml::{Node, shortened};

/// Sources, and the plugin that makes objects of them.
#[derive(Debug, Clone)]
pub struct ProgramBuilder {
    /// Where the entry stands.
    pub at: At,
    /// Where the plugin's name stands.
    pub uses_at: At,
    /// The plugin's name.
    pub uses: String,
    /// What the plugin is told; a mapping.
    pub with: Node,
    /// The set of programs that its objects belong to.
    pub set: String,
    /// The sources: each becomes one object an architecture.
    pub files: Vec<(At, String)>,
    /// What else the plugin may read.
    pub reads: Vec<(At, String)>,
    /// The locked kernel of each architecture whose BTF the plugin gets.
    pub kernel: Option<(At, Selection)>,
    /// Whether the entry counts.
    pub when: bool,
}

pub(super) fn decode(node: &Node, set: &str, problems: &mut Problems) -> Option<ProgramBuilder> {
    let mut fields = node.fields("a builder", problems)?;
    let (uses_at, uses, with) = decode_plugin(node, &mut fields, problems);
    let files = fields.required("files", problems).map(|node| decode_globs(node, "files", problems));
    let reads = fields.optional("reads").map(|node| decode_globs(node, "reads", problems));
    let kernel = fields.optional("kernel").and_then(|node| decode_kernel(node, problems));
    let when = decode_when(&mut fields, problems);
    fields.finish(problems);
    let reads = reads.unwrap_or_default();
    Some(ProgramBuilder {
        at: node.at,
        uses_at,
        uses: uses?,
        with,
        set: set.to_owned(),
        files: files?,
        reads,
        kernel,
        when,
    })
}

fn decode_globs(node: &Node, key: &str, problems: &mut Problems) -> Vec<(At, String)> {
    decode_list(node, key, problems, |node, problems| {
        Some((node.at, decode_glob(node, problems)?.to_owned()))
    })
}

fn decode_kernel(node: &Node, problems: &mut Problems) -> Option<(At, Selection)> {
    let text = node.text("`kernel`", problems)?;
    match Selection::new(text) {
        Ok(selection) => Some((node.at, selection)),
        Err(reason) => {
            let problem = node.problem(format!("`{}`: {reason}", shortened(text)));
            problems.add(problem.help("write it as debian/12/*/6.1.0-50-*"));
            None
        }
    }
}

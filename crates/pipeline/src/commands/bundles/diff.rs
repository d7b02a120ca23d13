//! `btfpipe bundle diff`: what is new, gone or different from one bundle to the next, and what an update would cost.

use std::collections::BTreeMap;
use std::path::Path;

use bundle::{Bundle, IndexedKernel, Outcomes};
use serde::Serialize;

use crate::commands::bundles::{Form, answer, broken, delta, open};
use crate::commands::tools::{ToolError, Voice};
use crate::outcome::Code;

#[derive(Serialize)]
struct Difference {
    same: bool,
    /// Words for name, engine, time and architecture that differ.
    about: Vec<String>,
    programs: Vec<String>,
    kernels: Vec<String>,
    /// Bytes that take a holder of the old bundle to the new one, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Delta>,
}

#[derive(Serialize)]
struct Delta {
    /// The new bundle as it is.
    whole: u64,
    /// The delta pack that `bundle delta` writes.
    delta: u64,
    /// The BTFs, records and the index that the old one lacks, compressed as a bundle is.
    new_files: u64,
}

/// Compares two bundles; fails when they differ.
pub fn diff(
    old: &Path,
    new: &Path,
    deltas: bool,
    form: Form,
    voice: &mut Voice<'_>,
) -> Result<Code, ToolError> {
    let (before, after) = (open(old)?, open(new)?);
    let mut difference = compare(&before, &after);
    if deltas {
        difference.delta = Some(measure(&before, &after, new)?);
    }
    answer(voice, form, &difference, || text(&difference));
    Ok(if difference.same { Code::Ok } else { Code::Failed })
}

fn compare(before: &Bundle, after: &Bundle) -> Difference {
    let (a, b) = (before.index(), after.index());
    let mut about = Vec::new();
    let words = [
        ("name", a.name.clone(), b.name.clone()),
        ("engine", a.engine.clone(), b.engine.clone()),
        ("arch", a.arch.to_string(), b.arch.to_string()),
        ("time", before.source_date_epoch().to_string(), after.source_date_epoch().to_string()),
    ];
    for (what, old, new) in words.into_iter().filter(|(_, old, new)| old != new) {
        about.push(format!("{what}: {old} -> {new}"));
    }
    let programs = |index: &bundle::Index| -> BTreeMap<String, String> {
        index.programs.iter().map(|program| (program.name.clone(), program.sha256.to_string())).collect()
    };
    let programs = changes(&programs(a), &programs(b), |_, _| "another object".to_owned());
    let kernels = changes(&by_name(before), &by_name(after), |old, new| changed(before, old, after, new));
    Difference { same: before.tar() == after.tar(), about, programs, kernels, delta: None }
}

/// Each kernel under its key, and its build-id where that is needed to tell two apart.
fn by_name(bundle: &Bundle) -> BTreeMap<String, IndexedKernel> {
    let name = |kernel: &IndexedKernel| {
        let key = kernel.entry.key();
        let twin = bundle.index().find(&key).count() > 1;
        let build_id = kernel.entry.build_id.as_deref().filter(|_| twin);
        build_id.map_or_else(|| key.to_string(), |id| format!("{key} ({id})"))
    };
    bundle.index().kernels.iter().map(|kernel| (name(kernel), kernel.clone())).collect()
}

fn changes<T: PartialEq>(
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    how: impl Fn(&T, &T) -> String,
) -> Vec<String> {
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let line = |name: &String| match (old.get(name), new.get(name)) {
        (Some(_), None) => Some(format!("- {name}")),
        (None, Some(_)) => Some(format!("+ {name}")),
        (Some(a), Some(b)) if a != b => match how(a, b) {
            same if same.is_empty() => None,
            how => Some(format!("~ {name}: {how}")),
        },
        _ => None,
    };
    names.into_iter().filter_map(line).collect()
}

fn changed(before: &Bundle, old: &IndexedKernel, after: &Bundle, new: &IndexedKernel) -> String {
    let mut how = Vec::new();
    if old.entry.build_id != new.entry.build_id {
        how.push("another build".to_owned());
    }
    if old.entry.version_aliases != new.entry.version_aliases {
        how.push("other aliases".to_owned());
    }
    if old.btf != new.btf {
        how.push(format!("BTF of {} -> {} bytes", old.btf.size, new.btf.size));
    }
    let (a, b) = (before.index().outcomes_of(old), after.index().outcomes_of(new));
    let worse = |name: &String, before: &Outcomes, after: &Outcomes| {
        let functions =
            |outcomes: &Outcomes| outcomes.get(name).map(|one| one.functions.clone()).unwrap_or_default();
        (functions(before) != functions(after))
            .then(|| format!("{name} fails in [{}]", functions(after).join(" ")))
    };
    if let (Some(a), Some(b)) = (a, b) {
        how.extend(b.keys().filter_map(|name| worse(name, a, b)));
    }
    if how.is_empty() && old.records != new.records {
        how.push("other records".to_owned());
    }
    how.join(", ")
}

fn measure(before: &Bundle, after: &Bundle, new: &Path) -> Result<Delta, ToolError> {
    let (delta, whole) = delta::between(before, new)?;
    let new_files =
        bundle::delta::new_files(before, after, delta.level).map_err(|error| broken(new, &error))?;
    Ok(Delta { whole, delta: delta.to_bytes().len() as u64, new_files: new_files.len() as u64 })
}

fn text(difference: &Difference) -> String {
    let mut text = String::new();
    for (what, lines) in
        [("", &difference.about), ("programs\n", &difference.programs), ("kernels\n", &difference.kernels)]
    {
        if !lines.is_empty() {
            text += &format!("{what}  {}\n", lines.join("\n  "));
        }
    }
    if difference.same {
        text += "the same archive\n";
    }
    if let Some(Delta { whole, delta, new_files }) = difference.delta {
        text += &format!(
            "an update: {whole} bytes as a whole, {delta} as a delta pack, {new_files} for the files that are new\n"
        );
    }
    text
}

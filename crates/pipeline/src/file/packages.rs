//! Which packages: one, several by name, or a matrix of program sets and architectures.

use std::collections::{BTreeMap, BTreeSet};

use kernels::{Arch, KernelId};

use super::decode_name;
use super::part::{decode_list, decode_when};
use super::scope::Scope;
use crate::file::selection::Selection;
use crate::yaml::problem::{At, Problem, Problems};
use crate::yaml::{Fields, Node, shortened};

/// A package: which programs for which kernels. It is one file an architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Where it is declared.
    pub at: At,
    /// `NAME` of `NAME-ARCH.tar.zst`.
    pub name: String,
    /// The sets of programs in it.
    pub programs: BTreeSet<String>,
    /// The architectures that it is made for.
    pub arches: BTreeSet<Arch>,
    /// Which kernels, with the place of each pattern; all if there is none.
    pub kernels: Vec<(At, Selection)>,
}

impl Package {
    /// Whether a kernel's BTF belongs in.
    pub fn has(&self, id: &KernelId) -> bool {
        let selected =
            self.kernels.is_empty() || self.kernels.iter().any(|(_, selection)| selection.matches(id));
        selected && self.arches.contains(&id.arch())
    }
}

const ARCHES: [Arch; 2] = [Arch::X86_64, Arch::Arm64];

/// What `packages:` and `matrix:` come to; one package of everything without either.
pub(super) fn decode(
    fields: &mut Fields,
    name: &str,
    sets: &BTreeMap<&str, At>,
    scope: &mut Scope<'_>,
    problems: &mut Problems,
) -> Vec<Package> {
    let known: Vec<String> = sets.keys().map(|set| (*set).to_owned()).collect();
    let all = || Package {
        at: At::START,
        name: name.to_owned(),
        programs: known.iter().cloned().collect(),
        arches: ARCHES.into(),
        kernels: Vec::new(),
    };
    let (packages, matrix) = (fields.optional("packages"), fields.optional("matrix"));
    let decoded = match (packages, matrix) {
        (None, None) => return vec![all()],
        (Some(packages), Some(_)) => {
            let problem =
                Problem::new(packages.at, "`packages` and `matrix` both say which packages to make");
            problems.add(problem.help("keep one of them"));
            return vec![all()];
        }
        (Some(packages), None) => {
            let node = scope.resolve(packages, problems);
            let decode = |node: &Node, problems: &mut Problems| decode_one(node, &all(), &known, problems);
            let decoded = decode_list(&node, "packages", problems, decode);
            if decoded.iter().all(|(counts, _)| !counts) && !decoded.is_empty() {
                problems.add(Problem::new(packages.at, "no package counts: every `when` is false"));
            }
            decoded.into_iter().filter(|(counts, _)| *counts).map(|(_, package)| package).collect()
        }
        (None, Some(matrix)) => {
            let node = scope.resolve(matrix, problems);
            expand(&node, &all(), &known, problems)
        }
    };
    refuse_same_files(&decoded, problems);
    decoded
}

fn decode_one(
    node: &Node,
    all: &Package,
    known: &[String],
    problems: &mut Problems,
) -> Option<(bool, Package)> {
    let mut fields = node.fields("a package", problems)?;
    let name = fields.required("name", problems).and_then(|node| decode_name(node, problems));
    let programs = fields.optional("programs").map(|node| decode_sets(node, known, problems));
    let arches = fields.optional("arch").map(|node| decode_arches(node, problems));
    let kernels =
        fields.optional("kernels").map(|node| decode_list(node, "kernels", problems, decode_selection));
    let counts = decode_when(&mut fields, problems);
    fields.finish(problems);
    let package = Package {
        at: node.at,
        name: name?,
        programs: programs.unwrap_or_else(|| all.programs.clone()),
        arches: arches.unwrap_or_else(|| all.arches.clone()),
        kernels: kernels.unwrap_or_default(),
    };
    Some((counts, package))
}

fn decode_sets(node: &Node, known: &[String], problems: &mut Problems) -> BTreeSet<String> {
    let decode = |node: &Node, problems: &mut Problems| decode_set(node, known, problems);
    decode_list(node, "programs", problems, decode).into_iter().collect()
}

fn decode_set(node: &Node, known: &[String], problems: &mut Problems) -> Option<String> {
    let name = node.text("a set of programs", problems)?;
    if known.iter().any(|known| known == name) {
        return Some(name.to_owned());
    }
    let problem = node.problem(format!("there is no set of programs `{}`", shortened(name)));
    let problem = problem.did_you_mean(name, known.iter().map(String::as_str));
    let paths = name.contains(['/', '*', '.']);
    problems.add(if paths {
        problem.help("paths stand under `programs:` of the pipeline, in sets by name")
    } else {
        problem
    });
    None
}

fn decode_arches(node: &Node, problems: &mut Problems) -> BTreeSet<Arch> {
    decode_list(node, "arch", problems, decode_arch).into_iter().collect()
}

fn decode_arch(node: &Node, problems: &mut Problems) -> Option<Arch> {
    let word = node.text("an architecture", problems)?;
    let arch = word.parse().ok();
    if arch.is_none() {
        let problem = node.problem(format!("unknown architecture `{}`", shortened(word)));
        problems.add(problem.did_you_mean(word, ["x86_64", "arm64"].into_iter()));
    }
    arch
}

fn decode_selection(node: &Node, problems: &mut Problems) -> Option<(At, Selection)> {
    let pattern = node.text("a selection of kernels", problems)?;
    match Selection::new(pattern) {
        Ok(selection) => Some((node.at, selection)),
        Err(reason) => {
            problems.add(node.problem(format!("`{}` selects no kernel: {reason}", shortened(pattern))));
            None
        }
    }
}

/// One package for each set of programs, without the architectures that are excluded.
fn expand(node: &Node, all: &Package, known: &[String], problems: &mut Problems) -> Vec<Package> {
    let Some(mut fields) = node.fields("`matrix`", problems) else {
        return Vec::new();
    };
    let arches = fields.optional("arch").map(|node| decode_arches(node, problems));
    let sets = fields.optional("programs").map(|node| decode_sets(node, known, problems));
    let excluded = fields.optional("exclude").map(|node| {
        decode_list(node, "exclude", problems, |node, problems| decode_excluded(node, known, problems))
    });
    fields.finish(problems);
    let (arches, excluded) = (arches.unwrap_or_else(|| all.arches.clone()), excluded.unwrap_or_default());
    let package = |set: &String| {
        let is_out = |arch: &Arch| {
            excluded.iter().any(|(wanted, of)| {
                wanted.is_none_or(|wanted| wanted == *arch) && of.as_ref().is_none_or(|of| of == set)
            })
        };
        Package {
            at: node.at,
            name: format!("{}-{set}", all.name),
            programs: BTreeSet::from([set.clone()]),
            arches: arches.iter().copied().filter(|arch| !is_out(arch)).collect(),
            kernels: Vec::new(),
        }
    };
    let packages: Vec<Package> = match &sets {
        Some(sets) => sets.iter().map(package).filter(|package| !package.arches.is_empty()).collect(),
        None => vec![Package { arches, at: node.at, ..all.clone() }],
    };
    if packages.is_empty() && problems.is_empty() {
        problems.add(node.problem("`exclude` leaves nothing of the matrix"));
    }
    packages
}

fn decode_excluded(
    node: &Node,
    known: &[String],
    problems: &mut Problems,
) -> Option<(Option<Arch>, Option<String>)> {
    let mut fields = node.fields("an exclusion", problems)?;
    let arch = fields.optional("arch").map(|node| decode_arch(node, problems));
    let set = fields.optional("programs").map(|node| decode_set(node, known, problems));
    fields.finish(problems);
    if arch.is_none() && set.is_none() {
        problems.add(node.problem("an exclusion names an `arch`, a set of `programs`, or both"));
        return None;
    }
    Some((arch.map_or(Some(None), |arch| arch.map(Some))?, set.map_or(Some(None), |set| set.map(Some))?))
}

/// Two packages of one name would write one file.
fn refuse_same_files(packages: &[Package], problems: &mut Problems) {
    for (index, package) in packages.iter().enumerate() {
        let same =
            |other: &&Package| other.name == package.name && !other.arches.is_disjoint(&package.arches);
        if let Some(other) = packages[..index].iter().find(same) {
            let problem = Problem::new(package.at, format!("two packages are named `{}`", package.name));
            problems.add(
                problem.help(format!("the first is in line {}; each makes NAME-ARCH.tar.zst", other.at.line)),
            );
        }
    }
}

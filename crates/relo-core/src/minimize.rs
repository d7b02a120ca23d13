//! Minimizing: the used types of a target as a BTF of their own, and the proof that no decision changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use btf::{Btf, ByteOrder, HeaderLen, PointerSize, TypeId};

use crate::answer::Answers;
use crate::decide::Resolved;
use crate::record::Relocation;
use crate::used::UsedSet;
use crate::verdict::{self, Verdict, Verdicts};
use crate::written::{self, Merging, TypeIdMap, Written};
use crate::{BpfObject, Candidate, Decision, Mode, ReloError, ReloKind, Target, TargetBtf, Wanted};

/// How to minimize.
#[derive(Debug, Clone, Copy, Default)]
pub struct MinimizeOptions {
    /// Which rules decide.
    pub mode: Mode,
    /// Keep only what `bpftool gen min_core_btf` keeps, even where decisions change; the proof then lists them.
    pub strict_bpftool: bool,
    /// The header to write.
    pub header_len: HeaderLen,
    /// The byte order to write; None for that of the target.
    pub order: Option<ByteOrder>,
    /// What becomes of module types.
    pub modules: ModuleTypes,
}

/// What becomes of types that only modules have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ModuleTypes {
    /// They join the one minimized BTF: loaders that are given a BTF file read no other.
    #[default]
    Merge,
    /// Each module gets split BTF of its own on the minimized BTF of vmlinux.
    Split,
}

/// A minimized BTF.
#[derive(Debug, Clone)]
pub struct MinCoreBtf {
    /// The bytes: of vmlinux, with the modules' types where they are merged.
    pub bytes: Vec<u8>,
    /// The new ids of the kept types: of vmlinux, then of each module in the order given.
    pub ids: Vec<TypeIdMap>,
    /// Split BTF of each module in the order given, on `bytes`; empty where they are merged.
    pub modules: Vec<Vec<u8>>,
    /// For each object, in the order given, what the proof found.
    pub proofs: Vec<ObjectProof>,
}

/// The proof for one object: all its relocations again, on the minimized BTF.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectProof {
    /// How many relocations were compared.
    pub relocations: usize,
    /// Those of which the value names a type id of the target: it is another id after minimizing, and on a running
    /// kernel it would be neither.
    pub target_type_ids: usize,
    /// Why libbpf refuses the object on this target, by relocation; on the minimized BTF it does so too.
    pub errors: Vec<(usize, ReloError)>,
    /// Types were kept beyond what bpftool keeps, because these relocations would be decided otherwise.
    pub kept_for: Vec<usize>,
    /// Decisions that differ. Always empty unless bpftool's rule was asked for.
    pub differences: Vec<Difference>,
}

/// A relocation that is decided otherwise on the minimized BTF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Index in [`BpfObject::relos`].
    pub relo: usize,
    /// The decision on the full BTF.
    pub full: Result<Decision, ReloError>,
    /// The decision on the minimized one.
    pub minimized: Result<Decision, ReloError>,
}

/// Why there is no minimized BTF.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MinimizeError {
    /// The target is broken.
    #[error(transparent)]
    Target(#[from] ReloError),
    /// The minimized BTF can't be written.
    #[error("writing the minimized BTF: {0}")]
    Write(btf::Error),
    /// Modules can't be merged into one BTF: where vmlinux has a type of the same name, theirs would be found too.
    #[error(
        "relocation {relo} of {object} would find a module's type beside that of vmlinux in one BTF; minimize to split \
         BTF instead"
    )]
    Merge {
        /// The object's name.
        object: String,
        /// Index of the relocation.
        relo: usize,
    },
    /// The proof failed: this is a bug here, and no BTF is better than a wrong one.
    #[error(
        "relocation {relo} of {object} would be decided otherwise on the minimized BTF; please report this"
    )]
    Unsound {
        /// The object's name.
        object: String,
        /// Index of the relocation.
        relo: usize,
    },
}

/// Reduces the BTF of a kernel to what the relocations of some objects use.
///
/// Starts from what `bpftool gen min_core_btf` keeps, resolves everything again on the result, and where a decision
/// would change keeps what the decision stood on as well, until nothing changes.
pub fn minimize(
    btf: &Btf<'_>,
    objects: &[&BpfObject],
    options: MinimizeOptions,
) -> Result<MinCoreBtf, MinimizeError> {
    let wanted = Wanted::new(objects.iter().copied());
    minimize_target(&Target::new(btf, &[], &wanted)?, objects, options)
}

/// The same for a target that may have modules, and whose candidates may have been found in another pass.
pub fn minimize_target(
    target: &Target<'_>,
    objects: &[&BpfObject],
    options: MinimizeOptions,
) -> Result<MinCoreBtf, MinimizeError> {
    minimize_keeping(target, objects, options, &[])
}

/// The same with types that are kept whether relocations need them or not, such as those of [`crate::Keep`].
pub fn minimize_keeping(
    target: &Target<'_>,
    objects: &[&BpfObject],
    options: MinimizeOptions,
    kept: &[Candidate],
) -> Result<MinCoreBtf, MinimizeError> {
    minimize_with(&mut Verdicts::new(target, options.mode), objects, options, kept)
}

/// A minimized BTF for each object. What several of them ask is resolved once.
pub fn minimize_each(
    target: &Target<'_>,
    objects: &[&BpfObject],
    options: MinimizeOptions,
) -> Vec<Result<MinCoreBtf, MinimizeError>> {
    let mut verdicts = Verdicts::new(target, options.mode);
    let one = |object| minimize_with(&mut verdicts, std::slice::from_ref(object), options, &[]);
    objects.iter().map(one).collect()
}

fn minimize_with(
    verdicts: &mut Verdicts<'_>,
    objects: &[&BpfObject],
    options: MinimizeOptions,
    kept: &[Candidate],
) -> Result<MinCoreBtf, MinimizeError> {
    let places: Vec<Vec<u32>> = objects.iter().map(|object| verdicts.on(object)).collect();
    let verdicts = &*verdicts;
    let target = verdicts.answers.target;
    let mut used = UsedSet::default();
    for resolved in answers_of(verdicts, &places) {
        // bpftool marks the first match only, and never looks at instructions.
        if let Some(spec) = resolved.matches.first() {
            used.mark(target, spec)?;
        }
    }
    for &place in kept {
        used.mark_kept(target, place)?;
    }
    let watched = BTreeMap::new();
    let mut minimizer = Minimizer {
        target,
        objects,
        options,
        verdicts,
        places,
        used,
        watched,
        merging: Merging { hide: true, share: true },
    };
    minimizer.watch_errors()?;
    minimizer.run()
}

/// The answers that these verdicts stand on, each once.
fn answers_of<'v>(verdicts: &'v Verdicts<'_>, places: &[Vec<u32>]) -> impl Iterator<Item = &'v Resolved> {
    let mut asked: Vec<usize> =
        places.iter().flatten().filter_map(|&place| verdicts.answer_of(place)).collect();
    asked.sort_unstable();
    asked.dedup();
    asked.into_iter().filter_map(|answer| verdicts.answers.all[answer].resolved.as_ref().ok())
}

struct Minimizer<'m> {
    target: &'m Target<'m>,
    objects: &'m [&'m BpfObject],
    options: MinimizeOptions,
    /// On the full BTF.
    verdicts: &'m Verdicts<'m>,
    /// By object and relocation: its verdict's place.
    places: Vec<Vec<u32>>,
    used: UsedSet,
    /// Roots, by object, of which every decision has been watched, and the relocation that was the reason.
    watched: BTreeMap<(usize, TypeId), usize>,
    merging: Merging,
}

impl Minimizer<'_> {
    /// The verdict on the full BTF.
    fn full(&self, object: usize, relo: usize) -> &Verdict {
        self.verdicts.get(self.places[object][relo])
    }

    /// bpftool gives up at an error, so there is nothing to be equal to: keep what the error stands on at once.
    fn watch_errors(&mut self) -> Result<(), MinimizeError> {
        if self.options.strict_bpftool {
            return Ok(());
        }
        for object in 0..self.objects.len() {
            for relo in 0..self.places[object].len() {
                if self.full(object, relo).is_err() {
                    self.watch(object, relo)?;
                }
            }
        }
        Ok(())
    }

    fn run(mut self) -> Result<MinCoreBtf, MinimizeError> {
        loop {
            let written = written::write(self.target, &self.used, self.options, self.merging)
                .map_err(MinimizeError::Write)?;
            let differences = self.compare(&written)?;
            let first =
                differences.iter().enumerate().find_map(|(object, list)| Some((object, list.first()?.relo)));
            let Some((object, relo)) = first.filter(|_| !self.options.strict_bpftool) else {
                let proofs = self.proofs(differences);
                return Ok(MinCoreBtf {
                    bytes: written.bytes,
                    ids: written.ids,
                    modules: written.modules,
                    proofs,
                });
            };
            let mut progress = self.keep_pointer_size(&written)?;
            for (object, list) in differences.iter().enumerate() {
                for difference in list {
                    progress |= self.watch(object, difference.relo)?;
                }
            }
            if !progress {
                self.merge_otherwise(object, relo)?;
            }
        }
    }

    /// Takes the next way to merge modules, where everything that a decision stood on is kept and it still changes.
    fn merge_otherwise(&mut self, object: usize, relo: usize) -> Result<(), MinimizeError> {
        let object = || self.objects[object].name().to_owned();
        let mut merged = (1..self.target.btfs().len() as u32)
            .flat_map(|btf| self.used.types_of(btf).map(move |(id, _)| Candidate { btf, id }))
            .peekable();
        if self.options.modules != ModuleTypes::Merge || merged.peek().is_none() {
            return Err(MinimizeError::Unsound { object: object(), relo });
        }
        let hides = |place| self.target.is_hidden(place).is_ok_and(|hidden| hidden);
        self.merging = match self.merging {
            Merging { hide: true, share } => Merging { hide: false, share },
            Merging { hide: false, share: true } => Merging { hide: true, share: false },
            Merging { hide: false, share: false } if merged.any(hides) => {
                return Err(MinimizeError::Merge { object: object(), relo });
            }
            Merging { hide: false, share: false } => {
                return Err(MinimizeError::Unsound { object: object(), relo });
            }
        };
        Ok(())
    }

    /// Keeps the `long` of the kernel where readers of the minimized BTF would take pointers for another size.
    fn keep_pointer_size(&mut self, written: &Written) -> Result<bool, MinimizeError> {
        let size = |btf: &Btf<'_>| btf.pointer_size().unwrap_or(PointerSize::Eight);
        let minimized = Btf::parse(&written.bytes).map_err(MinimizeError::Write)?;
        let same = size(&minimized) == size(self.target.btfs()[0].btf);
        Ok(!same && self.used.mark_long(self.target))
    }

    /// Keeps everything that the decisions about a relocation's root stood on; false if that was done before.
    fn watch(&mut self, object: usize, relo: usize) -> Result<bool, MinimizeError> {
        let relos = self.objects[object].relos();
        let root = relos[relo].relo.type_id;
        if self.watched.contains_key(&(object, root)) {
            return Ok(false);
        }
        self.watched.insert((object, root), relo);
        let mut relocation = Relocation::new(self.objects[object], self.target);
        let mut answers = Answers::new(self.target, self.options.mode);
        for (index, other) in relos.iter().enumerate() {
            let watch = (other.relo.type_id == root).then_some(&mut self.used);
            relocation.step(index, &mut answers, watch);
        }
        Ok(true)
    }

    /// Resolves every relocation again on the written bytes, read as a loader reads them.
    fn compare(&self, written: &Written) -> Result<Vec<Vec<Difference>>, MinimizeError> {
        let btf = Arc::new(Btf::parse(&written.bytes).map_err(MinimizeError::Write)?);
        let split =
            |bytes: &'_ Vec<u8>| Btf::parse_split(bytes.clone(), Arc::new((*btf).clone().into_owned()));
        let splits: Vec<Btf<'static>> =
            written.modules.iter().map(split).collect::<Result<_, _>>().map_err(MinimizeError::Write)?;
        let names = self.target.btfs()[1..].iter().map(|module| module.module);
        let modules: Vec<TargetBtf<'_>> =
            names.zip(&splits).map(|(module, btf)| TargetBtf { module, btf }).collect();
        let target = Target::new(&btf, &modules, self.target.wanted())?;
        let mut minimized = Verdicts::new(&target, self.options.mode);
        Ok((0..self.objects.len()).map(|object| self.differences(object, &mut minimized)).collect())
    }

    /// The relocations of an object that end otherwise on the minimized BTF.
    fn differences(&self, object: usize, minimized: &mut Verdicts<'_>) -> Vec<Difference> {
        let places = minimized.on(self.objects[object]);
        let difference = |(relo, place): (usize, u32)| {
            let (full, min) = (self.full(object, relo), minimized.get(place));
            let decision = |verdict: &Verdict| verdict.clone().map(|settled| settled.decision);
            (!verdict::same(full, min, kind_of(self.objects[object], relo))).then(|| Difference {
                relo,
                full: decision(full),
                minimized: decision(min),
            })
        };
        places.into_iter().enumerate().filter_map(difference).collect()
    }

    fn proofs(&self, differences: Vec<Vec<Difference>>) -> Vec<ObjectProof> {
        let proof = |(object, differences): (usize, Vec<Difference>)| {
            let relos = self.objects[object].relos();
            let errors =
                (0..relos.len()).filter_map(|relo| Some((relo, self.full(object, relo).clone().err()?)));
            let watched = self.watched.range((object, TypeId(0))..=(object, TypeId(u32::MAX)));
            let is_target_id =
                |index: &usize| kind_of(self.objects[object], *index) == Some(ReloKind::TargetTypeId);
            ObjectProof {
                relocations: relos.len(),
                target_type_ids: (0..relos.len()).filter(is_target_id).count(),
                errors: errors.collect(),
                kept_for: watched.map(|(_, &relo)| relo).collect(),
                differences,
            }
        };
        differences.into_iter().enumerate().map(proof).collect()
    }
}

fn kind_of(object: &BpfObject, relo: usize) -> Option<ReloKind> {
    ReloKind::from_number(object.relos()[relo].relo.kind)
}

//! The decision: all matching candidates of a relocation must agree.

use std::sync::Arc;

use btf::{Btf, ByteOrder, Kind};
use smallvec::SmallVec;

use crate::answer::CandidateList;
use crate::used::{Footprint, UsedSet};
use crate::value::{Side, Value};
use crate::{Candidate, LocalSpec, Mode, ReloError, ReloKind, Target, TargetSpec};

/// What becomes of the instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// No match, and the kind has no answer for that: the instruction becomes an invalid call.
    pub poison: bool,
    /// The value by the local type.
    pub local: u64,
    /// The value by the target type.
    pub target: u64,
    /// Whether the instruction must hold the local value.
    pub validate: bool,
    /// For byte_off: bytes that the local field has; 0 where they don't matter.
    pub local_size: u32,
    /// For byte_off: bytes that the target field has.
    pub target_size: u32,
    /// The sizes differ, and the nature of the types forbids to change the width of a load or store.
    pub width_is_fixed: bool,
    /// Whether libbpf would decide otherwise.
    pub diverges: bool,
}

/// Nearly always one.
type Matches = SmallVec<[Arc<TargetSpec>; 1]>;

/// A decision and what it stands on.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub decision: Decision,
    /// The matches, in the order of the candidates; the first is the one that counts.
    pub matches: Matches,
}

/// What decides a relocation, besides the candidates.
pub(crate) struct Decider<'d> {
    pub local: &'d Btf<'d>,
    pub order: ByteOrder,
    pub target: &'d Target<'d>,
    pub mode: Mode,
}

impl Decider<'_> {
    /// Resolves a relocation against candidates (libbpf: `bpf_core_calc_relo_insn`); also gives those that are left.
    ///
    /// The list shrinks to the matching candidates when there are any, for every later relocation of the same root.
    /// On an ambiguity it stays as it was, and the object is lost anyway. With `watch`, every type and member of the
    /// target that had a part in the decision is added to the used set.
    pub(crate) fn decide(
        &self,
        spec: &Arc<LocalSpec>,
        local: &Result<Value, ReloError>,
        candidates: &CandidateList,
        watch: Option<&mut UsedSet>,
    ) -> (Result<Resolved, ReloError>, CandidateList) {
        let resolved = self.resolve(spec, local, candidates, watch);
        let narrowed = match &resolved {
            Ok(Resolved { matches, .. }) if !matches.is_empty() && matches.len() < candidates.len() => {
                matches.iter().map(|matched| matched.candidate).collect()
            }
            Ok(_) | Err(_) => candidates.clone(),
        };
        (resolved, narrowed)
    }

    fn resolve(
        &self,
        spec: &LocalSpec,
        local: &Result<Value, ReloError>,
        candidates: &[Candidate],
        mut watch: Option<&mut UsedSet>,
    ) -> Result<Resolved, ReloError> {
        if spec.0.kind == ReloKind::LocalTypeId {
            let local = local.clone()?;
            let decision = Decision { target: local.value, ..Decision::nothing(local) };
            return Ok(Resolved { decision, matches: Matches::new() });
        }
        let mut matches = Matches::new();
        let mut agreed: Option<Decision> = None;
        let mut outcome = Ok(());
        for &candidate in candidates {
            let footprint = Footprint::new(watch.is_some());
            let target = self.target.btf(candidate);
            let result = spec.match_candidate(self.local, target, candidate, self.mode, &footprint).and_then(
                |matched| {
                    let Some(matched) = matched else { return Ok(None) };
                    let decision = self.compare(local.clone()?, &matched)?;
                    Ok(Some((matched, decision)))
                },
            );
            if let Some(used) = watch.as_deref_mut() {
                used.absorb(self.target, candidate, footprint)?;
            }
            match result {
                Ok(None) => {}
                Ok(Some((matched, decision))) => {
                    match agree(agreed, decision, matches.first().map(|first| &**first), &matched) {
                        Ok(first) => {
                            agreed = Some(first);
                            matches.push(Arc::new(matched));
                        }
                        Err(error) => outcome = outcome.and(Err(error)),
                    }
                }
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome?;
        let decision = match agreed {
            Some(decision) => decision,
            None => Decision {
                poison: !spec.0.kind.has_answer_without_match(),
                ..Decision::nothing(local.clone()?)
            },
        };
        Ok(Resolved { decision, matches })
    }

    fn side<'s>(&self, btf: &'s Btf<'s>, broken: fn(btf::Error) -> ReloError) -> Side<'s> {
        Side { btf, order: self.order, mode: self.mode, broken }
    }

    /// The decision that one match gives.
    fn compare(&self, local: Value, matched: &TargetSpec) -> Result<Decision, ReloError> {
        let target_btf = self.target.btf(matched.candidate);
        let target = self.side(target_btf, ReloError::target).value(&matched.spec)?;
        let width_is_fixed =
            local.size != target.size && !self.width_may_change(local, target, target_btf)?;
        Ok(Decision {
            poison: false,
            local: local.value,
            target: target.value,
            validate: local.validate,
            local_size: local.size,
            target_size: target.size,
            width_is_fixed,
            diverges: local.diverges || target.diverges,
        })
    }

    /// Only pointers, and integers that are not exactly SIGNED, keep their value when a load reads fewer bytes.
    fn width_may_change(&self, local: Value, target: Value, target_btf: &Btf<'_>) -> Result<bool, ReloError> {
        let local = self.local.resolve(local.field).map_err(ReloError::local)?;
        let target = target_btf.resolve(target.field).map_err(ReloError::target)?;
        match (local.kind(), target.kind()) {
            (Kind::Ptr, Kind::Ptr) => Ok(true),
            (Kind::Int, Kind::Int) => {
                let local = local.int_encoding().map_err(ReloError::local)?;
                let target = target.int_encoding().map_err(ReloError::target)?;
                Ok(local != btf::IntEncoding::SIGNED && target != btf::IntEncoding::SIGNED)
            }
            (_, _) => Ok(false),
        }
    }
}

impl Decision {
    fn nothing(local: Value) -> Decision {
        Decision {
            poison: false,
            local: local.value,
            target: 0,
            validate: local.validate,
            local_size: local.size,
            target_size: 0,
            width_is_fixed: false,
            diverges: local.diverges,
        }
    }
}

impl ReloKind {
    /// Whether "no match" is an answer, namely 0, rather than poison.
    pub(crate) fn has_answer_without_match(self) -> bool {
        match self {
            ReloKind::FieldExists
            | ReloKind::TypeExists
            | ReloKind::EnumvalExists
            | ReloKind::TypeMatches => true,
            ReloKind::TargetTypeId | ReloKind::TypeSize | ReloKind::LocalTypeId => true,
            ReloKind::ByteOff | ReloKind::ByteSize | ReloKind::Signed | ReloKind::LshiftU64 => false,
            ReloKind::RshiftU64 | ReloKind::EnumvalValue => false,
        }
    }
}

/// The first decision, if the next agrees with it.
fn agree(
    first: Option<Decision>,
    next: Decision,
    first_spec: Option<&TargetSpec>,
    next_spec: &TargetSpec,
) -> Result<Decision, ReloError> {
    let (Some(first), Some(first_spec)) = (first, first_spec) else {
        return Ok(next);
    };
    let offsets = (first_spec.spec.bit_offset, next_spec.spec.bit_offset);
    if offsets.0 != offsets.1 {
        return Err(ReloError::AmbiguousOffset { first: offsets.0, second: offsets.1 });
    }
    if first.poison != next.poison || first.target != next.target {
        return Err(ReloError::AmbiguousValue { first: first.target, second: next.target });
    }
    Ok(first)
}

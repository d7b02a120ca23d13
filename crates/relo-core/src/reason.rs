//! Why there is no match: the member or the type where the first candidate fails.

use btf::{Btf, TypeId};

use crate::decide::Decider;
use crate::record::Step;
use crate::relo_kind::Subject;
use crate::spec::type_text;
use crate::used::Footprint;
use crate::{Candidate, LocalSpec, Spec};

/// Why a relocation has no match, or no use of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// No type of the target has the root's name and kind.
    NoType {
        /// The root as C writes it.
        root: String,
    },
    /// The type is there, and lacks the member.
    NoMember {
        /// The path up to the member.
        path: String,
        /// The target type that was searched.
        target: String,
    },
    /// The member is there, with a type that can't stand for the local one.
    IncompatibleMember {
        /// The path up to the member.
        path: String,
        /// The local type of the member.
        local: String,
        /// The target's.
        target: String,
    },
    /// The target's array is shorter, or no array at all.
    NoElement {
        /// The path up to the index.
        path: String,
    },
    /// The enum has no such enumerator.
    NoEnumerator {
        /// The enumerator.
        name: String,
        /// The target enum.
        target: String,
    },
    /// A type of that name and kind is there, and differs behind it.
    IncompatibleType {
        /// The root as C writes it.
        root: String,
    },
    /// A load or store can't change its width between these sizes without changing the value.
    Width {
        /// Bytes of the local field.
        local: u32,
        /// Bytes of the target field.
        target: u32,
    },
}

impl Reason {
    /// A word for machines, stable over versions.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::NoType { .. } => "no-type",
            Reason::NoMember { .. } => "no-member",
            Reason::IncompatibleMember { .. } => "incompatible-member",
            Reason::NoElement { .. } => "no-element",
            Reason::NoEnumerator { .. } => "no-enumerator",
            Reason::IncompatibleType { .. } => "incompatible-type",
            Reason::Width { .. } => "width",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::NoType { root } => write!(f, "the target has no {root}"),
            Reason::NoMember { path, target } => write!(f, "{target} of the target has no member for {path}"),
            Reason::IncompatibleMember { path, local, target } => {
                write!(f, "{path} is {local} locally and {target} in the target")
            }
            Reason::NoElement { path } => write!(f, "the target has no element {path}"),
            Reason::NoEnumerator { name, target } => {
                write!(f, "{target} of the target has no enumerator {name}")
            }
            Reason::IncompatibleType { root } => write!(f, "{root} of the target differs behind its name"),
            Reason::Width { local, target } => write!(
                f,
                "a load or store can't go from {local} to {target} bytes unless both fields are pointers or unsigned"
            ),
        }
    }
}

/// The reason of a step without match, or with a match that is of no use.
pub(crate) fn of(decider: &Decider<'_>, step: &Step<'_>) -> Option<Reason> {
    let (local, resolved) = (step.question.local.as_ref().ok()?, step.resolved()?);
    if !step.question.has_candidates {
        return None;
    }
    let decision = resolved.decision;
    if !resolved.matches.is_empty() {
        let poisoned = step.after.as_ref().is_ok_and(|insn| insn.poisoned);
        return poisoned
            .then_some(Reason::Width { local: decision.local_size, target: decision.target_size });
    }
    match step.candidates.first() {
        // A broken type has been reported as an error already; no reason can be given for it.
        Some(&candidate) => failing_part(decider, local, candidate).ok(),
        None => Some(Reason::NoType { root: local.0.root_text(decider.local).ok()? }),
    }
}

fn failing_part(
    decider: &Decider<'_>,
    local: &LocalSpec,
    candidate: Candidate,
) -> Result<Reason, btf::Error> {
    let target = decider.target.btf(candidate);
    match local.0.kind.subject() {
        Subject::Type => Ok(Reason::IncompatibleType { root: local.0.root_text(decider.local)? }),
        Subject::Enumerator => Ok(Reason::NoEnumerator {
            name: last_name(&local.0, decider.local)?,
            target: type_text(target, candidate.id)?,
        }),
        Subject::Field => failing_accessor(decider, local, candidate),
    }
}

/// The first accessor that the candidate can't follow, found by matching longer and longer beginnings of the spec.
fn failing_accessor(
    decider: &Decider<'_>,
    local: &LocalSpec,
    candidate: Candidate,
) -> Result<Reason, btf::Error> {
    let target = decider.target.btf(candidate);
    let mut reached = candidate.id;
    for len in 1..=local.0.accessors.len() {
        let accessors = local.0.accessors[..len].into();
        let part = LocalSpec(Spec { accessors, ..local.0.clone() });
        match part.match_candidate(decider.local, target, candidate, decider.mode, &Footprint::new(false)) {
            Ok(Some(matched)) => reached = end_of(target, &matched.spec)?,
            Ok(None) | Err(_) => return describe(decider, &part.0, target, reached),
        }
    }
    Ok(Reason::IncompatibleType { root: local.0.root_text(decider.local)? })
}

fn describe(
    decider: &Decider<'_>,
    part: &Spec,
    target: &Btf<'_>,
    reached: TypeId,
) -> Result<Reason, btf::Error> {
    let path = part.text(decider.local)?;
    let Some(last) = part.accessors.last().filter(|last| last.name.is_some()) else {
        return Ok(Reason::NoElement { path });
    };
    let wanted = decider.local.resolve(last.type_id)?.member(last.index)?;
    let name = decider.local.string(wanted.name)?;
    match find_member(target, reached, name, 0)? {
        Some(found) => Ok(Reason::IncompatibleMember {
            path,
            local: type_text(decider.local, decider.local.skip(wanted.type_id)?.id())?,
            target: type_text(target, target.skip(found)?.id())?,
        }),
        None => Ok(Reason::NoMember { path, target: type_text(target, target.skip(reached)?.id())? }),
    }
}

/// The type of a member of this name, as deep in anonymous members as any real struct goes.
fn find_member(
    target: &Btf<'_>,
    composite: TypeId,
    name: &[u8],
    depth: u32,
) -> Result<Option<TypeId>, btf::Error> {
    let ty = target.skip(composite)?;
    for member in ty.members() {
        let member = member?;
        let member_name = ty.string(member.name)?;
        if member_name == name {
            return Ok(Some(member.type_id));
        }
        if member_name.is_empty()
            && depth < 4
            && let Some(found) = find_member(target, member.type_id, name, depth + 1)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The type that a target spec leads to.
fn end_of(target: &Btf<'_>, spec: &Spec) -> Result<TypeId, btf::Error> {
    match spec.accessors.last() {
        Some(last) if last.name.is_some() => Ok(target.resolve(last.type_id)?.member(last.index)?.type_id),
        Some(last) => Ok(last.type_id),
        None => Ok(spec.root),
    }
}

fn last_name(spec: &Spec, btf: &Btf<'_>) -> Result<String, btf::Error> {
    match spec.accessors.last().and_then(|last| last.name) {
        Some(name) => Ok(String::from_utf8_lossy(btf.string(name)?).into_owned()),
        None => Ok(String::new()),
    }
}

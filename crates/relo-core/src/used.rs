//! The used set: which types and members of a target the relocations need.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use btf::{Btf, Kind, Type, TypeId};

use crate::keep::is_whole;
use crate::relo_kind::Subject;
use crate::spec::Accessor;
use crate::{Candidate, ReloError, ReloKind, Target, TargetSpec};

/// Types and members to keep, each with the BTF that it stands in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UsedSet {
    /// The kept types; a struct or union with the indexes of its kept members.
    types: BTreeMap<Candidate, BTreeSet<u32>>,
}

/// How far marking a type goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// Up to pointers, whose targets stay out.
    ToPointers,
    /// Through pointers.
    ThroughPointers,
    /// All members by value, and only names behind pointers: what type_matches compares.
    Members,
    /// Behind a pointer of the same.
    Names,
}

impl UsedSet {
    /// The kept types of one BTF of the target, ascending by id.
    pub(crate) fn types_of(&self, btf: u32) -> impl Iterator<Item = (TypeId, &BTreeSet<u32>)> {
        let all = Candidate { btf, id: TypeId(0) }..=Candidate { btf, id: TypeId(u32::MAX) };
        self.types.range(all).map(|(place, members)| (place.id, members))
    }

    /// Whether a type is kept.
    pub(crate) fn has(&self, place: Candidate) -> bool {
        self.types.contains_key(&place)
    }

    /// The indexes of a type's kept members.
    pub(crate) fn members_of(&self, place: Candidate) -> &BTreeSet<u32> {
        static NONE: BTreeSet<u32> = BTreeSet::new();
        self.types.get(&place).unwrap_or(&NONE)
    }

    /// Marks what `bpftool gen min_core_btf` marks for a relocation (its `btfgen_record_reloc`).
    ///
    /// Where bpftool aborts or never returns (TYPE_TAG, a FWD behind a typedef, cycles), marking goes on.
    pub(crate) fn mark(&mut self, target: &Target<'_>, spec: &TargetSpec) -> Result<(), ReloError> {
        let mut marker = Marker { used: self, target, index: spec.candidate.btf, seen: BTreeSet::new() };
        let root = spec.candidate.id;
        match spec.spec.kind.subject() {
            Subject::Field => marker.mark_path(spec),
            Subject::Enumerator => marker.mark_type(root, Reach::ToPointers),
            Subject::Type => match spec.spec.kind {
                ReloKind::TypeMatches => marker.mark_type(root, Reach::Members),
                ReloKind::LocalTypeId => Ok(()),
                _existence_size_or_id => marker.mark_type(root, Reach::ThroughPointers),
            },
        }
        .map_err(ReloError::target)
    }

    /// Marks a type that was asked for as such, and everything that its declaration names.
    pub(crate) fn mark_kept(&mut self, target: &Target<'_>, place: Candidate) -> Result<(), ReloError> {
        let reach = if is_whole(target, place) { Reach::Members } else { Reach::ThroughPointers };
        let mut marker = Marker { used: self, target, index: place.btf, seen: BTreeSet::new() };
        marker.mark_type(place.id, reach).map_err(ReloError::target)
    }

    /// Marks the INT that tells readers the size of a pointer; false if it was kept before, or there is none.
    pub(crate) fn mark_long(&mut self, target: &Target<'_>) -> bool {
        let Some(id) = target.btfs()[0].btf.long() else {
            return false;
        };
        self.types.insert(Candidate { btf: 0, id }, BTreeSet::new()).is_none()
    }

    /// Adds what had a part in matching a candidate.
    pub(crate) fn absorb(
        &mut self,
        target: &Target<'_>,
        candidate: Candidate,
        footprint: Footprint,
    ) -> Result<(), ReloError> {
        let Some(touched) = footprint.0.map(RefCell::into_inner) else {
            return Ok(());
        };
        let mut marker = Marker { used: self, target, index: candidate.btf, seen: BTreeSet::new() };
        marker.mark_touched(candidate.id, &touched).map_err(ReloError::target)
    }
}

/// Marks types of one BTF of a target.
struct Marker<'m> {
    used: &'m mut UsedSet,
    target: &'m Target<'m>,
    index: u32,
    /// What has been done, so that cycles end.
    seen: BTreeSet<(TypeId, Reach)>,
}

impl Marker<'_> {
    fn btf(&self) -> &Btf<'_> {
        self.target.btfs()[self.index as usize].btf
    }

    fn keep(&mut self, id: TypeId) -> &mut BTreeSet<u32> {
        self.used.types.entry(self.target.place(self.index, id)).or_default()
    }

    /// Marks the root and, along the raw spec, each member with its type.
    fn mark_path(&mut self, spec: &TargetSpec) -> Result<(), btf::Error> {
        self.mark_type(spec.candidate.id, Reach::ToPointers)?;
        let mut at = spec.candidate.id;
        for &index in spec.spec.raw.iter().skip(1) {
            let ty = self.btf().skip(at)?;
            at = if ty.kind() == Kind::Array {
                ty.array()?.element
            } else if let Ok(member) = ty.member(index) {
                self.mark_member(ty.id(), index)?;
                member.type_id
            } else {
                // Strict mode keeps libbpf's spec where a name stands twice, and that spec leads nowhere; the proof
                // then keeps all that was looked at.
                return Ok(());
            };
        }
        Ok(())
    }

    fn mark_touched(&mut self, root: TypeId, touched: &Touched) -> Result<(), btf::Error> {
        self.mark_type(root, Reach::ToPointers)?;
        for &id in &touched.types {
            self.mark_type(id, Reach::ToPointers)?;
        }
        for &(composite, index) in &touched.members {
            self.mark_member(composite, index)?;
        }
        Ok(())
    }

    fn mark_member(&mut self, composite: TypeId, index: u32) -> Result<(), btf::Error> {
        let type_id = self.btf().resolve(composite)?.member(index)?.type_id;
        self.keep(composite).insert(index);
        self.mark_type(type_id, Reach::ToPointers)
    }

    /// Marks a type and what it needs, with a list of its own instead of recursion: hostile types nest deeply.
    fn mark_type(&mut self, id: TypeId, reach: Reach) -> Result<(), btf::Error> {
        // Most types need one other at most: then the list stays empty, and takes no memory.
        let (mut next, mut later) = (Some((id, reach)), Vec::new());
        while let Some((id, reach)) = next.take().or_else(|| later.pop()) {
            if id == TypeId::VOID || !self.seen.insert((id, reach)) {
                continue;
            }
            let ty = self.btf().resolve(id)?;
            next = add_needs(&ty, reach, &mut later)?;
            let members = if ty.kind().is_composite() && reach == Reach::Members { ty.len() } else { 0 };
            self.keep(id).extend(0..members);
        }
        Ok(())
    }
}

/// The types that a kept type can't do without: the first is given back, others are added to a list.
fn add_needs(
    ty: &Type<'_>,
    reach: Reach,
    more: &mut Vec<(TypeId, Reach)>,
) -> Result<Option<(TypeId, Reach)>, btf::Error> {
    // Behind an array or a signature, type_matches compares by value again.
    let by_value = if reach == Reach::Names { Reach::Members } else { reach };
    Ok(match ty.kind() {
        Kind::Void | Kind::Int | Kind::Float | Kind::Enum | Kind::Enum64 | Kind::Fwd | Kind::Unknown(_) => {
            None
        }
        Kind::Struct | Kind::Union => {
            if reach == Reach::Members {
                for member in ty.members() {
                    more.push((member?.type_id, Reach::Members));
                }
            }
            None
        }
        Kind::Ptr => match reach {
            Reach::ToPointers => None,
            Reach::ThroughPointers => Some((ty.target()?, reach)),
            Reach::Members | Reach::Names => Some((ty.target()?, Reach::Names)),
        },
        Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
            Some((ty.target()?, reach))
        }
        Kind::Func | Kind::Var | Kind::DeclTag => Some((ty.target()?, by_value)),
        Kind::Array => {
            let array = ty.array()?;
            more.push((array.index, by_value));
            Some((array.element, by_value))
        }
        Kind::FuncProto => {
            for index in 0..ty.len() {
                more.push((ty.param(index)?.type_id, by_value));
            }
            Some((ty.target()?, by_value))
        }
        Kind::Datasec => {
            for index in 0..ty.len() {
                more.push((ty.var_section(index)?.type_id, by_value));
            }
            None
        }
    })
}

/// What matching one candidate looked at; nothing is written down unless somebody asked.
#[derive(Debug)]
pub(crate) struct Footprint(Option<RefCell<Touched>>);

#[derive(Debug, Default)]
struct Touched {
    types: BTreeSet<TypeId>,
    members: BTreeSet<(TypeId, u32)>,
}

impl Footprint {
    pub(crate) fn new(watch: bool) -> Footprint {
        Footprint(watch.then(RefCell::default))
    }

    /// A type, and what it needs up to pointers, was looked at.
    #[inline]
    pub(crate) fn ty(&self, id: TypeId) {
        if let Some(touched) = &self.0 {
            touched.borrow_mut().types.insert(id);
        }
    }

    /// A member decided something.
    #[inline]
    pub(crate) fn member(&self, composite: &Type<'_>, index: u32) {
        if let Some(touched) = &self.0 {
            touched.borrow_mut().members.insert((composite.id(), index));
        }
    }

    /// That a member is not the last one decided something, so the next must stay.
    pub(crate) fn next_member(&self, target: &Btf<'_>, last: Option<&Accessor>) {
        let (Some(touched), Some(&Accessor { name: Some(_), type_id, index })) = (&self.0, last) else {
            return;
        };
        if target.resolve(type_id).is_ok_and(|ty| index + 1 < ty.len()) {
            touched.borrow_mut().members.insert((type_id, index + 1));
        }
    }
}

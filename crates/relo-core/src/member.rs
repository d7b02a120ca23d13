//! Matching a spec: the local path walked along the types of the target.

use btf::{Kind, StrOff, Type, TypeId};

use crate::access::is_flexible;
use crate::budget::Budget;
use crate::compat::{fields_compatible, types_compatible};
use crate::relo_kind::Subject;
use crate::spec::{Accessor, MAX_LEN};
use crate::type_match::types_match;
use crate::used::Footprint;
use crate::{Candidate, LocalSpec, Mode, ReloError, ReloKind, Spec, TargetSpec, essential_name};

use btf::Btf;

impl LocalSpec {
    /// Holds the spec against a candidate (libbpf: `bpf_core_spec_match`); None where the candidate does not match.
    pub(crate) fn match_candidate(
        &self,
        local: &Btf<'_>,
        target: &Btf<'_>,
        candidate: Candidate,
        mode: Mode,
        touched: &Footprint,
    ) -> Result<Option<TargetSpec>, ReloError> {
        let kind = self.0.kind;
        let spec = match kind.subject() {
            Subject::Type => {
                let rule = if kind == ReloKind::TypeMatches { types_match } else { types_compatible };
                let matches = rule(local, self.0.root, target, candidate.id, touched)?;
                matches.then(|| Spec::new(kind, candidate.id))
            }
            Subject::Enumerator => match_enumerator(&self.0, local, target, candidate.id, touched)?,
            Subject::Field => {
                let spec = Spec::new(kind, candidate.id);
                let budget = Budget::new();
                Walk { local, target, spec, at: candidate.id, mode, budget, touched }.run(&self.0)?
            }
        };
        Ok(spec.map(|spec| TargetSpec { candidate, spec }))
    }
}

/// The first enumerator with the same essential name.
fn match_enumerator(
    local_spec: &Spec,
    local: &Btf<'_>,
    target: &Btf<'_>,
    root: TypeId,
    touched: &Footprint,
) -> Result<Option<Spec>, ReloError> {
    touched.ty(root);
    let ty = target.skip(root).map_err(ReloError::target)?;
    let Some(wanted) = local_spec.accessors.first().and_then(|accessor| accessor.name) else {
        return Ok(None);
    };
    if !ty.kind().is_any_enum() {
        return Ok(None);
    }
    let wanted = essential_name(local.string(wanted).map_err(ReloError::local)?);
    for index in 0..ty.len() {
        let name = ty.enumerator(index).map_err(ReloError::target)?.name;
        if essential_name(ty.string(name).map_err(ReloError::target)?) == wanted {
            let mut spec = Spec::new(local_spec.kind, root);
            spec.accessors.push(Accessor { type_id: ty.id(), index, name: Some(name) });
            spec.raw.push(index);
            return Ok(Some(spec));
        }
    }
    Ok(None)
}

/// The target spec under construction, and the type that it has reached.
struct Walk<'w> {
    local: &'w Btf<'w>,
    target: &'w Btf<'w>,
    spec: Spec,
    at: TypeId,
    mode: Mode,
    budget: Budget,
    touched: &'w Footprint,
}

/// What looking for a member in one struct or union, and in the anonymous ones within it, came to.
enum Found {
    Compatible,
    /// The name is there and its type does not fit.
    Incompatible,
    Nothing,
}

impl Walk<'_> {
    fn run(mut self, local_spec: &Spec) -> Result<Option<Spec>, ReloError> {
        for (position, accessor) in local_spec.accessors.iter().enumerate() {
            let matched = match accessor.name {
                Some(name) => self.enter_member(accessor, name)?,
                None => self.enter_element(accessor.index, position == 0)?,
            };
            if !matched {
                return Ok(None);
            }
        }
        Ok(Some(self.spec))
    }

    /// Pointer arithmetic on the root, or an element of an array.
    fn enter_element(&mut self, index: u32, is_root: bool) -> Result<bool, ReloError> {
        self.touched.ty(self.at);
        let mut element = self.target.skip(self.at).map_err(ReloError::target)?;
        if !is_root {
            if element.kind() != Kind::Array {
                return Ok(false);
            }
            let array = element.array().map_err(ReloError::target)?;
            let last = self.spec.accessors.last();
            let flexible = is_flexible(self.target, last, array).map_err(ReloError::target)?;
            if array.len == 0 {
                self.touched.next_member(self.target, last);
            }
            if !flexible && index >= array.len {
                return Ok(false);
            }
            self.touched.ty(array.element);
            element = self.target.skip(array.element).map_err(ReloError::target)?;
        }
        self.push_raw(index)?;
        self.spec.accessors.push(Accessor { type_id: element.id(), index, name: None });
        self.at = element.id();
        let size = self.target.size_of(element.id()).map_err(ReloError::target)?;
        self.spec.advance(index, size)?;
        Ok(true)
    }

    /// The member of the same name, wherever anonymous structs and unions hide it.
    fn enter_member(&mut self, accessor: &Accessor, name: StrOff) -> Result<bool, ReloError> {
        let local = self.local;
        let name = local.string(name).map_err(ReloError::local)?;
        let composite = self.local.resolve(accessor.type_id).map_err(ReloError::local)?;
        let wanted = composite.member(accessor.index).map_err(ReloError::local)?.type_id;
        Ok(matches!(self.search(self.at, name, wanted)?, Found::Compatible))
    }

    /// Depth first in the order of declaration (libbpf: `bpf_core_match_member`).
    fn search(&mut self, composite: TypeId, name: &[u8], wanted: TypeId) -> Result<Found, ReloError> {
        self.touched.ty(composite);
        let ty = self.target.skip(composite).map_err(ReloError::target)?;
        if !ty.kind().is_composite() {
            return Ok(Found::Nothing);
        }
        let mut start = 0;
        while start < ty.len() {
            if self.spec.raw.len() == MAX_LEN {
                return Err(ReloError::SpecTooLong);
            }
            let found = ty.find_member(start, name).map_err(ReloError::target)?;
            let index = found.unwrap_or(ty.len() - 1);
            self.budget.steps(index - start + 1)?;
            if found.is_none() {
                break;
            }
            let member = ty.member(index).map_err(ReloError::target)?;
            if !ty.btf().string_is(member.name, b"").map_err(ReloError::target)? {
                return self.take(&ty, index, wanted);
            }
            self.touched.member(&ty, index);
            self.push_member(index, member.bit_offset)?;
            if let Found::Compatible = self.search(member.type_id, name, wanted)? {
                return Ok(Found::Compatible);
            }
            self.spec.raw.pop();
            self.spec.bit_offset -= member.bit_offset;
            start = index + 1;
        }
        Ok(Found::Nothing)
    }

    /// The name is found: it decides, whether its type fits or not.
    fn take(&mut self, ty: &Type<'_>, index: u32, wanted: TypeId) -> Result<Found, ReloError> {
        self.touched.member(ty, index);
        let member = ty.member(index).map_err(ReloError::target)?;
        if !fields_compatible(self.local, wanted, self.target, member.type_id, self.touched)? {
            // libbpf forgets to take back the step, which shows if an anonymous struct had led to this member and the
            // search goes on behind it.
            if self.mode == Mode::StrictLibbpf {
                self.push_member(index, member.bit_offset)?;
            }
            return Ok(Found::Incompatible);
        }
        self.push_member(index, member.bit_offset)?;
        self.spec.accessors.push(Accessor { type_id: ty.id(), index, name: Some(member.name) });
        self.at = member.type_id;
        Ok(Found::Compatible)
    }

    fn push_member(&mut self, index: u32, bit_offset: u32) -> Result<(), ReloError> {
        self.spec.advance_bits(u64::from(bit_offset), 1)?;
        self.push_raw(index)
    }

    fn push_raw(&mut self, index: u32) -> Result<(), ReloError> {
        if self.spec.raw.len() == MAX_LEN {
            return Err(ReloError::SpecTooLong);
        }
        self.spec.raw.push(index);
        Ok(())
    }
}

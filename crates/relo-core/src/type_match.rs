//! Matching of types, member by member: the kind type_matches.

use btf::{Btf, Kind, StrOff, Type, TypeId};

use crate::budget::Budget;
use crate::used::Footprint;
use crate::{ReloError, essential_name};

const MAX_DEPTH: u32 = 32;

/// Whether a target type has all that the local one has (libbpf: `bpf_core_types_match`).
pub(crate) fn types_match(
    local: &Btf<'_>,
    local_id: TypeId,
    target: &Btf<'_>,
    target_id: TypeId,
    touched: &Footprint,
) -> Result<bool, ReloError> {
    let matcher = Matcher { local, target, budget: Budget::new(), touched };
    matcher.compare(local_id, target_id, false, MAX_DEPTH)
}

struct Matcher<'m> {
    local: &'m Btf<'m>,
    target: &'m Btf<'m>,
    budget: Budget,
    touched: &'m Footprint,
}

impl Matcher<'_> {
    fn compare(
        &self,
        mut local_id: TypeId,
        mut target_id: TypeId,
        mut behind_ptr: bool,
        level: u32,
    ) -> Result<bool, ReloError> {
        if level == 0 {
            return Err(ReloError::TooDeep);
        }
        for _ in 0..MAX_DEPTH {
            self.budget.step()?;
            let local = self.local.skip(local_id).map_err(ReloError::local)?;
            self.touched.ty(target_id);
            let target = self.target.skip(target_id).map_err(ReloError::target)?;
            if !names_match(&local, local.name_off(), &target, target.name_off())? {
                return Ok(false);
            }
            let same_kind = local.kind() == target.kind();
            match local.kind() {
                Kind::Void => return Ok(same_kind),
                Kind::Fwd => return Ok(fwd_matches(&local, &target, behind_ptr)),
                Kind::Enum | Kind::Enum64 => {
                    return Ok(target.kind().is_any_enum() && self.enums_match(&local, &target)?);
                }
                Kind::Struct | Kind::Union if behind_ptr => {
                    return Ok(composite_names_suffice(&local, &target));
                }
                Kind::Struct | Kind::Union => {
                    return Ok(same_kind && self.members_match(&local, &target, level)?);
                }
                Kind::Int => return Ok(same_kind && integers_match(&local, &target)?),
                Kind::Ptr | Kind::Array | Kind::FuncProto if !same_kind => return Ok(false),
                Kind::Ptr => {
                    behind_ptr = true;
                    local_id = local.target().map_err(ReloError::local)?;
                    target_id = target.target().map_err(ReloError::target)?;
                }
                Kind::Array => {
                    let local_array = local.array().map_err(ReloError::local)?;
                    let target_array = target.array().map_err(ReloError::target)?;
                    if local_array.len != target_array.len {
                        return Ok(false);
                    }
                    (local_id, target_id) = (local_array.element, target_array.element);
                }
                Kind::FuncProto => {
                    if !self.params_match(&local, &target, behind_ptr, level)? {
                        return Ok(false);
                    }
                    local_id = local.target().map_err(ReloError::local)?;
                    target_id = target.target().map_err(ReloError::target)?;
                }
                Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                    return Ok(false);
                }
                Kind::Func | Kind::Var | Kind::Datasec | Kind::Float | Kind::DeclTag => return Ok(false),
                Kind::Unknown(_) => return Ok(false),
            }
        }
        Err(ReloError::TooDeep)
    }

    fn params_match(
        &self,
        local: &Type<'_>,
        target: &Type<'_>,
        behind_ptr: bool,
        level: u32,
    ) -> Result<bool, ReloError> {
        if local.len() != target.len() {
            return Ok(false);
        }
        for index in 0..local.len() {
            let local_param = local.param(index).map_err(ReloError::local)?.type_id;
            let target_param = target.param(index).map_err(ReloError::target)?.type_id;
            if !self.compare(local_param, target_param, behind_ptr, level - 1)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether every local member has a match among the target's (libbpf: `bpf_core_composites_match`).
    fn members_match(&self, local: &Type<'_>, target: &Type<'_>, level: u32) -> Result<bool, ReloError> {
        if local.len() > target.len() {
            return Ok(false);
        }
        // Their number has decided something, even where an error ends the comparison before it gets to all of them.
        (0..local.len()).for_each(|index| self.touched.member(target, index));
        for member in local.members() {
            let member = member.map_err(ReloError::local)?;
            let mut matched = false;
            for (index, candidate) in target.members().enumerate() {
                self.budget.step()?;
                let candidate = candidate.map_err(ReloError::target)?;
                if !names_match(local, member.name, target, candidate.name)? {
                    continue;
                }
                self.touched.member(target, index as u32);
                if self.compare(member.type_id, candidate.type_id, false, level - 1)? {
                    matched = true;
                    break;
                }
            }
            if !matched {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether every local enumerator has a namesake, of any value (libbpf: `bpf_core_enums_match`).
    fn enums_match(&self, local: &Type<'_>, target: &Type<'_>) -> Result<bool, ReloError> {
        let same_size =
            local.size().map_err(ReloError::local)? == target.size().map_err(ReloError::target)?;
        if !same_size || local.len() > target.len() {
            return Ok(false);
        }
        for index in 0..local.len() {
            let name = local.enumerator(index).map_err(ReloError::local)?.name;
            let mut matched = false;
            for other in 0..target.len() {
                self.budget.step()?;
                let other = target.enumerator(other).map_err(ReloError::target)?.name;
                if names_match(local, name, target, other)? {
                    matched = true;
                    break;
                }
            }
            if !matched {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Equal essential names, or both empty (libbpf: `bpf_core_names_match`).
fn names_match(
    local: &Type<'_>,
    local_name: StrOff,
    target: &Type<'_>,
    target_name: StrOff,
) -> Result<bool, ReloError> {
    let local = local.string(local_name).map_err(ReloError::local)?;
    let target = target.string(target_name).map_err(ReloError::target)?;
    Ok(essential_name(local) == essential_name(target))
}

/// A forward declaration stands for another of the same kind, and behind a pointer for the full type as well.
fn fwd_matches(local: &Type<'_>, target: &Type<'_>, behind_ptr: bool) -> bool {
    match target.kind() {
        Kind::Fwd => local.kind_flag() == target.kind_flag(),
        Kind::Struct => behind_ptr && !local.kind_flag(),
        Kind::Union => behind_ptr && local.kind_flag(),
        _other => false,
    }
}

/// Behind a pointer a struct or union needs no members: its kind, or a forward declaration of it, is enough.
fn composite_names_suffice(local: &Type<'_>, target: &Type<'_>) -> bool {
    match target.kind() {
        Kind::Fwd => (local.kind() == Kind::Union) == target.kind_flag(),
        kind => kind == local.kind(),
    }
}

fn integers_match(local: &Type<'_>, target: &Type<'_>) -> Result<bool, ReloError> {
    let same_size = local.size().map_err(ReloError::local)? == target.size().map_err(ReloError::target)?;
    let local = local.int_encoding().map_err(ReloError::local)?;
    let target = target.int_encoding().map_err(ReloError::target)?;
    Ok(same_size && local.is_signed() == target.is_signed())
}

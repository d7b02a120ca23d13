//! Compatibility of types: of fields, and of roots by the "exists" rule.

use btf::{Btf, Kind, Type, TypeId};

use crate::candidate::kinds_compatible;
use crate::used::Footprint;
use crate::{ReloError, essential_name};

/// Steps and levels that a comparison may take.
const MAX_DEPTH: u32 = 32;

/// Whether a local and a target field may stand for each other (libbpf: `bpf_core_fields_are_compat`).
pub(crate) fn fields_compatible(
    local: &Btf<'_>,
    mut local_id: TypeId,
    target: &Btf<'_>,
    mut target_id: TypeId,
    touched: &Footprint,
) -> Result<bool, ReloError> {
    // libbpf recurses without a limit here; arrays of arrays deeper than this are hostile.
    for _ in 0..256 {
        let local_type = local.skip(local_id).map_err(ReloError::local)?;
        touched.ty(target_id);
        let target_type = target.skip(target_id).map_err(ReloError::target)?;
        if local_type.kind().is_composite() && target_type.kind().is_composite() {
            return Ok(true);
        }
        if !kinds_compatible(local_type.kind(), target_type.kind()) {
            return Ok(false);
        }
        match local_type.kind() {
            Kind::Ptr | Kind::Float => return Ok(true),
            Kind::Fwd | Kind::Enum | Kind::Enum64 => return same_or_anonymous(&local_type, &target_type),
            Kind::Int => return whole_integers(&local_type, &target_type),
            Kind::Array => {
                local_id = local_type.array().map_err(ReloError::local)?.element;
                target_id = target_type.array().map_err(ReloError::target)?.element;
            }
            Kind::Void | Kind::Struct | Kind::Union | Kind::Typedef | Kind::Volatile | Kind::Const => {
                return Ok(false);
            }
            Kind::Restrict | Kind::Func | Kind::FuncProto | Kind::Var | Kind::Datasec | Kind::DeclTag => {
                return Ok(false);
            }
            Kind::TypeTag | Kind::Unknown(_) => return Ok(false),
        }
    }
    Err(ReloError::TooDeep)
}

/// Whether a target type may stand for a local root (libbpf: `bpf_core_types_are_compat`).
///
/// Names have been compared by the candidate search, and are not compared again.
pub(crate) fn types_compatible(
    local: &Btf<'_>,
    local_id: TypeId,
    target: &Btf<'_>,
    target_id: TypeId,
    touched: &Footprint,
) -> Result<bool, ReloError> {
    Exists { local, target, touched }.compare(local_id, target_id, MAX_DEPTH)
}

struct Exists<'e> {
    local: &'e Btf<'e>,
    target: &'e Btf<'e>,
    touched: &'e Footprint,
}

impl Exists<'_> {
    fn compare(&self, mut local_id: TypeId, mut target_id: TypeId, level: u32) -> Result<bool, ReloError> {
        let local_kind = self.local.resolve(local_id).map_err(ReloError::local)?.kind();
        let target_kind = self.target.resolve(target_id).map_err(ReloError::target)?.kind();
        if !kinds_compatible(local_kind, target_kind) {
            self.touched.ty(target_id);
            return Ok(false);
        }
        for _ in 0..MAX_DEPTH {
            let local_type = self.local.skip(local_id).map_err(ReloError::local)?;
            self.touched.ty(target_id);
            let target_type = self.target.skip(target_id).map_err(ReloError::target)?;
            if !kinds_compatible(local_type.kind(), target_type.kind()) {
                return Ok(false);
            }
            match local_type.kind() {
                Kind::Void | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Fwd => {
                    return Ok(true);
                }
                Kind::Int => return whole_integers(&local_type, &target_type),
                Kind::Ptr => {
                    local_id = local_type.target().map_err(ReloError::local)?;
                    target_id = target_type.target().map_err(ReloError::target)?;
                }
                Kind::Array => {
                    local_id = local_type.array().map_err(ReloError::local)?.element;
                    target_id = target_type.array().map_err(ReloError::target)?.element;
                }
                Kind::FuncProto => {
                    if !self.params(&local_type, &target_type, level)? {
                        return Ok(false);
                    }
                    local_id = local_type.target().map_err(ReloError::local)?;
                    target_id = target_type.target().map_err(ReloError::target)?;
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

    fn params(&self, local: &Type<'_>, target: &Type<'_>, level: u32) -> Result<bool, ReloError> {
        if local.len() != target.len() {
            return Ok(false);
        }
        for index in 0..local.len() {
            let Some(level) = level.checked_sub(1) else {
                return Err(ReloError::TooDeep);
            };
            let local_param = local.param(index).map_err(ReloError::local)?.type_id;
            let target_param = target.param(index).map_err(ReloError::target)?.type_id;
            self.touched.ty(target_param);
            // libbpf compares the kinds behind the modifiers, both here and when it enters the next level.
            let local_param = self.local.skip(local_param).map_err(ReloError::local)?.id();
            let target_param = self.target.skip(target_param).map_err(ReloError::target)?.id();
            if !self.compare(local_param, target_param, level)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Equal essential names, or at least one side without a name.
fn same_or_anonymous(local: &Type<'_>, target: &Type<'_>) -> Result<bool, ReloError> {
    let local = essential_name(local.name().map_err(ReloError::local)?);
    let target = essential_name(target.name().map_err(ReloError::target)?);
    Ok(local.is_empty() || target.is_empty() || local == target)
}

/// All integers may stand for each other, but for the bitfield-like ones of old compilers.
fn whole_integers(local: &Type<'_>, target: &Type<'_>) -> Result<bool, ReloError> {
    let local = local.int_offset().map_err(ReloError::local)?;
    let target = target.int_offset().map_err(ReloError::target)?;
    Ok(local == 0 && target == 0)
}

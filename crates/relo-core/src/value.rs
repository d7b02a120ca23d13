//! The values of a spec: one calculation for the local side and for the target side.

use btf::{Btf, ByteOrder, Kind, Member, Type, TypeId};

use crate::{Mode, ReloError, ReloKind, Spec};

/// What a spec gives on one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value {
    pub value: u64,
    /// Whether the instruction must hold the local value: not for bitfields and ids, which linkers may change.
    pub validate: bool,
    /// For byte_off: size in bytes of the field, for arrays of the innermost element; 0 for bitfields.
    pub size: u32,
    /// For byte_off: the type whose nature decides whether the access may change its width.
    pub field: TypeId,
    /// Whether libbpf would give another value here.
    pub diverges: bool,
}

impl Value {
    fn plain(value: u64) -> Value {
        Value { value, validate: true, size: 0, field: TypeId::VOID, diverges: false }
    }
}

/// The side of a relocation on which a value is calculated.
#[derive(Clone, Copy)]
pub(crate) struct Side<'s> {
    pub btf: &'s Btf<'s>,
    /// The byte order of the ELF object: it decides what a left shift has to be.
    pub order: ByteOrder,
    pub mode: Mode,
    pub broken: fn(btf::Error) -> ReloError,
}

impl Side<'_> {
    /// The value of a spec (libbpf: `bpf_core_calc_{field,type,enumval}_relo`).
    pub(crate) fn value(&self, spec: &Spec) -> Result<Value, ReloError> {
        match spec.kind {
            ReloKind::FieldExists
            | ReloKind::TypeExists
            | ReloKind::EnumvalExists
            | ReloKind::TypeMatches => Ok(Value::plain(1)),
            ReloKind::LocalTypeId | ReloKind::TargetTypeId => {
                Ok(Value { validate: false, ..Value::plain(u64::from(spec.root.0)) })
            }
            ReloKind::TypeSize => Ok(Value::plain(u64::from(self.size_of(spec.root)?))),
            ReloKind::EnumvalValue => self.enumerator(spec),
            ReloKind::ByteOff | ReloKind::ByteSize | ReloKind::Signed => self.field(spec),
            ReloKind::LshiftU64 | ReloKind::RshiftU64 => self.field(spec),
        }
    }

    fn field(&self, spec: &Spec) -> Result<Value, ReloError> {
        let Some(last) = spec.accessors.last() else {
            return Err(ReloError::NotAField);
        };
        if last.name.is_none() {
            return self.element(spec, last.type_id);
        }
        let composite = self.btf.resolve(last.type_id).map_err(self.broken)?;
        let member = composite.member(last.index).map_err(self.broken)?;
        let ty = self.btf.skip(member.type_id).map_err(self.broken)?;
        if member.bitfield_size > 0 { self.bitfield(spec, &member, &ty) } else { self.whole_field(spec, &ty) }
    }

    /// A spec that ends in an index.
    fn element(&self, spec: &Spec, ty: TypeId) -> Result<Value, ReloError> {
        match spec.kind {
            ReloKind::ByteOff => {
                let size = self.innermost_size(ty)?;
                Ok(Value { size, field: ty, ..Value::plain(u64::from(spec.bit_offset / 8)) })
            }
            ReloKind::ByteSize => Ok(Value::plain(u64::from(self.size_of(ty)?))),
            _other => Err(ReloError::NotAField),
        }
    }

    fn whole_field(&self, spec: &Spec, ty: &Type<'_>) -> Result<Value, ReloError> {
        let byte_size = self.size_of(ty.id())?;
        let load = Load {
            bit_offset: spec.bit_offset,
            bit_size: u64::from(byte_size) * 8,
            byte_offset: spec.bit_offset / 8,
            byte_size,
        };
        let value = Value::plain(load.value(spec.kind, ty, self)?);
        match spec.kind {
            ReloKind::ByteOff => Ok(Value { size: self.innermost_size(ty.id())?, field: ty.id(), ..value }),
            _other => Ok(value),
        }
    }

    fn bitfield(&self, spec: &Spec, member: &Member, ty: &Type<'_>) -> Result<Value, ReloError> {
        let load = Load::of_bitfield(spec.bit_offset, member.bitfield_size, ty.size().map_err(self.broken)?)?;
        // The compiler may have chosen another load unit, so only what doesn't depend on it is checked.
        let validate = matches!(spec.kind, ReloKind::Signed | ReloKind::RshiftU64);
        Ok(Value { validate, ..Value::plain(load.value(spec.kind, ty, self)?) })
    }

    fn enumerator(&self, spec: &Spec) -> Result<Value, ReloError> {
        let Some(last) = spec.accessors.last() else {
            return Err(ReloError::NotAField);
        };
        let ty = self.btf.resolve(last.type_id).map_err(self.broken)?;
        let bits = ty.enumerator(last.index).map_err(self.broken)?.bits;
        let extended = i64::from(bits as u32 as i32) as u64;
        Ok(match ty.kind() {
            Kind::Enum if ty.kind_flag() || self.mode == Mode::StrictLibbpf => Value::plain(extended),
            // libbpf reads the 32 bits as signed whatever the enum says.
            Kind::Enum => Value { diverges: extended != bits, ..Value::plain(bits) },
            _other => Value::plain(bits),
        })
    }

    /// The size of what a load or store accesses: of arrays the innermost element, since libbpf 1.6.
    fn innermost_size(&self, ty: TypeId) -> Result<u32, ReloError> {
        let mut ty = self.btf.skip(ty).map_err(self.broken)?;
        for _ in 0..32 {
            if ty.kind() != Kind::Array {
                return self.size_of(ty.id());
            }
            ty = self.btf.skip(ty.array().map_err(self.broken)?.element).map_err(self.broken)?;
        }
        Err(ReloError::TooDeep)
    }

    fn size_of(&self, ty: TypeId) -> Result<u32, ReloError> {
        self.btf.size_of(ty).map_err(self.broken)
    }
}

/// The load that reads a field: bits from the root, and the bytes around them.
struct Load {
    bit_offset: u32,
    bit_size: u64,
    byte_offset: u32,
    byte_size: u32,
}

impl Load {
    /// The smallest aligned unit of at most 8 bytes, not smaller than the field's type, that holds all its bits.
    fn of_bitfield(bit_offset: u32, bits: u8, type_size: u32) -> Result<Load, ReloError> {
        if type_size == 0 {
            return Err(ReloError::BitfieldTooWide);
        }
        let end = u64::from(bit_offset) + u64::from(bits);
        let mut byte_size = type_size;
        loop {
            let byte_offset = bit_offset / 8 / byte_size * byte_size;
            if end - u64::from(byte_offset) * 8 <= u64::from(byte_size) * 8 {
                return Ok(Load { bit_offset, bit_size: u64::from(bits), byte_offset, byte_size });
            }
            if byte_size >= 8 {
                return Err(ReloError::BitfieldTooWide);
            }
            byte_size *= 2;
        }
    }

    fn value(&self, kind: ReloKind, ty: &Type<'_>, side: &Side<'_>) -> Result<u64, ReloError> {
        let bit_in_load = u64::from(self.bit_offset) - u64::from(self.byte_offset) * 8;
        match kind {
            ReloKind::ByteOff => Ok(u64::from(self.byte_offset)),
            ReloKind::ByteSize => Ok(u64::from(self.byte_size)),
            ReloKind::Signed => match ty.kind() {
                Kind::Enum | Kind::Enum64 => Ok(u64::from(ty.kind_flag())),
                Kind::Int => Ok(u64::from(ty.int_encoding().map_err(side.broken)?.is_signed())),
                _other => Ok(0),
            },
            // Fields wider than 64 bits wrap around, as libbpf's unsigned arithmetic does.
            ReloKind::LshiftU64 => Ok(match side.order {
                ByteOrder::Little => u64::from((64u32).wrapping_sub((bit_in_load + self.bit_size) as u32)),
                ByteOrder::Big => {
                    let high = 8u32.wrapping_sub(self.byte_size).wrapping_mul(8);
                    u64::from(high.wrapping_add(bit_in_load as u32))
                }
            }),
            ReloKind::RshiftU64 => Ok(u64::from(64u32.wrapping_sub(self.bit_size as u32))),
            _other => Err(ReloError::NotAField),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_units_of_bitfields() {
        let check = |bit_offset, bits, size, want: Option<(u32, u32)>| {
            let load =
                Load::of_bitfield(bit_offset, bits, size).ok().map(|load| (load.byte_offset, load.byte_size));
            assert_eq!(load, want, "bit {bit_offset}, {bits} bits of a {size}-byte type");
        };
        check(0, 3, 4, Some((0, 4)));
        check(33, 3, 4, Some((4, 4)));
        check(30, 4, 4, Some((0, 8)));
        check(7, 2, 1, Some((0, 2)));
        check(60, 8, 4, None);
        check(62, 4, 8, None);
        check(0, 1, 0, None);
        check(100, 3, 3, Some((12, 3)));
    }
}

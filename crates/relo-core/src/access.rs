//! Local specs: an access string held against the object's own types.

use btf::{Array, Btf, CoreRelo, Kind, Type, TypeId};

use crate::relo_kind::Subject;
use crate::spec::{Accessor, Indexes, LocalSpec, MAX_LEN, Spec};
use crate::{ReloError, ReloKind};

impl LocalSpec {
    /// Parses the access string of a relocation (libbpf: `bpf_core_parse_spec`).
    pub fn parse(btf: &Btf<'_>, relo: &CoreRelo) -> Result<LocalSpec, ReloError> {
        let kind = ReloKind::from_number(relo.kind).ok_or(ReloError::UnknownKind(relo.kind))?;
        let access = btf.string(relo.access).map_err(ReloError::local)?;
        let bad = |problem| bad_access(relo.type_id, access, problem);
        let mut spec = Spec::new(kind, relo.type_id);
        match kind.subject() {
            Subject::Type if access == b"0" => {
                btf.resolve(relo.type_id).map_err(ReloError::local)?;
                return Ok(LocalSpec(spec));
            }
            Subject::Type => return Err(bad("a type based relocation needs \"0\"")),
            Subject::Enumerator | Subject::Field => spec.raw = parse_numbers(access).map_err(bad)?,
        }
        let root = btf.skip(relo.type_id).map_err(ReloError::local)?;
        let index = spec.raw[0];
        if kind.subject() == Subject::Enumerator {
            if !root.kind().is_any_enum() || spec.raw.len() > 1 || index >= root.len() {
                return Err(bad("it names no enumerator"));
            }
            let name = root.enumerator(index).map_err(ReloError::local)?.name;
            spec.accessors.push(Accessor { type_id: root.id(), index, name: Some(name) });
            return Ok(LocalSpec(spec));
        }
        spec.accessors.reserve_exact(spec.raw.len());
        spec.accessors.push(Accessor { type_id: root.id(), index, name: None });
        let size = btf.size_of(root.id()).map_err(ReloError::local)?;
        spec.advance(index, size)?;
        let mut path = Path { btf, spec, at: root.id() };
        for step in 1..path.spec.raw.len() {
            path.follow(path.spec.raw[step])?.map_err(bad)?;
        }
        Ok(LocalSpec(path.spec))
    }
}

impl Spec {
    /// Adds `index` elements of `size` bytes to the offset.
    pub(crate) fn advance(&mut self, index: u32, size: u32) -> Result<(), ReloError> {
        self.advance_bits(u64::from(index) * u64::from(size), 8)
    }

    /// Adds `count` times `bits` to the offset. libbpf lets the sum wrap at 32 bits; that is never what was meant.
    pub(crate) fn advance_bits(&mut self, count: u64, bits: u64) -> Result<(), ReloError> {
        let sum = count.checked_mul(bits).and_then(|more| more.checked_add(u64::from(self.bit_offset)));
        self.bit_offset = sum.and_then(|sum| u32::try_from(sum).ok()).ok_or(ReloError::OffsetTooLarge)?;
        Ok(())
    }
}

/// A spec under construction, and the type that it has reached.
struct Path<'p> {
    btf: &'p Btf<'p>,
    spec: Spec,
    at: TypeId,
}

impl Path<'_> {
    /// Follows one part of the access string; the inner error is a part that does not fit.
    fn follow(&mut self, index: u32) -> Result<Result<(), &'static str>, ReloError> {
        let ty = self.btf.skip(self.at).map_err(ReloError::local)?;
        match ty.kind() {
            Kind::Struct | Kind::Union => self.follow_member(&ty, index),
            Kind::Array => self.follow_element(&ty, index),
            Kind::Void | Kind::Int | Kind::Ptr | Kind::Enum | Kind::Fwd | Kind::Typedef | Kind::Volatile => {
                Ok(Err("it goes into a type that has no parts"))
            }
            Kind::Const | Kind::Restrict | Kind::Func | Kind::FuncProto | Kind::Var | Kind::Datasec => {
                Ok(Err("it goes into a type that has no parts"))
            }
            Kind::Float | Kind::DeclTag | Kind::TypeTag | Kind::Enum64 | Kind::Unknown(_) => {
                Ok(Err("it goes into a type that has no parts"))
            }
        }
    }

    fn follow_member(&mut self, ty: &Type<'_>, index: u32) -> Result<Result<(), &'static str>, ReloError> {
        if index >= ty.len() {
            return Ok(Err("it names a member that the type does not have"));
        }
        let member = ty.member(index).map_err(ReloError::local)?;
        self.spec.advance_bits(u64::from(member.bit_offset), 1)?;
        if member.name.0 != 0 {
            if ty.string(member.name).map_err(ReloError::local)?.is_empty() {
                return Ok(Err("it names a member with an empty name"));
            }
            self.spec.accessors.push(Accessor { type_id: ty.id(), index, name: Some(member.name) });
        }
        self.at = member.type_id;
        Ok(Ok(()))
    }

    fn follow_element(&mut self, ty: &Type<'_>, index: u32) -> Result<Result<(), &'static str>, ReloError> {
        let array = ty.array().map_err(ReloError::local)?;
        let element = self.btf.skip(array.element).map_err(ReloError::local)?.id();
        let flexible = is_flexible(self.btf, self.spec.accessors.last(), array).map_err(ReloError::local)?;
        if !flexible && index >= array.len {
            return Ok(Err("it goes beyond the end of an array"));
        }
        self.spec.accessors.push(Accessor { type_id: element, index, name: None });
        self.at = element;
        let size = self.btf.size_of(element).map_err(ReloError::local)?;
        self.spec.advance(index, size)?;
        Ok(Ok(()))
    }
}

/// Whether any index of an array is allowed: it has no length and is the last member of its struct or union, reached
/// by its name (libbpf: `is_flex_arr`).
pub(crate) fn is_flexible(btf: &Btf<'_>, last: Option<&Accessor>, array: Array) -> Result<bool, btf::Error> {
    match last {
        Some(Accessor { name: Some(_), type_id, index }) if array.len == 0 => {
            Ok(btf.resolve(*type_id)?.len() == index + 1)
        }
        Some(_) | None => Ok(false),
    }
}

/// The numbers between colons.
///
/// libbpf reads them with `sscanf("%d")`, so it also takes signs and spaces; compilers write none
/// of these, and a text that is not `a:b:c` is refused here.
fn parse_numbers(access: &[u8]) -> Result<Indexes, &'static str> {
    let parts = 1 + access.iter().filter(|&&byte| byte == b':').count();
    if parts > MAX_LEN {
        return Err("it has more than 64 parts");
    }
    let mut numbers = Indexes::with_capacity(parts);
    for part in access.split(|&byte| byte == b':') {
        numbers.push(parse_number(part).ok_or("it is not a list of numbers")?);
    }
    Ok(numbers)
}

fn parse_number(digits: &[u8]) -> Option<u32> {
    let number = digits.iter().try_fold(0u32, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })?;
    (!digits.is_empty() && number <= i32::MAX as u32).then_some(number)
}

fn bad_access(root: TypeId, access: &[u8], problem: &'static str) -> ReloError {
    ReloError::Access { root, access: String::from_utf8_lossy(access).into_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let check = |text: &str, want: Option<&[u32]>| {
            assert_eq!(parse_numbers(text.as_bytes()).ok().as_deref(), want, "{text}");
        };
        check("0", Some(&[0]));
        check("0:12:3", Some(&[0, 12, 3]));
        for bad in
            ["", ":", "0:", ":0", "0::1", "-1", "+1", " 1", "1 ", "a", "0:2147483648", "0x1", "4294967296"]
        {
            check(bad, None);
        }
        let long = |parts: usize| vec!["0"; parts].join(":");
        check(&long(64), Some(&[0; 64]));
        check(&long(65), None);
    }
}

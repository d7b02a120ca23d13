//! Sizes of types, and what stands behind typedefs and modifiers.

use crate::{Btf, Error, ErrorKind, Kind, Type, TypeId};

/// Steps that a size may take (libbpf: `MAX_RESOLVE_DEPTH`).
const MAX_RESOLVE_DEPTH: usize = 32;

/// Typedefs and modifiers in a row. libbpf has no limit and hangs on a cycle; no compiler comes near this one.
const MAX_MODIFIERS: usize = 256;

/// The size of a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PointerSize {
    /// 4 bytes.
    Four,
    /// 8 bytes.
    Eight,
}

impl PointerSize {
    /// The size in bytes.
    pub fn bytes(self) -> u32 {
        match self {
            PointerSize::Four => 4,
            PointerSize::Eight => 8,
        }
    }
}

/// The size of a pointer as far as it is known, and the INT that told it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pointers {
    pub size: Option<PointerSize>,
    pub long: Option<TypeId>,
}

impl Pointers {
    /// Takes the first `long` that comes along.
    pub(crate) fn look_at(&mut self, id: TypeId, name: &[u8], size: u32) {
        if let Some(size) = of_long(name, size) {
            *self = Pointers { size: Some(size), long: Some(id) };
        }
    }
}

/// What an INT of this name and size says of the size of a pointer, if it is a `long`.
fn of_long(name: &[u8], size: u32) -> Option<PointerSize> {
    let pointer_size = match size {
        4 => PointerSize::Four,
        8 => PointerSize::Eight,
        _ => return None,
    };
    is_long(name).then_some(pointer_size)
}

/// One `long`, with at most one `int` and one `unsigned`, in any order: every spelling that C has for it.
fn is_long(name: &[u8]) -> bool {
    let (mut long, mut int, mut unsigned) = (0, 0, 0);
    for word in name.split(|&byte| byte == b' ') {
        match word {
            b"long" => long += 1,
            b"int" => int += 1,
            b"unsigned" => unsigned += 1,
            _ => return false,
        }
    }
    long == 1 && int <= 1 && unsigned <= 1
}

impl<'d> Btf<'d> {
    /// Follows CONST, VOLATILE, RESTRICT, TYPE_TAG and TYPEDEF (libbpf: `skip_mods_and_typedefs`).
    #[inline]
    pub fn skip(&self, id: TypeId) -> Result<Type<'_>, Error> {
        let mut current = self.resolve(id)?;
        for _ in 0..MAX_MODIFIERS {
            if !current.kind().is_modifier_or_typedef() {
                return Ok(current);
            }
            current = self.resolve(current.target()?)?;
        }
        Err(ErrorKind::Cycle(id).at(current.offset()))
    }

    /// The size in bytes of a type (libbpf: `btf__resolve_size`).
    ///
    /// Arrays multiply, pointers have [`Btf::pointer_size`] or else 8 bytes, as in a 64-bit loader that can't tell.
    pub fn size_of(&self, id: TypeId) -> Result<u32, Error> {
        let mut count = 1u32;
        let mut current = self.resolve(id)?;
        for _ in 0..MAX_RESOLVE_DEPTH {
            let too_large = || ErrorKind::TooLarge(id).at(current.offset());
            match current.kind() {
                Kind::Int
                | Kind::Struct
                | Kind::Union
                | Kind::Enum
                | Kind::Enum64
                | Kind::Datasec
                | Kind::Float => {
                    return current.size()?.checked_mul(count).ok_or_else(too_large);
                }
                Kind::Ptr => {
                    let size = self.pointer_size().unwrap_or(PointerSize::Eight).bytes();
                    return size.checked_mul(count).ok_or_else(too_large);
                }
                Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                    current = self.resolve(current.target()?)?;
                }
                Kind::Var | Kind::DeclTag => current = self.resolve(current.target()?)?,
                Kind::Array => {
                    let array = current.array()?;
                    count = count.checked_mul(array.len).ok_or_else(too_large)?;
                    current = self.resolve(array.element)?;
                }
                Kind::Void | Kind::Fwd | Kind::Func | Kind::FuncProto | Kind::Unknown(_) => {
                    return Err(ErrorKind::NoSize(id).at(current.offset()));
                }
            }
        }
        Err(ErrorKind::NoSize(id).at(current.offset()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_long() {
        let check = |name: &str, size, want| assert_eq!(of_long(name.as_bytes(), size), want, "{name}");
        for name in
            ["long", "long int", "int long", "unsigned long", "long unsigned int", "int unsigned long"]
        {
            check(name, 8, Some(PointerSize::Eight));
            check(name, 4, Some(PointerSize::Four));
            check(name, 2, None);
        }
        for name in ["long long", "int", "", "long long unsigned int", "longer", "unsigned int", "long  int"]
        {
            check(name, 8, None);
        }
    }
}

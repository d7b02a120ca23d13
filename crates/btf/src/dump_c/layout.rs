//! Where a C compiler would put things: alignment, packing, padding.

use crate::dump_c::MAX_DEPTH;
use crate::{Btf, DumpError, Kind, PointerSize, Type, TypeId};

/// What a struct asks of the compiler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Alignment in bytes, at least 1.
    pub(super) align: u32,
    /// Whether its members stand where only `packed` puts them.
    pub(super) packed: bool,
}

/// The layout of each struct and union, computed once.
pub(super) struct Layouts<'b> {
    btf: &'b Btf<'b>,
    pointer_size: u32,
    known: Vec<Option<Layout>>,
}

impl<'b> Layouts<'b> {
    pub(super) fn new(btf: &'b Btf<'b>, type_count: usize) -> Layouts<'b> {
        Layouts {
            btf,
            pointer_size: btf.pointer_size().unwrap_or(PointerSize::Eight).bytes(),
            known: vec![None; type_count],
        }
    }

    /// The size of a pointer in bytes; it is the largest alignment, too.
    pub(super) fn pointer_size(&self) -> u32 {
        self.pointer_size
    }

    /// The alignment in bytes of a type (libbpf: `btf__align_of`); 1 for a type that no struct can hold.
    pub(super) fn align_of(&mut self, id: TypeId) -> Result<u32, DumpError> {
        self.align_within(id, MAX_DEPTH)
    }

    /// The layout of a STRUCT or UNION.
    pub(super) fn of(&mut self, ty: &Type<'_>) -> Result<Layout, DumpError> {
        self.layout_within(ty, MAX_DEPTH)
    }

    fn align_within(&mut self, id: TypeId, depth_left: usize) -> Result<u32, DumpError> {
        let btf = self.btf;
        let mut ty = btf.resolve(id)?;
        for left in (0..depth_left).rev() {
            match ty.kind() {
                Kind::Int | Kind::Enum | Kind::Enum64 | Kind::Float => {
                    return Ok(ty.size()?.clamp(1, self.pointer_size));
                }
                Kind::Ptr => return Ok(self.pointer_size),
                Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                    ty = btf.resolve(ty.target()?)?;
                }
                Kind::Array => ty = btf.resolve(ty.array()?.element)?,
                Kind::Struct | Kind::Union => return Ok(self.layout_within(&ty, left)?.align),
                Kind::Void | Kind::Fwd | Kind::Func | Kind::FuncProto | Kind::Var => return Ok(1),
                Kind::Datasec | Kind::DeclTag | Kind::Unknown(_) => return Ok(1),
            }
        }
        Err(DumpError::TooDeep(id))
    }

    fn layout_within(&mut self, ty: &Type<'_>, depth_left: usize) -> Result<Layout, DumpError> {
        let place = ty.id().0 as usize;
        if let Some(layout) = self.known[place] {
            return Ok(layout);
        }
        let (mut align, mut packed) = (1, false);
        for member in ty.members() {
            let member = member?;
            let own = self.align_within(member.type_id, depth_left)?;
            packed |= member.bitfield_size == 0 && member.bit_offset % (8 * own) != 0;
            align = align.max(own);
        }
        packed |= ty.size()? % align != 0;
        let layout = match packed {
            true => Layout { align: 1, packed },
            false => Layout { align, packed },
        };
        self.known[place] = Some(layout);
        Ok(layout)
    }
}

/// A hole in a struct, in bits from its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hole {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Alignment in bits of what follows the hole.
    pub(super) next_align: u64,
    /// Whether there is a bitfield on both sides.
    pub(super) between_bitfields: bool,
}

/// An unnamed bitfield: `<unit>: <bits>;`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pad {
    pub(super) unit: &'static str,
    pub(super) bits: u64,
}

impl Hole {
    /// The unnamed bitfields that fill the hole (libbpf: `btf_dump_emit_bit_padding`).
    ///
    /// The compiler is left to close what it closes by itself: first up to a boundary of the largest unit that has
    /// one in the hole, then whole units, then a rest in the smallest unit that holds it.
    pub(super) fn pads(self, pointer_size: u32) -> impl Iterator<Item = Pad> {
        let units = [("long", u64::from(pointer_size) * 8), ("int", 32), ("short", 16), ("char", 8)];
        let pad = |unit, bits| Pad { unit, bits };
        let length = self.end.saturating_sub(self.start);
        let reachable = units.iter().find(|(_, bits)| self.start.next_multiple_of(*bits) <= self.end);
        let &(unit, unit_bits) = reachable.unwrap_or(&units[3]);
        let boundary = self.start.next_multiple_of(unit_bits);
        let to_boundary = if boundary <= self.end { boundary - self.start } else { 0 };
        let first = match self.needs_mark(boundary) {
            _ if length == 0 || to_boundary == 0 => None,
            false => None,
            true if self.between_bitfields => Some(pad(unit, to_boundary)),
            true => Some(pad(unit, 0)),
        };
        let left = length - to_boundary.min(length);
        let rest = left % unit_bits;
        let smallest = units.iter().rev().find(|(_, bits)| *bits >= rest);
        let last = smallest.filter(|_| rest > 0).map(|&(unit, _)| pad(unit, rest));
        let whole = std::iter::repeat_n(pad(unit, unit_bits), (left / unit_bits) as usize);
        first.into_iter().chain(whole).chain(last)
    }

    /// Whether the compiler goes to the boundary only when told to.
    fn needs_mark(self, boundary: u64) -> bool {
        let goes_there_for_the_next = self.start.next_multiple_of(self.next_align) == boundary;
        if self.between_bitfields {
            true
        } else if boundary == self.end {
            !goes_there_for_the_next
        } else {
            // A rest that would fit in front of the boundary would be put there.
            self.end.saturating_sub(boundary) <= boundary - self.start
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(start: u64, end: u64, align: u64, between_bitfields: bool, want: &str) {
        let hole = Hole { start, end, next_align: 8 * align, between_bitfields };
        let got: Vec<_> = hole.pads(8).map(|pad| format!("{}: {}", pad.unit, pad.bits)).collect();
        assert_eq!(got.join(", "), want, "{start}..{end} before an alignment of {align}");
    }

    #[test]
    fn holes() {
        check(32, 32, 4, false, "");
        check(64, 32, 4, false, "");
        // int, then long: natural.
        check(32, 64, 8, false, "");
        // int, then int at 8: the compiler must be told.
        check(32, 64, 4, false, "long: 0");
        check(0, 64, 4, false, "long: 64");
        check(8, 32, 2, false, "int: 0");
        // One byte up to a boundary of two: no unit is larger than the hole, so the mark is the boundary's.
        check(8, 16, 1, false, "short: 0");
        check(16, 24, 1, false, "char: 8");
        check(0, 192, 8, false, "long: 64, long: 64, long: 64");
        check(32, 192, 8, false, "long: 64, long: 64");
        check(8, 96, 4, false, "long: 0, int: 32");
        check(3, 5, 1, true, "char: 2");
        check(3, 9, 1, true, "char: 5, char: 1");
        check(3, 32, 4, true, "int: 29");
        check(0, 100, 4, false, "long: 64, long: 36");
    }

    #[test]
    fn pointers_of_four_bytes() {
        let hole = Hole { start: 0, end: 64, next_align: 32, between_bitfields: false };
        assert!(hole.pads(4).eq([Pad { unit: "long", bits: 32 }; 2]));
    }
}

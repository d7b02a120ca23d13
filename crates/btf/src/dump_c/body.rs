//! What stands between braces: members with their padding, enumerators with their values.

use crate::dump_c::Printer;
use crate::dump_c::layout::Hole;
use crate::dump_c::names::Name;
use crate::{DumpError, Kind, Member, Type};

/// Where the members printed so far end.
#[derive(Clone, Copy)]
struct End {
    /// In bits from the start of the struct.
    bits: u64,
    after_bitfield: bool,
}

impl<'b> Printer<'b, '_> {
    /// Prints a STRUCT or UNION with its members, its attributes, and without a semicolon.
    pub(super) fn composite(&mut self, ty: &Type<'b>, level: usize) -> Result<(), DumpError> {
        let layout = self.layouts.of(ty)?;
        let packed = layout.packed && ty.kind() == Kind::Struct;
        self.tagged_name(ty)?;
        self.text.push(" {")?;
        let mut end = End { bits: 0, after_bitfield: false };
        for member in ty.members() {
            let member = member?;
            self.padding(end, &member, packed, level + 1)?;
            end = self.member(ty, &member, level + 1)?;
        }
        if ty.kind() == Kind::Struct {
            let hole = Hole {
                start: end.bits,
                end: u64::from(ty.size()?) * 8,
                next_align: u64::from(layout.align) * 8,
                between_bitfields: false,
            };
            self.pads(hole, level + 1)?;
        }
        if !ty.is_empty() || ty.size()? != 0 {
            self.line(level)?;
        }
        self.text.push("}")?;
        if packed {
            self.text.push(" __attribute__((packed))")?;
        }
        Ok(())
    }

    fn member(&mut self, ty: &Type<'b>, member: &Member, level: usize) -> Result<End, DumpError> {
        self.line(level)?;
        self.declare(member.type_id, Name::plain(ty.string(member.name)?), level)?;
        let after_bitfield = member.bitfield_size != 0;
        let bits = if after_bitfield {
            self.text.push(": ")?;
            self.text.push_number(member.bitfield_size)?;
            member.bitfield_size.into()
        } else {
            // What has no size takes no place.
            u64::from(self.btf.size_of(member.type_id).unwrap_or(0)) * 8
        };
        self.text.push(";")?;
        Ok(End { bits: u64::from(member.bit_offset) + bits, after_bitfield })
    }

    fn padding(&mut self, end: End, next: &Member, packed: bool, level: usize) -> Result<(), DumpError> {
        let start = u64::from(next.bit_offset);
        if start <= end.bits {
            return Ok(());
        }
        let align = match packed {
            true => 1,
            false => self.layouts.align_of(next.type_id)?,
        };
        let hole = Hole {
            start: end.bits,
            end: start,
            next_align: u64::from(align) * 8,
            between_bitfields: end.after_bitfield && next.bitfield_size != 0,
        };
        self.pads(hole, level)
    }

    fn pads(&mut self, hole: Hole, level: usize) -> Result<(), DumpError> {
        for pad in hole.pads(self.layouts.pointer_size()) {
            self.line(level)?;
            self.text.push(pad.unit)?;
            self.text.push(": ")?;
            self.text.push_number(pad.bits)?;
            self.text.push(";")?;
        }
        Ok(())
    }

    /// Prints an ENUM or ENUM64 with its enumerators, if it has any, and without a semicolon.
    pub(super) fn enumeration(&mut self, ty: &Type<'b>, level: usize) -> Result<(), DumpError> {
        self.tagged_name(ty)?;
        if ty.is_empty() {
            return Ok(());
        }
        self.text.push(" {")?;
        let mut wide = false;
        for index in 0..ty.len() {
            let enumerator = ty.enumerator(index)?;
            self.line(level + 1)?;
            let name = self.names.enumerator(ty.string(enumerator.name)?);
            name.push(&mut self.text)?;
            self.text.push(" = ")?;
            self.value(ty, enumerator.bits)?;
            self.text.push(",")?;
            wide |= enumerator.bits >> 32 != 0;
        }
        self.line(level)?;
        self.text.push("}")?;
        let attribute = match ty.size()? {
            1 => " __attribute__((mode(byte)))",
            // The values alone make it no larger than an int.
            8 if !wide && self.layouts.pointer_size() == 8 => " __attribute__((mode(word)))",
            _size_of_its_own => "",
        };
        self.text.push(attribute)
    }

    fn value(&mut self, ty: &Type<'b>, bits: u64) -> Result<(), DumpError> {
        match (ty.kind(), ty.kind_flag()) {
            (Kind::Enum64, true) => {
                self.text.push_number(bits as i64)?;
                self.text.push("LL")
            }
            (Kind::Enum64, false) => {
                self.text.push_number(bits)?;
                self.text.push("ULL")
            }
            (_enum, true) => self.text.push_number(bits as u32 as i32),
            (_enum, false) => self.text.push_number(bits as u32),
        }
    }

    /// A new line at this level.
    fn line(&mut self, level: usize) -> Result<(), DumpError> {
        self.text.push("\n")?;
        for _ in 0..level {
            self.text.push("\t")?;
        }
        Ok(())
    }
}

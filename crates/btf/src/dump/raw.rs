//! One type in bpftool's raw format (bpftool: `dump_btf_type`).

use crate::dump::Text;
use crate::{Btf, DumpError, IntEncoding, Kind, StrOff, Type};

/// Writes types in the raw format.
pub(super) struct Raw<'w> {
    btf: &'w Btf<'w>,
    text: Text<'w>,
}

impl<'w> Raw<'w> {
    pub(super) fn new(btf: &'w Btf<'w>, text: Text<'w>) -> Raw<'w> {
        Raw { btf, text }
    }

    pub(super) fn finish(mut self) -> Result<(), DumpError> {
        self.text.flush()
    }

    /// A type: one line, and one more for each element.
    pub(super) fn write_type(&mut self, ty: &Type<'_>) -> Result<(), DumpError> {
        self.number("[", ty.id().0)?;
        self.word("] ", ty.kind().name())?;
        self.name(" ", ty, ty.name_off())?;
        match ty.kind() {
            Kind::Int => self.int(ty)?,
            Kind::Ptr | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::Typedef | Kind::TypeTag => {
                self.number(" type_id=", ty.target()?.0)?;
            }
            Kind::Array => {
                let array = ty.array()?;
                self.number(" type_id=", array.element.0)?;
                self.number(" index_type_id=", array.index.0)?;
                self.number(" nr_elems=", array.len)?;
            }
            Kind::Struct | Kind::Union => self.members(ty)?,
            Kind::Enum | Kind::Enum64 => self.enumerators(ty)?,
            Kind::Fwd => self.word(" fwd_kind=", if ty.kind_flag() { "union" } else { "struct" })?,
            Kind::Func => {
                self.number(" type_id=", ty.target()?.0)?;
                self.word(" linkage=", linkage(ty.linkage()?))?;
            }
            Kind::FuncProto => self.params(ty)?,
            Kind::Var => {
                // The comma is bpftool's.
                self.number(" type_id=", ty.target()?.0)?;
                self.word(", linkage=", linkage(ty.linkage()?))?;
            }
            Kind::Datasec => self.vars(ty)?,
            Kind::Float => self.number(" size=", ty.size()?)?,
            Kind::DeclTag => {
                self.number(" type_id=", ty.target()?.0)?;
                // Printed as the signed number that it is in the kernel's header: -1 for the whole type.
                self.number(" component_idx=", ty.component()?.unwrap_or(u32::MAX) as i32)?;
            }
            Kind::Void | Kind::Unknown(_) => {}
        }
        self.text.push("\n")?;
        self.text.end()
    }

    fn int(&mut self, ty: &Type<'_>) -> Result<(), DumpError> {
        self.number(" size=", ty.size()?)?;
        self.number(" bits_offset=", ty.int_offset()?)?;
        self.number(" nr_bits=", ty.int_bits()?)?;
        let encoding = match ty.int_encoding()? {
            IntEncoding::NONE => "(none)",
            IntEncoding::SIGNED => "SIGNED",
            IntEncoding::CHAR => "CHAR",
            IntEncoding::BOOL => "BOOL",
            IntEncoding(_several_bits) => "UNKN",
        };
        self.word(" encoding=", encoding)
    }

    fn members(&mut self, ty: &Type<'_>) -> Result<(), DumpError> {
        self.number(" size=", ty.size()?)?;
        self.number(" vlen=", ty.len())?;
        for member in ty.members() {
            let member = member?;
            self.name("\n\t", ty, member.name)?;
            self.number(" type_id=", member.type_id.0)?;
            self.number(" bits_offset=", member.bit_offset)?;
            if member.bitfield_size != 0 {
                self.number(" bitfield_size=", member.bitfield_size)?;
            }
        }
        Ok(())
    }

    fn enumerators(&mut self, ty: &Type<'_>) -> Result<(), DumpError> {
        let signed = ty.kind_flag();
        self.word(" encoding=", if signed { "SIGNED" } else { "UNSIGNED" })?;
        self.number(" size=", ty.size()?)?;
        self.number(" vlen=", ty.len())?;
        let wide = ty.kind() == Kind::Enum64;
        for index in 0..ty.len() {
            let enumerator = ty.enumerator(index)?;
            self.name("\n\t", ty, enumerator.name)?;
            self.text.push(" val=")?;
            match (wide, signed) {
                (false, false) => self.text.push_number(enumerator.bits as u32)?,
                (false, true) => self.text.push_number(enumerator.bits as i32)?,
                (true, false) => self.text.push_number(enumerator.bits)?,
                (true, true) => self.text.push_number(enumerator.bits as i64)?,
            }
            if wide {
                self.text.push(if signed { "LL" } else { "ULL" })?;
            }
        }
        Ok(())
    }

    fn params(&mut self, ty: &Type<'_>) -> Result<(), DumpError> {
        self.number(" ret_type_id=", ty.target()?.0)?;
        self.number(" vlen=", ty.len())?;
        for index in 0..ty.len() {
            let param = ty.param(index)?;
            self.name("\n\t", ty, param.name)?;
            self.number(" type_id=", param.type_id.0)?;
        }
        Ok(())
    }

    fn vars(&mut self, ty: &Type<'_>) -> Result<(), DumpError> {
        self.number(" size=", ty.size()?)?;
        self.number(" vlen=", ty.len())?;
        for index in 0..ty.len() {
            let var = ty.var_section(index)?;
            self.number("\n\ttype_id=", var.type_id.0)?;
            self.number(" offset=", var.offset)?;
            self.number(" size=", var.size)?;
            if let Ok(variable) = self.btf.resolve(var.type_id) {
                self.word(" (", variable.kind().name())?;
                self.name(" ", &variable, variable.name_off())?;
                self.text.push(")")?;
            }
        }
        Ok(())
    }

    #[inline]
    fn number(&mut self, label: &str, number: impl Into<i128>) -> Result<(), DumpError> {
        self.text.push(label)?;
        self.text.push_number(number)
    }

    #[inline]
    fn word(&mut self, label: &str, word: &str) -> Result<(), DumpError> {
        self.text.push(label)?;
        self.text.push(word)
    }

    /// A name in quotes.
    #[inline]
    fn name(&mut self, before: &str, ty: &Type<'_>, name: StrOff) -> Result<(), DumpError> {
        self.text.push(before)?;
        self.text.push("'")?;
        match (name, ty.string(name)) {
            (StrOff(0), _) => self.text.push("(anon)")?,
            (_, Ok(name)) => self.text.push_bytes(name)?,
            (_, Err(_)) => self.text.push("(invalid)")?,
        }
        self.text.push("'")
    }
}

/// FUNC and VAR number their linkage alike.
fn linkage(number: u32) -> &'static str {
    match number {
        0 => "static",
        1 => "global",
        2 => "extern",
        _ => "(unknown)",
    }
}

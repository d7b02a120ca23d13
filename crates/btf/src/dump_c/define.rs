//! One definition after the other, and ahead of each the declarations that it needs.

use crate::dump_c::Printer;
use crate::dump_c::names::Name;
use crate::{DumpError, Kind, Type, TypeId};

/// What the compiler already knows of a type.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    progress: Progress,
    /// The struct or union was declared, or the typedef was written before what it stands for.
    declared: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Progress {
    #[default]
    Nothing,
    /// What it needs is being declared.
    Underway,
    Defined,
}

/// Typedefs of the compiler's own, which can't be defined again.
const BUILT_IN: &[u8] = b"__builtin_va_list";

/// Types of gcc's SIMD headers that are no typedefs there, and unknown to clang.
const POLYNOMIALS: [(&[u8], &str); 4] = [
    (b"__Poly8_t", "unsigned char"),
    (b"__Poly16_t", "unsigned short"),
    (b"__Poly64_t", "unsigned long long"),
    (b"__Poly128_t", "unsigned __int128"),
];

impl<'b> Printer<'b, '_> {
    /// Prints a definition of its own, with what it needs before it.
    pub(super) fn define(&mut self, id: TypeId) -> Result<(), DumpError> {
        let ty = self.btf.resolve(id)?;
        if self.known(id).progress == Progress::Defined {
            return Ok(());
        }
        match ty.kind() {
            Kind::Struct | Kind::Union => {
                self.known(id).progress = Progress::Underway;
                self.introduce_members(&ty, id)?;
                self.composite(&ty, 0)?;
                self.end_definition()?;
                self.known(id).progress = Progress::Defined;
                Ok(())
            }
            Kind::Enum | Kind::Enum64 => {
                self.enumeration(&ty, 0)?;
                self.end_definition()?;
                self.known(id).progress = Progress::Defined;
                Ok(())
            }
            Kind::Fwd | Kind::Typedef => self.introduce(id, TypeId::VOID),
            Kind::Void | Kind::Int | Kind::Float | Kind::Ptr | Kind::Array | Kind::FuncProto => Ok(()),
            Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag | Kind::DeclTag => Ok(()),
            Kind::Func | Kind::Var | Kind::Datasec | Kind::Unknown(_) => Ok(()),
        }
    }

    fn introduce_members(&mut self, ty: &Type<'b>, user: TypeId) -> Result<(), DumpError> {
        for member in ty.members() {
            self.introduce(member?.type_id, user)?;
        }
        Ok(())
    }

    /// Prints what must stand before `user` can name a type: declarations, typedefs, aliases.
    fn introduce(&mut self, id: TypeId, user: TypeId) -> Result<(), DumpError> {
        self.deeper(id, |printer| {
            let mut id = id;
            // Pointers, arrays and modifiers need nothing of their own.
            loop {
                printer.text.budget().step()?;
                let ty = printer.btf.resolve(id)?;
                id = match ty.kind() {
                    Kind::Ptr | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                        ty.target()?
                    }
                    Kind::Array => ty.array()?.element,
                    _named_or_composed => return printer.introduce_one(&ty, user),
                }
            }
        })
    }

    fn introduce_one(&mut self, ty: &Type<'b>, user: TypeId) -> Result<(), DumpError> {
        match ty.kind() {
            Kind::Int => self.introduce_number(ty),
            Kind::Fwd => self.introduce_forward(ty),
            Kind::Typedef => self.introduce_typedef(ty),
            Kind::Struct | Kind::Union => self.introduce_composite(ty, user),
            Kind::FuncProto => {
                self.introduce(ty.target()?, user)?;
                for index in 0..ty.len() {
                    self.introduce(ty.param(index)?.type_id, user)?;
                }
                Ok(())
            }
            // The order put a named enum before its users; an anonymous one is printed where it is used.
            Kind::Enum | Kind::Enum64 => Ok(()),
            Kind::Void | Kind::Float | Kind::Func | Kind::Var | Kind::Datasec => Ok(()),
            Kind::Ptr | Kind::Array | Kind::Volatile | Kind::Const | Kind::Restrict => Ok(()),
            Kind::TypeTag | Kind::DeclTag | Kind::Unknown(_) => Ok(()),
        }
    }

    fn introduce_number(&mut self, ty: &Type<'b>) -> Result<(), DumpError> {
        if self.known(ty.id()).progress == Progress::Defined {
            return Ok(());
        }
        self.known(ty.id()).progress = Progress::Defined;
        let name = ty.name()?;
        let Some((_, meaning)) = POLYNOMIALS.iter().find(|(known, _)| *known == name) else {
            return Ok(());
        };
        self.text.push("typedef ")?;
        self.text.push(meaning)?;
        self.text.push(" ")?;
        self.text.push_bytes(name)?;
        self.end_definition()
    }

    fn introduce_forward(&mut self, ty: &Type<'b>) -> Result<(), DumpError> {
        if self.known(ty.id()).progress == Progress::Defined {
            return Ok(());
        }
        self.known(ty.id()).progress = Progress::Defined;
        self.tagged_name(ty)?;
        self.end_definition()
    }

    /// A typedef is written after what it stands for, or before it where that uses it.
    fn introduce_typedef(&mut self, ty: &Type<'b>) -> Result<(), DumpError> {
        let id = ty.id();
        match self.known(id).progress {
            Progress::Defined => Ok(()),
            Progress::Underway => self.typedef_once(ty),
            Progress::Nothing => {
                self.known(id).progress = Progress::Underway;
                self.introduce(ty.target()?, id)?;
                self.typedef_once(ty)?;
                self.known(id).progress = Progress::Defined;
                Ok(())
            }
        }
    }

    fn typedef_once(&mut self, ty: &Type<'b>) -> Result<(), DumpError> {
        if std::mem::replace(&mut self.known(ty.id()).declared, true) || ty.name()? == BUILT_IN {
            return Ok(());
        }
        let target = ty.target()?;
        let name = self.names.of(ty)?;
        // gcc says that its list of arguments is void.
        if target == TypeId::VOID && ty.name()? == b"__gnuc_va_list" {
            self.text.push("typedef __builtin_va_list __gnuc_va_list")?;
        } else {
            self.text.push("typedef ")?;
            self.declare(target, name, 0)?;
        }
        self.end_definition()
    }

    fn introduce_composite(&mut self, ty: &Type<'b>, user: TypeId) -> Result<(), DumpError> {
        let (id, anonymous) = (ty.id(), ty.name()?.is_empty());
        match self.known(id).progress {
            Progress::Defined => Ok(()),
            Progress::Underway if anonymous => Err(DumpError::ContainsItself(id)),
            // It will be printed in full where it is used.
            Progress::Nothing if anonymous => {
                self.known(id).progress = Progress::Underway;
                self.introduce_members(ty, user)?;
                self.known(id).progress = Progress::Nothing;
                Ok(())
            }
            Progress::Underway | Progress::Nothing if id == user => Ok(()),
            Progress::Underway | Progress::Nothing => self.declare_ahead(ty),
        }
    }

    fn declare_ahead(&mut self, ty: &Type<'b>) -> Result<(), DumpError> {
        if std::mem::replace(&mut self.known(ty.id()).declared, true) {
            return Ok(());
        }
        self.tagged_name(ty)?;
        self.end_definition()
    }

    /// `struct foo`, `union foo` or `enum foo`, of FWD as well.
    pub(super) fn tagged_name(&mut self, ty: &Type<'b>) -> Result<(), DumpError> {
        let name = self.names.of(ty)?;
        self.tagged(ty, name)
    }

    pub(super) fn tagged(&mut self, ty: &Type<'b>, name: Name<'b>) -> Result<(), DumpError> {
        let keyword = match ty.kind() {
            Kind::Union => "union",
            Kind::Fwd if ty.kind_flag() => "union",
            Kind::Enum | Kind::Enum64 => "enum",
            _struct_or_its_declaration => "struct",
        };
        self.text.push(keyword)?;
        if !name.is_empty() {
            self.text.push(" ")?;
        }
        name.push(&mut self.text)
    }

    fn end_definition(&mut self) -> Result<(), DumpError> {
        self.text.push(";\n\n")?;
        self.text.end()
    }

    /// The ids that come here were resolved: each has its place.
    fn known(&mut self, id: TypeId) -> &mut Known {
        &mut self.known[id.0 as usize]
    }
}

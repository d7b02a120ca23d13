//! `int (*name[3])(void)`: a type around a name, as C writes it.

use crate::dump_c::Printer;
use crate::dump_c::names::Name;
use crate::{DumpError, ErrorKind, Kind, Type, TypeId};

/// What a type can be wrapped in.
enum Wrapper<'b> {
    Pointer,
    Qualifier(&'static str),
    /// An attribute: its text, and whether that is the attribute itself and not a `btf_type_tag`.
    Tag(&'b [u8], bool),
    Array(u32),
    Function(Type<'b>),
}

/// What stands behind the name, and whether the name's side is in parentheses.
struct Suffix<'b> {
    wrapper: Wrapper<'b>,
    parenthesized: bool,
}

/// A type taken apart: the wrappers, outermost first, and what they are around.
struct Parts<'b> {
    wrappers: Vec<Wrapper<'b>>,
    core: Type<'b>,
}

impl<'b> Printer<'b, '_> {
    /// Prints a type around a name; with an empty name, the type alone.
    ///
    /// From the core outward, what C writes in front of the name is printed, and what it writes behind the name is
    /// collected: that follows after the name in reverse.
    pub(super) fn declare(&mut self, id: TypeId, name: Name<'b>, level: usize) -> Result<(), DumpError> {
        let Parts { mut wrappers, core } = self.take_apart(id)?;
        while let Some(Wrapper::Qualifier(qualifier)) = wrappers.last() {
            self.text.push(qualifier)?;
            self.text.push(" ")?;
            wrappers.pop();
        }
        self.core(&core, level)?;
        let (suffixes, spaced) = self.prefixes(wrappers, name)?;
        if spaced && !name.is_empty() {
            self.text.push(" ")?;
        }
        name.push(&mut self.text)?;
        for suffix in suffixes.into_iter().rev() {
            self.suffix(suffix, level)?;
        }
        Ok(())
    }

    fn take_apart(&mut self, id: TypeId) -> Result<Parts<'b>, DumpError> {
        let mut wrappers = Vec::new();
        let mut next = id;
        loop {
            self.text.budget().step()?;
            let ty = self.btf.resolve(next)?;
            let (wrapper, inner) = match ty.kind() {
                Kind::Ptr => (Wrapper::Pointer, ty.target()?),
                Kind::Const => (Wrapper::Qualifier("const"), ty.target()?),
                Kind::Volatile => (Wrapper::Qualifier("volatile"), ty.target()?),
                Kind::Restrict => (Wrapper::Qualifier("restrict"), ty.target()?),
                Kind::TypeTag => (Wrapper::Tag(ty.name()?, ty.kind_flag()), ty.target()?),
                Kind::Array => {
                    let array = ty.array()?;
                    (Wrapper::Array(array.len), array.element)
                }
                Kind::FuncProto => (Wrapper::Function(ty), ty.target()?),
                Kind::Void | Kind::Int | Kind::Float | Kind::Struct | Kind::Union | Kind::Enum => {
                    return Ok(Parts { wrappers, core: ty });
                }
                Kind::Enum64 | Kind::Fwd | Kind::Typedef => return Ok(Parts { wrappers, core: ty }),
                Kind::Func | Kind::Var | Kind::Datasec | Kind::DeclTag | Kind::Unknown(_) => {
                    return Err(no_words_for(&ty));
                }
            };
            wrappers.push(wrapper);
            next = inner;
        }
    }

    fn core(&mut self, ty: &Type<'b>, level: usize) -> Result<(), DumpError> {
        let anonymous = ty.name()?.is_empty();
        match ty.kind() {
            Kind::Void => self.text.push("void"),
            Kind::Int | Kind::Float => self.text.push_bytes(ty.name()?),
            Kind::Struct | Kind::Union if anonymous => {
                self.deeper(ty.id(), |printer| printer.composite(ty, level))
            }
            Kind::Enum | Kind::Enum64 if anonymous => self.enumeration(ty, level),
            Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Fwd => self.tagged_name(ty),
            Kind::Typedef => self.names.of(ty)?.push(&mut self.text),
            Kind::Ptr | Kind::Array | Kind::FuncProto => Err(no_words_for(ty)),
            Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => Err(no_words_for(ty)),
            Kind::Func | Kind::Var | Kind::Datasec | Kind::DeclTag | Kind::Unknown(_) => {
                Err(no_words_for(ty))
            }
        }
    }

    /// Prints what stands in front of the name; whether a name needs a space is the second answer.
    fn prefixes(
        &mut self,
        mut wrappers: Vec<Wrapper<'b>>,
        name: Name<'b>,
    ) -> Result<(Vec<Suffix<'b>>, bool), DumpError> {
        let mut suffixes = Vec::new();
        let mut spaced = true;
        while let Some(wrapper) = wrappers.pop() {
            match wrapper {
                Wrapper::Pointer => {
                    self.text.push(if spaced { " *" } else { "*" })?;
                    spaced = false;
                }
                Wrapper::Qualifier(qualifier) => {
                    self.text.push(" ")?;
                    self.text.push(qualifier)?;
                    spaced = true;
                }
                Wrapper::Tag(tag, is_attribute) => {
                    self.tag(tag, is_attribute)?;
                    spaced = true;
                }
                Wrapper::Array(_) => {
                    drop_modifiers(&mut wrappers);
                    // int a[2][3], but int (*a)[3].
                    let parenthesized = !matches!(wrappers.last(), None | Some(Wrapper::Array(_)));
                    if parenthesized {
                        self.text.push(if spaced && !name.is_empty() { " (" } else { "(" })?;
                        spaced = false;
                    }
                    suffixes.push(Suffix { wrapper, parenthesized });
                }
                Wrapper::Function(_) => {
                    drop_modifiers(&mut wrappers);
                    let parenthesized = !wrappers.is_empty();
                    if parenthesized {
                        self.text.push(" (")?;
                        spaced = false;
                    }
                    suffixes.push(Suffix { wrapper, parenthesized });
                }
            }
        }
        Ok((suffixes, spaced))
    }

    fn tag(&mut self, tag: &[u8], is_attribute: bool) -> Result<(), DumpError> {
        let (before, after) = match is_attribute {
            true => (" __attribute__((", "))"),
            false => (" __attribute__((btf_type_tag(\"", "\")))"),
        };
        self.text.push(before)?;
        self.text.push_bytes(tag)?;
        self.text.push(after)
    }

    fn suffix(&mut self, suffix: Suffix<'b>, level: usize) -> Result<(), DumpError> {
        if suffix.parenthesized {
            self.text.push(")")?;
        }
        match suffix.wrapper {
            Wrapper::Array(len) => {
                self.text.push("[")?;
                self.text.push_number(len)?;
                self.text.push("]")
            }
            Wrapper::Function(proto) => self.deeper(proto.id(), |printer| printer.params(&proto, level)),
            Wrapper::Pointer | Wrapper::Qualifier(_) | Wrapper::Tag(..) => Ok(()),
        }
    }

    fn params(&mut self, proto: &Type<'b>, level: usize) -> Result<(), DumpError> {
        // clang writes "no parameters" as one of type void.
        let none = proto.is_empty() || proto.len() == 1 && proto.param(0)?.type_id == TypeId::VOID;
        if none {
            return self.text.push("(void)");
        }
        for index in 0..proto.len() {
            self.text.push(if index == 0 { "(" } else { ", " })?;
            let param = proto.param(index)?;
            if index + 1 == proto.len() && param.type_id == TypeId::VOID {
                self.text.push("...")?;
            } else {
                self.declare(param.type_id, Name::plain(proto.string(param.name)?), level)?;
            }
        }
        self.text.push(")")
    }
}

/// Qualifiers of arrays and functions mean nothing in C: gcc repeats those of the elements, and says `volatile` of
/// a function that does not return.
fn drop_modifiers(wrappers: &mut Vec<Wrapper<'_>>) {
    while let Some(Wrapper::Qualifier(_) | Wrapper::Tag(..)) = wrappers.last() {
        wrappers.pop();
    }
}

fn no_words_for(ty: &Type<'_>) -> DumpError {
    ErrorKind::WrongKind { id: ty.id(), found: ty.kind(), wanted: "a type that C has words for" }
        .at(ty.offset())
        .into()
}

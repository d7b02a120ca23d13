//! Externs: what an object leaves to the kernel to define.

use std::collections::HashMap;

use btf::{Btf, Kind, TypeId};

use super::Refusal;
use super::elf::Elf;
use super::variable;
use crate::{BpfObject, essential_name};

/// A symbol that the object declares and the kernel defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extern {
    /// The name, flavor included.
    pub name: String,
    /// Whether it may be missing.
    pub weak: bool,
    /// What it is.
    pub kind: ExternKind,
    /// Index in the symbol table.
    pub(crate) symbol: usize,
}

/// What an extern is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExternKind {
    /// `__kconfig`: a value of the kernel's configuration.
    Kconfig(KconfigVar),
    /// `__ksym` on a variable. Its type in the object's BTF, or None for `void`, which only has an address.
    Variable(Option<TypeId>),
    /// `__ksym` on a function, a kfunc: its signature in the object's BTF.
    Function(TypeId),
}

/// The place and type of a kconfig value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KconfigVar {
    /// The type.
    pub ty: KconfigType,
    /// Bytes that it has.
    pub size: u32,
    /// Whether an integer is signed.
    pub signed: bool,
    /// Where it stands in `.kconfig`, in bytes.
    pub offset: u64,
    align: u32,
}

/// Types that a kconfig value may have (libbpf: `enum kcfg_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KconfigType {
    /// One byte: a number, or `y`, `n`, `m` as a character.
    Char,
    /// `bool`.
    Bool,
    /// An integer of more bytes.
    Int,
    /// `enum libbpf_tristate`.
    Tristate,
    /// A string.
    CharArray,
}

impl KconfigVar {
    /// A variable at the start of its section, for tests.
    #[cfg(test)]
    pub(crate) fn new(ty: KconfigType, size: u32, signed: bool) -> KconfigVar {
        KconfigVar { ty, size, signed, offset: 0, align: size }
    }
}

impl Extern {
    /// The name without its flavor, by which kfuncs are found.
    pub fn essential_name(&self) -> &str {
        let len = essential_name(self.name.as_bytes()).len();
        self.name.get(..len).unwrap_or(&self.name)
    }

    /// The `__kconfig` value, if it is one.
    pub fn kconfig(&self) -> Option<&KconfigVar> {
        match &self.kind {
            ExternKind::Kconfig(var) => Some(var),
            ExternKind::Variable(_) | ExternKind::Function(_) => None,
        }
    }
}

/// Collects externs in the order in which libbpf counts them (libbpf: `bpf_object__collect_externs`).
pub(crate) fn read(object: &BpfObject, elf: &Elf<'_>, refusals: &mut Vec<Refusal>) -> Vec<Extern> {
    let symbols: Vec<usize> = elf
        .symbols
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(_, symbol)| symbol.is_extern() && !symbol.name.is_empty())
        .map(|(index, _)| index)
        .collect();
    if symbols.is_empty() {
        return Vec::new();
    }
    let declared = Declared::read(object.btf());
    let mut externs = Vec::new();
    for index in symbols {
        let symbol = &elf.symbols[index];
        let name = String::from_utf8_lossy(symbol.name).into_owned();
        match declared.kind_of(symbol.name) {
            Ok(kind) => externs.push(Extern { name, weak: symbol.weak, kind, symbol: index }),
            Err(problem) => refusals.push(Refusal::external(name, problem)),
        }
    }
    externs.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    let mut end = 0u64;
    for external in &mut externs {
        if let ExternKind::Kconfig(var) = &mut external.kind {
            var.offset = end.next_multiple_of(u64::from(var.align));
            end = var.offset + u64::from(var.size);
        }
    }
    externs
}

/// Bytes of the `.kconfig` map.
pub(crate) fn kconfig_len(externs: &[Extern]) -> u64 {
    let last = externs.iter().rev().find_map(Extern::kconfig);
    last.map_or(0, |var| var.offset + u64::from(var.size))
}

/// kconfig before ksyms; by alignment, the largest first, then by size; then by name.
fn sort_key(external: &Extern) -> (bool, std::cmp::Reverse<u32>, u32, &[u8]) {
    let (align, size) = external.kconfig().map_or((0, 0), |var| (var.align, var.size));
    (external.kconfig().is_none(), std::cmp::Reverse(align), size, external.name.as_bytes())
}

/// The declarations of an object's BTF. The maps are only looked up, never iterated.
struct Declared<'d> {
    btf: &'d Btf<'static>,
    /// The first VAR or FUNC of a name.
    types: HashMap<&'d [u8], TypeId>,
    /// The first DATASEC that has it.
    sections: HashMap<TypeId, &'d [u8]>,
}

impl<'d> Declared<'d> {
    fn read(btf: &'d Btf<'static>) -> Declared<'d> {
        let mut declared = Declared { btf, types: HashMap::new(), sections: HashMap::new() };
        for id in btf.own_ids() {
            let Ok(ty) = btf.resolve(id) else { continue };
            let name = ty.name().unwrap_or_default();
            if matches!(ty.kind(), Kind::Var | Kind::Func) {
                declared.types.entry(name).or_insert(id);
            }
            if ty.kind() == Kind::Datasec {
                for variable in (0..ty.len()).filter_map(|index| ty.var_section(index).ok()) {
                    declared.sections.entry(variable.type_id).or_insert(name);
                }
            }
        }
        declared
    }

    fn kind_of(&self, name: &[u8]) -> Result<ExternKind, String> {
        let text = |error: btf::Error| error.to_string();
        let not_found = || "failed to find BTF for extern".to_owned();
        let &id = self.types.get(name).ok_or_else(not_found)?;
        let ty = self.btf.resolve(id).map_err(text)?;
        if ty.linkage().map_err(text)? != variable::EXTERN {
            return Err("BTF says that it is not extern".to_owned());
        }
        let target = ty.target().map_err(text)?;
        let is_function = ty.kind() == Kind::Func;
        match self.sections.get(&id).copied() {
            Some(b".kconfig") if is_function => {
                Err("extern function is unsupported under .kconfig section".to_owned())
            }
            Some(b".kconfig") => self.kconfig(target).map(ExternKind::Kconfig),
            Some(b".ksyms") => {
                let ty = self.btf.skip(target).map_err(text)?;
                Ok(match ty.id() {
                    proto if is_function => ExternKind::Function(proto),
                    TypeId::VOID => ExternKind::Variable(None),
                    ty => ExternKind::Variable(Some(ty)),
                })
            }
            Some(other) => Err(format!("unrecognized extern section '{}'", String::from_utf8_lossy(other))),
            None => Err(format!("failed to find BTF section for extern [{id}]")),
        }
    }

    fn kconfig(&self, id: TypeId) -> Result<KconfigVar, String> {
        let text = |error: btf::Error| error.to_string();
        let size = self.btf.size_of(id).map_err(text)?;
        let (ty, signed) =
            self.kconfig_type(id, true).map_err(text)?.filter(|_| size > 0).ok_or("type is unsupported")?;
        Ok(KconfigVar { ty, size, signed, offset: 0, align: self.align_of(id).map_err(text)? })
    }

    /// libbpf: `find_kcfg_type`.
    fn kconfig_type(&self, id: TypeId, outer: bool) -> Result<Option<(KconfigType, bool)>, btf::Error> {
        let ty = self.btf.skip(id)?;
        let tristate = || Ok::<_, btf::Error>(ty.name()? == b"libbpf_tristate");
        Ok(match ty.kind() {
            Kind::Int => {
                let (encoding, size) = (ty.int_encoding()?, ty.size()?);
                let is_bool = encoding.0 & btf::IntEncoding::BOOL.0 != 0;
                match size {
                    1 if is_bool => Some((KconfigType::Bool, false)),
                    _wide if is_bool => None,
                    1 => Some((KconfigType::Char, encoding.is_signed())),
                    2 | 4 | 8 => Some((KconfigType::Int, encoding.is_signed())),
                    _odd => None,
                }
            }
            Kind::Enum if ty.size()? == 4 && tristate()? => Some((KconfigType::Tristate, false)),
            Kind::Enum64 if tristate()? => Some((KconfigType::Tristate, false)),
            Kind::Array if outer => {
                let array = ty.array()?;
                let element = self.kconfig_type(array.element, false)?;
                let chars = matches!(element, Some((KconfigType::Char, _))) && array.len > 0;
                chars.then_some((KconfigType::CharArray, false))
            }
            _unsupported => None,
        })
    }

    /// The alignment of an INT or ENUM, or of the elements of an array: what kconfig values can be.
    fn align_of(&self, id: TypeId) -> Result<u32, btf::Error> {
        let ty = self.btf.skip(id)?;
        let ty = match ty.kind() {
            Kind::Array => self.btf.skip(ty.array()?.element)?,
            _scalar => ty,
        };
        Ok(ty.size()?.clamp(1, 8))
    }
}

//! The open phase: what libbpf reads of an object besides its BTF and its CO-RE relocations.
//!
//! Nothing here depends on a kernel. What makes libbpf refuse the object is collected, not returned, so that the rest
//! of the object can be looked at all the same.

mod elf;
mod elf_relo;
mod external;
mod function;
mod map;
mod map_def;
mod map_slots;
mod map_table;
mod program_type;
mod refusal;
mod struct_ops;
mod variable;

pub use external::{Extern, ExternKind, KconfigType, KconfigVar};
pub use function::Function;
pub use map::{Map, MapDef, MapKind};
pub use program_type::{AttachKind, ProgramType, SectionDef};
pub use refusal::Refusal;
pub use struct_ops::StructOpsVar;

pub(crate) use elf_relo::{FunctionRelos, ReloTarget};
pub(crate) use function::Functions;
pub(crate) use map::{ARRAY, ARRAY_OF_MAPS, HASH_OF_MAPS, PERCPU_ARRAY, XSKMAP};

use crate::{BpfObject, ObjectError};
use elf::{Elf, SectionKind};

/// An object opened as libbpf opens it: programs, maps, externs and what instructions refer to.
///
/// It borrows the bytes and the [`BpfObject`] that was parsed from them.
#[derive(Debug, Clone)]
pub struct OpenObject<'o> {
    object: &'o BpfObject,
    bytes: &'o [u8],
    elf: Elf<'o>,
    functions: Functions,
    maps: Vec<Map>,
    externs: Vec<Extern>,
    relos: Vec<FunctionRelos>,
    license: String,
    kernel_version: Option<u32>,
    refusals: Vec<Refusal>,
}

impl<'o> OpenObject<'o> {
    /// Opens an object that has been parsed from these bytes.
    ///
    /// The only errors are those of the ELF file itself; what else is wrong is in [`OpenObject::refusals`].
    pub fn open(object: &'o BpfObject, bytes: &'o [u8]) -> Result<OpenObject<'o>, ObjectError> {
        let elf = Elf::parse(bytes)?;
        let mut refusals = Vec::new();
        match elf.symbol_tables {
            0 => refusals.push(Refusal::Elf("couldn't find symbol table, stripped object file?".to_owned())),
            1 => {}
            _several => refusals.push(Refusal::Elf("multiple symbol tables".to_owned())),
        }
        let kernel_version = kernel_version(object, &elf, &mut refusals);
        let functions = Functions::read(object, &elf, &mut refusals);
        let externs = external::read(object, &elf, &mut refusals);
        let variables = variable::Variables::new(object.btf(), &elf);
        variables.check(&mut refusals);
        let kconfig_len = external::kconfig_len(&externs);
        let mut maps = map_table::read(object, &elf, &variables, kconfig_len, &mut refusals);
        let relos = elf_relo::read(object, &elf, &functions, &maps, &externs, &mut refusals);
        for index in 0..elf.sections.len() {
            let section = &elf.sections[index];
            let Some(target) = elf.sections.get(section.target) else {
                continue;
            };
            if section.kind != SectionKind::Relocations {
                continue;
            }
            if target.name == map_table::MAPS.as_bytes() {
                map_slots::fill(&elf, index, &functions, &mut maps, &mut refusals);
            } else if struct_ops::is_section(target.name) {
                struct_ops::place_programs(object, &elf, index, &functions, &mut maps, &mut refusals);
            }
        }
        let license = text_of(&elf, b"license");
        Ok(OpenObject {
            object,
            bytes,
            elf,
            functions,
            maps,
            externs,
            relos,
            license,
            kernel_version,
            refusals,
        })
    }

    /// What it was parsed into.
    pub fn object(&self) -> &'o BpfObject {
        self.object
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &'o [u8] {
        self.bytes
    }

    /// Entry programs and subprograms, sorted by section and place.
    pub fn functions(&self) -> &[Function] {
        &self.functions.list
    }

    /// The maps in the order of their indexes.
    pub fn maps(&self) -> &[Map] {
        &self.maps
    }

    /// The externs in the order in which libbpf counts them: kconfig first.
    pub fn externs(&self) -> &[Extern] {
        &self.externs
    }

    /// The licence that the object declares; empty where it declares none, and then the kernel lets its programs call
    /// only helpers that every licence may call.
    pub fn license(&self) -> &str {
        &self.license
    }

    /// The kernel version of the section `version`, which only kernels before 5.0 look at.
    pub fn kernel_version(&self) -> Option<u32> {
        self.kernel_version
    }

    /// Why libbpf refuses to open the object, but for relocations of single programs.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// The content of a section of variables; empty for `.bss`, `.kconfig` and other maps.
    pub fn content(&self, map: &Map) -> &'o [u8] {
        match self.elf.sections.get(map.elf_section) {
            Some(section) if map.kind.is_variables() => section.data,
            Some(section) if map.kind == MapKind::StructOps => {
                let start = usize::try_from(map.offset).unwrap_or(usize::MAX);
                let end = usize::try_from(map.offset.saturating_add(map.len)).unwrap_or(usize::MAX);
                section.data.get(start..end).unwrap_or_default()
            }
            Some(_) | None => &[],
        }
    }

    pub(crate) fn function_table(&self) -> &Functions {
        &self.functions
    }

    /// The relocations of a function, by its index.
    pub(crate) fn relos_of(&self, function: usize) -> &FunctionRelos {
        &self.relos[function]
    }

    /// The content of `.jumptables`.
    pub(crate) fn jump_tables(&self) -> &'o [u8] {
        match self.elf.find_section(b".jumptables") {
            Some(index) => self.elf.sections[index].data,
            None => &[],
        }
    }

    /// Where a section's bytes stand in the file.
    pub(crate) fn file_offset(&self, name: &[u8]) -> Option<usize> {
        let index = self.elf.find_section(name)?;
        Some(self.elf.sections[index].file_offset)
    }

    /// Where the bytes of an executable section stand in the file.
    pub(crate) fn code_offset(&self, code: usize) -> Option<usize> {
        let section = self.elf.sections.iter().find(|section| section.code == Some(code))?;
        (!section.data.is_empty()).then_some(section.file_offset)
    }
}

fn text_of(elf: &Elf<'_>, section: &[u8]) -> String {
    let data = elf.find_section(section).map_or(&b""[..], |index| elf.sections[index].data);
    let text = data.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

fn kernel_version(object: &BpfObject, elf: &Elf<'_>, refusals: &mut Vec<Refusal>) -> Option<u32> {
    let section = &elf.sections[elf.find_section(b"version")?];
    if section.data.len() != 4 {
        refusals.push(Refusal::section("version", "invalid kver section"));
        return None;
    }
    object.order().u32(section.data, 0, "the version").ok()
}

#[cfg(test)]
mod tests {
    /// Sizes that would make opening slow are looked at once, here.
    #[test]
    fn functions_are_found_by_place() {
        use super::{Function, Functions};
        let function = |first, count| Function {
            name: String::new(),
            section: String::new(),
            entry: true,
            autoload: true,
            global: true,
            def: None,
            program: 0,
            code: 0,
            elf_section: 1,
            first,
            count,
        };
        let functions =
            Functions { list: vec![function(0, 2), function(4, 3)], text: None, of_program: Vec::new() };
        let check = |insn, want| assert_eq!(functions.find(0, insn), want, "{insn}");
        check(0, Some(0));
        check(1, Some(0));
        check(2, None);
        check(4, Some(1));
        check(6, Some(1));
        check(7, None);
        assert_eq!(functions.find(1, 0), None);
    }
}

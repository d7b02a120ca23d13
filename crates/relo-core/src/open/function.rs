//! Functions: the entry programs of an object, and the subprograms that they call.

use std::collections::HashMap;

use super::elf::{Elf, Place, SectionKind, Symbol};
use super::{Refusal, SectionDef};
use crate::{BpfObject, INSN_LEN};

/// A function of an executable section.
#[derive(Debug, Clone)]
pub struct Function {
    /// The symbol's name.
    pub name: String,
    /// The section's name without the `?` that keeps a program from being loaded.
    pub section: String,
    /// Whether it is loaded by itself; a subprogram (a function of `.text`) goes along with who calls it.
    pub entry: bool,
    /// False for `SEC("?…")`: the loader must ask for it.
    pub autoload: bool,
    /// Whether the verifier checks it apart from its callers: not static, not hidden.
    pub global: bool,
    /// What the section's name says; None where it says nothing that libbpf knows.
    pub def: Option<&'static SectionDef>,
    /// Index in [`BpfObject::programs`].
    pub(crate) program: usize,
    /// Index of the section among the executable ones.
    pub(crate) code: usize,
    /// Index of its section in the file.
    pub(crate) elf_section: usize,
    /// Its first instruction within the section.
    pub(crate) first: usize,
    /// How many instructions it has.
    pub(crate) count: usize,
}

impl Function {
    /// The part of the section's name that says what to attach to.
    pub fn attach_target(&self) -> Option<&str> {
        self.def?.target(&self.section)
    }

    fn covers(&self, code: usize, insn: usize) -> bool {
        self.code == code && self.first <= insn && insn - self.first < self.count
    }
}

/// All functions, sorted by section and place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Functions {
    pub list: Vec<Function>,
    /// Index of `.text` among the executable sections.
    pub text: Option<usize>,
    /// By index in [`BpfObject::programs`].
    pub of_program: Vec<Option<usize>>,
}

impl Functions {
    /// Collects them (libbpf: `bpf_object__add_programs`, `bpf_object_init_progs`).
    pub(crate) fn read(object: &BpfObject, elf: &Elf<'_>, refusals: &mut Vec<Refusal>) -> Functions {
        let symbols = symbols_by_place(elf);
        let code_sections: Vec<usize> = code_sections(elf);
        let mut functions = Functions {
            text: text_section(elf),
            list: Vec::new(),
            of_program: vec![None; object.programs().len()],
        };
        for (index, program) in object.programs().iter().enumerate() {
            let Some(&elf_section) = code_sections.get(program.section) else {
                continue;
            };
            let section = &elf.sections[elf_section];
            if section.kind != SectionKind::Bits || section.size == 0 {
                continue;
            }
            let section_name = String::from_utf8_lossy(section.name).into_owned();
            let is_text = section.name == b".text";
            let symbol = symbols.get(&(elf_section, program.start, program.name.as_bytes()));
            let local = symbol.is_some_and(|symbol| symbol.local);
            let insn_len = INSN_LEN as u64;
            if program.size == 0
                || !program.size.is_multiple_of(insn_len)
                || !program.start.is_multiple_of(insn_len)
            {
                let problem = format!(
                    "corrupted program in section '{section_name}', offset {}, size {}",
                    program.start, program.size
                );
                refusals.push(Refusal::program(&program.name, problem));
                continue;
            }
            if local && !is_text {
                let problem = format!("static in section '{section_name}', which is not supported");
                refusals.push(Refusal::program(&program.name, problem));
            }
            let loaded_name = section_name.strip_prefix('?').unwrap_or(&section_name);
            functions.list.push(Function {
                name: program.name.clone(),
                section: loaded_name.to_owned(),
                entry: !is_text,
                autoload: !section_name.starts_with('?'),
                global: !local && !symbol.is_some_and(|symbol| symbol.hidden),
                def: SectionDef::find(loaded_name),
                program: index,
                code: program.section,
                elf_section,
                first: (program.start / insn_len) as usize,
                count: (program.size / insn_len) as usize,
            });
        }
        functions.list.sort_by_key(|function| (function.elf_section, function.first));
        for (index, function) in functions.list.iter().enumerate() {
            functions.of_program[function.program] = Some(index);
        }
        functions
    }

    /// The function that covers an instruction of a section (libbpf: `find_prog_by_sec_insn`).
    pub(crate) fn find(&self, code: usize, insn: usize) -> Option<usize> {
        let after = self.list.partition_point(|function| (function.code, function.first) <= (code, insn));
        let index = after.checked_sub(1)?;
        self.list[index].covers(code, insn).then_some(index)
    }

    /// An entry program of a name.
    pub(crate) fn find_entry(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|function| function.entry && function.name == name)
    }
}

/// The executable sections' indexes in the file, in the order of [`BpfObject`].
fn code_sections(elf: &Elf<'_>) -> Vec<usize> {
    let executable = |(index, section): (usize, &super::elf::Section<'_>)| section.code.map(|_| index);
    elf.sections.iter().enumerate().filter_map(executable).collect()
}

/// The section that subprograms are in; libbpf ignores an empty one.
fn text_section(elf: &Elf<'_>) -> Option<usize> {
    let text = |section: &&super::elf::Section<'_>| {
        section.name == b".text" && section.kind == SectionKind::Bits && section.size > 0
    };
    elf.sections.iter().filter(text).find_map(|section| section.code)
}

/// Function symbols by section, place and name; only looked up, never iterated.
fn symbols_by_place<'e, 'o>(elf: &'e Elf<'o>) -> HashMap<(usize, u64, &'o [u8]), &'e Symbol<'o>> {
    let place = |symbol: &'e Symbol<'o>| match symbol.section {
        Place::Section(section) => Some(((section, symbol.value, symbol.name), symbol)),
        Place::Undefined | Place::Special => None,
    };
    elf.symbols.iter().filter_map(place).collect()
}

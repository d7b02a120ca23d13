//! Where libbpf put the instructions that hold target type ids.
//!
//! libbpf appends each called subprogram to the program that calls it, in the order of the calls, so that an
//! instruction's place in the loaded program is not its place in the ELF section. Both sides have func_info, and the id
//! of a FUNC names the same function in both.

use std::collections::BTreeSet;

use object::read::elf::ElfFile64;
use object::{Object, ObjectSection};

/// A function's start within its ELF section, in instructions, and its FUNC's type id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Start {
    insn: u32,
    type_id: u32,
}

/// Where an object's functions start.
#[derive(Debug, Default)]
pub struct Functions(Vec<(String, Vec<Start>)>);

impl Functions {
    /// None in an object without `.BTF.ext`, or with a damaged one.
    pub fn of(elf: &[u8]) -> Self {
        Functions(func_info(elf).unwrap_or_default())
    }

    /// The function that an instruction of a section is in, by its FUNC's id, and the place within it.
    pub fn find(&self, section: &str, insn: u32) -> Option<(u32, u32)> {
        let (_, starts) = self.0.iter().find(|(name, _)| name == section)?;
        let start = starts.iter().filter(|start| start.insn <= insn).max_by_key(|start| start.insn)?;
        Some((start.type_id, insn - start.insn))
    }
}

/// The indices in a loaded program that stand for these (section, instruction) pairs of its object. `funcs` is the
/// loaded program's func_info. What cannot be found is left out: it then counts as a difference.
pub fn find_insns(elf: &[u8], insns: &[(String, u32)], funcs: &[(u32, u32)]) -> BTreeSet<u32> {
    let functions = if insns.is_empty() { Functions::default() } else { Functions::of(elf) };
    let mut found = BTreeSet::new();
    for (section, insn) in insns {
        let Some((function, place)) = functions.find(section, *insn) else { continue };
        found.extend(funcs.iter().filter(|(_, id)| *id == function).map(|(at, _)| at + place));
    }
    found
}

/// The func_info of each ELF section, from `.BTF.ext`; `None` when there is none or it is damaged.
fn func_info(elf: &[u8]) -> Option<Vec<(String, Vec<Start>)>> {
    let file = ElfFile64::<object::LittleEndian>::parse(elf).ok()?;
    let section = |name| file.section_by_name(name)?.data().ok();
    parse_func_info(section(".BTF.ext")?, strings(section(".BTF")?)?)
}

/// The string table of a BTF.
fn strings(btf: &[u8]) -> Option<&[u8]> {
    let (header, off, len) = (word(btf, 4)?, word(btf, 16)?, word(btf, 20)?);
    let from = (header as usize).checked_add(off as usize)?;
    btf.get(from..from.checked_add(len as usize)?)
}

/// Header: magic, version, flags, hdr_len, func_info_off, func_info_len. Then: record size, and per ELF section its
/// name, a count, and that many records that start with a byte offset and a type id.
fn parse_func_info(ext: &[u8], strings: &[u8]) -> Option<Vec<(String, Vec<Start>)>> {
    let (header, off, len) = (word(ext, 4)?, word(ext, 8)?, word(ext, 12)?);
    let from = (header as usize).checked_add(off as usize)?;
    let mut rest = ext.get(from..from.checked_add(len as usize)?)?;
    if rest.is_empty() {
        return Some(Vec::new());
    }
    let record_size = word(rest, 0)? as usize;
    rest = &rest[4..];
    let mut sections = Vec::new();
    while !rest.is_empty() {
        let (name, count) = (string(strings, word(rest, 0)?)?, word(rest, 4)? as usize);
        let size = count.checked_mul(record_size.max(8))?;
        let records = rest.get(8..)?.get(..size)?;
        let starts = records
            .chunks_exact(record_size.max(8))
            .map(|record| Some(Start { insn: word(record, 0)? / 8, type_id: word(record, 4)? }));
        sections.push((name, starts.collect::<Option<_>>()?));
        rest = &rest[8 + size..];
    }
    Some(sections)
}

fn string(strings: &[u8], off: u32) -> Option<String> {
    let text = strings.get(off as usize..)?.split(|&byte| byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRINGS: &[u8] = b"\0.text\0kprobe/x\0";

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn ext() -> Vec<u8> {
        // .text: function 8 at 0, function 9 at 4; kprobe/x: function 5 at 0.
        let info = words(&[8, 1, 2, 0, 8, 32, 9, 7, 1, 0, 5]);
        [words(&[0x0001_eb9f, 24, 0, info.len() as u32, 0, 0]), info].concat()
    }

    #[test]
    fn reads_func_info() {
        let start = |insn, type_id| Start { insn, type_id };
        let expect = vec![
            (".text".to_owned(), vec![start(0, 8), start(4, 9)]),
            ("kprobe/x".to_owned(), vec![start(0, 5)]),
        ];
        assert_eq!(parse_func_info(&ext(), STRINGS), Some(expect));
        for cut in 0..ext().len() {
            assert_eq!(parse_func_info(&ext()[..cut], STRINGS), None, "cut at {cut}");
        }
        let mut vast = ext();
        vast[32..36].fill(0xff);
        assert_eq!(parse_func_info(&vast, STRINGS), None);
    }

    #[test]
    fn no_object_no_exemption() {
        assert!(find_insns(b"\x7fELF", &[("x".into(), 1)], &[(0, 5)]).is_empty());
    }

    #[test]
    fn finds_the_place_in_the_loaded_program() {
        let elf = with_sections(&ext(), STRINGS);
        let find = |section: &str, insn| {
            // The program (5) calls 9, then 8: libbpf put them at 10 and 17.
            find_insns(&elf, &[(section.into(), insn)], &[(0, 5), (10, 9), (17, 8)])
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(find("kprobe/x", 3), [3]);
        assert_eq!(find(".text", 4), [10]);
        assert_eq!(find(".text", 6), [12]);
        assert_eq!(find(".text", 2), [19]);
        assert_eq!(find("kprobe/y", 2), [0; 0]);
    }

    /// An ELF object with just `.BTF.ext` and a `.BTF` that holds these strings.
    fn with_sections(ext: &[u8], strings: &[u8]) -> Vec<u8> {
        let btf = [words(&[0x0001_eb9f, 24, 0, 0, 0, strings.len() as u32]), strings.to_vec()].concat();
        let names = b"\0.BTF\0.BTF.ext\0.shstrtab\0";
        let (btf_at, ext_at) = (64, 64 + btf.len());
        let names_at = ext_at + ext.len();
        let headers_at = (names_at + names.len()).next_multiple_of(8);
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\xf7\0\x01\0\0\0".to_vec();
        elf.extend([0; 16]);
        elf.extend((headers_at as u64).to_le_bytes());
        elf.extend(words(&[0]));
        elf.extend([64u16, 0, 0, 64, 4, 3].iter().flat_map(|half| half.to_le_bytes()));
        elf.extend([btf.as_slice(), ext, names].concat());
        elf.resize(headers_at + 64, 0);
        for (name, kind, at, size) in
            [(1, 1, btf_at, btf.len()), (6, 1, ext_at, ext.len()), (15, 3, names_at, names.len())]
        {
            elf.extend(words(&[name, kind]));
            elf.extend(
                [0, 0, at as u64, size as u64, 0, 1, 0].iter().flat_map(|word: &u64| word.to_le_bytes()),
            );
        }
        elf
    }
}

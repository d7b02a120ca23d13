//! Relocations and the instructions that they change.

use btf::{ByteOrder, CoreRelo, StrOff, TypeId};
use relo_core::ReloKind;

use crate::elf::{Code, write_object};
use crate::generate::graph::{Graph, Ref, Ty};
use crate::generate::random::Random;
use crate::generate::write::Written;
use crate::judge::Verdict;

const INSN_LEN: usize = 8;

/// An instruction, decoded.
#[derive(Debug, Clone, Copy, Default)]
struct Insn {
    code: u8,
    regs: u8,
    off: i16,
    imm: i32,
}

/// How an instruction holds its value.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// The immediate of an ALU operation.
    Imm(u8),
    /// The offset of a load or store, with the mode bits and class.
    Off(u8),
    /// Both immediates of a 64-bit load.
    Wide,
    /// No form that can be relocated.
    Odd(Insn, Insn),
}

/// A relocation and its instruction.
#[derive(Debug, Clone)]
struct Site {
    section: usize,
    /// Index of the instruction's first slot in its section.
    slot: usize,
    /// Bytes off the slot.
    skew: u32,
    root: u32,
    access: StrOff,
    kind: u32,
    form: Form,
    insns: [Insn; 2],
}

/// All relocations of an object.
#[derive(Debug, Clone)]
pub struct Plan {
    names: Vec<(String, u32)>,
    sites: Vec<Site>,
    /// Slots of each section, each two instructions long.
    slots: Vec<usize>,
}

impl Plan {
    /// Draws relocations against local types: most of a few roots, the others of any.
    pub fn new(
        locals: &Graph,
        written: &mut Written,
        (roots, relocations): (usize, usize),
        random: &mut Random,
    ) -> Plan {
        let sections = 1 + random.below(2);
        let name = |index: usize| format!("tp/{index}");
        let names = (0..sections).map(|index| (name(index), written.strings.add(&name(index)))).collect();
        let mut plan = Plan { names, sites: Vec::new(), slots: vec![0; sections] };
        // Relocations of one root meet in its candidates: draw a few roots, and many relocations of each.
        let roots: Vec<Ref> = (0..roots).map(|_| root(locals, random)).collect();
        for _ in 0..relocations {
            let root = if random.chance(700) { random.pick(&roots) } else { root(locals, random) };
            let kind = kind_for(locals, root, random);
            let access = access(locals, root, kind, random);
            let section = random.below(sections);
            let again = plan.slots[section] > 0 && random.chance(15);
            let slot = if again { random.below(plan.slots[section]) } else { plan.slots[section] };
            plan.slots[section] = plan.slots[section].max(slot + 1);
            plan.sites.push(Site {
                section,
                slot,
                skew: if random.chance(10) { random.pick(&[1, 4, 7]) } else { 0 },
                root: root as u32,
                access: StrOff(written.strings.add(&access)),
                kind,
                form: form(random),
                insns: [Insn::default(); 2],
            });
        }
        // libbpf goes section by section.
        plan.sites.sort_by_key(|site| site.section);
        plan
    }

    /// Puts values into the instructions, mostly those that libbpf expects.
    pub fn fill(&mut self, answers: &[Verdict], random: &mut Random) {
        for (site, answer) in self.sites.iter_mut().zip(answers) {
            let resolution = match answer {
                Verdict::Judged(judged) => judged.resolution.ok(),
                Verdict::Skipped | Verdict::Unjudged => None,
            };
            let (value, size) =
                resolution.map_or((0, 0), |resolution| (resolution.orig_val, resolution.orig_sz));
            let value =
                if random.chance(80) { value ^ random.pick(&[1, 1 << 15, 1 << 31, 1 << 40]) } else { value };
            site.insns = site.form.hold(value, size, random);
        }
    }

    /// The object file.
    pub fn object(&self, order: ByteOrder, btf: &[u8]) -> Option<Vec<u8>> {
        let sections: Vec<Code> = (0..self.names.len()).map(|index| self.section(index, order)).collect();
        write_object(order, btf, &sections).ok()
    }

    fn section(&self, index: usize, order: ByteOrder) -> Code {
        let slots = self.slots[index];
        let mut bytes = vec![0; (slots + 1) * 2 * INSN_LEN];
        let mut relos = Vec::new();
        for site in self.sites.iter().filter(|site| site.section == index) {
            let at = site.slot * 2 * INSN_LEN;
            bytes[at..at + INSN_LEN].copy_from_slice(&site.insns[0].encode(order));
            bytes[at + INSN_LEN..at + 2 * INSN_LEN].copy_from_slice(&site.insns[1].encode(order));
            relos.push(CoreRelo {
                insn_off: at as u32 + site.skew,
                type_id: TypeId(site.root),
                access: site.access,
                kind: site.kind,
            });
        }
        // Two programs, with what is left of an eliminated one in between.
        let half = (slots / 2 * 2 * INSN_LEN) as u64;
        let rest = half + if slots > 8 { 2 * INSN_LEN as u64 } else { 0 };
        let programs = vec![(0, half), (rest, bytes.len() as u64 - rest)];
        Code {
            name: self.names[index].clone(),
            bytes,
            programs: programs.into_iter().filter(|&(_, size)| size > 0).collect(),
            relos,
        }
    }
}

impl Insn {
    fn encode(self, order: ByteOrder) -> [u8; INSN_LEN] {
        let off = self.off as u16;
        let (regs, [o0, o1]) = match order {
            ByteOrder::Little => (self.regs, off.to_le_bytes()),
            ByteOrder::Big => (self.regs.rotate_left(4), off.to_be_bytes()),
        };
        let [i0, i1, i2, i3] = order.encode(self.imm as u32);
        [self.code, regs, o0, o1, i0, i1, i2, i3]
    }
}

impl Form {
    fn hold(self, value: u64, size: u32, random: &mut Random) -> [Insn; 2] {
        let none = Insn::default();
        match self {
            Form::Imm(code) => [Insn { code, regs: 3, off: 0, imm: value as u32 as i32 }, none],
            Form::Off(code) => {
                let width = match size {
                    1 => 0x10,
                    2 => 0x08,
                    4 => 0x00,
                    8 => 0x18,
                    _other => random.pick(&[0, 0x18]),
                };
                let width = if random.chance(60) { random.pick(&[0, 0x08, 0x10, 0x18]) } else { width };
                [Insn { code: code | width, regs: 0x21, off: value as u16 as i16, imm: 77 }, none]
            }
            Form::Wide => [
                Insn { code: 0x18, regs: 1, off: 0, imm: value as u32 as i32 },
                Insn { imm: (value >> 32) as u32 as i32, ..none },
            ],
            Form::Odd(first, second) => [first, second],
        }
    }
}

fn form(random: &mut Random) -> Form {
    let none = Insn::default();
    match random.below(100) {
        0..35 => Form::Off(random.pick(&[0x61, 0x61, 0x81, 0x62, 0x63, 0xc3, 0x01, 0x02])),
        35..55 => Form::Imm(random.pick(&[0xb7, 0x07, 0x67, 0x77])),
        55..68 => Form::Imm(random.pick(&[0xb4, 0x04, 0x64])),
        68..92 => Form::Wide,
        92 => Form::Imm(random.pick(&[0xbf, 0x0f, 0xbc])),
        93 => Form::Odd(Insn { code: 0x05, ..none }, none),
        94 => Form::Odd(Insn { code: 0x16, imm: 1, ..none }, none),
        95 => Form::Odd(Insn { code: 0x20, ..none }, none),
        96 => Form::Odd(Insn { code: 0x18, regs: 0x11, ..none }, none),
        97 => Form::Odd(Insn { code: 0x18, off: 1, ..none }, none),
        98 => Form::Odd(Insn { code: 0x18, ..none }, Insn { code: 0x18, ..none }),
        _last => Form::Odd(Insn { code: 0x18, ..none }, Insn { regs: random.pick(&[1, 0x10]), ..none }),
    }
}

/// A type to relocate: mostly one with a name, sometimes none at all.
fn root(locals: &Graph, random: &mut Random) -> Ref {
    match random.below(100) {
        0 => locals.types.len() + 1 + random.below(3),
        1 => 0,
        2..6 => 1 + random.below(locals.types.len()),
        // The last types are those that were added for their rareness.
        6..26 => locals.types.len().saturating_sub(random.below(2)),
        _named => {
            for _ in 0..32 {
                let ty = 1 + random.below(locals.types.len());
                let is_int = matches!(locals.get(ty), Some(Ty::Int(_)));
                if !locals.name(ty).is_empty() && (!is_int || random.chance(100)) {
                    return ty;
                }
            }
            1
        }
    }
}

/// A kind that fits the root, mostly.
fn kind_for(locals: &Graph, root: Ref, random: &mut Random) -> u32 {
    use ReloKind::{
        ByteOff, ByteSize, EnumvalExists, EnumvalValue, FieldExists, LocalTypeId, LshiftU64, RshiftU64,
        Signed, TargetTypeId, TypeExists, TypeMatches, TypeSize,
    };
    if random.chance(3) {
        return random.pick(&[13, 14, 99, u32::MAX]);
    }
    if random.chance(80) {
        return random.pick(&ReloKind::ALL) as u32;
    }
    let types = [TargetTypeId, TypeExists, TypeSize, TypeMatches, TypeMatches, LocalTypeId];
    let fields = [ByteOff, ByteOff, ByteOff, ByteSize, FieldExists, Signed, LshiftU64, RshiftU64];
    let enums = [EnumvalExists, EnumvalValue, EnumvalValue];
    let behind = locals.get(locals.skip(root));
    let of_type = random.chance(200);
    (match behind {
        Some(Ty::Composite { .. }) if !of_type => random.pick(&fields),
        Some(Ty::Array { .. }) if !of_type => random.pick(&fields),
        Some(Ty::Enum(_)) if !of_type => random.pick(&enums),
        _other => random.pick(&types),
    }) as u32
}

fn access(locals: &Graph, root: Ref, kind: u32, random: &mut Random) -> String {
    if random.chance(12) {
        let odd = ["", ":", "0:", "0::1", "x", "0:x", "0:99", "1", "0:0:0:0", ":0", "0:1:2:3"];
        return random.pick(&odd).to_owned();
    }
    match ReloKind::from_number(kind) {
        Some(kind) if kind as u32 <= 5 => field_access(locals, root, random),
        Some(ReloKind::EnumvalExists | ReloKind::EnumvalValue) => {
            let count = match locals.get(locals.skip(root)) {
                Some(Ty::Enum(of)) => of.values.len(),
                _other => 1,
            };
            let beyond = usize::from(random.chance(30));
            random.below(count.max(1) + beyond).to_string()
        }
        Some(_) | None => "0".to_owned(),
    }
}

/// A walk along members and elements.
fn field_access(locals: &Graph, root: Ref, random: &mut Random) -> String {
    let first = if random.chance(60) { 1 + random.below(3) } else { 0 };
    let mut parts = vec![first.to_string()];
    let mut at = root;
    let mut patience = if random.chance(300) { random.below(4) } else { 80 };
    loop {
        at = locals.skip(at);
        let index = match locals.get(at) {
            Some(Ty::Composite { members, .. }) if !members.is_empty() => {
                let index = random.below(members.len());
                // A walk that ends at an anonymous member names no field: mostly go on.
                if members[index].name.is_empty() && patience == 0 && random.chance(900) {
                    patience = 1;
                }
                at = members[index].ty;
                index
            }
            Some(Ty::Array { element, len }) => {
                at = *element;
                match *len {
                    0 => random.pick(&[0, 1, 5, 300]),
                    len => {
                        let beyond = usize::from(random.chance(100));
                        random.below(len as usize + beyond)
                    }
                }
            }
            _end => break,
        };
        if patience == 0 {
            break;
        }
        patience -= 1;
        parts.push(index.to_string());
    }
    parts.join(":")
}

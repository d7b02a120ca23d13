//! An object judged against a target: libbpf's `bpf_object__relocate_core`, without the object and without a kernel.

use std::collections::HashMap;
use std::rc::Rc;

use btf::{Btf, BtfExt, ByteOrder, CoreRelo, TypeId};

use crate::elf;
use crate::ffi::bpf_core_spec;
use crate::libbpf::{self, Calc, Cand, Cands, Errno, LibbpfBtf, Resolution, Slot};
use crate::sound::{Sound, Unsound};

const INSN_LEN: usize = 8;
const LDIMM64: u8 = 0x18;
const BYTE_OFF: u32 = 0;
const BYTE_SZ: u32 = 1;
const LSHIFT_U64: u32 = 4;
const LOCAL_TYPE_ID: u32 = 6;

/// A BPF object as the judge sees it, read without relo-core.
#[derive(Debug)]
pub struct Object {
    /// The ELF file's byte order.
    pub order: ByteOrder,
    /// Its types, with the pointer size that libbpf's loader sets.
    btf: LibbpfBtf,
    /// The instructions of each executable section.
    code: Vec<Vec<u8>>,
    /// The relocations, in file order.
    sites: Vec<Site>,
}

/// A relocation and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    /// Index of the executable section.
    pub section: usize,
    /// The record.
    pub relo: CoreRelo,
    /// Whether a program covers it; libbpf steps over what is left of eliminated weak functions.
    pub covered: bool,
}

/// A function symbol: section, first byte, size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Index of the executable section.
    pub section: usize,
    /// First byte within it.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

impl Object {
    /// Reads an ELF file.
    pub fn parse(data: &[u8]) -> Result<Object, Unsound> {
        let file = elf::read(data)?;
        let sound = Sound::check(&Btf::parse(file.btf.as_slice())?)?;
        let mut btf = sound.parse(&file.btf)?;
        btf.set_pointer_size(8);
        let own = Btf::parse(file.btf.as_slice())?;
        let ext = BtfExt::parse(&file.ext)?;
        let mut sites = Vec::new();
        for part in &ext.sections {
            let name = own.string(part.name)?;
            let section =
                file.names.iter().position(|section| section.as_bytes() == name).ok_or(Unsound::Elf)?;
            sites.extend(part.relos.iter().map(|&relo| Site {
                section,
                relo,
                covered: file.programs.iter().any(|program| program.covers(section, relo.insn_off)),
            }));
        }
        Ok(Object { order: file.order, btf, code: file.code, sites })
    }

    /// The relocations.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The instruction of a relocation before anything is done to it: 8 bytes, fewer where the section ends.
    pub fn insn(&self, site: &Site) -> &[u8] {
        let code = &self.code[site.section];
        let at = (site.relo.insn_off as usize).min(code.len());
        &code[at..(at + INSN_LEN).min(code.len())]
    }
}

impl Program {
    fn covers(&self, section: usize, insn_off: u32) -> bool {
        let at = u64::from(insn_off);
        self.section == section && self.start <= at && at - self.start < self.size
    }
}

/// The BTFs that are searched: vmlinux, then modules.
#[derive(Debug)]
pub struct Target(Vec<Rc<LibbpfBtf>>);

impl Target {
    /// Parses vmlinux and split BTFs on it, after making sure that libbpf survives them.
    pub fn new(vmlinux: &[u8], modules: &[&[u8]]) -> Result<Target, Unsound> {
        let base = std::sync::Arc::new(Btf::parse(vmlinux)?);
        let parsed = Rc::new(Sound::check(&base)?.parse(vmlinux)?);
        let mut all = vec![Rc::clone(&parsed)];
        for &module in modules {
            let split = Btf::parse_split(module, std::sync::Arc::clone(&base))?;
            all.push(Rc::new(Sound::check(&split)?.parse_split(module, &parsed)?));
        }
        Ok(Target(all))
    }
}

/// What libbpf does with a relocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No program covers it: libbpf steps over it.
    Skipped,
    /// libbpf would read or write outside the program.
    Unjudged,
    /// It is resolved and applied.
    Judged(Box<Judged>),
}

/// A judged relocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The candidates before.
    pub candidates: Vec<Cand>,
    /// How many of them matched.
    pub matches: usize,
    /// What the relocation comes to, or why the object is refused.
    pub resolution: Result<Resolution, Errno>,
    /// The path in the local types.
    pub local: Option<Path>,
    /// The path in the target's types; None where nothing matched.
    pub target: Option<Path>,
    /// The instruction's bytes afterwards, in file order, or why the object is refused.
    pub insn: Result<Vec<u8>, Errno>,
    /// Whether libbpf's own values are others, for the byte order of this machine ([`crate::Known::HostByteOrder`]).
    pub host_differs: bool,
}

/// A spec (`struct bpf_core_spec`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The type that it starts from.
    pub root: TypeId,
    /// Every step.
    pub raw: Vec<u32>,
    /// Type, index and whether there is a name, of each step that has a meaning of its own.
    pub accessors: Vec<(TypeId, u32, bool)>,
    /// Offset in bits.
    pub bit_offset: u32,
}

impl Path {
    fn new(spec: &bpf_core_spec) -> Path {
        let (len, raw_len) = (spec.len as usize, spec.raw_len as usize);
        Path {
            root: TypeId(spec.root_type_id),
            raw: spec.raw_spec[..raw_len].iter().map(|&index| index as u32).collect(),
            accessors: spec.spec[..len]
                .iter()
                .map(|step| (TypeId(step.type_id), step.idx, !step.name.is_null()))
                .collect(),
            bit_offset: spec.bit_offset,
        }
    }
}

/// Resolves and applies every relocation of an object.
///
/// libbpf ends at the first error. To have an answer for every relocation the judge goes on, with the candidates and
/// the instruction as they were before the error.
pub fn judge(object: &Object, target: &Target) -> Vec<Verdict> {
    let mut judge = Judge { object, target, cands: HashMap::new(), code: object.code.clone() };
    object.sites.iter().map(|site| judge.step(site)).collect()
}

struct Judge<'j> {
    object: &'j Object,
    target: &'j Target,
    /// By local root, as libbpf's `cand_cache`.
    cands: HashMap<TypeId, Cands>,
    code: Vec<Vec<u8>>,
}

impl Judge<'_> {
    fn step(&mut self, site: &Site) -> Verdict {
        if !site.covered {
            return Verdict::Skipped;
        }
        let refused = |errno| Judged {
            candidates: Vec::new(),
            matches: 0,
            resolution: Err(errno),
            local: None,
            target: None,
            insn: Err(errno),
            host_differs: false,
        };
        let candidates = match self.candidates(&site.relo) {
            Ok(candidates) => candidates,
            Err(errno) => return Verdict::Judged(Box::new(refused(errno))),
        };
        let (calc, host_differs) = match self.calc(site) {
            Ok(calc) => calc,
            Err(errno) => {
                return Verdict::Judged(Box::new(Judged { candidates, ..refused(errno) }));
            }
        };
        let Some(insn) = self.patch(site, &calc) else {
            return Verdict::Unjudged;
        };
        let matched = calc.specs[2].btf.is_null();
        let narrowed =
            self.cands.get(&site.relo.type_id).map_or(0, |cands| cands.named(&self.target.0).len());
        Verdict::Judged(Box::new(Judged {
            candidates,
            matches: if matched { 0 } else { narrowed },
            resolution: Ok(calc.resolution()),
            local: Some(Path::new(&calc.specs[0])),
            target: (!matched).then(|| Path::new(&calc.specs[2])),
            insn,
            host_differs,
        }))
    }

    fn candidates(&mut self, relo: &CoreRelo) -> Result<Vec<Cand>, Errno> {
        if relo.kind == LOCAL_TYPE_ID {
            return Ok(Vec::new());
        }
        if !self.cands.contains_key(&relo.type_id) {
            let found = Cands::find(&self.object.btf, relo.type_id, &self.target.0)?;
            self.cands.insert(relo.type_id, found);
        }
        Ok(self.cands[&relo.type_id].named(&self.target.0))
    }

    fn calc(&mut self, site: &Site) -> Result<(Calc, bool), Errno> {
        let cands = match site.relo.kind {
            LOCAL_TYPE_ID => None,
            _searched => self.cands.get_mut(&site.relo.type_id),
        };
        if self.object.order == ByteOrder::NATIVE || site.relo.kind != LSHIFT_U64 {
            return libbpf::calc(&self.object.btf, &site.relo, cands).map(|calc| (calc, false));
        }
        match cands {
            Some(cands) => foreign_lshift(&self.object.btf, &site.relo, cands),
            None => Err(Errno::EINVAL),
        }
    }

    /// None where libbpf would read or write beyond the section.
    fn patch(&mut self, site: &Site, calc: &Calc) -> Option<Result<Vec<u8>, Errno>> {
        let at = site.relo.insn_off as usize;
        if !at.is_multiple_of(INSN_LEN) {
            return Some(Err(Errno::EINVAL));
        }
        let order = self.object.order;
        let code = self.code[site.section].get_mut(at..)?;
        let len = match code.first()? {
            &LDIMM64 => 2 * INSN_LEN,
            _one => INSN_LEN,
        };
        let code = code.get_mut(..len)?;
        let mut slot = Slot([0; 16]);
        slot.0[..len].copy_from_slice(code);
        swap(&mut slot, order);
        if let Err(errno) = libbpf::patch(&mut slot, &site.relo, calc) {
            return Some(Err(errno));
        }
        swap(&mut slot, order);
        code.copy_from_slice(&slot.0[..len]);
        Some(Ok(code.to_vec()))
    }
}

/// Turns instructions of a file into the host's, or back (libbpf: `bpf_insn_bswap`).
fn swap(slot: &mut Slot, order: ByteOrder) {
    if order == ByteOrder::NATIVE {
        return;
    }
    for insn in slot.0.chunks_exact_mut(INSN_LEN) {
        insn[1] = insn[1].rotate_left(4);
        insn[2..4].reverse();
        insn[4..8].reverse();
    }
}

/// lshift_u64 as libbpf would calculate it on a host of the object's byte order; it takes the one that it runs on.
///
/// Candidate by candidate, since another value can be ambiguous where libbpf's is not, and the other way round.
fn foreign_lshift(local: &LibbpfBtf, relo: &CoreRelo, cands: &mut Cands) -> Result<(Calc, bool), Errno> {
    let mut agreed: Option<(Calc, bool)> = None;
    let mut matching = Vec::new();
    let all = cands.list().to_vec();
    for cand in all {
        let (calc, host_differs) = foreign_lshift_of(local, relo, &mut Cands::of(cand)?)?;
        if calc.specs[2].btf.is_null() {
            continue;
        }
        matching.push(cand);
        let key = |calc: &Calc| (calc.specs[2].bit_offset, calc.res.poison, calc.res.new_val);
        match &agreed {
            Some((first, _)) if key(first) != key(&calc) => return Err(Errno::EINVAL),
            Some(_) => {}
            None => agreed = Some((calc, host_differs)),
        }
    }
    match agreed {
        Some(agreed) => {
            cands.narrow(&matching);
            Ok(agreed)
        }
        None => foreign_lshift_of(local, relo, cands),
    }
}

/// The same for at most one matching candidate. The formula goes by the load unit, which the kinds byte_off and
/// byte_sz tell.
fn foreign_lshift_of(local: &LibbpfBtf, relo: &CoreRelo, cands: &mut Cands) -> Result<(Calc, bool), Errno> {
    let of_kind = |kind, cands: &mut Cands| libbpf::calc(local, &CoreRelo { kind, ..*relo }, Some(cands));
    let mut calc = of_kind(LSHIFT_U64, cands)?;
    let (off, size) = (of_kind(BYTE_OFF, cands)?, of_kind(BYTE_SZ, cands)?);
    let value = |spec: &bpf_core_spec, off: u64, size: u64| {
        let high = 8u32.wrapping_sub(size as u32).wrapping_mul(8);
        u64::from(high.wrapping_add(spec.bit_offset.wrapping_sub((off as u32).wrapping_mul(8))))
    };
    let host = (calc.res.orig_val, calc.res.new_val);
    calc.res.orig_val = value(&calc.specs[0], off.res.orig_val, size.res.orig_val);
    if !calc.res.poison {
        calc.res.new_val = value(&calc.specs[2], off.res.new_val, size.res.new_val);
    }
    Ok((calc, host != (calc.res.orig_val, calc.res.new_val)))
}

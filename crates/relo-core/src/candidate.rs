//! Candidates: the types of a target that may stand for a local root.

use std::borrow::Cow;

use btf::{Btf, Kind, Search, Seen, StrOff, TypeId};
use rustc_hash::FxHashMap;

use crate::alike::Alike;
use crate::{BpfObject, ReloError, essential_name};

/// A BTF that types are searched in.
#[derive(Debug, Clone)]
pub struct TargetBtf<'t> {
    /// The module's name; None for vmlinux.
    pub module: Option<&'t str>,
    /// Its BTF: for a module split BTF on that of vmlinux.
    pub btf: &'t Btf<'t>,
}

/// A type of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Candidate {
    /// Index of the BTF: 0 is vmlinux, modules follow in the order given.
    pub btf: u32,
    /// The type in that BTF.
    pub id: TypeId,
}

/// The essential names of all roots of some objects: what one pass over a target has to look for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// By slot.
    list: Vec<Box<[u8]>>,
    /// The slot of each; only looked up, never iterated.
    names: FxHashMap<Box<[u8]>, u32>,
    beginnings: Beginnings,
    /// The kinds of the roots, a bit each; no kind of a root has a number above 31.
    kinds: u32,
    alike: Alike,
}

impl Wanted {
    /// The names that these objects' relocations search for.
    pub fn new<'o>(objects: impl IntoIterator<Item = &'o BpfObject>) -> Wanted {
        let mut wanted = Wanted::default();
        let mut alike = Alike::default();
        for object in objects {
            for root in &object.questions().roots {
                // A root without a name, or none at all, is an error of its relocations, said when they are resolved.
                if let (true, Ok((kind, name))) = (root.searched, &root.wanted) {
                    wanted.add(*kind, name);
                }
            }
            alike.add(object, |name| wanted.names.get(name).copied());
        }
        Wanted { alike, ..wanted }
    }

    /// These essential names, each with the kind that its root has.
    pub fn of_names<'n>(names: impl IntoIterator<Item = (Kind, &'n [u8])>) -> Wanted {
        let mut wanted = Wanted::default();
        names.into_iter().for_each(|(kind, essential)| wanted.add(kind, essential));
        wanted
    }

    fn add(&mut self, kind: Kind, essential: &[u8]) {
        self.kinds |= if kind.is_any_enum() { bit(Kind::Enum) | bit(Kind::Enum64) } else { bit(kind) };
        if !self.names.contains_key(essential) {
            self.beginnings.add(essential);
            self.names.insert(essential.into(), self.names.len() as u32);
            self.list.push(essential.into());
        }
    }

    /// The essential names that are searched for, each with its slot, in the order of the slots.
    pub fn names(&self) -> impl ExactSizeIterator<Item = (usize, &[u8])> {
        self.list.iter().map(|name| &name[..]).enumerate()
    }

    /// Whether a root is of this kind; the names of all other types are not even looked at.
    #[inline]
    fn has_kind(&self, number: u32) -> bool {
        self.kinds >> (number & 31) & 1 != 0
    }

    /// The slot of an essential name. What is left without a flavor may look as if it had another: `a___b___c`.
    pub(crate) fn slot_of(&self, essential: &[u8]) -> Option<usize> {
        self.names.get(essential).map(|&slot| slot as usize)
    }

    /// What the relocations of the objects have in common.
    pub(crate) fn alike(&self) -> &Alike {
        &self.alike
    }

    /// Parses a BTF without a base and searches it in the same pass.
    pub fn parse<'d>(&self, data: impl Into<Cow<'d, [u8]>>) -> Result<(Btf<'d>, Candidates), btf::Error> {
        let (btf, found) = Btf::parse_with(data, self)?;
        let mut candidates = Candidates::new(self);
        for Seen { id, kind, name } in found {
            candidates.look_at(self, id, kind, btf.string(name)?);
        }
        Ok((btf, candidates))
    }

    /// Searches a BTF that has been parsed, split BTF included.
    pub fn search(&self, btf: &Btf<'_>) -> Result<Candidates, btf::Error> {
        let mut candidates = Candidates::new(self);
        for id in btf.own_ids() {
            let ty = btf.resolve(id)?;
            if self.has_kind(u32::from(ty.kind().number())) && ty.name_off().0 != 0 {
                let name = ty.name()?;
                if self.beginnings.may_have(name) {
                    candidates.look_at(self, id, ty.kind(), name);
                }
            }
        }
        Ok(candidates)
    }
}

impl Search for Wanted {
    /// The kinds of the roots. Who keeps a table of names must have the types of these kinds in it.
    fn kinds(&self) -> u32 {
        self.kinds
    }

    #[inline]
    fn may_be(&self, strings: &[u8], name: StrOff) -> bool {
        self.beginnings.may_stand_at(strings, name)
    }

    fn is(&self, name: &[u8]) -> bool {
        !name.is_empty() && self.slot_of(essential_name(name)).is_some()
    }
}

/// The types of one BTF that have wanted names, by name, ascending by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates(Vec<Vec<(Kind, TypeId)>>);

impl Candidates {
    pub(crate) fn new(wanted: &Wanted) -> Candidates {
        Candidates(vec![Vec::new(); wanted.names.len()])
    }

    /// Adds a type whose essential name is that of the slot; ascending by id within each slot.
    pub(crate) fn push(&mut self, slot: usize, kind: Kind, id: TypeId) {
        self.0[slot].push((kind, id));
    }

    fn look_at(&mut self, wanted: &Wanted, id: TypeId, kind: Kind, name: &[u8]) {
        if let Some(slot) = wanted.slot_of(essential_name(name)).filter(|_| !name.is_empty()) {
            self.push(slot, kind, id);
        }
    }
}

/// The first eight bytes of wanted names: nearly every name of a kernel is told apart by these alone.
///
/// What a wanted name begins with is its essential name, and then its end or a flavor. Where the essential name is so
/// short that a flavor shows among the eight bytes, only four of them are compared.
#[derive(Debug, Clone, Default)]
struct Beginnings {
    four: Bits,
    eight: Bits,
}

/// Places of a table of bits, for hashes.
#[derive(Debug, Clone)]
struct Bits(Box<[u64; 1024]>);

impl Default for Bits {
    fn default() -> Bits {
        Bits(Box::new([0; 1024]))
    }
}

impl Bits {
    #[inline]
    fn has(&self, hash: u16) -> bool {
        self.0[usize::from(hash / 64)] >> (hash % 64) & 1 == 1
    }

    fn add(&mut self, hash: u16) {
        self.0[usize::from(hash / 64)] |= 1 << (hash % 64);
    }
}

impl Beginnings {
    /// Adds an essential name, and what it begins with when a flavor follows.
    fn add(&mut self, essential: &[u8]) {
        for flavor in [&b""[..], b"___"] {
            let name = [essential, flavor].concat();
            match flavor.is_empty() || essential.len() >= 5 {
                true => self.eight.add(Self::hash(Self::word(&name))),
                false => self.four.add(Self::hash(Self::word(&name) & FOUR_BYTES)),
            }
        }
    }

    #[inline]
    fn may_have(&self, name: &[u8]) -> bool {
        self.has(Self::word(name))
    }

    /// The same for a name that ends with a NUL somewhere in the strings; true where it is too near their end.
    #[inline]
    fn may_stand_at(&self, strings: &[u8], offset: StrOff) -> bool {
        let Some(bytes) = strings.get(offset.0 as usize..).and_then(|rest| rest.first_chunk::<8>()) else {
            return true;
        };
        let word = u64::from_le_bytes(*bytes);
        // The lowest bit set here is the top bit of the first zero byte; what stands behind it is another string.
        let zero = word.wrapping_sub(u64::MAX / 255) & !word & (u64::MAX / 255 * 128);
        let behind = zero & zero.wrapping_neg();
        self.has(if zero == 0 { word } else { word & (behind >> 7).wrapping_sub(1) })
    }

    #[inline]
    fn has(&self, word: u64) -> bool {
        self.eight.has(Self::hash(word)) || self.four.has(Self::hash(word & FOUR_BYTES))
    }

    /// Up to eight bytes, the first one lowest.
    #[inline]
    fn word(name: &[u8]) -> u64 {
        match name.first_chunk::<8>() {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => name.iter().rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte)),
        }
    }

    #[inline]
    fn hash(word: u64) -> u16 {
        (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16
    }
}

const FOUR_BYTES: u64 = 0xffff_ffff;

/// What relocations are resolved against: the BTF of vmlinux and those of modules, with the candidates found.
#[derive(Debug, Clone)]
pub struct Target<'t> {
    btfs: Vec<TargetBtf<'t>>,
    wanted: &'t Wanted,
    /// For each BTF what was found in it.
    found: Vec<Candidates>,
}

impl<'t> Target<'t> {
    /// Searches vmlinux and modules for the names in one pass over each.
    pub fn new(
        vmlinux: &'t Btf<'t>,
        modules: &[TargetBtf<'t>],
        wanted: &'t Wanted,
    ) -> Result<Target<'t>, ReloError> {
        let found = wanted.search(vmlinux).map_err(ReloError::target)?;
        Target::with_candidates(vmlinux, found, modules, wanted)
    }

    /// The same with what [`Wanted::parse`] has found in vmlinux.
    pub fn with_candidates(
        vmlinux: &'t Btf<'t>,
        found: Candidates,
        modules: &[TargetBtf<'t>],
        wanted: &'t Wanted,
    ) -> Result<Target<'t>, ReloError> {
        let mut btfs = vec![TargetBtf { module: None, btf: vmlinux }];
        btfs.extend_from_slice(modules);
        let mut found = vec![found];
        for module in modules {
            found.push(wanted.search(module.btf).map_err(ReloError::target)?);
        }
        Ok(Target { btfs, wanted, found })
    }

    /// What was searched for.
    pub(crate) fn wanted(&self) -> &'t Wanted {
        self.wanted
    }

    /// Where a type stands that one of the BTFs refers to: ids below a module's first one are those of vmlinux.
    pub(crate) fn place(&self, btf: u32, id: TypeId) -> Candidate {
        let own = id >= self.btfs[btf as usize].btf.first_id();
        Candidate { btf: if own { btf } else { 0 }, id }
    }

    /// The BTF of a candidate.
    pub fn btf(&self, candidate: Candidate) -> &'t Btf<'t> {
        self.btfs[candidate.btf as usize].btf
    }

    /// The module of a candidate; None for vmlinux.
    pub fn module(&self, candidate: Candidate) -> Option<&'t str> {
        self.btfs[candidate.btf as usize].module
    }

    /// The BTFs: vmlinux, then the modules.
    pub fn btfs(&self) -> &[TargetBtf<'t>] {
        &self.btfs
    }

    /// Whether a type of a module is passed over, though it has a root's name and kind: vmlinux has one too.
    pub(crate) fn is_hidden(&self, place: Candidate) -> Result<bool, btf::Error> {
        let ty = self.btf(place).resolve(place.id)?;
        let slot = self.wanted.slot_of(essential_name(ty.name()?));
        Ok(place.btf != 0 && slot.is_some_and(|slot| self.found_in(0, slot, ty.kind()).next().is_some()))
    }

    /// The types of one BTF with a wanted name and a kind that can stand for the root's.
    pub(crate) fn found_in(
        &self,
        btf: usize,
        slot: usize,
        root: Kind,
    ) -> impl Iterator<Item = Candidate> + use<'_> {
        let fits = self.found[btf].0[slot].iter().filter(move |(kind, _)| kinds_compatible(*kind, root));
        fits.map(move |&(_, id)| Candidate { btf: btf as u32, id })
    }
}

/// Equal kinds, where ENUM and ENUM64 are one (libbpf: `btf_kind_core_compat`).
pub(crate) fn kinds_compatible(a: Kind, b: Kind) -> bool {
    a == b || (a.is_any_enum() && b.is_any_enum())
}

/// The bit of a kind that a root can have.
fn bit(kind: Kind) -> u32 {
    1u32.checked_shl(u32::from(kind.number())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use btf::{Builder, ByteOrder};

    use super::*;

    const NAMES: [&str; 16] = [
        "s",
        "sk",
        "soc",
        "sock",
        "socks",
        "socket",
        "sock___old",
        "soc___x",
        "s___y",
        "___s",
        "a___b___c",
        "a___b",
        "task_struct",
        "task_struct___v2",
        "task",
        "zz",
    ];

    /// The pass that parses, and the one over parsed types, find what a plain comparison of names finds.
    fn check(order: ByteOrder, wanted: &[&str], kinds: &[Kind]) {
        let mut builder = Builder::new(order);
        for name in NAMES {
            builder.composite(Kind::Struct, name, 8).unwrap();
            builder.composite(Kind::Union, name, 8).unwrap();
            builder.enumeration(Kind::Enum64, name, 8, false).unwrap();
            builder.reference(Kind::Typedef, name, TypeId(1)).unwrap();
        }
        let bytes = builder.finish().unwrap();
        let mut all = Wanted::default();
        for name in wanted {
            kinds.iter().for_each(|&kind| all.add(kind, name.as_bytes()));
        }
        let (btf, parsed) = all.parse(&bytes[..]).unwrap();
        assert_eq!(parsed.0, all.search(&btf).unwrap().0, "{wanted:?}");
        for name in wanted {
            let slot = all.slot_of(name.as_bytes()).unwrap();
            for &root in kinds {
                let found = parsed.0[slot].iter().filter(|(kind, _)| kinds_compatible(*kind, root));
                let ids: Vec<TypeId> = found.map(|&(_, id)| id).collect();
                let fits = |id: &TypeId| {
                    let ty = btf.resolve(*id).unwrap();
                    kinds_compatible(ty.kind(), root) && essential_name(ty.name().unwrap()) == name.as_bytes()
                };
                assert_eq!(ids, btf.own_ids().filter(fits).collect::<Vec<_>>(), "{root:?} {name}");
            }
        }
    }

    #[test]
    fn every_pass_finds_the_same() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            for name in ["s", "soc", "sock", "a___b", "task_struct", "zz", "___s", "none"] {
                check(order, &[name], &[Kind::Struct]);
                check(order, &[name, "task"], &[Kind::Union, Kind::Enum]);
                check(order, &[name, "socks", "s"], &[Kind::Typedef, Kind::Enum64]);
            }
        }
    }

    /// What makes the pass fast: types that nobody wants are not looked at.
    #[test]
    fn names_that_begin_otherwise_are_told_apart() {
        let mut beginnings = Beginnings::default();
        for name in ["task_struct", "sk"] {
            beginnings.add(name.as_bytes());
        }
        let strings = b"\0sk\0task_struct\0sk___old\0skb\0sock\0tas\0something\0zz\0";
        let at = |name: &[u8]| {
            let place = strings.windows(name.len() + 2).position(|window| {
                window[0] == 0 && &window[1..=name.len()] == name && window[name.len() + 1] == 0
            });
            StrOff(place.unwrap() as u32 + 1)
        };
        let check = |name: &str, want: bool| {
            assert_eq!(beginnings.may_have(name.as_bytes()), want, "{name}");
            // Too near the end the bytes can't be read at once.
            assert_eq!(beginnings.may_stand_at(strings, at(name.as_bytes())), want || name == "zz", "{name}");
        };
        check("sk", true);
        check("task_struct", true);
        check("sk___old", true);
        check("skb", false);
        check("sock", false);
        check("tas", false);
        check("zz", false);
        let mut wanted = Wanted::default();
        wanted.add(Kind::Enum, b"e");
        let kinds = |kind: Kind| wanted.has_kind(u32::from(kind.number()));
        assert!(kinds(Kind::Enum) && kinds(Kind::Enum64) && !kinds(Kind::Struct) && !kinds(Kind::Ptr));
    }
}

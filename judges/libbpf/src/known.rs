//! Where relo-core is meant to differ from libbpf: `judges/known-differences.md`, as code.

use btf::{Btf, Kind, TypeId};
use relo_core::essential_name;

use crate::judge::{Judged, Site};
use crate::libbpf::Cand;

/// A difference in decisions of valid objects. The rest of the file is about input that libbpf takes and must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    /// D1: libbpf reads the values of unsigned 32-bit enums as signed.
    UnsignedEnumerator,
    /// D2: libbpf compares the sign-extended immediate of 32-bit operations, which nothing extends.
    UnextendedImmediate,
    /// D3: libbpf keeps the offset of an incompatible member that it has left behind.
    DuplicateMember,
    /// D4: libbpf shifts by the byte order of the machine that it runs on; in both modes.
    HostByteOrder,
}

impl Known {
    /// All of them.
    pub const ALL: [Known; 4] =
        [Known::UnsignedEnumerator, Known::UnextendedImmediate, Known::DuplicateMember, Known::HostByteOrder];

    /// Its heading in the file.
    pub fn heading(self) -> &'static str {
        match self {
            Known::UnsignedEnumerator => "D1",
            Known::UnextendedImmediate => "D2",
            Known::DuplicateMember => "D3",
            Known::HostByteOrder => "D4",
        }
    }

    /// The difference that a relocation may show, going by the types, the instruction and libbpf's answer alone.
    pub fn expected(
        site: &Site,
        insn: &[u8],
        judged: &Judged,
        local: &Btf<'_>,
        targets: &[&Btf<'_>],
    ) -> Option<Known> {
        let enumval_value = site.relo.kind == 11;
        if enumval_value && has_high_enumerator(site, judged, local, targets) {
            return Some(Known::UnsignedEnumerator);
        }
        if is_unextended(insn, judged) {
            return Some(Known::UnextendedImmediate);
        }
        let field_based = site.relo.kind <= 5;
        if field_based && judged.candidates.iter().any(|cand| has_duplicates(targets[cand.btf], cand.id, 0)) {
            return Some(Known::DuplicateMember);
        }
        None
    }
}

fn has_high_enumerator(site: &Site, judged: &Judged, local: &Btf<'_>, targets: &[&Btf<'_>]) -> bool {
    let name = || {
        let root = local.skip(site.relo.type_id).ok()?;
        let index =
            judged.local.as_ref().map_or_else(|| access_index(site, local), |path| Some(path.raw[0]))?;
        let enumerator = root.enumerator(index).ok()?;
        Some((root, enumerator.name))
    };
    let Some((root, name)) = name() else { return false };
    let Ok(name) = root.string(name) else { return false };
    let high = |btf: &Btf<'_>, id: TypeId| {
        let Ok(ty) = btf.skip(id) else { return false };
        ty.kind() == Kind::Enum
            && !ty.kind_flag()
            && (0..ty.len()).filter_map(|index| ty.enumerator(index).ok()).any(|value| {
                value.bits >> 31 != 0
                    && ty.string(value.name).is_ok_and(|other| essential_name(other) == essential_name(name))
            })
    };
    let of_target = |cand: &Cand| high(targets[cand.btf], cand.id);
    high(local, site.relo.type_id) || judged.candidates.iter().any(of_target)
}

fn access_index(site: &Site, local: &Btf<'_>) -> Option<u32> {
    std::str::from_utf8(local.string(site.relo.access).ok()?).ok()?.parse().ok()
}

/// A 32-bit operation with an immediate that is the local value, unless it is sign-extended.
fn is_unextended(insn: &[u8], judged: &Judged) -> bool {
    let Ok(resolution) = &judged.resolution else { return false };
    let Some(&[code, _, _, _, a, b, c, d]) = insn.first_chunk::<8>() else { return false };
    let values = [u32::from_le_bytes([a, b, c, d]), u32::from_be_bytes([a, b, c, d])];
    let alu32_with_immediate = code & 0x0f == 0x04;
    alu32_with_immediate && values.iter().any(|&imm| imm >> 31 == 1 && u64::from(imm) == resolution.orig_val)
}

/// Whether a name stands twice in a struct or union, or in what it holds, anonymous members opened.
fn has_duplicates(btf: &Btf<'_>, id: TypeId, depth: u32) -> bool {
    let mut names = Vec::new();
    let mut held = Vec::new();
    collect(btf, id, &mut names, &mut held);
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
        || depth < 16 && held.iter().any(|&id| has_duplicates(btf, id, depth + 1))
}

fn collect<'b>(btf: &'b Btf<'_>, id: TypeId, names: &mut Vec<&'b [u8]>, held: &mut Vec<TypeId>) {
    let Ok(mut ty) = btf.skip(id) else { return };
    while let Ok(array) = ty.array() {
        let Ok(element) = btf.skip(array.element) else { return };
        ty = element;
    }
    for member in ty.members().flatten() {
        match ty.string(member.name) {
            Ok(b"") => collect(btf, member.type_id, names, held),
            Ok(name) => {
                names.push(name);
                held.push(member.type_id);
            }
            Err(_) => {}
        }
    }
}

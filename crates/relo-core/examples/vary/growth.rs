//! By how much every struct grows, and where its members then are.

use btf::{Btf, Error, Kind, Type, TypeId};

use crate::random::Random;

/// What a bitfield's place can hold: 24 bits.
const FARTHEST_BITS: u64 = 0x00ff_ffff;
/// Bits that any other member's place can hold.
const FARTHEST: u64 = u32::MAX as u64;

/// Bytes that are put into a struct, and before which member.
#[derive(Clone, Copy, Default)]
struct Padding {
    before: u32,
    bytes: u64,
}

/// How the structs and unions of a kernel grow: by bytes of their own, and with what they hold by value.
pub struct Growth {
    paddings: Vec<Padding>,
    /// Bytes that a struct or union becomes larger by.
    total: Vec<Option<u64>>,
}

/// A struct whose members would come to stand where its places can't say.
struct TooFar(TypeId);

impl Growth {
    /// Chooses for every struct a multiple of 8 bytes, up to 64, and a member that they come before.
    ///
    /// Structs of one name, or without one those with the same members, grow alike: old kernels have them several times
    /// over, and a program that finds two different ones is refused. Where an array of structs would become too large,
    /// these don't grow.
    pub fn choose(btf: &Btf<'_>, random: &mut Random) -> Result<Growth, Error> {
        let mut growth =
            Growth { paddings: vec![Padding::default(); btf.type_count() as usize], total: Vec::new() };
        let kernel = random.next();
        for id in btf.own_ids() {
            let ty = btf.resolve(id)?;
            if ty.kind() == Kind::Struct && !ty.is_empty() {
                let mut random = Random::new(kernel, called(&ty)?);
                let before = random.below(ty.len() as usize) as u32;
                growth.paddings[id.0 as usize] = Padding { before, bytes: 8 * (1 + random.below(8) as u64) };
            }
        }
        while let Some(TooFar(id)) = growth.add_up(btf)? {
            growth.still(btf, id)?;
        }
        Ok(growth)
    }

    /// Where the members are then, as the format has it: in bits, with the width of a bitfield in the top byte.
    pub fn places(&self, btf: &Btf<'_>, ty: &Type<'_>) -> Result<Vec<u32>, Error> {
        let padding = self.paddings[ty.id().0 as usize];
        let mut shift = 0;
        let mut places = Vec::with_capacity(ty.len() as usize);
        for (index, member) in ty.members().enumerate() {
            let member = member?;
            if index as u32 == padding.before {
                shift += padding.bytes;
            }
            places.push(u32::from(member.bitfield_size) << 24 | (member.bit_offset + 8 * shift as u32));
            if ty.kind() == Kind::Struct {
                shift += self.known(btf, member.type_id)?;
            }
        }
        Ok(places)
    }

    /// The size of a struct or union then, in bytes.
    pub fn size(&self, ty: &Type<'_>) -> Result<u32, Error> {
        Ok(ty.size()? + self.total[ty.id().0 as usize].unwrap_or(0) as u32)
    }

    /// Adds up all growth; gives a struct for which it is too much.
    fn add_up(&mut self, btf: &Btf<'_>) -> Result<Option<TooFar>, Error> {
        self.total = vec![None; btf.type_count() as usize];
        for id in btf.own_ids() {
            let ty = btf.resolve(id)?;
            if ty.kind().is_composite() {
                self.grown(btf, &ty)?;
                let bits = 8 * (u64::from(ty.size()?) + self.total[id.0 as usize].unwrap_or(0));
                if bits > if ty.kind_flag() { FARTHEST_BITS } else { FARTHEST } {
                    return Ok(Some(TooFar(id)));
                }
            }
        }
        Ok(None)
    }

    /// What a struct or union grows by; what holds itself by value, which no compiler makes, does not.
    fn grown(&mut self, btf: &Btf<'_>, ty: &Type<'_>) -> Result<u64, Error> {
        if let Some(known) = self.total[ty.id().0 as usize] {
            return Ok(known);
        }
        self.total[ty.id().0 as usize] = Some(0);
        let mut sum = self.paddings[ty.id().0 as usize].bytes;
        for member in ty.members() {
            let held = self.held(btf, member?.type_id)?;
            sum = if ty.kind() == Kind::Union { sum.max(held) } else { sum.saturating_add(held) };
        }
        self.total[ty.id().0 as usize] = Some(sum);
        Ok(sum)
    }

    /// What a member's type grows by.
    fn held(&mut self, btf: &Btf<'_>, id: TypeId) -> Result<u64, Error> {
        let ty = btf.skip(id)?;
        match ty.kind() {
            Kind::Array => {
                let array = ty.array()?;
                Ok(self.held(btf, array.element)?.saturating_mul(u64::from(array.len)))
            }
            kind if kind.is_composite() => self.grown(btf, &ty),
            _grows_not => Ok(0),
        }
    }

    /// [`Growth::held`] once all is added up.
    fn known(&self, btf: &Btf<'_>, id: TypeId) -> Result<u64, Error> {
        let ty = btf.skip(id)?;
        match ty.kind() {
            Kind::Array => {
                let array = ty.array()?;
                Ok(self.known(btf, array.element)? * u64::from(array.len))
            }
            kind if kind.is_composite() => Ok(self.total[ty.id().0 as usize].unwrap_or(0)),
            _grows_not => Ok(0),
        }
    }

    /// Takes the padding out of a struct and of everything that it holds.
    fn still(&mut self, btf: &Btf<'_>, id: TypeId) -> Result<(), Error> {
        let mut open = vec![id];
        let mut seen = vec![false; btf.type_count() as usize];
        while let Some(id) = open.pop() {
            let ty = btf.skip(id)?;
            if std::mem::replace(&mut seen[ty.id().0 as usize], true) {
                continue;
            }
            self.paddings[ty.id().0 as usize] = Padding::default();
            if ty.kind() == Kind::Array {
                open.push(ty.array()?.element);
            }
            for member in ty.members() {
                open.push(member?.type_id);
            }
        }
        Ok(())
    }
}

/// A number for what a struct is called, or for what its members are.
fn called(ty: &Type<'_>) -> Result<u64, Error> {
    let mut number = 0u64;
    let mut add = |name: &[u8]| {
        for &byte in name.iter().chain(b" ") {
            number = (number ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    };
    add(ty.name()?);
    if ty.name()?.is_empty() {
        for member in ty.members() {
            add(ty.string(member?.name)?);
        }
    }
    Ok(number)
}

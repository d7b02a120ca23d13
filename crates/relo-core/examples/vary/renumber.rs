//! The types in another order, with every id that names one changed with it.

use std::error::Error;

use btf::{Btf, ByteOrder, Kind, Type, TypeId};

use crate::growth::Growth;
use crate::random::Random;

/// Bytes of a type's common part.
const COMMON: usize = 12;
/// Types that stay together when the order changes: as in a kernel, what belongs together stands together.
const LONGEST_RUN: usize = 100;

/// Writes all types, `copies` times.
pub fn write(
    btf: &Btf<'_>,
    growth: &Growth,
    random: &mut Random,
    copies: u32,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let order = new_order(btf, random);
    let count = order.len() as u32;
    let mut new_ids = vec![0; btf.type_count() as usize];
    for (index, id) in order.iter().enumerate() {
        new_ids[id.0 as usize] = index as u32 + 1;
    }
    let mut types = Vec::with_capacity(btf.data().len() * copies as usize);
    let mut names = Names { strings: btf.data()[btf.header().strings.clone()].to_vec(), copy: 0 };
    for copy in 0..copies {
        names.copy = copy;
        let new_id = |id: u32| match new_ids.get(id as usize) {
            Some(&new) if id != 0 => new + copy * count,
            Some(_) | None => id,
        };
        for &id in &order {
            write_type(btf, &btf.resolve(id)?, growth, &mut names, new_id, &mut types)?;
        }
    }
    frame(btf.order(), &types, &names.strings)
}

/// All ids, in runs that stand in another order.
fn new_order(btf: &Btf<'_>, random: &mut Random) -> Vec<TypeId> {
    let ids: Vec<TypeId> = btf.own_ids().collect();
    let mut runs = Vec::new();
    let mut rest = &ids[..];
    while !rest.is_empty() {
        let (run, after) = rest.split_at((1 + random.below(LONGEST_RUN)).min(rest.len()));
        runs.push(run);
        rest = after;
    }
    random.shuffle(&mut runs);
    runs.concat()
}

/// The strings, and what types are called in the copy that is being made.
struct Names {
    strings: Vec<u8>,
    copy: u32,
}

impl Names {
    /// The name of a type: in copies another one, so that nothing is there twice.
    fn of(&mut self, ty: &Type<'_>) -> Result<u32, btf::Error> {
        let name = ty.name()?;
        if self.copy == 0 || name.is_empty() || ty.kind() == Kind::DeclTag || ty.kind() == Kind::TypeTag {
            return Ok(ty.name_off().0);
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name);
        self.strings.extend(format!("_{}\0", self.copy).bytes());
        Ok(at)
    }
}

fn write_type(
    btf: &Btf<'_>,
    ty: &Type<'_>,
    growth: &Growth,
    names: &mut Names,
    new_id: impl Fn(u32) -> u32,
    types: &mut Vec<u8>,
) -> Result<(), Box<dyn Error>> {
    let order = btf.order();
    let end = btf.offset_of(TypeId(ty.id().0 + 1)).map_or(btf.header().types.end, |next| next as usize);
    let mut bytes = btf.data()[ty.offset()..end].to_vec();
    let put =
        |bytes: &mut [u8], at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&order.encode(value));
    let remap = |bytes: &mut [u8], at: usize| {
        let id = order.decode([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        put(bytes, at, new_id(id));
    };
    put(&mut bytes, 0, names.of(ty)?);
    let elements = 0..ty.len() as usize;
    match ty.kind() {
        Kind::Ptr | Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
            remap(&mut bytes, 8);
        }
        Kind::Func | Kind::Var | Kind::DeclTag => remap(&mut bytes, 8),
        Kind::Array => {
            remap(&mut bytes, COMMON);
            remap(&mut bytes, COMMON + 4);
        }
        Kind::Struct | Kind::Union => {
            put(&mut bytes, 8, growth.size(ty)?);
            for (index, place) in growth.places(btf, ty)?.into_iter().enumerate() {
                let at = COMMON + 12 * index;
                remap(&mut bytes, at + 4);
                put(&mut bytes, at + 8, place);
            }
        }
        Kind::FuncProto => {
            remap(&mut bytes, 8);
            elements.for_each(|index| remap(&mut bytes, COMMON + 8 * index + 4));
        }
        Kind::Datasec => elements.for_each(|index| remap(&mut bytes, COMMON + 12 * index)),
        Kind::Int | Kind::Float | Kind::Fwd | Kind::Enum | Kind::Enum64 => {}
        Kind::Void | Kind::Unknown(_) => {
            return Err(format!("a type of kind {}: nobody knows where its ids stand", ty.kind()).into());
        }
    }
    types.extend(bytes);
    Ok(())
}

/// The header of 24 bytes, types and strings.
fn frame(order: ByteOrder, types: &[u8], strings: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut out = match order {
        ByteOrder::Little => vec![0x9f, 0xeb, 1, 0],
        ByteOrder::Big => vec![0xeb, 0x9f, 1, 0],
    };
    for field in [24, 0, types.len(), types.len(), strings.len()] {
        out.extend(order.encode(u32::try_from(field)?));
    }
    out.extend(types);
    out.extend(strings);
    Ok(out)
}

//! The order in which all types are asked for: much the same for two builds of a kernel (bpftool: `sort_btf_c`).

use crate::dump::Budget;
use crate::dump_c::MAX_DEPTH;
use crate::{Btf, DumpError, Error, Kind, Type, TypeId};

/// All ids, void included, sorted by what the types are and what they are called.
pub(super) fn sorted_ids(btf: &Btf<'_>, budget: &mut Budget) -> Result<Vec<TypeId>, DumpError> {
    let mut hashes = Hashes::new(btf, budget);
    let mut keys = (0..btf.type_count())
        .map(|id| Key::of(&btf.resolve(TypeId(id))?, btf, &mut hashes))
        .collect::<Result<Vec<_>, _>>()?;
    keys.sort_unstable();
    Ok(keys.into_iter().map(|key| key.id).collect())
}

/// What types are compared by, the first field first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key<'b> {
    rank: Rank,
    /// The name of the type behind pointers, arrays, modifiers and typedefs.
    name: &'b [u8],
    own_name: &'b [u8],
    /// Tells types of one name apart by what they are made of.
    hash: u64,
    id: TypeId,
}

/// What comes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Constants,
    Enum,
    Number,
    Composite,
    Function,
    Rest,
}

impl<'b> Key<'b> {
    fn of(ty: &Type<'b>, btf: &'b Btf<'b>, hashes: &mut Hashes<'_>) -> Result<Key<'b>, DumpError> {
        let own_name = ty.name()?;
        let behind = type_behind(btf, *ty)?;
        let refers = referent(ty)?.is_some();
        let named = !own_name.is_empty();
        let rank = match behind.kind() {
            _ if refers && !named => Rank::Rest,
            Kind::Enum | Kind::Enum64 if named => Rank::Enum,
            Kind::Enum | Kind::Enum64 => Rank::Constants,
            Kind::Int | Kind::Float => Rank::Number,
            Kind::Struct | Kind::Union if named => Rank::Composite,
            Kind::FuncProto if named => Rank::Function,
            _without_a_place_of_its_own => Rank::Rest,
        };
        let name = match behind.kind() {
            Kind::Enum | Kind::Enum64 if !refers && !named && !ty.is_empty() => {
                ty.string(ty.enumerator(0)?.name)?
            }
            _any => behind.name()?,
        };
        hashes.budget.bytes(name)?;
        hashes.budget.bytes(own_name)?;
        let hash = hashes.of(ty, Parts::Members, MAX_DEPTH)?;
        Ok(Key { rank, name, own_name, hash, id: ty.id() })
    }
}

/// The type that a pointer, modifier, typedef, tag or array is made of; None for any other kind.
fn referent(ty: &Type<'_>) -> Result<Option<TypeId>, Error> {
    match ty.kind() {
        Kind::Ptr | Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
            ty.target().map(Some)
        }
        Kind::DeclTag => ty.target().map(Some),
        Kind::Array => Ok(Some(ty.array()?.element)),
        Kind::Void | Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Fwd => {
            Ok(None)
        }
        Kind::Func | Kind::FuncProto | Kind::Var | Kind::Datasec | Kind::Float | Kind::Unknown(_) => Ok(None),
    }
}

/// The first type on the way that is not made of another one.
fn type_behind<'b>(btf: &'b Btf<'b>, start: Type<'b>) -> Result<Type<'b>, DumpError> {
    let mut ty = start;
    for _ in 0..MAX_DEPTH {
        match referent(&ty)? {
            Some(next) => ty = btf.resolve(next)?,
            None => return Ok(ty),
        }
    }
    Err(DumpError::TooDeep(start.id()))
}

/// Which parts of a struct count.
#[derive(Clone, Copy)]
enum Parts {
    /// Its name.
    Name,
    /// Its name, and its members' names and types.
    Members,
}

/// bpftool's hashes of types, each computed once.
struct Hashes<'h> {
    btf: &'h Btf<'h>,
    budget: &'h mut Budget,
    /// By id; for [`Parts::Name`] and for [`Parts::Members`].
    known: [Vec<Option<u64>>; 2],
}

impl<'h> Hashes<'h> {
    fn new(btf: &'h Btf<'h>, budget: &'h mut Budget) -> Hashes<'h> {
        let none = vec![None; btf.type_count() as usize];
        Hashes { btf, budget, known: [none.clone(), none] }
    }

    fn of(&mut self, ty: &Type<'_>, parts: Parts, depth_left: usize) -> Result<u64, DumpError> {
        let place = ty.id().0 as usize;
        if let Some(hash) = self.known[parts as usize][place] {
            return Ok(hash);
        }
        if depth_left == 0 {
            return Err(DumpError::TooDeep(ty.id()));
        }
        self.budget.step()?;
        let hash = self.compute(ty, parts, depth_left - 1)?;
        self.known[parts as usize][place] = Some(hash);
        Ok(hash)
    }

    fn compute(&mut self, ty: &Type<'_>, parts: Parts, depth_left: usize) -> Result<u64, DumpError> {
        let mut hash = self.with_name(0, ty.name()?)?;
        match ty.kind() {
            Kind::Enum | Kind::Enum64 => {
                for index in 0..ty.len() {
                    hash = self.with_name(hash, ty.string(ty.enumerator(index)?.name)?)?;
                }
            }
            Kind::Struct | Kind::Union => {
                let members = match parts {
                    Parts::Name => 0,
                    Parts::Members => ty.len(),
                };
                for index in 0..members {
                    let member = ty.member(index)?;
                    hash = self.with_name(hash, ty.string(member.name)?)?;
                    hash = mix(hash, self.of_id(member.type_id, Parts::Name, depth_left)?);
                }
            }
            Kind::Ptr | Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                hash = mix(hash, self.of_id(ty.target()?, parts, depth_left)?);
            }
            Kind::DeclTag => hash = mix(hash, self.of_id(ty.target()?, parts, depth_left)?),
            Kind::Array => {
                let array = ty.array()?;
                hash = mix(hash, array.len.into());
                hash = mix(hash, self.of_id(array.element, parts, depth_left)?);
            }
            Kind::Void | Kind::Int | Kind::Float | Kind::Fwd | Kind::FuncProto => {}
            Kind::Func | Kind::Var | Kind::Datasec | Kind::Unknown(_) => {}
        }
        Ok(hash)
    }

    fn of_id(&mut self, id: TypeId, parts: Parts, depth_left: usize) -> Result<u64, DumpError> {
        let btf = self.btf;
        self.of(&btf.resolve(id)?, parts, depth_left)
    }

    fn with_name(&mut self, hash: u64, name: &[u8]) -> Result<u64, DumpError> {
        if name.is_empty() {
            return Ok(hash);
        }
        self.budget.bytes(name)?;
        let of_name = name.iter().fold(0, |sum, &byte| mix(sum, byte.into()));
        Ok(mix(hash, of_name))
    }
}

fn mix(hash: u64, value: u64) -> u64 {
    hash.wrapping_mul(31).wrapping_add(value)
}

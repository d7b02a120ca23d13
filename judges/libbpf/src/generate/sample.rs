//! Local types taken out of a real BTF: a few roots and what they refer to, as a program's own BTF has them.

use std::collections::HashMap;

use btf::{Btf, Error, Kind, Type, TypeId};

use crate::generate::graph::{Enumeration, Graph, Int, Member, Ref, Ty};
use crate::generate::local::int;
use crate::generate::mutate;
use crate::generate::random::Random;

/// Types from which on pointers lead only to forward declarations.
const MANY: usize = 400;

/// Takes `roots` types that relocations can name, with all that they hold; a few of them changed, as in a program
/// that was written for another kernel.
pub fn sample(btf: &Btf<'_>, roots: usize, random: &mut Random) -> Result<Graph, Error> {
    let mut sampler = Sampler { btf, graph: Graph::default(), known: HashMap::new(), todo: Vec::new() };
    // The first is the index of every array.
    sampler.graph.add(int("int", 4, 1));
    let own = btf.own_ids().len();
    for _ in 0..roots {
        if let Some(id) = find_root(btf, own, random)? {
            sampler.reference(id)?;
        }
    }
    while let Some((id, place)) = sampler.todo.pop() {
        sampler.graph.types[place - 1] = sampler.ty(&btf.resolve(id)?)?;
    }
    let mut graph = sampler.graph;
    for ty in graph.refs().skip(1) {
        if random.chance(15) {
            mutate::change(&mut graph, ty, random);
        }
        if random.chance(15) {
            mutate::rename(&mut graph, ty, |name| format!("{name}___other"));
        }
    }
    Ok(graph)
}

fn find_root(btf: &Btf<'_>, own: usize, random: &mut Random) -> Result<Option<TypeId>, Error> {
    for _ in 0..1000 {
        let Some(id) = btf.own_ids().nth(random.below(own)) else { return Ok(None) };
        let ty = btf.resolve(id)?;
        let fits = match ty.kind() {
            Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 => true,
            Kind::Typedef => random.chance(300),
            Kind::Fwd | Kind::Int | Kind::Float => random.chance(50),
            Kind::Void | Kind::Ptr | Kind::Array | Kind::Volatile | Kind::Const | Kind::Restrict => false,
            Kind::Func | Kind::FuncProto | Kind::Var | Kind::Datasec | Kind::DeclTag | Kind::TypeTag => false,
            Kind::Unknown(_) => false,
        };
        if fits && !ty.name()?.is_empty() {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

struct Sampler<'s> {
    btf: &'s Btf<'s>,
    graph: Graph,
    /// Only looked up.
    known: HashMap<TypeId, Ref>,
    /// Types that have a place and no content yet.
    todo: Vec<(TypeId, Ref)>,
}

impl Sampler<'_> {
    /// The place of a type, which is filled later.
    fn reference(&mut self, id: TypeId) -> Result<Ref, Error> {
        if id == TypeId::VOID {
            return Ok(0);
        }
        if let Some(&known) = self.known.get(&id) {
            return Ok(known);
        }
        let place = self.graph.add(Ty::Fwd { union: false, name: String::new() });
        self.known.insert(id, place);
        self.todo.push((id, place));
        Ok(place)
    }

    /// What a pointer leads to: the type, or when there are many already its declaration.
    fn pointee(&mut self, id: TypeId) -> Result<Ref, Error> {
        if self.known.contains_key(&id) || self.graph.types.len() < MANY {
            return self.reference(id);
        }
        let ty = self.btf.skip(id)?;
        match ty.kind() {
            Kind::Struct | Kind::Union if !ty.name()?.is_empty() => {
                Ok(self.graph.add(Ty::Fwd { union: ty.kind() == Kind::Union, name: text(ty.name()?) }))
            }
            Kind::Fwd => self.reference(ty.id()),
            _other => Ok(0),
        }
    }

    fn ty(&mut self, ty: &Type<'_>) -> Result<Ty, Error> {
        let name = text(ty.name()?);
        Ok(match ty.kind() {
            Kind::Int => Ty::Int(Int {
                name,
                size: ty.size()?,
                encoding: ty.int_encoding()?.0,
                offset: ty.int_offset()?,
                bits: ty.int_bits()?,
            }),
            Kind::Ptr => Ty::Ptr(name, self.pointee(ty.target()?)?),
            Kind::Array => {
                let array = ty.array()?;
                Ty::Array { element: self.reference(array.element)?, len: array.len }
            }
            Kind::Struct | Kind::Union => {
                let members = self.members(ty)?;
                Ty::Composite { union: ty.kind() == Kind::Union, name, size: ty.size()?, members }
            }
            Kind::Enum | Kind::Enum64 => Ty::Enum(enumeration(ty, name)?),
            Kind::Fwd => Ty::Fwd { union: ty.kind_flag(), name },
            Kind::Typedef => Ty::Typedef(name, self.reference(ty.target()?)?),
            Kind::Volatile | Kind::Const | Kind::Restrict => {
                Ty::Modifier(ty.kind(), self.reference(ty.target()?)?)
            }
            Kind::TypeTag => Ty::TypeTag(name, self.reference(ty.target()?)?),
            Kind::FuncProto => {
                let returns = self.pointee(ty.target()?)?;
                let params = (0..ty.len()).map(|index| self.pointee(ty.param(index)?.type_id));
                Ty::Proto { returns, params: params.collect::<Result<_, Error>>()? }
            }
            Kind::Float => Ty::Float(name, ty.size()?),
            // Nothing that a type refers to.
            Kind::Void | Kind::Func | Kind::Var | Kind::Datasec | Kind::DeclTag | Kind::Unknown(_) => {
                Ty::Fwd { union: false, name }
            }
        })
    }

    fn members(&mut self, ty: &Type<'_>) -> Result<Vec<Member>, Error> {
        let member = |member: Result<btf::Member, Error>| {
            let member = member?;
            Ok(Member {
                name: text(ty.string(member.name)?),
                ty: self.reference(member.type_id)?,
                bit_offset: member.bit_offset,
                bits: member.bitfield_size,
            })
        };
        ty.members().map(member).collect()
    }
}

fn enumeration(ty: &Type<'_>, name: String) -> Result<Enumeration, Error> {
    let wide = ty.kind() == Kind::Enum64;
    let mut values = Vec::new();
    for index in 0..ty.len() {
        let enumerator = ty.enumerator(index)?;
        let value = if wide { enumerator.bits as i64 } else { i64::from(enumerator.bits as u32 as i32) };
        values.push((text(ty.string(enumerator.name)?), value));
    }
    Ok(Enumeration { wide, signed: ty.kind_flag(), name, size: ty.size()?, values })
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

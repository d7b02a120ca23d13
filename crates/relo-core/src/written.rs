//! Writing the used set: new ids in the order of the old ones, modules merged or split.

use std::collections::{BTreeMap, BTreeSet};

use btf::{Btf, Builder, Error, Kind, Type, TypeId};

use crate::used::UsedSet;
use crate::{Candidate, MinimizeOptions, ModuleTypes, Target};

/// From ids of one BTF of the target to those of the minimized one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeIdMap(BTreeMap<TypeId, TypeId>);

impl TypeIdMap {
    /// The new id of a type; None if it was not kept.
    pub fn find(&self, target: TypeId) -> Option<TypeId> {
        self.0.get(&target).copied()
    }

    /// Old and new ids, ascending by the old ones.
    pub fn iter(&self) -> impl Iterator<Item = (TypeId, TypeId)> {
        self.0.iter().map(|(&old, &new)| (old, new))
    }
}

/// The minimized BTF, and where everything went.
pub(crate) struct Written {
    pub bytes: Vec<u8>,
    pub modules: Vec<Vec<u8>>,
    pub ids: Vec<TypeIdMap>,
}

/// Writes the used types of every BTF in the order of their ids, as bpftool does for one.
pub(crate) fn write(target: &Target<'_>, used: &UsedSet, options: MinimizeOptions) -> Result<Written, Error> {
    let mut writer = Writer { target, used, ids: vec![TypeIdMap::default(); target.btfs().len()] };
    let vmlinux = target.btfs()[0].btf;
    let order = options.order.unwrap_or(vmlinux.order());
    let mut builder = Builder::new(order).header_len(options.header_len);
    let places = writer.number(0, builder.next_id(), &[])?;
    writer.copy(&mut builder, &places)?;
    let mut merged = places;
    let mut modules = Vec::new();
    let others = 1..target.btfs().len() as u32;
    match options.modules {
        ModuleTypes::Merge => {
            for module in others {
                let more = writer.number(module, builder.next_id(), &merged)?;
                writer.copy(&mut builder, &more)?;
                merged.extend(more);
            }
            Ok(Written { bytes: builder.finish()?, modules, ids: writer.ids })
        }
        ModuleTypes::Split => {
            let bytes = builder.finish()?;
            let base = Btf::parse(&bytes)?;
            for module in others {
                let mut builder = Builder::split(&base);
                let places = writer.number(module, builder.next_id(), &[])?;
                writer.copy(&mut builder, &places)?;
                modules.push(builder.finish()?);
            }
            Ok(Written { bytes, modules, ids: writer.ids })
        }
    }
}

struct Writer<'w> {
    target: &'w Target<'w>,
    used: &'w UsedSet,
    ids: Vec<TypeIdMap>,
}

impl<'w> Writer<'w> {
    /// Gives the used types of one BTF their new ids, and returns those that have to be written.
    ///
    /// A type that one of the `known` ones is equal to takes its id: BTFs of modules may repeat types of vmlinux.
    fn number(&mut self, btf: u32, first: TypeId, known: &[Candidate]) -> Result<Vec<Candidate>, Error> {
        let mut places = Vec::new();
        for (id, _) in self.used.types_of(btf) {
            let place = Candidate { btf, id };
            let twin = self.twin(place, known)?;
            let new = match twin {
                Some(twin) => self.ids[twin.btf as usize].find(twin.id).unwrap_or(TypeId::VOID),
                None => TypeId(first.0 + places.len() as u32),
            };
            self.ids[btf as usize].0.insert(id, new);
            if twin.is_none() {
                places.push(place);
            }
        }
        Ok(places)
    }

    fn copy(&self, builder: &mut Builder, places: &[Candidate]) -> Result<(), Error> {
        for &place in places {
            let members = self.used.members_of(place);
            // What is not kept becomes void: the target of a pointer that nobody follows.
            let map = |old: TypeId| {
                let place = self.target.place(place.btf, old);
                self.ids[place.btf as usize].find(place.id).unwrap_or(TypeId::VOID)
            };
            builder.copy(&self.resolve(place)?, |index| members.contains(&index), map)?;
        }
        Ok(())
    }

    fn resolve(&self, place: Candidate) -> Result<Type<'w>, Error> {
        self.target.btf(place).resolve(place.id)
    }

    fn twin(&self, place: Candidate, known: &[Candidate]) -> Result<Option<Candidate>, Error> {
        for &other in known {
            if self.equal(place, other, &mut BTreeSet::new())? {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// Whether two kept types would be written with the same content, what they refer to included.
    ///
    /// Pairs under comparison are assumed to be equal, so that cycles end.
    fn equal(
        &self,
        a: Candidate,
        b: Candidate,
        assumed: &mut BTreeSet<(Candidate, Candidate)>,
    ) -> Result<bool, Error> {
        if a == b || !assumed.insert((a, b)) {
            return Ok(true);
        }
        if (self.used.has(a), self.used.has(b)) != (true, true) {
            return Ok(!self.used.has(a) && !self.used.has(b));
        }
        let (left, right) = (self.resolve(a)?, self.resolve(b)?);
        if left.kind() != right.kind() || left.name()? != right.name()? {
            return Ok(false);
        }
        let (left, right) = (self.content(a, &left)?, self.content(b, &right)?);
        if left.words != right.words || left.names != right.names || left.refers.len() != right.refers.len() {
            return Ok(false);
        }
        for (left, right) in left.refers.into_iter().zip(right.refers) {
            if !self.equal(self.target.place(a.btf, left), self.target.place(b.btf, right), assumed)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What a kept type holds besides kind and name.
    fn content<'t>(&self, place: Candidate, ty: &Type<'t>) -> Result<Content<'t>, Error> {
        let mut content = Content::default();
        match ty.kind() {
            Kind::Int => {
                content.words.extend([ty.size()?, u32::from(ty.int_encoding()?.0), u32::from(ty.int_bits()?)])
            }
            Kind::Float => content.words.push(ty.size()?),
            Kind::Fwd => content.words.push(u32::from(ty.kind_flag())),
            Kind::Ptr | Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                content.refers.push(ty.target()?);
            }
            Kind::Array => {
                let array = ty.array()?;
                content.words.push(array.len);
                content.refers.extend([array.element, array.index]);
            }
            Kind::Struct | Kind::Union => {
                content.words.push(ty.size()?);
                for &index in self.used.members_of(place) {
                    let member = ty.member(index)?;
                    content.words.extend([member.bit_offset, u32::from(member.bitfield_size)]);
                    content.names.push(ty.string(member.name)?);
                    content.refers.push(member.type_id);
                }
            }
            Kind::Enum | Kind::Enum64 => {
                content.words.extend([ty.size()?, u32::from(ty.kind_flag())]);
                for index in 0..ty.len() {
                    let enumerator = ty.enumerator(index)?;
                    content.words.extend([enumerator.bits as u32, (enumerator.bits >> 32) as u32]);
                    content.names.push(ty.string(enumerator.name)?);
                }
            }
            Kind::FuncProto => {
                content.refers.push(ty.target()?);
                for index in 0..ty.len() {
                    let param = ty.param(index)?;
                    content.names.push(ty.string(param.name)?);
                    content.refers.push(param.type_id);
                }
            }
            // Nothing that relocations use: two of them are never taken for one.
            Kind::Void | Kind::Func | Kind::Var | Kind::Datasec | Kind::DeclTag | Kind::Unknown(_) => {
                content.words.extend([place.btf, place.id.0]);
            }
        }
        Ok(content)
    }
}

#[derive(Default)]
struct Content<'c> {
    words: Vec<u32>,
    names: Vec<&'c [u8]>,
    refers: Vec<TypeId>,
}

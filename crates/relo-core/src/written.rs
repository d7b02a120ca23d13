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

/// How types of modules join those of vmlinux. The proof tells whether a way is sound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Merging {
    /// Types that libbpf does not look for in a module lose their names: under these they would be found in the one BTF.
    pub hide: bool,
    /// Of two types that are declared alike, the one of which more is kept stands for both.
    pub share: bool,
}

/// Writes the used types of every BTF in the order of their ids, as bpftool does for one.
///
pub(crate) fn write(
    target: &Target<'_>,
    used: &UsedSet,
    options: MinimizeOptions,
    merging: Merging,
) -> Result<Written, Error> {
    let ids = vec![TypeIdMap::default(); target.btfs().len()];
    let mut writer = Writer { target, used, merging, ids };
    let vmlinux = target.btfs()[0].btf;
    let order = options.order.unwrap_or(vmlinux.order());
    let mut builder = Builder::new(order).header_len(options.header_len);
    let places = writer.number(0, builder.next_id(), &[])?;
    writer.copy(&mut builder, &places, false)?;
    let mut merged = places;
    let mut modules = Vec::new();
    let others = 1..target.btfs().len() as u32;
    match options.modules {
        ModuleTypes::Merge => {
            for module in others {
                let more = writer.number(module, builder.next_id(), &merged)?;
                writer.copy(&mut builder, &more, merging.hide)?;
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
                writer.copy(&mut builder, &places, false)?;
                modules.push(builder.finish()?);
            }
            Ok(Written { bytes, modules, ids: writer.ids })
        }
    }
}

struct Writer<'w> {
    target: &'w Target<'w>,
    used: &'w UsedSet,
    merging: Merging,
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

    fn copy(&self, builder: &mut Builder, places: &[Candidate], hide: bool) -> Result<(), Error> {
        for &place in places {
            let members = self.used.members_of(place);
            // What is not kept becomes void: the target of a pointer that nobody follows.
            let map = |old: TypeId| {
                let place = self.target.place(place.btf, old);
                self.ids[place.btf as usize].find(place.id).unwrap_or(TypeId::VOID)
            };
            let ty = self.resolve(place)?;
            let name = if hide && self.target.is_hidden(place)? { b"" } else { ty.name()? };
            builder.copy_as(name, &ty, |index| members.contains(&index), map)?;
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
        match (self.used.has(a), self.used.has(b)) {
            (true, true) => {}
            (false, there) => return Ok(!there || self.merging.share),
            (true, false) => return Ok(false),
        }
        let (left, right) = (self.resolve(a)?, self.resolve(b)?);
        if left.kind() != right.kind() || left.name()? != right.name()? {
            return Ok(false);
        }
        let (ours, theirs) = (self.used.members_of(a), self.used.members_of(b));
        let mut contents = (self.content(&left, ours)?, self.content(&right, theirs)?);
        if self.merging.share && ours != theirs && ours.is_subset(theirs) && declared_alike(&left, &right)? {
            contents.1 = self.content(&right, ours)?;
        }
        let (left, right) = contents;
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

    /// What a type holds besides kind and name, of its members those that are kept.
    fn content<'t>(&self, ty: &Type<'t>, members: &BTreeSet<u32>) -> Result<Content<'t>, Error> {
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
                for &index in members {
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
            Kind::Func | Kind::Var => {
                content.words.push(ty.linkage()?);
                content.refers.push(ty.target()?);
            }
            Kind::DeclTag => {
                content.words.push(ty.component()?.unwrap_or(u32::MAX));
                content.refers.push(ty.target()?);
            }
            Kind::Datasec => {
                content.words.push(ty.size()?);
                for index in 0..ty.len() {
                    let var = ty.var_section(index)?;
                    content.words.extend([var.offset, var.size]);
                    content.refers.push(var.type_id);
                }
            }
            // Void is never kept, and of an unknown kind nothing is written but that it was there.
            Kind::Void | Kind::Unknown(_) => {}
        }
        Ok(content)
    }
}

/// Whether two structs or unions have the same members, their types apart.
fn declared_alike(left: &Type<'_>, right: &Type<'_>) -> Result<bool, Error> {
    if left.len() != right.len() || left.size()? != right.size()? {
        return Ok(false);
    }
    for index in 0..left.len() {
        let (ours, theirs) = (left.member(index)?, right.member(index)?);
        let place = |member: &btf::Member| (member.bit_offset, member.bitfield_size);
        if place(&ours) != place(&theirs) || left.string(ours.name)? != right.string(theirs.name)? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[derive(Default)]
struct Content<'c> {
    words: Vec<u32>,
    names: Vec<&'c [u8]>,
    refers: Vec<TypeId>,
}

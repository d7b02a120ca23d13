//! Split BTF on a distilled base (`.BTF.base`), put on the BTF of the kernel that it shall run on.
//!
//! A module that is built outside of the kernel's tree carries the few base types that it refers to: numbers, enums
//! and the names and sizes of structs. They are found again in the kernel's BTF (libbpf: `btf_relocate.c`).

use std::collections::{BTreeMap, HashMap};

use crate::{Btf, Builder, Error, Kind, Type, TypeId};

/// Typedefs, modifiers and arrays in a row, before they count as endless.
const MAX_STEPS: usize = 256;

/// Why split BTF does not fit another base.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RebaseError {
    /// One of the BTFs is broken.
    #[error(transparent)]
    Format(#[from] Error),
    /// It has no base to be replaced.
    #[error("the BTF has no base that another could replace")]
    NoBase,
    /// A distilled base has named numbers, enums, structs, unions and their declarations only.
    #[error("type [{id}] of the distilled base is {}, which has no place there", .kind.name())]
    NotDistilled {
        /// The type.
        id: TypeId,
        /// Its kind.
        kind: Kind,
    },
    /// The base has no such type.
    #[error("the base has no {} {name} of {size} bytes, which the distilled base has as type [{id}]", .kind.name())]
    Missing {
        /// The type in the distilled base.
        id: TypeId,
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// Its size in bytes; 0 for a declaration.
        size: u32,
    },
    /// The base has several, and nothing tells them apart.
    #[error("the base has {name} twice with {size} bytes, as types [{first}] and [{second}]")]
    Ambiguous {
        /// The name.
        name: String,
        /// The size in bytes.
        size: u32,
        /// One.
        first: TypeId,
        /// Another.
        second: TypeId,
    },
}

impl Btf<'_> {
    /// The bytes of the same split BTF on another base: the distilled one is replaced (libbpf: `btf__relocate`).
    ///
    /// Each type of the distilled base is found in `base` by name and kind; numbers and enums also by size; structs
    /// and unions by size where the name is there more than once, or where one is embedded by value. Unlike libbpf,
    /// a declaration fits what it declares whether that has bitfields or not, a struct never fits a union, and where
    /// the base has a type and its declaration, the type is taken.
    pub fn relocate_base(&self, base: &Btf<'_>) -> Result<Vec<u8>, RebaseError> {
        let distilled = self.base().filter(|base| base.base().is_none()).ok_or(RebaseError::NoBase)?;
        self.check()?;
        let found = Search::new(self, distilled)?.run(base)?;
        let first = base.type_count();
        let map = |old: TypeId| match found.get(&old) {
            Some(&new) => new,
            None if old == TypeId::VOID => old,
            None => TypeId(old.0 - distilled.type_count() + first),
        };
        let mut builder = Builder::split(base);
        for id in self.own_ids() {
            builder.copy(&self.resolve(id)?, |_| true, map)?;
        }
        Ok(builder.finish()?)
    }
}

/// A type of the distilled base, and what fits it.
struct Wanted<'b> {
    ty: Type<'b>,
    /// A struct or union of the split BTF holds it by value: its size must be right.
    embedded: bool,
    found: Vec<Found>,
}

#[derive(Clone, Copy)]
struct Found {
    id: TypeId,
    size: u32,
    /// A declaration that stands for a struct or union.
    forward: bool,
}

struct Search<'b> {
    /// By id in the distilled base.
    wanted: BTreeMap<TypeId, Wanted<'b>>,
    /// The same by name; only looked up, never iterated.
    names: HashMap<&'b [u8], Vec<TypeId>>,
}

impl<'b> Search<'b> {
    fn new(split: &Btf<'_>, distilled: &'b Btf<'_>) -> Result<Search<'b>, RebaseError> {
        let mut search = Search { wanted: BTreeMap::new(), names: HashMap::new() };
        for id in distilled.own_ids() {
            let ty = distilled.resolve(id)?;
            let name = ty.name()?;
            if name.is_empty() || !is_distilled(ty.kind()) {
                return Err(RebaseError::NotDistilled { id, kind: ty.kind() });
            }
            search.names.entry(name).or_default().push(id);
            search.wanted.insert(id, Wanted { ty, embedded: false, found: Vec::new() });
        }
        for id in split.own_ids() {
            for member in split.resolve(id)?.members() {
                search.mark_embedded(split, member?.type_id)?;
            }
        }
        Ok(search)
    }

    /// Marks the struct or union of the distilled base that a member holds by value.
    fn mark_embedded(&mut self, split: &Btf<'_>, member: TypeId) -> Result<(), Error> {
        let mut id = member;
        for _ in 0..MAX_STEPS {
            let ty = split.resolve(id)?;
            id = match ty.kind() {
                Kind::Const | Kind::Restrict | Kind::Volatile | Kind::Typedef | Kind::TypeTag => {
                    ty.target()?
                }
                Kind::Array => ty.array()?.element,
                Kind::Struct | Kind::Union => {
                    if let Some(wanted) = self.wanted.get_mut(&id) {
                        wanted.embedded = true;
                    }
                    return Ok(());
                }
                Kind::Void | Kind::Int | Kind::Ptr | Kind::Enum | Kind::Enum64 | Kind::Fwd | Kind::Float => {
                    return Ok(());
                }
                Kind::Func | Kind::FuncProto | Kind::Var | Kind::Datasec | Kind::DeclTag => return Ok(()),
                Kind::Unknown(_) => return Ok(()),
            };
        }
        Ok(())
    }

    fn run(mut self, base: &Btf<'_>) -> Result<BTreeMap<TypeId, TypeId>, RebaseError> {
        for id in base.own_ids() {
            let ty = base.resolve(id)?;
            if !is_distilled(ty.kind()) && ty.kind() != Kind::Enum64 {
                continue;
            }
            for wanted in self.names.get(ty.name()?).into_iter().flatten() {
                if let Some(wanted) = self.wanted.get_mut(wanted)
                    && let Some(found) = fit(&wanted.ty, &ty)?
                {
                    wanted.found.push(found);
                }
            }
        }
        self.wanted.into_iter().map(|(id, wanted)| Ok((id, wanted.choose()?))).collect()
    }
}

impl Wanted<'_> {
    fn choose(&self) -> Result<TypeId, RebaseError> {
        let types: Vec<Found> = self.found.iter().copied().filter(|found| !found.forward).collect();
        let candidates = match types.as_slice() {
            [] if self.embedded => &[],
            [] => self.found.as_slice(),
            types => types,
        };
        let size = size_of(&self.ty)?;
        let right = |found: &&Found| found.size == size;
        let chosen: Vec<Found> = match candidates {
            [only] if !self.embedded => vec![*only],
            several => several.iter().filter(right).copied().collect(),
        };
        let name = || self.ty.name().map(|name| String::from_utf8_lossy(name).into_owned());
        match chosen.as_slice() {
            [only] => Ok(only.id),
            [] => Err(RebaseError::Missing { id: self.ty.id(), kind: self.ty.kind(), name: name()?, size }),
            [first, second, ..] => {
                Err(RebaseError::Ambiguous { name: name()?, size, first: first.id, second: second.id })
            }
        }
    }
}

/// Whether a type of the base, which has the right name, can stand for one of the distilled base.
fn fit(wanted: &Type<'_>, ty: &Type<'_>) -> Result<Option<Found>, Error> {
    let size = size_of(ty)?;
    let found = |forward| Some(Found { id: ty.id(), size, forward });
    let same_kind = wanted.kind() == ty.kind();
    Ok(match wanted.kind() {
        Kind::Int => {
            let same = same_kind && size == wanted.size()? && ty.int_encoding()? == wanted.int_encoding()?;
            found(false).filter(|_| same)
        }
        Kind::Float => found(false).filter(|_| same_kind && size == size_of(wanted).unwrap_or(0)),
        // ENUM64 is distilled to an ENUM of its size.
        Kind::Enum => {
            found(false).filter(|_| ty.kind().is_any_enum() && size == size_of(wanted).unwrap_or(0))
        }
        Kind::Struct | Kind::Union if same_kind => found(false),
        Kind::Struct | Kind::Union => found(true).filter(|_| declares(ty, wanted.kind())),
        Kind::Fwd if same_kind => found(true).filter(|_| ty.kind_flag() == wanted.kind_flag()),
        Kind::Fwd => found(false).map(|it| Found { size: 0, ..it }).filter(|_| declares(wanted, ty.kind())),
        Kind::Void | Kind::Ptr | Kind::Array | Kind::Typedef | Kind::Volatile | Kind::Const => None,
        Kind::Restrict | Kind::Func | Kind::FuncProto | Kind::Var | Kind::Datasec | Kind::DeclTag => None,
        Kind::TypeTag | Kind::Enum64 | Kind::Unknown(_) => None,
    })
}

fn declares(forward: &Type<'_>, kind: Kind) -> bool {
    let declared = if forward.kind_flag() { Kind::Union } else { Kind::Struct };
    forward.kind() == Kind::Fwd && declared == kind
}

fn size_of(ty: &Type<'_>) -> Result<u32, Error> {
    if ty.kind() == Kind::Fwd { Ok(0) } else { ty.size() }
}

fn is_distilled(kind: Kind) -> bool {
    match kind {
        Kind::Int | Kind::Float | Kind::Enum | Kind::Struct | Kind::Union | Kind::Fwd => true,
        Kind::Void | Kind::Ptr | Kind::Array | Kind::Typedef | Kind::Volatile | Kind::Const => false,
        Kind::Restrict | Kind::Func | Kind::FuncProto | Kind::Var | Kind::Datasec | Kind::DeclTag => false,
        Kind::TypeTag | Kind::Enum64 | Kind::Unknown(_) => false,
    }
}

//! What libbpf can be given: it has no limits where types refer to themselves, and divides by sizes.

use std::rc::Rc;

use btf::{Btf, Kind, Type, TypeId};

use crate::libbpf::{Errno, LibbpfBtf};

/// Proof that libbpf survives a BTF.
#[derive(Debug, Clone, Copy)]
pub struct Sound(());

/// Why libbpf must not see something, or why it refused it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// Broken by the rules of the format.
    #[error(transparent)]
    Broken(#[from] btf::Error),
    /// A type that holds itself, or refers to itself without a struct or union in between.
    #[error("type [{0}] holds itself")]
    Cycle(TypeId),
    /// A bitfield of a type without a size: libbpf takes whatever stands in its place, and divides by it.
    #[error("a bitfield in type [{0}] has a type without size")]
    Bitfield(TypeId),
    /// Not a readable ELF file with .BTF and .BTF.ext.
    #[error("not a BPF object with CO-RE relocations")]
    Elf,
    /// libbpf refused the BTF.
    #[error("libbpf refuses the BTF: errno {}", .0.0)]
    Refused(Errno),
}

impl From<Errno> for Unsound {
    fn from(errno: Errno) -> Unsound {
        Unsound::Refused(errno)
    }
}

impl Sound {
    /// Checks every reference, every bitfield, and that no walk of libbpf's goes in circles.
    pub fn check(btf: &Btf<'_>) -> Result<Sound, Unsound> {
        btf.check()?;
        for id in btf.own_ids() {
            check_bitfields(&btf.resolve(id)?)?;
        }
        // Members by value; and all that a comparison of types follows up to structs and unions.
        for follow in [by_value, through_pointers] {
            Search::new(btf, follow).run()?;
        }
        Ok(Sound(()))
    }

    /// Hands the BTF to libbpf.
    pub fn parse(self, data: &[u8]) -> Result<LibbpfBtf, Unsound> {
        Ok(LibbpfBtf::new(data)?)
    }

    /// Hands split BTF to libbpf.
    pub fn parse_split(self, data: &[u8], base: &Rc<LibbpfBtf>) -> Result<LibbpfBtf, Unsound> {
        Ok(LibbpfBtf::new_split(data, base)?)
    }
}

fn check_bitfields(ty: &Type<'_>) -> Result<(), Unsound> {
    for member in ty.members() {
        let member = member?;
        if member.bitfield_size == 0 {
            continue;
        }
        let of = ty.btf().skip(member.type_id)?;
        if of.size().unwrap_or(0) == 0 {
            return Err(Unsound::Bitfield(ty.id()));
        }
    }
    Ok(())
}

type Follow = fn(&Type<'_>) -> Result<Vec<TypeId>, btf::Error>;

fn by_value(ty: &Type<'_>) -> Result<Vec<TypeId>, btf::Error> {
    if ty.kind().is_composite() {
        ty.members().map(|member| Ok(member?.type_id)).collect()
    } else if ty.kind() == Kind::Array {
        Ok(vec![ty.array()?.element])
    } else if ty.kind().is_modifier_or_typedef() {
        Ok(vec![ty.target()?])
    } else {
        Ok(Vec::new())
    }
}

fn through_pointers(ty: &Type<'_>) -> Result<Vec<TypeId>, btf::Error> {
    if ty.kind().is_composite() {
        return Ok(Vec::new());
    }
    let mut follows = by_value(ty)?;
    if matches!(ty.kind(), Kind::Ptr | Kind::FuncProto) {
        follows.push(ty.target()?);
    }
    if ty.kind() == Kind::FuncProto {
        for index in 0..ty.len() {
            follows.push(ty.param(index)?.type_id);
        }
    }
    Ok(follows)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    Open,
    Done,
}

/// A depth-first search for a cycle.
struct Search<'s> {
    btf: &'s Btf<'s>,
    follow: Follow,
    marks: Vec<Mark>,
    /// Types on the way, each with what it still has to follow.
    path: Vec<(TypeId, Vec<TypeId>)>,
}

impl<'s> Search<'s> {
    fn new(btf: &'s Btf<'s>, follow: Follow) -> Search<'s> {
        let marks = vec![Mark::New; btf.type_count() as usize];
        Search { btf, follow, marks, path: Vec::new() }
    }

    fn run(mut self) -> Result<(), Unsound> {
        for id in self.btf.own_ids() {
            self.enter(id)?;
            while let Some((open, follows)) = self.path.last_mut() {
                let open = *open;
                match follows.pop() {
                    Some(next) => self.enter(next)?,
                    None => {
                        self.marks[open.0 as usize] = Mark::Done;
                        self.path.pop();
                    }
                }
            }
        }
        Ok(())
    }

    fn enter(&mut self, id: TypeId) -> Result<(), Unsound> {
        match self.marks[id.0 as usize] {
            Mark::Done => Ok(()),
            Mark::Open => Err(Unsound::Cycle(id)),
            Mark::New => {
                let follows = (self.follow)(&self.btf.resolve(id)?)?;
                self.marks[id.0 as usize] = Mark::Open;
                self.path.push((id, follows));
                Ok(())
            }
        }
    }
}

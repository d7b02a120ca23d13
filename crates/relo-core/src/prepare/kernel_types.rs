//! Types of the kernel's own BTF by name and kind: what attach targets, ksyms and struct_ops are found in.

use std::collections::{HashMap, HashSet};

use btf::{Btf, Kind};

use crate::{Candidate, TargetBtf};

/// The kernel's BTF, searched once for all wanted names.
#[derive(Debug, Clone)]
pub(crate) struct KernelTypes<'k> {
    btfs: &'k [TargetBtf<'k>],
    /// By name: vmlinux first, ascending by id. Only looked up, never iterated.
    found: HashMap<&'k [u8], Vec<(Kind, Candidate)>>,
}

impl<'k> KernelTypes<'k> {
    /// Searches vmlinux and modules; a type whose name can't be read has none.
    pub(crate) fn search(btfs: &'k [TargetBtf<'k>], wanted: &HashSet<Vec<u8>>) -> KernelTypes<'k> {
        let mut found: HashMap<&'k [u8], Vec<(Kind, Candidate)>> = HashMap::new();
        for (index, target) in btfs.iter().enumerate() {
            for id in target.btf.own_ids() {
                let Ok(ty) = target.btf.resolve(id) else { continue };
                if !can_be_wanted(ty.kind()) || ty.name_off().0 == 0 {
                    continue;
                }
                let Ok(name) = ty.name() else { continue };
                if wanted.contains(name) {
                    let place = Candidate { btf: index as u32, id };
                    found.entry(name).or_default().push((ty.kind(), place));
                }
            }
        }
        KernelTypes { btfs, found }
    }

    /// The first type of a name and kind: of vmlinux, or else of the first module that has it.
    pub(crate) fn find(&self, name: &str, kind: Kind) -> Option<Candidate> {
        self.all(name, kind).next()
    }

    /// The same within one BTF.
    pub(crate) fn find_in(&self, btf: u32, name: &str, kind: Kind) -> Option<Candidate> {
        self.all(name, kind).find(|place| place.btf == btf)
    }

    /// All types of a name and kind.
    pub(crate) fn all(&self, name: &str, kind: Kind) -> impl Iterator<Item = Candidate> {
        let list = self.found.get(name.as_bytes()).map_or(&[][..], Vec::as_slice);
        list.iter().filter(move |(found, _)| *found == kind).map(|&(_, place)| place)
    }

    /// The BTF that a type stands in.
    pub(crate) fn btf(&self, place: Candidate) -> &'k Btf<'k> {
        self.btfs[place.btf as usize].btf
    }

    /// The module that a BTF is of; None for vmlinux.
    pub(crate) fn module(&self, btf: u32) -> Option<&'k str> {
        self.btfs.get(btf as usize)?.module
    }

    /// How many modules are known.
    pub(crate) fn modules(&self) -> usize {
        self.btfs.iter().filter(|target| target.module.is_some()).count()
    }

    /// In words where something was looked for.
    pub(crate) fn searched(&self) -> String {
        match self.modules() {
            0 => "vmlinux, no modules given".to_owned(),
            1 => "vmlinux and 1 module".to_owned(),
            count => format!("vmlinux and {count} modules"),
        }
    }
}

/// Kinds that bindings to the kernel name.
fn can_be_wanted(kind: Kind) -> bool {
    match kind {
        Kind::Struct | Kind::Enum | Kind::Enum64 | Kind::Typedef | Kind::Func | Kind::Var => true,
        Kind::Datasec => true,
        Kind::Void | Kind::Int | Kind::Ptr | Kind::Array | Kind::Union | Kind::Fwd => false,
        Kind::Volatile | Kind::Const | Kind::Restrict | Kind::FuncProto | Kind::Float => false,
        Kind::DeclTag | Kind::TypeTag | Kind::Unknown(_) => false,
    }
}

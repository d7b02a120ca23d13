//! Types that CO-RE does not need, and that a loader may be told to keep: what programs attach to, ksyms and kfuncs.

use btf::Kind;

use crate::open::{Extern, ExternKind, OpenObject};
use crate::prepare::{Found, Prepared, Resolution};
use crate::{Candidate, Target};

/// What to keep besides what relocations need.
///
/// libbpf looks these up in the BTF of the running kernel, whatever BTF it was given for CO-RE. Keeping them serves
/// other readers: loaders that resolve attach targets by themselves, and people who want to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// Attach targets (`fentry`, `tp_btf`, LSM hooks, iterators) and the structs of struct_ops.
    pub attach: bool,
    /// Typed variables of the kernel.
    pub ksyms: bool,
    /// Functions of the kernel.
    pub kfuncs: bool,
}

impl Keep {
    /// Whether anything is to be kept.
    pub fn is_empty(&self) -> bool {
        *self == Keep::default()
    }

    /// The types that an object needs by this choice, as far as the target has them.
    pub fn places(&self, open: &OpenObject<'_>, prepared: &Prepared) -> Vec<Candidate> {
        let mut places = Vec::new();
        if self.attach {
            let attached = prepared.programs.iter().filter_map(|program| program.attach.as_ref());
            places.extend(attached.filter_map(|attach| match attach.found {
                Found::Type(place) => Some(place),
                Found::Symbol | Found::Missing | Found::Unknown => None,
            }));
            places.extend(prepared.struct_ops.iter().flat_map(|ops| [ops.ty, ops.value_type]));
        }
        for (external, resolution) in open.externs().iter().zip(&prepared.externs) {
            if let (true, Resolution::Type { place, .. }) = (self.wants(external), resolution) {
                places.push(*place);
            }
        }
        places
    }

    fn wants(&self, external: &Extern) -> bool {
        match external.kind {
            ExternKind::Kconfig(_) => false,
            ExternKind::Variable(_) => self.ksyms,
            ExternKind::Function(_) => self.kfuncs,
        }
    }
}

/// Whether a kept type is kept with all its members: a struct of struct_ops is compared member by member.
pub(crate) fn is_whole(target: &Target<'_>, place: Candidate) -> bool {
    target.btf(place).resolve(place.id).is_ok_and(|ty| matches!(ty.kind(), Kind::Struct | Kind::Union))
}

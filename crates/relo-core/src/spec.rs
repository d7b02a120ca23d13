//! Specs: the path from a root type to a field, a type or an enumerator.

use btf::{Btf, Error, Kind, StrOff, TypeId};
use smallvec::SmallVec;

use crate::{Candidate, ReloKind};

/// Parts that a spec may have (libbpf: `BPF_CORE_SPEC_MAX_LEN`).
pub(crate) const MAX_LEN: usize = 64;

/// One step of a high-level spec: the root's index, a named member, an array index or an enumerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accessor {
    /// The struct or union of the member, the enum of the enumerator, or the type of the element.
    pub type_id: TypeId,
    /// Index of the member, enumerator or element.
    pub index: u32,
    /// The member's or enumerator's name; None for an index.
    pub name: Option<StrOff>,
}

/// The named steps of a path; nearly every one has so few that they need no memory of their own.
pub type Accessors = SmallVec<[Accessor; 4]>;

/// Every step of a path, in the same way.
pub type Indexes = SmallVec<[u32; 6]>;

/// A path within one BTF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The kind of the relocation that asks.
    pub kind: ReloKind,
    /// The type that the path starts from.
    pub root: TypeId,
    /// Named steps and indexes; anonymous members are left out. Empty for type based kinds.
    pub accessors: Accessors,
    /// Every step, anonymous members included.
    pub raw: Indexes,
    /// Offset in bits from the root.
    pub bit_offset: u32,
}

/// A path in the BTF of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSpec(pub Spec);

/// A path in the BTF of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSpec {
    /// The type that matched, and the BTF that it stands in.
    pub candidate: Candidate,
    /// The path within that BTF.
    pub spec: Spec,
}

impl Spec {
    pub(crate) fn new(kind: ReloKind, root: TypeId) -> Spec {
        Spec { kind, root, accessors: Accessors::new(), raw: Indexes::new(), bit_offset: 0 }
    }

    /// The raw spec as an access string: `0:1:2`; `0` for type based kinds.
    pub fn access(&self) -> String {
        if self.raw.is_empty() {
            return "0".to_owned();
        }
        let parts: Vec<String> = self.raw.iter().map(u32::to_string).collect();
        parts.join(":")
    }

    /// The root as C writes it: `struct task_struct`.
    pub fn root_text(&self, btf: &Btf<'_>) -> Result<String, Error> {
        type_text(btf, self.root)
    }

    /// The path as C would write it: `struct task_struct.real_parent`, `enum bpf_func_id::BPF_FUNC_loop`.
    pub fn text(&self, btf: &Btf<'_>) -> Result<String, Error> {
        let mut text = self.root_text(btf)?;
        self.write_steps(btf, &mut text)?;
        Ok(text)
    }

    /// What follows the root in [`Spec::text`]: `.real_parent`.
    pub fn write_steps(&self, btf: &Btf<'_>, text: &mut String) -> Result<(), Error> {
        for (position, accessor) in self.accessors.iter().enumerate() {
            match accessor.name {
                Some(name) => {
                    let is_enumerator = btf.resolve(accessor.type_id)?.kind().is_any_enum();
                    text.push_str(if is_enumerator { "::" } else { "." });
                    text.push_str(&String::from_utf8_lossy(btf.string(name)?));
                }
                // `p->x` is `p[0].x`: the first index says something only when it is not 0.
                None if position == 0 && accessor.index == 0 => {}
                None => text.push_str(&format!("[{}]", accessor.index)),
            }
        }
        Ok(())
    }
}

/// A type as C writes it.
pub(crate) fn type_text(btf: &Btf<'_>, id: TypeId) -> Result<String, Error> {
    let ty = btf.resolve(id)?;
    let name = String::from_utf8_lossy(ty.name()?);
    let name = if name.is_empty() { "<anonymous>" } else { &name };
    Ok(match ty.kind() {
        Kind::Void => "void".to_owned(),
        Kind::Struct => format!("struct {name}"),
        Kind::Union => format!("union {name}"),
        Kind::Fwd if ty.kind_flag() => format!("union {name}"),
        Kind::Fwd => format!("struct {name}"),
        Kind::Enum | Kind::Enum64 => format!("enum {name}"),
        Kind::Typedef => format!("typedef {name}"),
        Kind::Ptr => format!("{} *", type_text_of_target(btf, ty.target()?)?),
        Kind::Array => "array".to_owned(),
        Kind::FuncProto => "function prototype".to_owned(),
        Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag => {
            type_text_of_target(btf, ty.target()?)?
        }
        Kind::Int | Kind::Float | Kind::Func | Kind::Var | Kind::Datasec | Kind::DeclTag => name.to_owned(),
        Kind::Unknown(_) => format!("{} {name}", ty.kind()),
    })
}

/// What a pointer or modifier leads to, one step of it: enough to recognize it, and no chain without end.
fn type_text_of_target(btf: &Btf<'_>, id: TypeId) -> Result<String, Error> {
    let ty = btf.skip(id)?;
    Ok(match ty.kind() {
        Kind::Ptr => "pointer".to_owned(),
        _other => type_text(btf, ty.id())?,
    })
}

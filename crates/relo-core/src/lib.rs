//! What each CO-RE relocation resolves to; the record of it; the used set; the minimized BTF.
//!
//! libbpf's `relo_core.c` is the authority; each place where it is wrong and this crate is right by default is marked
//! in the code and listed in [`Divergence`]. Everything here takes bytes and returns values: a BPF object is opened
//! once ([`BpfObject`]), relocated against as many targets as there are ([`relocate`]), and a target is reduced to
//! what its objects use ([`minimize`]) with the proof that no decision changed.
//!
//! "Local" is the type information of the BPF object, "target" that of a kernel.
#![forbid(unsafe_code)]

mod access;
mod answer;
mod budget;
mod candidate;
mod compat;
mod decide;
mod error;
mod insn;
mod keep;
mod member;
mod minimize;
mod mode;
mod name;
mod object;
mod open;
mod patch;
mod prepare;
mod question;
mod reason;
mod record;
mod relo_kind;
mod skeleton;
mod spec;
mod type_match;
mod used;
mod value;
mod written;

pub use candidate::{Candidate, Candidates, Target, TargetBtf, Wanted};
pub use decide::Decision;
pub use error::{ObjectError, ReloError};
pub use insn::{INSN_LEN, Insn};
pub use keep::Keep;
pub use minimize::{
    Difference, MinCoreBtf, MinimizeError, MinimizeOptions, ModuleTypes, ObjectProof, minimize,
    minimize_keeping, minimize_target,
};
pub use mode::{Divergence, Mode};
pub use name::essential_name;
pub use object::{BpfObject, ObjectRelo, Program};
pub use open::{
    AttachKind, Extern, ExternKind, Function, KconfigType, KconfigVar, Map, MapDef, MapKind, OpenObject,
    ProgramType, Refusal, SectionDef, StructOpsVar,
};
pub use prepare::{
    Attach, Doubt, Environment, Found, JumpTable, KernelBtf, KernelBtfUse, KernelStruct, KernelVersion,
    NotAVersion, Part, PatchError, Poison, PoisonedInsn, Prepared, PreparedProgram, Reach, Resolution,
    Status, prepare,
};
pub use reason::Reason;
pub use record::{Outcome, RecordedRelo, relocate, relocate_all};
pub use relo_kind::ReloKind;
pub use skeleton::{EmbeddedObject, embedded_objects};
pub use spec::{Accessor, LocalSpec, Spec, TargetSpec};
pub use written::TypeIdMap;

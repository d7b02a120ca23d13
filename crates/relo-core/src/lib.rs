//! What each CO-RE relocation resolves to; the record of it; the used set; the minimized BTF.
//!
//! libbpf's `relo_core.c` is the authority; each place where it is wrong and this crate is right by default is marked
//! in the code and listed in [`Divergence`]. Everything here takes bytes and returns values: a BPF object is opened
//! once ([`BpfObject`]), relocated against as many targets as there are ([`relocate`]), and a target is reduced to
//! what its objects use ([`minimize`]) with the proof that no decision changed.
//!
//! "Local" is the type information of the BPF object, "target" that of a kernel.
//!
//! What every relocation resolves to on a kernel, and why not:
//!
//! ```no_run
//! use relo_core::{BpfObject, Mode, Outcome, Target, Wanted, relocate};
//!
//! let object = BpfObject::parse("opensnoop.bpf.o", &std::fs::read("opensnoop.bpf.o")?)?;
//! let kernel = btf::Btf::parse(std::fs::read("vmlinux.btf")?)?;
//! let wanted = Wanted::new([&object]);
//! let target = Target::new(&kernel, &[], &wanted)?;
//! for record in relocate(&object, &target, Mode::Correct) {
//!     match (&record.outcome, &record.reason) {
//!         (Outcome::Error(error), _) => println!("libbpf refuses the object: {error}"),
//!         (outcome, Some(reason)) => println!("{}: {reason}", outcome.name()),
//!         (outcome, None) => println!("{}", outcome.name()),
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The kernel's BTF reduced to what two objects use. It is there only if the proof held:
//!
//! ```no_run
//! use relo_core::{BpfObject, MinimizeOptions, minimize};
//!
//! let open = |path: &str| Ok::<_, Box<dyn std::error::Error>>(BpfObject::parse(path, &std::fs::read(path)?)?);
//! let objects = [open("opensnoop.bpf.o")?, open("execsnoop.bpf.o")?];
//! let kernel = btf::Btf::parse(std::fs::read("vmlinux.btf")?)?;
//! let made = minimize(&kernel, &objects.each_ref(), MinimizeOptions::default())?;
//! for (object, proof) in objects.iter().zip(&made.proofs) {
//!     println!("{}: {} relocations, decided as on the full BTF", object.name(), proof.relocations);
//! }
//! std::fs::write("min.btf", made.bytes)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! How each program would end, without a kernel:
//!
//! ```no_run
//! use relo_core::{BpfObject, Environment, OpenObject, Target, Wanted, prepare};
//!
//! let bytes = std::fs::read("opensnoop.bpf.o")?;
//! let object = BpfObject::parse("opensnoop.bpf.o", &bytes)?;
//! let open = OpenObject::open(&object, &bytes)?;
//! let kernel = btf::Btf::parse(std::fs::read("vmlinux.btf")?)?;
//! let wanted = Wanted::new([&object]);
//! let target = Target::new(&kernel, &[], &wanted)?;
//! for program in &prepare(&open, &target, &Environment::default()).programs {
//!     println!("{}: {}", program.name, program.status);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod access;
mod alike;
mod answer;
mod budget;
mod candidate;
mod checksum;
mod compat;
mod decide;
mod error;
mod index;
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
mod verdict;
mod written;

pub use candidate::{Candidate, Candidates, Target, TargetBtf, Wanted};
pub use decide::Decision;
pub use error::{ObjectError, ReloError};
pub use index::{Index, IndexError, seal};
pub use insn::{INSN_LEN, Insn};
pub use keep::Keep;
pub use minimize::{
    Difference, MinCoreBtf, MinimizeError, MinimizeOptions, ModuleTypes, ObjectProof, minimize,
    minimize_each, minimize_keeping, minimize_target,
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
pub use spec::{Accessor, Accessors, Indexes, LocalSpec, Spec, TargetSpec};
pub use written::TypeIdMap;

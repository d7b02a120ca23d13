//! Objects and targets out of a seed: local types, target types that are changed copies of them, and relocations of
//! every kind with instructions of every class, right and wrong.

mod graph;
mod local;
mod mutate;
mod random;
mod rare;
mod sample;
mod site;
mod write;

use std::sync::Arc;

use btf::{Btf, ByteOrder};
use relo_core::BpfObject;

use crate::judge::{Object, Target, Verdict, judge};
use crate::sound::{Sound, Unsound};

pub use graph::{Enumeration, Graph, Int, Member, Ref, Ty};
pub use random::Random;
pub use sample::sample;
pub use write::{Strings, Written};

/// A generated pair, as the bytes that both sides read.
#[derive(Debug, Clone)]
pub struct Case {
    /// The object, an ELF file.
    pub object: Vec<u8>,
    /// The target's vmlinux BTF.
    pub vmlinux: Vec<u8>,
    /// Split BTFs of modules on it.
    pub modules: Vec<Vec<u8>>,
}

/// Which pairs to make.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// The object's byte order.
    pub object_order: ByteOrder,
    /// The target's.
    pub target_order: ByteOrder,
}

impl Case {
    /// The case of a seed; None where chance made types that libbpf can't be given.
    pub fn new(seed: u64, profile: Profile) -> Option<Case> {
        let mut random = Random::new(seed);
        let mut locals = local::grow(&mut random);
        let mut targets = mutate::target_of(&locals, &mut random);
        rare::add(&mut locals, &mut targets, &mut random);
        let mut written = write::whole(&locals, profile.object_order);
        let mut plan = site::Plan::new(&locals, &mut written, (6, 30), &mut random);
        let local = written.finish();
        let layout = mutate::layout(&targets, &mut random);
        let (vmlinux, modules) = write::split(&targets, &layout, profile.target_order);

        // Twice: libbpf's answers to the first tell which values are the right ones in the instructions.
        let draft = Case { object: plan.object(profile.object_order, &local)?, vmlinux, modules };
        let answers = draft.answers().ok()?;
        plan.fill(&answers, &mut random);
        Some(Case { object: plan.object(profile.object_order, &local)?, ..draft })
    }

    /// libbpf's answers.
    pub fn answers(&self) -> Result<Vec<Verdict>, Unsound> {
        let modules: Vec<&[u8]> = self.modules.iter().map(Vec::as_slice).collect();
        Ok(judge(&Object::parse(&self.object)?, &Target::new(&self.vmlinux, &modules)?))
    }

    /// Opens the pair on both sides and hands it to `with`.
    pub fn open<T>(&self, with: impl FnOnce(&crate::Pair<'_>) -> T) -> Result<T, Unsound> {
        let base = Arc::new(Btf::parse(self.vmlinux.as_slice())?);
        let mut btfs = vec![Arc::clone(&base)];
        for module in &self.modules {
            btfs.push(Arc::new(Btf::parse_split(module.as_slice(), Arc::clone(&base))?));
        }
        for btf in &btfs {
            Sound::check(btf)?;
        }
        let modules: Vec<&[u8]> = self.modules.iter().map(Vec::as_slice).collect();
        Ok(with(&crate::Pair {
            object: &BpfObject::parse("generated", &self.object).map_err(|_| Unsound::Elf)?,
            judged_object: &Object::parse(&self.object)?,
            btfs: &btfs,
            judged_target: &Target::new(&self.vmlinux, &modules)?,
        }))
    }
}

/// An object with `relocations` of `roots` types, most of them with the values in their instructions that libbpf wants.
pub fn object(
    locals: &Graph,
    target: &Target,
    (roots, relocations): (usize, usize),
    random: &mut Random,
) -> Option<Vec<u8>> {
    let mut written = write::whole(locals, ByteOrder::NATIVE);
    let mut plan = site::Plan::new(locals, &mut written, (roots, relocations), random);
    let local = written.finish();
    let draft = plan.object(ByteOrder::NATIVE, &local)?;
    plan.fill(&judge(&Object::parse(&draft).ok()?, target), random);
    plan.object(ByteOrder::NATIVE, &local)
}

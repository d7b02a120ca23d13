//! How a program ends.

use super::attach::Found;
use super::kernel_types::KernelTypes;
use super::program::Programs;
use super::status::{Doubt, KernelBtfUse, Reach, Status};
use super::{PreparedProgram, Resolution, needs_kernel_btf};
use crate::open::{AttachKind, ExternKind, Function, MapKind, Refusal};

impl Programs<'_, '_> {
    /// How the program ends; `broken` says that its code can't be put together or known.
    pub(crate) fn status(
        &self,
        function: &Function,
        program: &PreparedProgram,
        broken: Option<Status>,
    ) -> Status {
        if self.types.is_none()
            && let Some(needed) = self.kernel_btf_use(function)
        {
            return Status::NeedsKernelBtf(needed);
        }
        // What is wrong with the object libbpf finds first, and much of what is wrong with a program follows from it.
        if let Some(refusal) = self.refusals.first() {
            return Status::Refused(refusal.clone());
        }
        if let Some(broken) = broken {
            return broken;
        }
        self.attach_problem(function, program)
            .or_else(|| self.unknown_extern())
            .or_else(|| poison_status(program))
            .unwrap_or(Status::WouldLoad)
    }

    /// What the program needs the kernel's own BTF for (libbpf: `obj_needs_vmlinux_btf`).
    fn kernel_btf_use(&self, function: &Function) -> Option<KernelBtfUse> {
        if let Some(def) = function.def {
            let target = || function.attach_target().unwrap_or(&function.section).to_owned();
            if needs_kernel_btf(def.attach) {
                return Some(KernelBtfUse::Attach(target()));
            }
            if def.program_type.needs_kernel_btf() {
                return Some(KernelBtfUse::ProgramType);
            }
        }
        let typed = |external: &&crate::Extern| {
            matches!(external.kind, ExternKind::Variable(Some(_)) | ExternKind::Function(_))
        };
        let of_map = |map: &&crate::Map| map.kind == MapKind::StructOps;
        if let Some(external) = self.open.externs().iter().find(typed) {
            return Some(KernelBtfUse::Symbol(external.name.clone()));
        }
        let map = self.open.maps().iter().find(of_map)?;
        Some(KernelBtfUse::StructOps(map.name.clone()))
    }

    fn attach_problem(&self, function: &Function, program: &PreparedProgram) -> Option<Status> {
        let refuse = |problem: &str| Some(Status::Refused(Refusal::program(&function.name, problem)));
        let Some(def) = function.def else {
            return refuse(&format!("missing BPF prog type, check ELF section name '{}'", function.section));
        };
        match (def.attach, &program.attach) {
            (AttachKind::Program, _) => Some(Status::Unknown(Doubt::RuntimeTarget)),
            (AttachKind::StructOps, None) => {
                refuse("SEC(\"struct_ops\") program isn't referenced anywhere, did you forget to use it?")
            }
            (kind, None) if needs_kernel_btf(kind) => Some(Status::Unknown(Doubt::RuntimeTarget)),
            (_, Some(attach)) if attach.at_load && attach.found == Found::Missing => {
                let searched = self.types.map(KernelTypes::searched).unwrap_or_default();
                Some(Status::Refused(Refusal::Attach {
                    target: function.attach_target().unwrap_or_default().to_owned(),
                    problem: format!("{} is not in the kernel's BTF ({searched})", attach.wanted),
                }))
            }
            (_, _) => None,
        }
    }

    /// A strong extern that nothing given tells: libbpf may refuse the object, or not.
    fn unknown_extern(&self) -> Option<Status> {
        let mut externs = self.open.externs().iter().zip(self.externs);
        externs.find_map(|(external, resolution)| match resolution {
            Resolution::Unknown(doubt) if !external.weak => Some(Status::Unknown(doubt.clone())),
            _known => None,
        })
    }
}

/// The gravest of the poisoned places.
fn poison_status(program: &PreparedProgram) -> Option<Status> {
    let poisoned = &program.poisoned;
    if let Some(first) = poisoned.iter().find(|poisoned| poisoned.reach == Reach::Always) {
        return Some(Status::PoisonedReachable { insn: first.insn, poison: first.poison });
    }
    let doubt = poisoned.iter().find_map(|poisoned| match &poisoned.reach {
        Reach::Perhaps(doubt) => Some(doubt.clone()),
        Reach::Always | Reach::Never | Reach::NeverByRodata => None,
    });
    if let Some(doubt) = doubt {
        return Some(Status::Unknown(doubt));
    }
    if poisoned.is_empty() {
        return None;
    }
    let by_rodata = poisoned.iter().any(|poisoned| poisoned.reach == Reach::NeverByRodata);
    Some(Status::PoisonedGuarded { by_rodata })
}

//! Externs resolved: kconfig values, addresses, kernel variables and kfuncs.

use std::collections::HashMap;

use btf::{ByteOrder, Kind, TypeId};

use super::kallsyms::Kallsyms;
use super::kconfig;
use super::kernel_types::KernelTypes;
use super::status::Doubt;
use crate::compat::types_compatible;
use crate::open::{Extern, ExternKind, KconfigVar, OpenObject};
use crate::used::Footprint;
use crate::{Candidate, Environment, Refusal};

/// What an extern came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolution {
    /// A kconfig value: its bytes in the object's byte order.
    Value(Vec<u8>),
    /// The address of a symbol.
    Address(u64),
    /// A VAR or FUNC of the kernel's BTF.
    Type {
        /// Which one: the BTF, 0 for vmlinux, and the id.
        place: Candidate,
        /// Whether it is a variable that each CPU has its own of.
        percpu: bool,
    },
    /// Weak, and not there: it is 0.
    Missing,
    /// What would tell was not given.
    Unknown(Doubt),
    /// libbpf refuses the object because of it.
    Refused,
}

/// Resolves all externs (libbpf: `bpf_object__resolve_externs`).
pub(crate) struct Resolver<'r, 'k> {
    pub open: &'r OpenObject<'r>,
    pub environment: &'r Environment<'r>,
    pub kallsyms: Option<&'r Kallsyms<'k>>,
    /// None where the kernel has no BTF of its own.
    pub types: Option<&'r KernelTypes<'k>>,
}

impl Resolver<'_, '_> {
    /// What each extern came to, in their order.
    pub(crate) fn resolve(&self, refusals: &mut Vec<Refusal>) -> Vec<Resolution> {
        let externs = self.open.externs();
        let read = |text| kconfig::read(text, externs.iter(), self.order());
        let config = self.environment.kconfig.map(read).transpose().map_err(|refusal| refusals.push(refusal));
        let mut resolve = |external: &Extern| {
            let resolved = match (&external.kind, &config) {
                (ExternKind::Kconfig(_), Err(())) => Ok(Resolution::Refused),
                (ExternKind::Kconfig(var), Ok(config)) => self.kconfig(external, var, config.as_ref()),
                (ExternKind::Variable(None), _) => self.address(external),
                (ExternKind::Variable(Some(ty)), _) => self.variable(external, *ty),
                (ExternKind::Function(proto), _) => self.function(external, *proto),
            };
            match resolved {
                Ok(Resolution::Missing) if !external.weak => {
                    refusals.push(Refusal::external(&external.name, "(strong) not resolved"));
                    Resolution::Refused
                }
                Ok(resolution) => resolution,
                Err(problem) => {
                    refusals.push(Refusal::external(&external.name, problem));
                    Resolution::Refused
                }
            }
        };
        externs.iter().map(&mut resolve).collect()
    }

    fn order(&self) -> ByteOrder {
        self.open.object().order()
    }

    fn kconfig(
        &self,
        external: &Extern,
        var: &KconfigVar,
        config: Option<&HashMap<&str, Vec<u8>>>,
    ) -> Result<Resolution, String> {
        if external.name.starts_with("CONFIG_") {
            return Ok(match config {
                Some(values) => match values.get(external.name.as_str()) {
                    Some(bytes) => Resolution::Value(bytes.clone()),
                    None => Resolution::Missing,
                },
                None => Resolution::Unknown(Doubt::NoKconfig(external.name.clone())),
            });
        }
        let value = match external.name.as_str() {
            "LINUX_KERNEL_VERSION" => {
                self.environment.kernel_version.map(|version| u64::from(version.code()))
            }
            "LINUX_HAS_BPF_COOKIE" => self.has_cookie().map(u64::from),
            "LINUX_HAS_SYSCALL_WRAPPER" => self.has_syscall_wrapper().map(u64::from),
            name if name.starts_with("LINUX_") && external.weak => return Ok(Resolution::Missing),
            _other => return Err("unrecognized virtual extern".to_owned()),
        };
        match value {
            Some(value) => kconfig::number(value, var, self.order()).map(Resolution::Value),
            None => Ok(Resolution::Unknown(Doubt::NoFact(external.name.clone()))),
        }
    }

    /// The helper came with 5.15; enumerators say so as well.
    fn has_cookie(&self) -> Option<bool> {
        if let Some(version) = self.environment.kernel_version {
            return Some(version.is_at_least(5, 15));
        }
        let types = self.types?;
        let ids = types.find(HELPER_IDS, Kind::Enum)?;
        let ty = types.btf(ids).resolve(ids.id).ok()?;
        let is_cookie = |index| {
            let enumerator = ty.enumerator(index).ok()?;
            Some(ty.string(enumerator.name).ok()? == b"BPF_FUNC_get_attach_cookie")
        };
        Some((0..ty.len()).any(|index| is_cookie(index) == Some(true)))
    }

    /// libbpf tries to put a kprobe on the wrapper of the system call bpf.
    fn has_syscall_wrapper(&self) -> Option<bool> {
        let wrappers = || syscall_wrappers("bpf");
        let in_types =
            |types: &KernelTypes<'_>| wrappers().any(|name| types.find(&name, Kind::Func).is_some());
        match (self.kallsyms, self.types) {
            (Some(kallsyms), _) => Some(wrappers().any(|name| kallsyms.has(&name))),
            // BTF lacks functions that it could not describe: only what is there is a fact.
            (None, Some(types)) if in_types(types) => Some(true),
            (None, _) => None,
        }
    }

    fn address(&self, external: &Extern) -> Result<Resolution, String> {
        let Some(kallsyms) = self.kallsyms else {
            return Ok(Resolution::Unknown(Doubt::NoKallsyms(external.name.clone())));
        };
        match kallsyms.addresses(&external.name) {
            [] => Ok(Resolution::Missing),
            [address] => Ok(Resolution::Address(*address)),
            [first, second, ..] => Err(format!("resolution is ambiguous: {first:#x} or {second:#x}")),
        }
    }

    /// libbpf: `bpf_object__resolve_ksym_var_btf_id`.
    fn variable(&self, external: &Extern, local: TypeId) -> Result<Resolution, String> {
        let Some(types) = self.types else {
            return Ok(Resolution::Unknown(Doubt::NoKernelBtf(external.name.clone())));
        };
        let Some(place) = types.find(&external.name, Kind::Var) else {
            return Ok(Resolution::Missing);
        };
        let text = |error: btf::Error| error.to_string();
        let btf = types.btf(place);
        let target =
            btf.skip(btf.resolve(place.id).and_then(|var| var.target()).map_err(text)?).map_err(text)?;
        if !self.compatible(local, btf, target.id())? {
            return Err(format!(
                "incompatible types, expected [{local}], but kernel has [{}] {}",
                target.id(),
                target.kind()
            ));
        }
        let percpu = is_percpu(types, place);
        Ok(Resolution::Type { place, percpu })
    }

    /// libbpf: `bpf_object__resolve_ksym_func_btf_id`.
    fn function(&self, external: &Extern, local: TypeId) -> Result<Resolution, String> {
        let Some(types) = self.types else {
            return Ok(Resolution::Unknown(Doubt::NoKernelBtf(external.name.clone())));
        };
        let Some(place) = types.find(external.essential_name(), Kind::Func) else {
            return Ok(Resolution::Missing);
        };
        let btf = types.btf(place);
        let proto = btf
            .resolve(place.id)
            .and_then(|function| function.target())
            .map_err(|error| error.to_string())?;
        match self.compatible(local, btf, proto) {
            Ok(true) => Ok(Resolution::Type { place, percpu: false }),
            Ok(false) | Err(_) if external.weak => Ok(Resolution::Missing),
            Ok(false) => Err(format!(
                "func_proto [{local}] incompatible with {} [{proto}]",
                types.module(place.btf).unwrap_or("vmlinux")
            )),
            Err(problem) => Err(problem),
        }
    }

    fn compatible(&self, local: TypeId, btf: &btf::Btf<'_>, target: TypeId) -> Result<bool, String> {
        let object = self.open.object().btf();
        types_compatible(object, local, btf, target, &Footprint::new(false))
            .map_err(|error| error.to_string())
    }
}

/// The enum of all helpers.
pub(crate) const HELPER_IDS: &str = "bpf_func_id";
/// The section of variables that each CPU has its own of.
pub(crate) const PERCPU: &str = ".data..percpu";

/// The wrapper of a system call, on the architectures that have one.
pub(crate) fn syscall_wrappers(syscall: &str) -> impl Iterator<Item = String> {
    ["x64", "ia32", "s390x", "s390", "arm", "arm64", "mips", "riscv", "powerpc", "powerpc64"]
        .into_iter()
        .map(move |arch| format!("__{arch}_sys_{syscall}"))
}

fn is_percpu(types: &KernelTypes<'_>, place: Candidate) -> bool {
    let Some(section) = types.find_in(place.btf, PERCPU, Kind::Datasec) else {
        return false;
    };
    let Ok(section) = types.btf(section).resolve(section.id) else {
        return false;
    };
    (0..section.len())
        .any(|index| section.var_section(index).is_ok_and(|variable| variable.type_id == place.id))
}

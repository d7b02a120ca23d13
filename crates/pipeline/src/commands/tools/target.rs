//! The kernel that a command is about: the BTF of vmlinux, and of modules split on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use btf::Btf;
use relo_core::{ReloError, Target, TargetBtf, Wanted};

use crate::commands::tools::{Kernel, ToolError, corpus};

/// Which files a target is made of.
#[derive(Debug, Clone, Default)]
pub struct TargetFiles {
    /// Any file with BTF: raw, vmlinux, boot image, packed or not.
    pub btf: PathBuf,
    /// The base of `btf`, if that is split BTF: then `btf` is a module of it.
    pub base: Option<PathBuf>,
    /// Modules by name.
    pub modules: Vec<(String, PathBuf)>,
}

/// The BTFs of a target.
#[derive(Debug)]
pub struct TargetBtfs {
    /// What messages call it.
    pub name: String,
    /// The kernel's own.
    pub vmlinux: Arc<Btf<'static>>,
    /// Modules in the order given; the first is `btf` itself where it has a base.
    pub modules: Vec<(String, Btf<'static>)>,
}

impl TargetFiles {
    /// The kernel, where it is all that there is: no modules, and its BTF is not split. It needs no copy of its bytes.
    pub fn alone(&self) -> Result<Option<Kernel>, ToolError> {
        if self.base.is_some() || !self.modules.is_empty() {
            return Ok(None);
        }
        Ok(Some(Kernel::read(&self.btf)?).filter(|kernel| !kernel.is_split()))
    }

    /// Reads and parses all of them.
    pub fn read(&self) -> Result<TargetBtfs, ToolError> {
        let name = self.btf.display().to_string();
        let Some(base) = &self.base else {
            let vmlinux = Arc::new(whole(&self.btf)?);
            return self.with_modules(name, vmlinux, Vec::new());
        };
        let vmlinux = Arc::new(whole(base)?);
        let split = kernels::input::read(&self.btf)?.parse(Some(vmlinux.clone()))?;
        let module = self.btf.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        self.with_modules(name, vmlinux, vec![(module, split)])
    }

    fn with_modules(
        &self,
        name: String,
        vmlinux: Arc<Btf<'static>>,
        mut modules: Vec<(String, Btf<'static>)>,
    ) -> Result<TargetBtfs, ToolError> {
        for (module, path) in &self.modules {
            let btf = kernels::input::read(path)?.parse(Some(vmlinux.clone()))?;
            modules.push((module.clone(), btf));
        }
        Ok(TargetBtfs { name, vmlinux, modules })
    }
}

/// A BTF that stands alone, out of a file or the store.
fn whole(path: &Path) -> Result<Btf<'static>, ToolError> {
    match corpus::pattern(path) {
        None => Ok(kernels::input::read(path)?.parse(None)?),
        Some(pattern) => {
            let (_, stored) = corpus::read(pattern)?;
            let wrong = |error| ToolError::btf(&path.display().to_string(), error);
            Btf::parse(stored.btf.into_vec()).map_err(wrong)
        }
    }
}

impl TargetBtfs {
    /// All of it for the engine.
    pub fn target<'t>(&'t self, wanted: &'t Wanted) -> Result<Target<'t>, ReloError> {
        Target::new(&self.vmlinux, &self.module_btfs(), wanted)
    }

    fn module_btfs(&self) -> Vec<TargetBtf<'_>> {
        let modules = self.modules.iter();
        modules.map(|(name, btf)| TargetBtf { module: Some(name.as_str()), btf }).collect()
    }
}

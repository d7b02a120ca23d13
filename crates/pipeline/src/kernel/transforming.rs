//! Minimized BTF made by a plugin in place of ours: kept only when every decision on it is the one that was recorded.

use kernels::{Digest, KernelId, LockedBlob, Store};
use plugin::{Input, KernelRef, TRANSFORM};

use crate::events::Task;
use crate::kernel::content::Known;
use crate::kernel::engine::{self, ProgramSet};
use crate::kernel::made::{Made, with_programs};
use crate::lock::sources::SourceError;
use crate::outcome::{Code, Failure};
use crate::project::acting::{Asked, Stage};
use crate::project::plugin_step::Step;
use crate::work::key::{ENGINE, Key};

/// A kernel's BTF on its way through a step.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub id: &'a KernelId,
    pub known: &'a Known,
    pub set: &'a ProgramSet,
    pub store: &'a Store,
}

impl Subject<'_> {
    /// The key of a step with what the step before made.
    pub fn key(self, step: &Step, before: &Made) -> Result<Key, Failure> {
        let key = step.actor.key(TRANSFORM).map_err(Failure::new)?;
        let key = key.with("engine", ENGINE).with("btf", self.known.btf.sha256);
        Ok(with_programs(key.with("minimized", before.btf.sha256), self.set))
    }

    /// What was made before.
    pub fn find(self, step: &Step, key: &Key) -> Option<Made> {
        step.actor.is_pure().then(|| Made::find(self.store, key)).flatten()
    }

    /// Has the plugin make it, and proves it.
    pub fn make(
        self,
        step: &Step,
        key: &Key,
        before: &Made,
        stage: Stage<'_>,
        task: &Task<'_>,
    ) -> Result<Made, Failure> {
        let (subject, arch) = (self.id.to_string(), self.id.arch().to_string());
        let asked = Asked {
            step: TRANSFORM,
            subject: &subject,
            kernel: Some(KernelRef { id: self.id.to_string(), arch: arch.clone() }),
            arch: Some(&arch),
            inputs: self.inputs(before)?,
            ..Asked::default()
        };
        let acted = step.actor.act(stage, task, &asked).map_err(failure)?;
        let [output] = acted.result.outputs.as_slice() else {
            let count = acted.result.outputs.len();
            return Err(Failure::new(format!("{}: {count} outputs, and one BTF is wanted", step.name)));
        };
        let bytes = output.read().map_err(Failure::new)?;
        let records = self.store.get(&before.records.sha256)?;
        let records = records.ok_or_else(|| Failure::new("the store lost its records; run again"))?;
        if let Some(difference) = engine::compare(&bytes, &records, self.set)? {
            return Err(Failure::new(format!("{}: its BTF decides otherwise: {difference}", step.name)));
        }
        self.store.put(&bytes)?;
        let made = Made { btf: LockedBlob::of(&bytes), ..before.clone() };
        self.store.set_link(&key.text(), serde_json::to_value(&made).map_err(Failure::new)?)?;
        Ok(made)
    }

    fn inputs(self, before: &Made) -> Result<Vec<Input>, Failure> {
        let input = |name: &str, sha256: &Digest, size: u64| {
            let path = self.store.path_of(sha256);
            let path = path.ok_or_else(|| Failure::new(format!("the store lost its {name}; run again")))?;
            Ok::<_, Failure>(Input { name: name.to_owned(), path, digest: format!("sha256:{sha256}"), size })
        };
        let mut inputs = vec![
            input("btf", &self.known.btf.sha256, self.known.btf.size)?,
            input("minimized", &before.btf.sha256, before.btf.size)?,
        ];
        for program in &self.set.programs {
            if self.store.path_of(&program.sha256).is_none() {
                self.store.put(&program.elf)?;
            }
            inputs.push(input("object", &program.sha256, program.elf.len() as u64)?);
        }
        Ok(inputs)
    }
}

/// A plugin's error as that of a kernel.
pub(crate) fn failure(error: SourceError) -> Failure {
    Failure { code: Code::of_class(error.class), message: error.to_string() }
}

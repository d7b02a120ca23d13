//! What plugins do with a release that is there: checks look at it, publishers bring it to its users.
//!
//! A check's files go into a folder of the step's name. What a publisher makes is put beside the file that it belongs to,
//! and is called after it: `SHA256SUMS.minisig`. Nothing is published when something failed, or of a part of the kernels.

use std::collections::BTreeMap;
use std::path::Path;

use bundle::{Bundle, Checksums};
use kernels::{Digest, Store};
use plugin::Input;
use serde::{Deserialize, Serialize};

use crate::events::{Events, Phase, Task};
use crate::host;
use crate::kernel::transforming::failure;
use crate::outcome::{Code, Failure};
use crate::package::dist::{Dist, SUMS};
use crate::project::acting::{Acted, Asked, Stage, cache_in};
use crate::project::plugin_step::{Role, Step};
use crate::project::{Options, Project};
use crate::run::report::Report;
use crate::work::key::Key;
use crate::work::ledger::{End, Ledger};

/// What concluding a run needs.
pub(crate) struct Concluding<'a> {
    pub project: &'a Project,
    pub options: &'a Options,
    pub store: &'a Store,
    pub ledger: &'a Ledger,
    pub dist: &'a Dist,
    pub work: &'a Path,
    pub events: Events<'a>,
    pub epoch: u64,
}

/// A file that a step made, as the output folder has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Left {
    file: String,
    sha256: Digest,
}

impl Left {
    /// As one of the files that the next step reads.
    pub fn named(self) -> (String, String) {
        (self.file, self.sha256.to_string())
    }
}

/// The files of a release, by name, with their digests.
pub(crate) type Released = BTreeMap<String, String>;

/// What the output folder has: the files that SHA256SUMS names, and itself.
pub(crate) fn released(folder: &Path) -> Option<Released> {
    let text = std::fs::read_to_string(folder.join(SUMS)).ok()?;
    let sums = Checksums::parse(&text).ok()?;
    let mut files: Released =
        sums.iter().map(|(file, sha256)| (file.to_owned(), sha256.to_string())).collect();
    files.insert(SUMS.to_owned(), Digest::of(text.as_bytes()).to_string());
    Some(files)
}

/// What a step does.
pub(crate) fn phase(role: Role) -> Phase {
    match role {
        Role::Transform => Phase::Transform,
        Role::Package => Phase::Package,
        Role::Verify => Phase::Check,
        Role::Publish => Phase::Publish,
    }
}

/// The key of a step that reads these files.
pub(crate) fn key(step: &Step, files: &Released, epoch: u64) -> Result<Key, String> {
    let key = step.actor.key(step.role.provides().word())?.with("SOURCE_DATE_EPOCH", epoch);
    Ok(files.iter().fold(key, |key, (file, sha256)| key.with(format!("file {file}"), sha256)))
}

/// What the step made of the same before, where all of it is still there.
pub(crate) fn find(step: &Step, key: &Key, store: &Store, folder: &Path) -> Option<Vec<Left>> {
    let value = store.link(&key.text()).filter(|_| step.actor.is_pure())?;
    let left: Vec<Left> = serde_json::from_value(value).ok()?;
    let is_there =
        |one: &Left| Digest::of_file(&folder.join(&one.file)).is_ok_and(|(found, _)| found == one.sha256);
    left.iter().all(is_there).then_some(left)
}

impl Concluding<'_> {
    /// All steps, in their order. One that fails costs no other check, and every publisher.
    pub fn all(&self, report: &mut Report) {
        let mut more = Released::new();
        for step in self.project.steps.iter().filter(|step| step.role.is_conclusion()) {
            let phase = phase(step.role);
            let Some(mut files) = released(self.dist.folder()) else {
                self.events.begin(phase, &*step.name).failed("there is no release");
                report.note_failure(format!("{}: there is no release", step.name), Code::Failed);
                continue;
            };
            files.extend(more.clone());
            if let Some(why) = self.why_not(step, report) {
                self.events.kept(phase, &*step.name, why);
                continue;
            }
            match self.one(step, &files) {
                Ok(left) => more.extend(left.into_iter().map(Left::named)),
                Err(failure) => report.note_failure(format!("{}: {failure}", step.name), failure.code),
            }
        }
    }

    fn why_not(&self, step: &Step, report: &Report) -> Option<&'static str> {
        match step.role {
            Role::Publish if report.code() != Code::Ok => {
                Some("something failed, so that nothing is published")
            }
            Role::Publish if !self.project.select.is_empty() => {
                Some("a part of the kernels is not published")
            }
            Role::Transform | Role::Package | Role::Verify | Role::Publish => None,
        }
    }

    fn one(&self, step: &Step, files: &Released) -> Result<Vec<Left>, Failure> {
        let (phase, folder) = (phase(step.role), self.dist.folder());
        let key = key(step, files, self.epoch).map_err(Failure::new)?;
        let found = find(step, &key, self.store, folder).filter(|_| !self.options.rerun);
        if let Some(left) = found {
            self.events.kept(phase, &*step.name, "the release is the same");
            self.ledger.add(phase.name(), &*step.name, key, End::Kept, None);
            return Ok(left);
        }
        let task = self.events.begin(phase, &*step.name);
        let left = self.run(step, files, &task).and_then(|left| {
            let value = serde_json::to_value(&left).map_err(Failure::new)?;
            self.store.set_link(&key.text(), value)?;
            Ok(left)
        });
        let left = task.finish(left, |left| match left.len() {
            0 => "done".to_owned(),
            count => format!("{count} files"),
        });
        let (end, reason) = match &left {
            Ok(_) => (End::Done, None),
            Err(failure) => (End::Failed, Some(failure.message.clone())),
        };
        self.ledger.add(phase.name(), &*step.name, key, end, reason);
        left
    }

    fn run(&self, step: &Step, files: &Released, task: &Task<'_>) -> Result<Vec<Left>, Failure> {
        let cache = cache_in(self.store.root());
        let patience = &self.options.patience;
        let stage = Stage { work: self.work, cache: &cache, events: self.events, patience };
        let unpacked = tempfile::Builder::new().prefix("unpacked-").tempdir_in(self.work);
        let unpacked = unpacked.map_err(Failure::new)?;
        let mut inputs = Vec::new();
        for (file, sha256) in files {
            let input = host::input(file, &self.dist.folder().join(file))?;
            if input.digest != format!("sha256:{sha256}") {
                return Err(Failure::digest(format!("{file} is not what SHA256SUMS says")));
            }
            if step.role == Role::Verify && file.ends_with(".tar.zst") {
                inputs.extend(unpack(file, &input, unpacked.path())?);
            }
            inputs.push(input);
        }
        let word = step.role.provides().word();
        let epoch = Some(self.epoch);
        let asked = Asked { step: word, subject: &step.name, inputs, epoch, ..Asked::default() };
        let acted = step.actor.act(stage, task, &asked).map_err(failure)?;
        self.keep(step, files, &acted)
    }

    /// Puts what was made where it belongs.
    fn keep(&self, step: &Step, files: &Released, acted: &Acted) -> Result<Vec<Left>, Failure> {
        let mut made = Vec::new();
        for output in &acted.result.outputs {
            let name = output.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let refuse = |why: &str| Err(Failure::new(format!("the output {name} {why}")));
            if output.path.parent().and_then(Path::file_name).is_none_or(|folder| folder != "out") {
                return refuse("lies in a folder of its own");
            }
            let belongs =
                |file: &String| name.strip_prefix(file.as_str()).is_some_and(|end| end.starts_with('.'));
            if step.role == Role::Publish && (!files.keys().any(belongs) || files.contains_key(name)) {
                return refuse("is not called after a file of the release, as NAME.minisig");
            }
            made.push((name.to_owned(), output.read().map_err(Failure::new)?));
        }
        let folder = match step.role {
            Role::Publish => None,
            Role::Transform | Role::Package | Role::Verify => Some(step.name.as_str()),
        };
        self.dist.add(folder, &made).map_err(Failure::new)?;
        let left = made.into_iter().map(|(name, bytes)| Left {
            file: folder.map_or(name.clone(), |folder| format!("{folder}/{name}")),
            sha256: Digest::of(&bytes),
        });
        Ok(left.collect())
    }
}

/// The package without its compression, which not everybody can read; None for what is no package of ours.
fn unpack(file: &str, input: &Input, folder: &Path) -> Result<Option<Input>, Failure> {
    let Ok(bundle) = Bundle::open_file(&input.path) else { return Ok(None) };
    let name = file.trim_end_matches(".zst");
    Ok(Some(unpacked(&bundle, name, &folder.join(name))?))
}

/// A package's archive without compression, as the input `name`.
pub(crate) fn unpacked(bundle: &Bundle, name: &str, path: &Path) -> Result<Input, Failure> {
    std::fs::write(path, bundle.tar()).map_err(Failure::new)?;
    Ok(host::input(name, path)?)
}

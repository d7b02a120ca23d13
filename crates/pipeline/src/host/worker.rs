//! Plugins that do several actions in one process, one after the other.
//!
//! A worker belongs to the thread that started it, since the kernel ends it with that thread. Its cage is made once: it
//! writes one folder, in which each action has its own, and what it may read beyond that is linked into another.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use plugin::Input;
use tempfile::TempDir;

use super::session::{Line, Session};
use super::{Dirs, ID, Plugin, PluginError, PluginEvent, PluginResult, Request, confinement};

/// A process that waits for its next action.
struct Worker {
    /// Which plugin, with which configuration.
    key: String,
    line: Line,
    room: Room,
    /// What its cage lets it read.
    reads: Vec<PathBuf>,
    /// The id of its last action.
    last: u64,
    born: Instant,
}

/// The folders of a worker.
struct Room {
    folder: TempDir,
}

thread_local! {
    static IDLE: RefCell<Vec<Worker>> = const { RefCell::new(Vec::new()) };
}

impl Room {
    fn new(work: &Path) -> io::Result<Room> {
        let room = Room { folder: tempfile::Builder::new().prefix("worker-").tempdir_in(work)? };
        fs::create_dir(room.inputs())?;
        fs::create_dir(room.actions())?;
        Ok(room)
    }

    /// It reads this.
    fn inputs(&self) -> PathBuf {
        self.folder.path().join("in")
    }

    /// It writes this.
    fn actions(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// The inputs where it can read them, and a folder that goes with their links, if there are any.
    fn bring(&self, inputs: &[Input], reads: &[PathBuf]) -> io::Result<(Vec<Input>, Option<TempDir>)> {
        if inputs.iter().all(|input| reads.contains(&input.path)) {
            return Ok((inputs.to_vec(), None));
        }
        let folder = tempfile::tempdir_in(self.inputs())?;
        let bring = |(number, input): (usize, &Input)| {
            if reads.contains(&input.path) {
                return Ok(input.clone());
            }
            let name = input.path.file_name().unwrap_or_default().to_string_lossy();
            let path = folder.path().join(format!("{number}-{name}"));
            // Another file system has no links to it.
            fs::hard_link(&input.path, &path).or_else(|_| fs::copy(&input.path, &path).map(|_| ()))?;
            Ok(Input { path, ..input.clone() })
        };
        let brought: io::Result<Vec<Input>> = inputs.iter().enumerate().map(bring).collect();
        Ok((brought?, Some(folder)))
    }
}

impl Plugin {
    /// Whether it says that one process does several actions.
    pub fn is_worker(&self) -> bool {
        self.manifest.capabilities.worker
    }

    /// As [`Plugin::run_request`], in a folder below `work`, by a process of this thread that did others before. The
    /// folder comes with the result; its files are gone when the thread ends.
    pub fn run_in_worker(
        &self,
        request: &Request<'_>,
        work: &Path,
        events: &mut dyn FnMut(PluginEvent),
    ) -> Result<(PluginResult, TempDir), PluginError> {
        let key = self.worker_key(request);
        let idle = IDLE.with_borrow_mut(|idle| {
            // Those that are old go: the limit of processor time counts over all actions. One that died while nobody spoke
            // with it costs no action.
            idle.retain_mut(|worker| worker.born.elapsed() < self.timeout && worker.line.is_up());
            idle.iter().position(|worker| worker.key == key).map(|index| idle.swap_remove(index))
        });
        let (mut worker, mut session) = match idle {
            Some(Worker { line, key, room, reads, last, born }) => {
                let session = Session::on(line, self, request.cancel, events);
                (Waiting { key, room, reads, last, born, stays: true }, session)
            }
            None => self.start_worker(key, request, work, events)?,
        };
        worker.last += 1;
        let started = |error| self.start(error);
        let (inputs, links) = worker.room.bring(&request.inputs, &worker.reads).map_err(started)?;
        let folder = tempfile::tempdir_in(worker.room.actions()).map_err(started)?;
        let dirs = Dirs::below(folder.path(), request.dirs.cachedir.as_deref()).make().map_err(started)?;
        let request = Request { inputs, dirs: &dirs, ..request.clone() };
        let message = request.message(&dirs, self, worker.last);
        let answer = session.ask_more(&message, worker.last, self.timeout)?;
        let Waiting { key, room, reads, last, born, stays } = worker;
        let result = self.result(answer, &dirs, &request.inputs);
        drop(links);
        let goes_on = matches!(result, Ok(_) | Err(PluginError::Failed(_)));
        let line = session.hang_on();
        if stays && goes_on {
            IDLE.with_borrow_mut(|idle| idle.push(Worker { key, line, room, reads, last, born }));
            return Ok((result?, folder));
        }
        // Its room goes with it, and not what it made.
        let kept = self.move_out(result?, folder, work, room).map_err(started)?;
        Ok(kept)
    }

    /// Whose cage is the same: the configuration matters where it says what may be read.
    fn worker_key(&self, request: &Request<'_>) -> String {
        let config = self.manifest.capabilities.read.iter().any(|path| path == confinement::CONFIG);
        let config = config.then_some(request.config);
        format!("{:?} {} {:?} {config:?}", self.folder, self.program.display(), request.dirs.cachedir)
    }

    fn start_worker<'a>(
        &'a self,
        key: String,
        request: &Request<'a>,
        work: &Path,
        events: &'a mut dyn FnMut(PluginEvent),
    ) -> Result<(Waiting, Session<'a>), PluginError> {
        let started = |error| self.start(error);
        let room = Room::new(work).map_err(started)?;
        let cachedir = request.dirs.cachedir.as_deref();
        let dirs = Dirs::below(&room.actions(), cachedir).make().map_err(started)?;
        let mut cage = confinement::cage(self, &dirs, request.config, &request.inputs);
        cage.read.push(room.inputs());
        // Until it is old, and for the action that it has then.
        cage.limits.cpu = cage.limits.cpu.map(|time| time.saturating_mul(2));
        let mut session = Session::start(self, &dirs, &cage, request.cancel, events)?;
        let hello = session.hello()?;
        let stays = hello.features.iter().any(|feature| feature == "worker");
        let reads = request.inputs.iter().map(|input| input.path.clone()).collect();
        Ok((Waiting { key, room, reads, last: ID - 1, born: Instant::now(), stays }, session))
    }

    /// The result in a folder of its own.
    fn move_out(
        &self,
        mut result: PluginResult,
        folder: TempDir,
        work: &Path,
        room: Room,
    ) -> io::Result<(PluginResult, TempDir)> {
        let own = tempfile::Builder::new().prefix("act-").tempdir_in(work)?;
        result.move_to(folder.path(), own.path())?;
        drop(room);
        Ok((result, own))
    }
}

impl PluginResult {
    /// Moves the folder of an action into another one, with all that was made in it.
    pub fn move_to(&mut self, folder: &Path, into: &Path) -> io::Result<()> {
        let (before, after) = (folder.canonicalize()?, into.canonicalize()?.join("action"));
        fs::rename(&before, &after)?;
        for output in &mut self.outputs {
            if let Ok(rest) = output.path.strip_prefix(&before) {
                output.path = after.join(rest);
            }
            // Until now the worker could exchange it, and from now on it can't.
            output.open()?;
        }
        Ok(())
    }
}

/// A worker that is spoken with.
struct Waiting {
    key: String,
    room: Room,
    reads: Vec<PathBuf>,
    last: u64,
    born: Instant,
    /// It takes more than one action.
    stays: bool,
}

//! What a plugin written in Rust implements, and what it gets.

use std::env;
use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};

use crate::{Failure, Level, Log, Output, PluginMessage, Problem, Progress, Run, SourceKernel};

/// A source of kernels.
pub trait Source {
    /// What is wrong with the pipeline's `with:`, beyond what the JSON Schema can say.
    fn validate(&self, _config: &Value) -> Vec<Problem> {
        Vec::new()
    }

    /// Which kernels `config` asks for. Nothing is fetched that isn't needed to say so.
    fn resolve(&self, job: &Job<'_>, config: &Value) -> Result<Vec<SourceKernel>, Failure>;

    /// Brings exactly `kernel`'s packages into the output folder. A package that is no longer to be had is
    /// [`Failure::gone`].
    fn fetch(&self, job: &Job<'_>, kernel: &SourceKernel) -> Result<Vec<Output>, Failure>;
}

/// One action: where it works, and who hears of it.
pub struct Job<'a> {
    run: &'a Run,
    out: &'a Mutex<dyn Write + Send>,
    /// Id of the last action that the host gave up; ids start at 1.
    cancelled: &'a AtomicU64,
    reads: Mutex<Option<Vec<PathBuf>>>,
}

impl<'a> Job<'a> {
    pub(crate) fn new(run: &'a Run, out: &'a Mutex<dyn Write + Send>, cancelled: &'a AtomicU64) -> Self {
        Job { run, out, cancelled, reads: Mutex::default() }
    }

    /// The host's request, with all its folders.
    pub fn run(&self) -> &Run {
        self.run
    }

    /// `x86_64` or `arm64`, where the action is for one.
    pub fn arch(&self) -> Option<&str> {
        self.run.arch.as_deref()
    }

    /// The paths of the inputs with this name, in the host's order.
    pub fn inputs(&self, name: &str) -> Vec<PathBuf> {
        let named = self.run.inputs.iter().filter(|input| input.name == name);
        named.map(|input| self.run.workdir.join(&input.path)).collect()
    }

    /// The path of the one input with this name; a failure of class `user` if there is none.
    pub fn input(&self, name: &str) -> Result<PathBuf, Failure> {
        let first = self.inputs(name).into_iter().next();
        first.ok_or_else(|| Failure::user(format!("no input \"{name}\"")))
    }

    /// An output with this file name, in the output folder: write to its path.
    pub fn output(&self, name: &str, file: &str) -> Output {
        Output { name: name.to_owned(), path: self.run.outdir.join(file) }
    }

    /// Says which files the result of `build` depends on; without it, that is all inputs.
    pub fn reads(&self, paths: impl IntoIterator<Item = PathBuf>) {
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        reads.get_or_insert_default().extend(paths);
    }

    pub(crate) fn take_reads(&self) -> Option<Vec<PathBuf>> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A folder that later actions see again: the request's, else `$BTFPIPE_CACHE`, else the temporary folder.
    pub fn cachedir(&self) -> PathBuf {
        self.run
            .cachedir
            .clone()
            .or_else(|| env::var_os("BTFPIPE_CACHE").filter(|path| !path.is_empty()).map(PathBuf::from))
            .unwrap_or_else(|| self.run.tmpdir.clone())
    }

    /// Whether the host gave the action up. SIGTERM follows after 2 s, so that looking here is optional.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) == self.run.id
    }

    /// Says how far the action is.
    pub fn progress(&self, done: u64, total: Option<u64>, unit: &str, message: impl Display) {
        send(
            self.out,
            &PluginMessage::Progress(Progress {
                id: self.run.id,
                done,
                total,
                unit: unit.to_owned(),
                message: message.to_string(),
            }),
        );
    }

    /// Writes a line to the step's log.
    pub fn log(&self, level: Level, message: impl Display) {
        send(
            self.out,
            &PluginMessage::Log(Log {
                id: self.run.id,
                level,
                message: message.to_string(),
                fields: Map::new(),
            }),
        );
    }
}

/// Writes one message. When the host is gone, nobody needs it.
pub(crate) fn send(out: &Mutex<dyn Write + Send>, message: &PluginMessage) {
    let line = match message.to_line() {
        Ok(line) => line,
        Err(error) => return eprintln!("message not sent: {error}"),
    };
    let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

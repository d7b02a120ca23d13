//! What happens during a run, as values: the views know no step, the steps know no view.

pub mod chronicle;
pub(crate) mod echo;
#[cfg(test)]
mod page;
pub mod profile;
pub mod progress;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What an action does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Asks a source which kernels there are.
    Resolve,
    /// Brings a kernel's packages into the store.
    Fetch,
    /// Takes BTF and boot image out of packages.
    Extract,
    /// Makes program objects out of sources.
    Compile,
    /// Records relocations, minimizes, proves.
    Minimize,
    /// Has a plugin make another BTF.
    Transform,
    /// Writes a package.
    Package,
    /// Boots a kernel and compares.
    Verify,
    /// Has a plugin look at the release.
    Check,
    /// Has a plugin bring the release to its users.
    Publish,
}

impl Phase {
    /// The word for logs and plans.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Resolve => "resolve",
            Phase::Fetch => "fetch",
            Phase::Extract => "extract",
            Phase::Compile => "compile",
            Phase::Minimize => "minimize",
            Phase::Transform => "transform",
            Phase::Package => "package",
            Phase::Verify => "verify",
            Phase::Check => "check",
            Phase::Publish => "publish",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// How many actions there will be.
    Planned {
        /// Number of actions.
        actions: u64,
    },
    /// An action began.
    Began {
        /// Tells actions apart.
        task: u64,
        /// What it does.
        phase: Phase,
        /// With what, e.g. a kernel's id.
        subject: String,
    },
    /// An action got further.
    Moved {
        /// Which.
        task: u64,
        /// In units of its own.
        done: u64,
        /// If known.
        total: Option<u64>,
        /// What it is at.
        message: String,
    },
    /// A plugin has answered for an action.
    Acted {
        /// Which.
        task: u64,
        /// The plugin.
        plugin: String,
        /// From the wish to the checked result.
        took: Duration,
        /// For how much of it the plugin itself worked, by its own word.
        busy: Option<Duration>,
    },
    /// An action has nothing to do.
    Kept {
        /// What it would do.
        phase: Phase,
        /// With what.
        subject: String,
        /// Why it needn't.
        why: String,
    },
    /// An action ended.
    Ended {
        /// Which.
        task: u64,
        /// How.
        end: End,
    },
    /// Something that a person should see.
    Note {
        /// How serious it is.
        level: Level,
        /// One or more lines.
        text: String,
    },
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With a result, in a few words.
    Done(String),
    /// Without having to do anything, and why.
    Kept(String),
    /// With an error.
    Failed(String),
}

/// How serious a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For the record.
    Info,
    /// Something is not as expected, the run goes on.
    Warning,
}

/// Who hears of events. Called from many threads.
pub trait Listener: Sync {
    /// Something happened.
    fn hear(&self, event: Event);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Deaf;

impl Listener for Deaf {
    fn hear(&self, _: Event) {}
}

/// The sending side of events.
#[derive(Clone, Copy)]
pub struct Events<'a> {
    listener: &'a dyn Listener,
}

impl fmt::Debug for Events<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("Events")
    }
}

impl<'a> Events<'a> {
    /// Sends to `listener`.
    pub fn new(listener: &'a dyn Listener) -> Self {
        Events { listener }
    }

    /// Says how many actions there will be.
    pub fn plan(&self, actions: u64) {
        self.listener.hear(Event::Planned { actions });
    }

    /// Begins an action. Dropping the task without an end means that it failed.
    pub fn begin(&self, phase: Phase, subject: impl Into<String>) -> Task<'a> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let task = NEXT.fetch_add(1, Ordering::Relaxed);
        self.listener.hear(Event::Began { task, phase, subject: subject.into() });
        Task { events: *self, task, ended: false }
    }

    /// Says that an action has nothing to do.
    pub fn kept(&self, phase: Phase, subject: impl Into<String>, why: impl Into<String>) {
        self.listener.hear(Event::Kept { phase, subject: subject.into(), why: why.into() });
    }

    /// Something good to know.
    pub fn info(&self, text: impl Into<String>) {
        self.listener.hear(Event::Note { level: Level::Info, text: text.into() });
    }

    /// Something that somebody should look at.
    pub fn warn(&self, text: impl Into<String>) {
        self.listener.hear(Event::Note { level: Level::Warning, text: text.into() });
    }
}

/// An action under way.
#[derive(Debug)]
pub struct Task<'a> {
    events: Events<'a>,
    task: u64,
    ended: bool,
}

impl Task<'_> {
    /// The action got further.
    pub fn moved(&self, done: u64, total: Option<u64>, message: impl Into<String>) {
        self.events.listener.hear(Event::Moved { task: self.task, done, total, message: message.into() });
    }

    /// A plugin did something for the action.
    pub fn acted(&self, plugin: &str, took: Duration, busy: Option<Duration>) {
        let plugin = plugin.to_owned();
        self.events.listener.hear(Event::Acted { task: self.task, plugin, took, busy });
    }

    /// The action gave a result.
    pub fn done(self, what: impl Into<String>) {
        self.end(End::Done(what.into()));
    }

    /// There was nothing to do.
    pub fn kept(self, why: impl Into<String>) {
        self.end(End::Kept(why.into()));
    }

    /// The action failed.
    pub fn failed(self, why: impl fmt::Display) {
        self.end(End::Failed(why.to_string()));
    }

    /// Ends with what `result` says, and gives it back.
    pub fn finish<T, E: fmt::Display>(
        self,
        result: Result<T, E>,
        done: impl FnOnce(&T) -> String,
    ) -> Result<T, E> {
        match &result {
            Ok(value) => self.done(done(value)),
            Err(error) => self.failed(error),
        }
        result
    }

    fn end(mut self, end: End) {
        self.ended = true;
        self.events.listener.hear(Event::Ended { task: self.task, end });
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let end = End::Failed("given up".to_owned());
            self.events.listener.hear(Event::Ended { task: self.task, end });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<Event>>);

    impl Listener for Heard {
        fn hear(&self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
    }

    #[test]
    fn every_task_that_began_ends() {
        let heard = Heard::default();
        let events = Events::new(&heard);
        events.begin(Phase::Fetch, "a").done("1 MB");
        drop(events.begin(Phase::Fetch, "b"));
        let ends: Vec<End> = heard
            .0
            .into_inner()
            .unwrap()
            .into_iter()
            .filter_map(|event| match event {
                Event::Ended { end, .. } => Some(end),
                _ => None,
            })
            .collect();
        assert_eq!(ends, [End::Done("1 MB".into()), End::Failed("given up".into())]);
    }
}

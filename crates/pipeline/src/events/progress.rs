//! Shows events to a person: bars on a terminal, plain lines with a sign of life elsewhere.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::events::echo;
use crate::events::{End, Event, Level, Listener, Phase};
use crate::work::stop::Stop;
use crate::work::threads::locked;

/// Silence longer than this makes people think that a run hangs.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How often bars are drawn.
const TICK: Duration = Duration::from_millis(120);
/// What stands there after the first Ctrl-C.
const STOPPING: &str = "stopping when what is under way ends; Ctrl-C again: now";

/// A view of the events, on stderr.
pub enum View {
    /// Bars that move.
    Bars(Bars),
    /// A line for each end, and a sign of life.
    Lines(Lines),
}

impl View {
    /// Bars where stderr is a terminal that can move its cursor, lines elsewhere; at most `jobs` + 1 bars.
    pub fn choose(jobs: usize, stop: &Stop) -> View {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if std::io::stderr().is_terminal() && !dumb {
            echo::off();
            View::Bars(Bars::new(ProgressDrawTarget::stderr(), jobs, stop.clone()))
        } else {
            View::Lines(Lines::new(Box::new(std::io::stderr()), HEARTBEAT, stop.clone()))
        }
    }
}

/// Columns of the terminal that stdout is; 120 for a file or a pipe.
pub fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(120)
}

impl Listener for View {
    fn hear(&self, event: Event) {
        match self {
            View::Bars(bars) => bars.hear(event),
            View::Lines(lines) => lines.hear(event),
        }
    }
}

/// One bar over all actions, and one for each action under way, at most `jobs`.
pub struct Bars {
    multi: MultiProgress,
    total: ProgressBar,
    jobs: usize,
    state: Mutex<BTreeMap<u64, Shown>>,
}

struct Shown {
    title: String,
    /// None when as many bars as allowed were there already.
    bar: Option<ProgressBar>,
}

impl Bars {
    /// Draws on `target`.
    pub fn new(target: ProgressDrawTarget, jobs: usize, stop: Stop) -> Bars {
        let multi = MultiProgress::with_draw_target(target);
        let total = multi.add(ProgressBar::new(0));
        let status = move |_: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            // A view that can't be drawn ends no run.
            let _ = out.write_str(if stop.is_told() { STOPPING } else { "actions" });
        };
        let whole = style("[{elapsed_precise}] {pos}/{len} {status} {wide_bar}");
        total.set_style(whole.with_key("status", status));
        total.enable_steady_tick(TICK);
        Bars { multi, total, jobs: jobs.max(1), state: Mutex::default() }
    }

    fn begin(&self, task: u64, phase: Phase, subject: &str) {
        let mut state = locked(&self.state);
        let title = format!("{phase:<8} {subject}");
        let under_way = state.values().filter(|shown| shown.bar.is_some()).count();
        let bar = (under_way < self.jobs).then(|| {
            let bar = self.multi.add(ProgressBar::new_spinner());
            bar.set_style(style("  {spinner} {wide_msg}"));
            bar.set_message(title.clone());
            bar.enable_steady_tick(TICK);
            bar
        });
        state.insert(task, Shown { title, bar });
    }

    fn end(&self, task: u64, end: &End) {
        let Some(Shown { title, bar }) = locked(&self.state).remove(&task) else {
            return;
        };
        if let Some(bar) = bar {
            bar.finish_and_clear();
            self.multi.remove(&bar);
        }
        self.count();
        if let End::Failed(reason) = end {
            self.say(&format!("{title}: failed: {reason}"));
        }
    }

    /// One action less to do.
    fn count(&self) {
        self.total.inc(1);
        if self.total.position() > self.total.length().unwrap_or(0) {
            self.total.set_length(self.total.position());
        }
    }

    fn say(&self, text: &str) {
        // Without a terminal there is nobody to tell.
        let _ = self.multi.println(text);
    }
}

impl Listener for Bars {
    fn hear(&self, event: Event) {
        match event {
            Event::Planned { actions } => self.total.set_length(actions),
            Event::Began { task, phase, subject } => self.begin(task, phase, &subject),
            Event::Moved { task, done, total, message } => {
                // One text, so that a narrow terminal cuts it and never wraps it.
                if let Some(Shown { title, bar: Some(bar) }) = locked(&self.state).get(&task) {
                    bar.set_message(format!("{title} {}", moved(done, total, &message)));
                }
            }
            Event::Acted { .. } => {}
            Event::Kept { .. } => self.count(),
            Event::Ended { task, end } => self.end(task, &end),
            Event::Note { level, text } => self.say(&note(level, &text)),
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.total.finish_and_clear();
        echo::restore();
    }
}

/// A line when an action ends, and one every 30 s that says what is still under way.
pub struct Lines {
    shared: Arc<Shared>,
    heart: Option<JoinHandle<()>>,
}

struct Shared {
    start: Instant,
    state: Mutex<State>,
    stop: Condvar,
}

struct State {
    out: Box<dyn Write + Send>,
    tasks: BTreeMap<u64, Running>,
    /// When something was last printed.
    last: Instant,
    stopped: bool,
}

struct Running {
    title: String,
    since: Instant,
    message: String,
}

impl Lines {
    /// Prints to `out`; with nothing printed for `heartbeat`, says what is under way.
    pub fn new(out: Box<dyn Write + Send>, heartbeat: Duration, told: Stop) -> Lines {
        let start = Instant::now();
        let state = State { out, tasks: BTreeMap::new(), last: start, stopped: false };
        let shared = Arc::new(Shared { start, state: Mutex::new(state), stop: Condvar::new() });
        let beating = Arc::clone(&shared);
        let heart = std::thread::Builder::new()
            .name("heartbeat".into())
            .spawn(move || beating.beat(heartbeat, &told))
            .ok();
        Lines { shared, heart }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        locked(&self.shared.state).stopped = true;
        self.shared.stop.notify_all();
        if let Some(heart) = self.heart.take() {
            let _ = heart.join();
        }
    }
}

impl Shared {
    fn beat(&self, every: Duration, told: &Stop) {
        let mut state = locked(&self.state);
        let mut said = false;
        while !state.stopped {
            if told.is_told() && !said {
                said = true;
                self.print(&mut state, STOPPING);
            }
            let wait = every.saturating_sub(state.last.elapsed());
            if wait.is_zero() {
                let text = state.under_way();
                self.print(&mut state, &text);
                continue;
            }
            let wait = wait.min(TICK);
            state = self.stop.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn print(&self, state: &mut State, text: &str) {
        state.last = Instant::now();
        let line = line(self.start.elapsed(), text);
        // A closed pipe must not end the run.
        let _ = state.out.write_all(line.as_bytes());
        let _ = state.out.flush();
    }
}

impl State {
    fn under_way(&self) -> String {
        const MOST: usize = 4;
        let mut words: Vec<String> = self.tasks.values().take(MOST).map(Running::shown).collect();
        if self.tasks.len() > MOST {
            words.push(format!("and {} more", self.tasks.len() - MOST));
        }
        match words.is_empty() {
            true => "still at work".to_owned(),
            false => format!("still at work: {}", words.join("; ")),
        }
    }
}

impl Running {
    fn shown(&self) -> String {
        let seconds = self.since.elapsed().as_secs();
        let message = if self.message.is_empty() { String::new() } else { format!(", {}", self.message) };
        format!("{} ({seconds} s{message})", self.title)
    }
}

impl Listener for Lines {
    fn hear(&self, event: Event) {
        let mut state = locked(&self.shared.state);
        match event {
            Event::Planned { .. } | Event::Acted { .. } | Event::Kept { .. } => {}
            Event::Began { task, phase, subject } => {
                let running = Running {
                    title: format!("{phase:<8} {subject}"),
                    since: Instant::now(),
                    message: String::new(),
                };
                state.tasks.insert(task, running);
            }
            Event::Moved { task, done, total, message } => {
                if let Some(running) = state.tasks.get_mut(&task) {
                    running.message = moved(done, total, &message);
                }
            }
            Event::Ended { task, end } => {
                let Some(Running { title, since, .. }) = state.tasks.remove(&task) else {
                    return;
                };
                let text = ended(&title, &end, since.elapsed());
                self.shared.print(&mut state, &text);
            }
            Event::Note { level, text } => self.shared.print(&mut state, &note(level, &text)),
        }
    }
}

pub(crate) fn note(level: Level, text: &str) -> String {
    match level {
        Level::Info => text.to_owned(),
        Level::Warning => format!("warning: {text}"),
    }
}

/// A line of the log, with the time since the run began.
pub(crate) fn line(at: Duration, text: &str) -> String {
    let seconds = at.as_secs();
    format!("[{:>3}:{:02}] {text}\n", seconds / 60, seconds % 60)
}

/// How an action ended, in a line.
pub(crate) fn ended(title: &str, end: &End, took: Duration) -> String {
    match end {
        End::Done(what) => format!("{title}: {what} ({:.1} s)", took.as_secs_f64()),
        End::Kept(why) => format!("{title}: nothing to do, {why}"),
        End::Failed(why) => format!("{title}: FAILED: {why}"),
    }
}

/// The share first: what comes last may not fit on the line.
fn moved(done: u64, total: Option<u64>, message: &str) -> String {
    match total {
        Some(total) if total > 0 => format!("{}% {message}", done.min(total) * 100 / total),
        _ => message.to_owned(),
    }
}

/// A template that can't be parsed would be a bug; the plain style shows the same in another shape.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Events;
    use crate::events::page::Page;

    /// Without the times.
    fn lines_of(page: &Page) -> Vec<String> {
        page.text().lines().map(|line| line[9..].to_owned()).collect()
    }

    #[test]
    fn lines_tell_ends_and_notes() {
        let page = Page::default();
        let lines = Lines::new(Box::new(page.clone()), Duration::from_secs(600), Stop::default());
        let events = Events::new(&lines);
        events.begin(Phase::Extract, "debian/12").kept("in the store");
        events.begin(Phase::Fetch, "debian/13").failed("gone");
        events.warn("look here");
        let wanted = ["extract  debian/12: nothing to do, in the store", "fetch    debian/13: FAILED: gone"];
        assert_eq!(lines_of(&page)[..2], wanted);
        assert_eq!(lines_of(&page)[2], "warning: look here");
    }

    #[test]
    fn silence_is_broken() {
        let page = Page::default();
        let lines = Lines::new(Box::new(page.clone()), Duration::from_millis(1), Stop::default());
        let events = Events::new(&lines);
        let task = events.begin(Phase::Verify, "debian/12");
        task.moved(1, Some(4), "objects");
        while !lines_of(&page).iter().any(|line| line.contains("25% objects")) {
            std::thread::yield_now();
        }
        assert!(
            lines_of(&page).iter().any(|line| line.starts_with("still at work: verify   debian/12 (0 s"))
        );
    }

    #[test]
    fn bars_stay_few() {
        let bars = Bars::new(ProgressDrawTarget::hidden(), 2, Stop::default());
        let events = Events::new(&bars);
        let tasks: Vec<_> = (0..5).map(|n| events.begin(Phase::Fetch, n.to_string())).collect();
        let shown = || locked(&bars.state).values().filter(|shown| shown.bar.is_some()).count();
        assert_eq!(shown(), 2);
        drop(tasks);
        assert_eq!(shown(), 0);
        assert_eq!((bars.total.position(), bars.total.length()), (5, Some(5)));
    }
}

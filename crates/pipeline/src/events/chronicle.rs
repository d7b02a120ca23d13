//! Events as JSON Lines, written while a run runs and read again afterwards: `btfpipe schema event`.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::events::progress::{ended, line, note};
use crate::events::{End, Event, Level, Listener};
use crate::outcome::Code;
use crate::summary::{self, Summary};
use crate::work::threads::locked;

/// The version of the format; it only gains fields.
pub const VERSION: u64 = 1;

/// Writes every event as a line.
pub struct Chronicle {
    out: Mutex<Out>,
    start: Instant,
}

struct Out {
    file: Box<dyn Write + Send>,
    /// What went wrong first; nothing is written after that.
    error: Option<std::io::Error>,
}

impl Chronicle {
    /// Writes to `file`; the first line says what runs.
    pub fn begin(file: Box<dyn Write + Send>, pipeline: &str) -> Chronicle {
        let chronicle = Chronicle { out: Mutex::new(Out { file, error: None }), start: Instant::now() };
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        chronicle.write(json!({
            "event": "run-began", "pipeline": pipeline, "program": crate::package::packaging::ENGINE,
            "time": time.map(|time| time.as_secs()).unwrap_or_default(),
        }));
        chronicle
    }

    /// Writes into a file, made anew; a pipe or /dev/fd/3 will do.
    pub fn create(path: &std::path::Path, pipeline: &std::path::Path) -> std::io::Result<Chronicle> {
        let file = std::fs::File::create(path)?;
        Ok(Chronicle::begin(Box::new(file), &pipeline.display().to_string()))
    }

    /// The last lines: what works where, and how it ended.
    pub fn end(self, summary: Option<&Summary>, code: Code, said: &str) -> std::io::Result<()> {
        if let Some(summary) = summary {
            self.write(json!({ "event": "summary", "summary": summary::to_value(summary) }));
        }
        self.write(json!({ "event": "run-ended", "code": code.number(), "said": said }));
        let out = self.out.into_inner().unwrap_or_else(PoisonError::into_inner);
        out.error.map_or(Ok(()), Err)
    }

    fn write(&self, mut line: Value) {
        let mut out = locked(&self.out);
        if out.error.is_some() {
            return;
        }
        let mut whole =
            json!({ "v": VERSION, "at_ms": u64::try_from(self.start.elapsed().as_millis()).unwrap_or(0) });
        if let (Some(whole), Some(line)) = (whole.as_object_mut(), line.as_object_mut()) {
            whole.append(line);
        }
        // Each line is written whole and at once, so that whoever reads along sees no half of one.
        let text = format!("{whole}\n");
        let written = out.file.write_all(text.as_bytes()).and_then(|()| out.file.flush());
        out.error = written.err();
    }
}

impl Listener for Chronicle {
    fn hear(&self, event: Event) {
        self.write(match event {
            Event::Planned { actions } => json!({ "event": "planned", "actions": actions }),
            Event::Began { task, phase, subject } => {
                json!({ "event": "began", "action": task, "step": phase.name(), "subject": subject })
            }
            Event::Moved { task, done, total, message } => {
                json!({ "event": "moved", "action": task, "done": done, "total": total, "message": message })
            }
            Event::Acted { task, plugin, took, busy } => {
                let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
                json!({
                    "event": "acted", "action": task, "plugin": plugin, "took_us": micros(took),
                    "busy_us": busy.map(micros),
                })
            }
            Event::Kept { phase, subject, why } => {
                json!({ "event": "kept", "step": phase.name(), "subject": subject, "why": why })
            }
            Event::Ended { task, end } => {
                let (end, text) = match end {
                    End::Done(what) => ("done", what),
                    End::Kept(why) => ("kept", why),
                    End::Failed(why) => ("failed", why),
                };
                json!({ "event": "ended", "action": task, "end": end, "text": text })
            }
            Event::Note { level, text } => {
                let level = if level == Level::Warning { "warning" } else { "info" };
                json!({ "event": "note", "level": level, "text": text })
            }
        });
    }
}

/// Several listeners as one.
pub struct All<'a>(pub Vec<&'a dyn Listener>);

impl Listener for All<'_> {
    fn hear(&self, event: Event) {
        for listener in &self.0 {
            listener.hear(event.clone());
        }
    }
}

/// An action as the events tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timed {
    /// What was done.
    pub step: String,
    /// With what.
    pub subject: String,
    /// When it began, in milliseconds from the run's beginning.
    pub began: u64,
    /// How long it took, in milliseconds.
    pub took: u64,
    /// `done`, `kept` or `failed`.
    pub end: String,
}

/// A run, read again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The actions that ran, in the order of their ends.
    pub actions: Vec<Timed>,
    /// How many actions had nothing to do.
    pub kept: u64,
    /// What a person without a terminal was told, line by line.
    pub log: String,
    /// What works where; None for a run that didn't get there.
    pub summary: Option<Summary>,
    /// The exit code; None for a run that was killed.
    pub code: Option<u64>,
    /// When the last event happened, in milliseconds.
    pub took: u64,
}

/// Why events can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct BadLine {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

impl Recorded {
    /// Reads what a [`Chronicle`] wrote. A last line that was cut off, by a kill, is no error; unknown events and
    /// fields are skipped.
    pub fn parse(text: &str) -> Result<Recorded, BadLine> {
        let mut recorded = Recorded::default();
        let mut open: Vec<(u64, Timed)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let value: Value = match serde_json::from_str(line) {
                Ok(value) => value,
                Err(_) if index + 1 == text.lines().count() && !text.ends_with('\n') => break,
                Err(error) => return Err(BadLine { line: index + 1, problem: error.to_string() }),
            };
            if value["v"].as_u64() != Some(VERSION) {
                let problem = format!("these are no events of version {VERSION}");
                return Err(BadLine { line: index + 1, problem });
            }
            recorded.take(&value, &mut open);
        }
        Ok(recorded)
    }

    fn take(&mut self, value: &Value, open: &mut Vec<(u64, Timed)>) {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let at = value["at_ms"].as_u64().unwrap_or_default();
        let action = value["action"].as_u64().unwrap_or_default();
        self.took = self.took.max(at);
        match value["event"].as_str().unwrap_or_default() {
            "began" => {
                let (step, subject) = (text("step"), text("subject"));
                open.push((action, Timed { step, subject, began: at, took: 0, end: String::new() }));
            }
            "ended" => {
                if let Some(place) = open.iter().position(|(id, _)| *id == action) {
                    let (_, timed) = open.swap_remove(place);
                    let took = at.saturating_sub(timed.began);
                    let end = match text("end").as_str() {
                        "failed" => End::Failed(text("text")),
                        "kept" => End::Kept(text("text")),
                        _ => End::Done(text("text")),
                    };
                    let title = format!("{:<8} {}", timed.step, timed.subject);
                    self.tell(at, &ended(&title, &end, Duration::from_millis(took)));
                    self.actions.push(Timed { took, end: text("end"), ..timed });
                }
            }
            "kept" => self.kept += 1,
            "note" => {
                let level = if text("level") == "warning" { Level::Warning } else { Level::Info };
                self.tell(at, &note(level, &text("text")));
            }
            "summary" => self.summary = summary::from_value(&value["summary"]),
            "run-ended" => {
                self.code = value["code"].as_u64();
                self.tell(at, &text("said"));
            }
            _ => {}
        }
    }

    fn tell(&mut self, at: u64, text: &str) {
        self.log.push_str(&line(Duration::from_millis(at), text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::page::Page;
    use crate::events::{Events, Phase};

    #[test]
    fn what_is_written_is_read() {
        let page = Page::default();
        let chronicle = Chronicle::begin(Box::new(page.clone()), "p.yaml");
        let events = Events::new(&chronicle);
        events.plan(3);
        let task = events.begin(Phase::Fetch, "debian/12");
        task.moved(1, Some(2), "half\n\"way\"");
        task.acted("mine", Duration::from_millis(3), Some(Duration::from_micros(1500)));
        task.done("1 MB");
        events.begin(Phase::Verify, "debian/13").failed("no");
        events.kept(Phase::Minimize, "debian/11", "in the store");
        events.warn("look");
        let summary = crate::summary::tests::example();
        chronicle.end(Some(&summary), Code::Failed, "something FAILED").unwrap();
        let text = page.text();
        assert!(
            text.contains(r#""event":"acted","action":1,"plugin":"mine","took_us":3000,"busy_us":1500}"#),
            "{text}"
        );
        let recorded = Recorded::parse(&text).unwrap();
        let seen: Vec<(&str, &str)> =
            recorded.actions.iter().map(|timed| (timed.step.as_str(), timed.end.as_str())).collect();
        assert_eq!(seen, [("fetch", "done"), ("verify", "failed")]);
        assert_eq!((recorded.kept, recorded.code), (1, Some(1)));
        let told: Vec<&str> = recorded.log.lines().map(|line| &line[9..]).collect();
        let wanted = ["verify   debian/13: FAILED: no", "warning: look", "something FAILED"];
        assert!(told[0].starts_with("fetch    debian/12: 1 MB (") && told[1..] == wanted, "{told:?}");
        assert_eq!(recorded.summary, Some(summary));
        // Cut off anywhere, it is still read as far as it goes.
        for end in [0, 10, text.len() / 2, text.len() - 5] {
            assert!(Recorded::parse(&text[..text.floor_char_boundary(end)]).is_ok(), "{end}");
        }
        assert_eq!(Recorded::parse("{}\n{\n").unwrap_err().line, 1);
        assert_eq!(Recorded::parse(&format!("{text}x\n")).unwrap_err().line, text.lines().count() + 1);
    }

    #[test]
    fn a_full_disk_is_told_at_the_end() {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let chronicle = Chronicle::begin(Box::new(full), "p.yaml");
        Events::new(&chronicle).warn("nobody reads this");
        assert!(chronicle.end(None, Code::Ok, "").is_err());
    }
}

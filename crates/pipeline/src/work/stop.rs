//! Being told to stop: nothing new is begun, what is under way ends, and what was done stays done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::events::echo;
use crate::outcome::Code;

/// Whether to stop. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Stops at the first SIGINT or SIGTERM; at the second the process ends at once, with exit code 130.
    pub fn on_signals() -> std::io::Result<Stop> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let stop = Stop::default();
        let told = stop.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for _ in signals.forever() {
                if told.is_told() {
                    echo::restore();
                    std::process::exit(i32::from(Code::Interrupted.number()));
                }
                told.tell();
            }
        })?;
        Ok(stop)
    }

    /// Stops.
    pub fn tell(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody said stop.
    pub fn is_told(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The same for those who look at it themselves.
    pub fn flag(&self) -> &AtomicBool {
        &self.0
    }

    /// Waits this long, or until somebody says stop.
    pub fn wait(&self, time: Duration) {
        const LOOK: Duration = Duration::from_millis(50);
        let end = Instant::now() + time;
        while !self.is_told() {
            match end.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => std::thread::sleep(left.min(LOOK)),
                _ => return,
            }
        }
    }
}

//! Keys that the terminal doesn't show while bars are drawn: a `^C` would move the cursor, and the bars with it.

use std::io::{Stderr, stderr};
use std::sync::Mutex;

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

use crate::work::threads::locked;

/// The terminal as it was, while it is not as it was.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Control characters are no longer shown on the terminal that stderr is.
pub fn off() {
    let mut before = locked(&BEFORE);
    if before.is_some() || !is_ours(&stderr()) {
        return;
    }
    if let Ok(now) = tcgetattr(stderr()) {
        let mut quiet = now.clone();
        quiet.local_modes.remove(LocalModes::ECHOCTL);
        if tcsetattr(stderr(), OptionalActions::Now, &quiet).is_ok() {
            *before = Some(now);
        }
    }
}

/// The terminal is as it was.
pub fn restore() {
    if let Some(before) = locked(&BEFORE).take().filter(|_| is_ours(&stderr())) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(stderr(), OptionalActions::Now, &before);
    }
}

/// Whoever changes a terminal from the background is stopped.
fn is_ours(terminal: &Stderr) -> bool {
    tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp())
}

//! Asks the program with the older libbpf.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::fork::{Ended, in_child};
use crate::pass::{Outcome, Pass, end_of, read_outcome};
use crate::request::Request;
use crate::wire::{OLD_LIBBPF, PassEnd};

/// It watches the time of a load itself; this is for all around it.
const MARGIN: Duration = Duration::from_secs(5);

/// The version string of its libbpf; `None` where the program is not there.
pub fn version() -> Option<String> {
    if !Path::new(OLD_LIBBPF).exists() {
        return None;
    }
    let said = ask(&Request::Version, 0);
    Some(match said {
        Ok(Ended::Wrote(version)) => String::from_utf8_lossy(&version).into_owned(),
        other => format!("does not start: {:?}", end_of(other, 0)),
    })
}

/// The pass, made there.
pub fn run(pass: &Pass<'_>) -> Outcome {
    let end = match ask(&Request::Load(*pass), pass.seconds) {
        Ok(Ended::Wrote(answer)) => match read_outcome(&answer) {
            Some(outcome) => return outcome,
            None => PassEnd::Lost { code: 0 },
        },
        other => end_of(other, pass.seconds),
    };
    Outcome::ended(end, None)
}

/// What its libbpf says about every relocation.
pub fn relocation_log(pass: &Pass<'_>) -> String {
    match ask(&Request::Explain(*pass), pass.seconds) {
        Ok(Ended::Wrote(log)) => String::from_utf8_lossy(&log).into_owned(),
        _ => String::new(),
    }
}

fn ask(request: &Request<'_>, seconds: u32) -> io::Result<Ended> {
    let question = serde_json::to_string(request)?;
    let deadline = Instant::now() + Duration::from_secs(seconds.into()) + MARGIN;
    in_child(deadline, |out| {
        let answer =
            Command::new(OLD_LIBBPF).arg(question).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
        if !answer.status.success() {
            return Err(io::Error::other(format!("{OLD_LIBBPF}: {}", answer.status)));
        }
        out.write_all(&answer.stdout)
    })
}

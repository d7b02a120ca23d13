//! The same loads with an older libbpf, which many users still link: a program that PID 1 starts for each.
//!
//! Two libbpfs can't be in one program, nor in one lock file: the folder `old` beside this one has another Cargo.toml
//! for the same sources.
#![allow(dead_code, reason = "PID 1 uses the rest")]

#[path = "../../src/attached.rs"]
mod attached;
mod compare;
mod complaint;
mod fork;
mod libbpf;
#[path = "load_at_once.rs"]
mod load;
mod log;
mod maps;
mod pass;
mod request;
#[path = "../../src/wire.rs"]
mod wire;

use std::io::{self, Write};
use std::process::ExitCode;

use request::Request;

fn main() -> ExitCode {
    let question = std::env::args().nth(1).unwrap_or_default();
    let answered = match serde_json::from_str(&question) {
        Ok(request) => answer(&request),
        Err(error) => Err(io::Error::other(format!("PID 1 starts this, with a request: {error}"))),
    };
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("btfpipe guest, libbpf {}: {error}", libbpf::version());
            ExitCode::FAILURE
        }
    }
}

fn answer(request: &Request<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match request {
        Request::Version => out.write_all(libbpf::version().as_bytes())?,
        Request::Load(pass) => pass::write_outcome(&mut out, &pass::run(pass))?,
        Request::Explain(pass) => out.write_all(pass::relocation_log(pass).as_bytes())?,
    }
    out.flush()
}

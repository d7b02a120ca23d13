//! PID 1 of the virtual machine: relocates and loads BPF objects through libbpf and tells the host what came of it.
//!
//! It only supervises; libbpf runs in forked children ([`pass`]), since a damaged BTF may crash it, and the kernel
//! panics when PID 1 dies.

mod check;
mod compare;
mod complaint;
mod explain;
mod fork;
mod libbpf;
mod log;
mod maps;
mod pass;
mod results;
mod setup;
#[path = "../../src/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;

use rustix::system::{RebootCommand, reboot, uname};

use check::Checker;
use results::Results;
use wire::{Hello, MANIFEST, Manifest, Message};

/// Seconds for one pass when the host does not say.
const SECONDS: u32 = 45;

fn main() {
    if std::process::id() != 1 {
        eprintln!("this is PID 1 of btfpipe's virtual machines; libbpf {}", libbpf::version());
        std::process::exit(2);
    }
    if let Err(error) = run() {
        eprintln!("btfpipe guest: {error}");
    }
    let _ = reboot(RebootCommand::PowerOff);
    // Returning would panic the kernel, which ends the machine as well.
}

fn run() -> io::Result<()> {
    setup::system()?;
    let device = env::var(wire::RESULTS_ENV).unwrap_or_else(|_| "/dev/ttyS1".to_owned());
    let mut results =
        Results::open(&device).map_err(|error| io::Error::other(format!("open {device}: {error}")))?;
    if let Err(error) = serve(&mut results) {
        results.send(&Message::Fatal { reason: error.to_string() })?;
    }
    results.drain()
}

fn serve(results: &mut Results) -> io::Result<()> {
    let kernel = uname().release().to_string_lossy().into_owned();
    setup::kernel_config(&kernel)?;
    let manifest: Manifest = serde_json::from_slice(&fs::read(MANIFEST)?)?;
    let count = manifest.checks.len() as u32;
    let btf = setup::kernel_btf();
    results.send(&Message::Hello(Hello {
        nonce: env::var(wire::NONCE_ENV).unwrap_or_default(),
        kernel,
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        libbpf: libbpf::version(),
        btf,
        checks: count,
    }))?;
    let seconds = env::var(wire::SECONDS_ENV).ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let mut checker = Checker { kernel_has_btf: btf.is_some(), seconds, full: BTreeMap::new() };
    for (index, entry) in (0..).zip(&manifest.checks) {
        results.send(&Message::Begin { check: index })?;
        checker.run(index, entry, results)?;
    }
    results.send(&Message::Done { count })
}

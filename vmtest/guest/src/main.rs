//! PID 1 of the virtual machine: relocates and loads BPF objects through libbpf and tells the host what came of it.
//!
//! It only supervises; libbpf runs in forked children ([`pass`]), since a damaged BTF may crash it, and the kernel
//! panics when PID 1 dies.

mod attach;
#[path = "../../src/attached.rs"]
mod attached;
mod check;
mod compare;
mod complaint;
mod explain;
mod fork;
mod libbpf;
mod load;
mod log;
mod maps;
mod memory;
mod old_libbpf;
mod pass;
mod request;
mod results;
mod session;
mod setup;
#[path = "../../src/supply.rs"]
mod supply;
#[path = "../../src/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;

use rustix::system::{RebootCommand, reboot, uname};

use attached::token;
use check::Checker;
use memory::SharedMemory;
use results::Results;
use wire::{Hello, MANIFEST, Manifest, Message, Session};

/// Seconds for one pass when the host does not say.
const SECONDS: u32 = 45;

fn main() {
    if std::process::id() != 1 {
        // Also what a deed starts, see [`attach`].
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

/// The checks, and what the host wants to see of them.
struct Order {
    manifest: Manifest,
    nonce: String,
    seconds: u32,
}

fn serve(results: &mut Results) -> io::Result<()> {
    let kernel = uname().release().to_string_lossy().into_owned();
    // Before the machine's state may be kept, so that it is done once.
    let btf = setup::kernel_btf();
    let session = session::find()?;
    let order = match session {
        Some(_) => order_of_boot(),
        None => order(results)?,
    };
    setup::kernel_config(&kernel)?;
    let count = order.manifest.checks.len() as u32;
    let nonce = order.nonce.clone();
    let hello = Hello {
        nonce: order.nonce,
        kernel,
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        libbpf: libbpf::version(),
        old_libbpf: old_libbpf::version(),
        btf,
        checks: count,
    };
    if let Some(session) = session {
        return run_session(&session, hello, results);
    }
    results.send(&Message::Hello(hello))?;
    let mut checker =
        Checker { kernel_has_btf: btf.is_some(), seconds: order.seconds, full: BTreeMap::new() };
    let attach = order.manifest.attach.then_some(nonce);
    for (index, entry) in (0..).zip(&order.manifest.checks) {
        results.send(&Message::Begin { check: index })?;
        let token = attach.as_deref().map(|nonce| token(nonce, index));
        checker.run(index, entry, token.as_deref(), results)?;
    }
    results.send(&Message::Done { count })
}

/// Someone at a terminal sees nothing of the protocol.
fn run_session(session: &Session, hello: Hello, results: &mut Results) -> io::Result<()> {
    if session.terminal {
        return session::run(session, results.tty()).map(drop);
    }
    results.send(&Message::Hello(hello))?;
    let code = session::run(session, results.tty())?;
    results.send(&Message::Exit { code })
}

/// What the kernel's command line says.
fn order_of_boot() -> Order {
    let seconds = env::var(wire::SECONDS_ENV).ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let nonce = env::var(wire::NONCE_ENV).unwrap_or_default();
    Order { manifest: Manifest { checks: Vec::new(), attach: false }, nonce, seconds }
}

/// From the initramfs and the kernel's command line; or from the shared memory, when the host says that it is there.
fn order(results: &mut Results) -> io::Result<Order> {
    let order = order_of_boot();
    if env::var_os(wire::SUPPLY_ENV).is_some() {
        // Before the machine's state may be kept, too.
        let memory = SharedMemory::map()?;
        results.send(&Message::Waiting { nonce: order.nonce })?;
        results.wait_for(wire::GO)?;
        results.restart();
        let work = memory.unpack_work()?;
        return Ok(Order { manifest: work.manifest, nonce: work.nonce, seconds: work.seconds });
    }
    Ok(Order { manifest: serde_json::from_slice(&fs::read(MANIFEST)?)?, ..order })
}

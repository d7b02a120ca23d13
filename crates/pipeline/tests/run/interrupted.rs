//! A run that is told to stop.

use std::sync::atomic::{AtomicU32, Ordering};

use pipeline::events::{Event, Events, Listener, Phase};
use pipeline::kernel::works::Tools;
use pipeline::outcome::Code;
use pipeline::run::run;
use pipeline::work::stop::Stop;

use crate::fixture::World;

/// Says stop when an action of this phase begins for the so-and-so-many-th time.
struct Impatient {
    stop: Stop,
    phase: Phase,
    left: AtomicU32,
}

impl Listener for Impatient {
    fn hear(&self, event: Event) {
        if matches!(event, Event::Began { phase, .. } if phase == self.phase)
            && self.left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            self.stop.tell();
        }
    }
}

#[test]
fn what_was_done_stays_done() {
    let whole = World::new();
    whole.run().unwrap();
    for (phase, wanted) in [
        (Phase::Fetch, "interrupted: 1 kernels are done; 1 kernels, all packages are left; run again"),
        (Phase::Minimize, "interrupted: 1 kernels are done; 1 kernels, all packages are left; run again"),
    ] {
        let mut world = World::new();
        world.options.jobs = 1;
        let stop = Stop::default();
        world.options.patience.stop = stop.clone();
        let listener = Impatient { stop, phase, left: AtomicU32::new(1) };
        let compiler =
            |_: &std::path::Path, _: kernels::Arch| -> Result<Vec<u8>, String> { Err("none".to_owned()) };
        let tools = Tools { sources: &world.source, compiler: &compiler, events: Events::new(&listener) };
        let error = run(&world.options, tools).unwrap_err();
        assert_eq!((error.code(), error.code().number()), (Code::Interrupted, 130));
        assert!(error.to_string().starts_with(wanted), "{error}");
        assert!(!world.has("dist/SHA256SUMS"));
        world.options.patience.stop = Stop::default();
        let next = world.run().unwrap();
        assert_eq!((next.code, next.actions.ran("minimize")), (Code::Ok, 1));
        for name in ["SHA256SUMS", "manifest.json", "summary.json", "test-x86_64.tar.zst"] {
            let name = format!("dist/{name}");
            assert!(world.read(&name) == whole.read(&name), "{name}");
        }
    }
}

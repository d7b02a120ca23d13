//! Many kernels: a run with nothing to do must cost next to nothing.

use std::time::{Duration, Instant};

use pipeline::outcome::Code;

use crate::fixture::{World, program};

/// In a run with nothing to do, for a thousand kernels, on the machine of a developer.
const LIMIT: Duration = Duration::from_millis(300);

#[test]
fn a_thousand_kernels_with_nothing_to_do() {
    let measured = std::env::var_os("BTFPIPE_ENDURANCE").is_some();
    let count: usize = if measured { 1000 } else { 100 };
    let world = World::new();
    // Both kernels of the fixture, and as many more as it takes.
    for number in 2..count {
        let id = format!("debian/12/x86_64/6.1.0-{}-cloud-amd64", 100 + number);
        // Each with another BTF: equal ones are minimized once.
        world.offer("bookworm", &id, 24 + 4 * number as u32);
    }
    let first = world.run().unwrap();
    assert_eq!((first.code, first.actions.ran("minimize")), (Code::Ok, count));
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        let second = world.run().unwrap();
        best = best.min(start.elapsed());
        assert_eq!((second.actions.ran("minimize"), second.actions.ran("package")), (0, 0));
    }
    eprintln!("a run with nothing to do over {count} kernels: {} ms", best.as_millis());
    assert!(!measured || best < LIMIT, "{best:?}");
    world.write("pipelines/programs/b.bpf.o", &program(&["flags"]));
    let third = world.run().unwrap();
    assert_eq!((third.actions.ran("minimize"), third.actions.ran("package")), (count, 2));
}

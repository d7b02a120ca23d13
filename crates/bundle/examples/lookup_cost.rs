//! `lookup_cost PACK RELEASE`: what finding the BTF of one kernel costs, from opening the file to its checked bytes.
//!
//! Fails when it takes more than a millisecond of processor time or 2 MB of memory. Build it without default features,
//! as a loader would.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use bundle::{Arch, Pack, Query};

const ROUNDS: usize = 15;
const MOST_NANOSECONDS: u64 = 1_000_000;
const MOST_BYTES: usize = 2 << 20;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, with a count of what is held.
struct Counting;

// SAFETY: every call is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Processor time of this thread, in nanoseconds. The kernel adds up when it is entered to schedule, so it is.
fn processor_time() -> Result<u64, Box<dyn std::error::Error>> {
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().ok_or("no schedstat")?.parse()?)
}

/// The most memory that this process had, in KiB.
fn peak() -> Result<u64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?.parse()?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, release] = &arguments[..] else {
        return Err("usage: lookup_cost PACK RELEASE".into());
    };
    let query = Query::new(Arch::X86_64, release.as_str());
    let lookup = || -> Result<(usize, String), bundle::PackError> {
        let pack = Pack::open(path)?;
        let hit = pack.find(&query)?;
        Ok((pack.btf(&hit.kernel)?.len(), hit.rule.to_string()))
    };
    let mut times = Vec::new();
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let (mut bytes, mut rule) = (0, String::new());
    for _ in 0..ROUNDS {
        let start = processor_time()?;
        (bytes, rule) = lookup()?;
        times.push(processor_time()? - start);
    }
    let memory = PEAK.load(Ordering::Relaxed) - before;
    let first = times[0];
    times.sort_unstable();
    let median = times[ROUNDS / 2];
    println!("{bytes} bytes of BTF by rule {rule}");
    println!(
        "processor time: {} us the first time, {} us in the middle of {ROUNDS}",
        first / 1000,
        median / 1000
    );
    println!("memory: {} KiB at most; the whole process {} KiB", memory / 1024, peak()?);
    if median == 0 {
        return Err("the kernel counts no processor time here: nothing was measured".into());
    }
    if median > MOST_NANOSECONDS || memory > MOST_BYTES {
        return Err("over a millisecond or 2 MB".into());
    }
    Ok(())
}

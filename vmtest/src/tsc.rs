//! How fast this machine's time stamp counter runs: an emulated x86_64 machine shows its guest the same.

use std::sync::OnceLock;

/// Thousands of ticks a second, measured once in a process; `None` where there is no such counter.
pub fn khz() -> Option<u64> {
    static KHZ: OnceLock<Option<u64>> = OnceLock::new();
    *KHZ.get_or_init(measure)
}

/// The middle one of several: a pause between the looks at the two clocks spoils a stretch, not most of them.
#[cfg(target_arch = "x86_64")]
fn measure() -> Option<u64> {
    let mut stretches: Vec<u64> = (0..5).filter_map(|_| measure_once()).collect();
    stretches.sort_unstable();
    stretches.get(stretches.len() / 2).copied()
}

#[cfg(target_arch = "x86_64")]
fn measure_once() -> Option<u64> {
    use std::time::{Duration, Instant};

    /// A pause in the middle of it is in both clocks.
    const STRETCH: Duration = Duration::from_millis(2);
    let (start, first) = (Instant::now(), counter());
    while start.elapsed() < STRETCH {
        std::hint::spin_loop();
    }
    let (took, last) = (start.elapsed(), counter());
    let ticks = u128::from(last.checked_sub(first)?);
    let khz = u64::try_from(ticks * 1_000_000 / took.as_nanos()).ok()?;
    // A counter that is slower than any processor is a broken one.
    (khz > 100_000).then_some(khz)
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn counter() -> u64 {
    // SAFETY: every x86_64 processor has the instruction.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn measure() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_much_the_same_twice() {
        let (first, second) = (measure(), measure());
        assert_eq!(first.is_some(), cfg!(target_arch = "x86_64"));
        let (first, second) = (first.unwrap_or_default(), second.unwrap_or_default());
        assert!(first.abs_diff(second) <= first / 10, "{first} and {second} kHz");
    }
}

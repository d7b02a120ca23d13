//! How slow this machine is now: limits that tell a dead guest from a slow one are multiplied by it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::spec::Limits;

/// A loop that an idle processor of 2020 does in [`USUAL`].
const ROUNDS: u32 = 10_000_000;
const USUAL: Duration = Duration::from_millis(20);
/// A machine that is slower than this has no business booting kernels.
const SLOWEST: u32 = 8;

/// 1 on a machine as fast as usual, up to 8 on a slow or a busy one.
pub fn slowness() -> u32 {
    let start = Instant::now();
    let mut state = 1_u64;
    for _ in 0..ROUNDS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state);
    factor(start.elapsed())
}

fn factor(took: Duration) -> u32 {
    let times = took.as_micros().div_ceil(USUAL.as_micros());
    u32::try_from(times).unwrap_or(SLOWEST).clamp(1, SLOWEST)
}

impl Limits {
    /// For a machine that is so much slower.
    pub(crate) fn scaled(self, factor: u32) -> Self {
        let Limits { console, console_kvm, ready, check } = self;
        Limits {
            console: console.saturating_mul(factor),
            console_kvm: console_kvm.saturating_mul(factor),
            ready: ready.saturating_mul(factor),
            check: check.saturating_mul(factor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_grow_with_slowness_and_have_an_end() {
        let check = |millis, expect| assert_eq!(factor(Duration::from_millis(millis)), expect, "{millis}");
        check(0, 1);
        check(20, 1);
        check(21, 2);
        check(95, 5);
        check(100_000, 8);
        let limits = Limits::default();
        assert_eq!(limits.scaled(3).ready, limits.ready * 3);
        assert!((1..=SLOWEST).contains(&slowness()));
    }
}

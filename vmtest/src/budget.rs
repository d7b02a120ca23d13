//! How many machines run at once: no more than processors, and than memory that is free.

use std::fs;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// What QEMU takes beside the guest's memory.
const QEMU_MIB: u64 = 160;
/// Where the machine does not say what is free.
const FREE_MIB: u64 = 2048;

static IN_USE: Mutex<InUse> = Mutex::new(InUse { machines: 0, mib: 0 });
static GIVEN_BACK: Condvar = Condvar::new();

#[derive(Debug, Clone, Copy)]
struct InUse {
    machines: u64,
    mib: u64,
}

/// A machine's share; dropped, the next one may start.
#[derive(Debug)]
pub struct Share {
    mib: u64,
}

/// Waits until a machine with so much memory fits in; one always does.
pub fn take(memory_mib: u32) -> Share {
    let mib = u64::from(memory_mib) + QEMU_MIB;
    let mut in_use = lock();
    while !in_use.admits(mib, processors(), free_mib()) {
        in_use = GIVEN_BACK.wait(in_use).unwrap_or_else(PoisonError::into_inner);
    }
    in_use.machines += 1;
    in_use.mib += mib;
    Share { mib }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut in_use = lock();
        in_use.machines -= 1;
        in_use.mib -= self.mib;
        GIVEN_BACK.notify_all();
    }
}

impl InUse {
    /// A machine takes its memory page by page: what the others were promised still seems free.
    fn admits(self, mib: u64, processors: u64, free_mib: u64) -> bool {
        self.machines == 0 || (self.machines < processors && self.mib + mib <= free_mib)
    }
}

fn lock() -> MutexGuard<'static, InUse> {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn processors() -> u64 {
    thread::available_parallelism().map_or(1, |count| count.get() as u64)
}

fn free_mib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kib.map_or(FREE_MIB, |kib| kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_machine_always_runs() {
        let none = InUse { machines: 0, mib: 0 };
        assert!(none.admits(4096, 1, 512));
        let one = InUse { machines: 1, mib: 512 };
        assert!(!one.admits(512, 1, 8192));
        assert!(one.admits(512, 2, 1024));
        assert!(!one.admits(513, 2, 1024));
    }

    #[test]
    fn shares_are_given_back() {
        let share = take(64);
        assert!(lock().machines >= 1);
        drop(share);
        // The next one gets in, whatever other tests hold.
        drop(take(64));
    }
}

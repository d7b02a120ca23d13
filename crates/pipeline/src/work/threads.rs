//! Threads that go through a list together, and values that several of them touch.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What `work` makes of each item, on `count` threads, in the order of the items. None for those that were not begun,
/// since `go_on` said no.
///
/// Threads of their own: most of what they do is waiting for a network, a plugin or a machine.
pub(crate) fn through<T: Sync, R: Send>(
    items: &[T],
    count: usize,
    go_on: impl Fn() -> bool + Sync,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<Option<R>> {
    let next = AtomicUsize::new(0);
    let made: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let go = || {
        while go_on() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            let result = work(item);
            *locked(&made[index]) = Some(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..count.min(items.len()) {
            scope.spawn(go);
        }
    });
    made.into_iter().map(|one| one.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}

/// A panic elsewhere must not hide what else happens.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn each_item_once_and_in_order() {
        for count in [0, 1, 3, 100] {
            let items: Vec<usize> = (0..20).collect();
            let made = through(&items, count, || true, |item| item * 2);
            let wanted: Vec<Option<usize>> =
                items.iter().map(|item| (count > 0).then_some(item * 2)).collect();
            assert_eq!(made, wanted, "{count}");
        }
    }

    #[test]
    fn nothing_is_begun_once_it_is_enough() {
        let enough = AtomicBool::new(false);
        let work = |item: &u32| {
            enough.fetch_or(*item == 2, Ordering::SeqCst);
            *item
        };
        let made = through(&[1, 2, 3, 4], 1, || !enough.load(Ordering::SeqCst), work);
        assert_eq!(made, [Some(1), Some(2), None, None]);
    }
}

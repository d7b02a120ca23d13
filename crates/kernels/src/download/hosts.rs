//! How many requests a host gets at once.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Counts the requests to each host.
#[derive(Debug)]
pub(super) struct Hosts {
    limit: usize,
    busy: Mutex<BTreeMap<String, usize>>,
    left: Condvar,
}

/// A request's place; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    hosts: &'a Hosts,
    host: String,
}

impl Hosts {
    pub(super) fn new(limit: usize) -> Hosts {
        Hosts { limit: limit.max(1), busy: Mutex::default(), left: Condvar::new() }
    }

    /// Waits for a place.
    pub(super) fn enter(&self, host: &str) -> Slot<'_> {
        let is_full = |busy: &mut BTreeMap<String, usize>| {
            busy.get(host).is_some_and(|requests| *requests >= self.limit)
        };
        let mut busy = self.left.wait_while(self.lock(), is_full).unwrap_or_else(PoisonError::into_inner);
        *busy.entry(host.to_owned()).or_default() += 1;
        Slot { hosts: self, host: host.to_owned() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut busy = self.hosts.lock();
        if let Some(requests) = busy.get_mut(&self.host) {
            *requests -= 1;
            if *requests == 0 {
                busy.remove(&self.host);
            }
        }
        drop(busy);
        self.hosts.left.notify_all();
    }
}

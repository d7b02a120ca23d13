//! How long, how often, how many at once.

use std::time::Duration;

/// How downloads behave. [`Settings::default`] is right for public mirrors.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Make no request, open no socket.
    pub offline: bool,
    /// Requests to one host at a time, at least 1.
    pub per_host: usize,
    /// Until a connection stands.
    pub connect: Duration,
    /// Without any byte, the request is given up and made again.
    pub stall: Duration,
    /// With fewer bytes a second than this over [`Settings::slow_over`], too.
    pub slow: u64,
    /// How long a server may be slow.
    pub slow_over: Duration,
    /// Requests that may fail one after the other without bringing any byte, after the first one.
    pub retries: u32,
    /// Requests for one file to one mirror, whatever they bring.
    pub attempts: u32,
    /// The wait before the first repetition; it doubles each time.
    pub backoff: Duration,
    /// The longest wait, also when a server asks for more: then it counts as failed.
    pub longest_wait: Duration,
    /// Redirects that are followed.
    pub redirects: usize,
    /// Waits. Tests bring their own.
    pub pause: fn(Duration),
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            offline: false,
            per_host: 4,
            connect: Duration::from_secs(20),
            stall: Duration::from_secs(30),
            slow: 1024,
            slow_over: Duration::from_secs(60),
            retries: 5,
            attempts: 200,
            backoff: Duration::from_millis(500),
            longest_wait: Duration::from_secs(120),
            redirects: 10,
            pause: std::thread::sleep,
        }
    }
}

impl Settings {
    /// The wait before a repetition: 0.5 s, 1 s, 2 s …
    pub(super) fn wait(&self, in_vain: u32) -> Duration {
        let doublings = in_vain.saturating_sub(1).min(16);
        self.backoff.saturating_mul(1 << doublings).min(self.longest_wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let settings = Settings::default();
        let waits = [0, 1, 2, 3, 20, u32::MAX].map(|in_vain| settings.wait(in_vain).as_millis());
        assert_eq!(waits, [500, 500, 1000, 2000, 120_000, 120_000]);
    }
}

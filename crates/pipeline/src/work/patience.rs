//! Trying again what may work when tried again, and nothing else.

use std::time::Duration;

use plugin::Class;

use crate::events::Events;
use crate::lock::sources::SourceError;
use crate::work::stop::Stop;

/// How often to try again, and how long to wait in between.
#[derive(Debug, Clone)]
pub struct Patience {
    /// How often; 0 for never.
    pub retries: u32,
    /// The first wait; each later one is twice as long.
    pub pause: Duration,
    /// Ends a wait.
    pub stop: Stop,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { retries: 2, pause: Duration::from_secs(2), stop: Stop::default() }
    }
}

impl Patience {
    /// Asks, and asks again while the trouble may pass. The number of the attempt reaches nobody: no key has it.
    pub fn ask<T>(
        &self,
        what: &str,
        events: Events<'_>,
        mut ask: impl FnMut() -> Result<T, SourceError>,
    ) -> Result<T, SourceError> {
        let mut pause = self.pause;
        for retry in 1..=self.retries {
            match ask() {
                Err(error) if error.class == Class::Transient && !self.stop.is_told() => {
                    let seconds = pause.as_secs_f32();
                    let count = self.retries;
                    events.warn(format!("{what}: {error}; trying again in {seconds} s ({retry} of {count})"));
                    self.stop.wait(pause);
                    pause *= 2;
                }
                other => return other,
            }
        }
        ask()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Deaf;

    fn asked(retries: u32, class: Class, good_at: u32) -> (u32, bool) {
        let patience = Patience { retries, pause: Duration::ZERO, stop: Stop::default() };
        let mut count = 0;
        let answer = patience.ask("x", Events::new(&Deaf), || {
            count += 1;
            match count == good_at {
                true => Ok(()),
                false => Err(SourceError { class, message: "no".into(), help: None, at: None }),
            }
        });
        (count, answer.is_ok())
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert_eq!(asked(2, Class::Transient, 3), (3, true));
        assert_eq!(asked(2, Class::Transient, 9), (3, false));
        assert_eq!(asked(0, Class::Transient, 9), (1, false));
        for class in [Class::User, Class::Tool, Class::Gone] {
            assert_eq!(asked(2, class, 3), (1, false));
        }
    }

    #[test]
    fn a_stop_ends_the_waiting() {
        let patience = Patience { pause: Duration::from_secs(3600), ..Patience::default() };
        patience.stop.tell();
        let no = || {
            Err::<(), _>(SourceError { class: Class::Transient, message: "no".into(), help: None, at: None })
        };
        assert!(patience.ask("x", Events::new(&Deaf), no).is_err());
    }
}

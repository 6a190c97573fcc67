//! How often it is tried to reach a Redis that is away.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::duration::jittered;

/// The first and the longest time from one attempt to the next.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long a connection must have served before the next loss counts as the first one: two beats of
/// the process, so that also one that nobody else uses was answered.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// When the next attempt is due. It outlasts a connection that serves for a moment only.
#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
    due: Instant,
}

impl Backoff {
    /// The first attempt is due at once.
    pub(super) fn new() -> Self {
        Self {
            pause: PAUSE.0,
            due: Instant::now(),
        }
    }

    /// Waits until the next attempt is due. From the beginning of one to that of the next it takes a
    /// second at most, unless the one takes longer.
    pub(super) async fn turn(&mut self) {
        sleep_until(self.next_after(Instant::now())).await;
    }

    fn next_after(&mut self, now: Instant) -> Instant {
        let (pause_min, pause_max) = PAUSE;
        if now.saturating_duration_since(self.due) >= STEADY_AFTER {
            // Nothing was tried for so long, because there was no need.
            self.pause = pause_min;
        }
        let next = self.due.max(now);
        self.due = next + jittered(self.pause);
        self.pause = (self.pause * 2).min(pause_max);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rarer_until_a_connection_has_served_for_long() {
        let mut backoff = Backoff::new();
        let mut now = backoff.due;
        let (first, longest) = PAUSE;
        let mut pause = first;
        for _ in 0..10 {
            assert_eq!(backoff.next_after(now), now, "it was due");
            // It serves at once, and is lost as soon.
            let next = backoff.due;
            assert!((pause / 2..=pause).contains(&(next - now)), "{pause:?}");
            now = next;
            pause = (pause * 2).min(longest);
        }
        now += STEADY_AFTER / 2;
        assert_eq!(backoff.next_after(now), now);
        assert!(backoff.due - now >= longest / 2, "that was not for long");
        now = backoff.due + STEADY_AFTER;
        assert_eq!(backoff.next_after(now), now);
        assert!(backoff.due - now <= first);
    }

    #[test]
    fn an_attempt_that_took_long_is_followed_by_the_next_at_once() {
        let mut backoff = Backoff::new();
        let began = backoff.next_after(backoff.due);
        let ended = began + Duration::from_secs(1);
        assert_eq!(backoff.next_after(ended), ended);
    }
}

//! How many requests may be under way: one more as long as that costs the site nothing, fewer when it slows down, half
//! as many when it asks for fewer.

use std::time::Duration;

use tokio::time::Instant;

/// Answers may take this much longer than a quick one, in addition to three times as long.
const SLACK: Duration = Duration::from_millis(30);
const FIRST_PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Window {
    size: f64,
    most: f64,
    /// The window has met the site's limit once; it grows slowly from then on.
    met: bool,
    /// How long a quick answer takes, in seconds.
    quick: f64,
    /// How long answers take of late, in seconds.
    usual: f64,
    hold: Option<Instant>,
}

impl Window {
    pub(super) fn new(at_once: usize) -> Self {
        let most = f64::from(u32::try_from(at_once.max(1)).unwrap_or(u32::MAX));
        Self { size: most.min(2.0), most, met: false, quick: f64::INFINITY, usual: 0.0, hold: None }
    }

    pub(super) fn has_room(&self, under_way: usize) -> bool {
        f64::from(u32::try_from(under_way).unwrap_or(u32::MAX)) + 1.0 <= self.size
    }

    /// Until when nothing is to be asked.
    pub(super) fn holds(&mut self, now: Instant) -> Option<Instant> {
        self.hold = self.hold.filter(|hold| *hold > now);
        self.hold
    }

    /// An answer began after so long.
    pub(super) fn answered(&mut self, after: Duration) {
        let after = after.as_secs_f64();
        // What was quick once need not be so for ever.
        self.quick = (self.quick * 1.02).min(after);
        self.usual = if self.usual > 0.0 { self.usual * 0.8 + after * 0.2 } else { after };
        if self.usual > self.quick * 3.0 + SLACK.as_secs_f64() {
            self.met = true;
            self.size = (self.size - 1.0 / self.size).max(1.0);
        } else {
            let more = if self.met { 1.0 / self.size } else { 1.0 };
            self.size = (self.size + more).min(self.most);
        }
    }

    /// The site asked for fewer requests, so many times in a row by now. The pause is multiplied by `spread`, so that
    /// those who were refused together do not come back together.
    pub(super) fn throttled(&mut self, now: Instant, times: u32, spread: f64) {
        self.met = true;
        // Those that were under way together are told together, and count once.
        if self.holds(now).is_none() {
            self.size = (self.size / 2.0).max(1.0);
        }
        let pause = (FIRST_PAUSE * 2_u32.saturating_pow(times.saturating_sub(1).min(8))).mul_f64(spread);
        self.hold = Some(now + pause).max(self.hold);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(window: &Window) -> usize {
        (0..1_000).take_while(|n| window.has_room(*n)).count()
    }

    #[test]
    fn it_opens_as_far_as_it_may_while_answers_stay_quick() {
        let mut window = Window::new(16);
        assert_eq!(room(&window), 2);
        for _ in 0..20 {
            window.answered(Duration::from_millis(20));
        }
        assert_eq!(room(&window), 16);
        assert_eq!(room(&Window::new(0)), 1);
    }

    #[test]
    fn it_closes_when_answers_become_slow() {
        let mut window = Window::new(16);
        for _ in 0..20 {
            window.answered(Duration::from_millis(10));
        }
        for _ in 0..60 {
            window.answered(Duration::from_millis(200));
        }
        assert!(room(&window) < 14, "{}", room(&window));
    }

    #[test]
    fn it_halves_and_waits_when_asked_to() {
        let mut window = Window::new(8);
        for _ in 0..20 {
            window.answered(Duration::from_millis(10));
        }
        let now = Instant::now();
        window.throttled(now, 1, 1.0);
        assert_eq!(room(&window), 4);
        assert_eq!(window.holds(now), Some(now + Duration::from_millis(200)));
        for _ in 0..9 {
            window.throttled(now, 3, 1.0);
        }
        assert_eq!(room(&window), 4);
        assert_eq!(window.holds(now), Some(now + Duration::from_millis(800)));
        assert_eq!(window.holds(now + Duration::from_millis(800)), None);
        for later in 1..9 {
            window.throttled(now + later * Duration::from_secs(1), 1, 1.0);
        }
        assert_eq!(room(&window), 1);
    }
}

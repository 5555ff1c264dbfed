//! When a connection is probed, drained and closed: a state machine over times, without any I/O.

use std::time::Duration;

use tokio::time::Instant;

use super::config::Keepalive;
use super::limits::{DRAIN_IDLE_MAX, WRITE_STALL_MAX};

/// `time` where the configuration says 0 (grpc-go).
const TIME_DEFAULT: Duration = Duration::from_secs(2 * 60 * 60);
/// `timeout` where the configuration says 0 (grpc-go).
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(20);
/// `min_time` where the configuration says 0 (grpc-go).
const MIN_TIME_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// Shortest time between pings of a client that has no call in flight and is not permitted to ping then (grpc-go).
const MIN_TIME_WITHOUT_STREAM: Duration = Duration::from_secs(2 * 60 * 60);
/// Pings too many that a client is forgiven until something is sent to it (grpc-go).
const STRIKES_MAX: u32 = 2;
/// When to look again if nothing at all is due, which only absurdly long durations bring about.
const LOOK_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// The rules of all connections of a server; every duration is set.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    idle: Option<Duration>,
    age: Option<Duration>,
    age_grace: Option<Duration>,
    time: Duration,
    timeout: Duration,
    min_time: Duration,
    permit_without_stream: bool,
}

/// What has to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing before the given time.
    Wait(Instant),
    /// Send a ping.
    Ping,
    /// Tell the client to open no more streams, and close when the last call is over.
    Drain(&'static str),
    /// Close. The client reads, so it gets to hear what was written last.
    Close(&'static str),
    /// Close at once: nobody seems to read at the other end.
    Cut(&'static str),
}

/// The clock of one connection.
#[derive(Debug)]
pub(super) struct Clock {
    rules: Rules,
    last_read: Instant,
    /// When the ping in flight was sent.
    pinged: Option<Instant>,
    idle_since: Option<Instant>,
    age_limit: Option<Instant>,
    draining: Option<Draining>,
    stalled_since: Option<Instant>,
    last_client_ping: Option<Instant>,
    strikes: u32,
    answered: bool,
}

#[derive(Debug)]
struct Draining {
    since: Instant,
    /// When calls in flight are cut.
    cut: Option<Instant>,
}

impl Rules {
    pub(super) fn new(config: &Keepalive) -> Self {
        let or = |duration: spanbridge_config::Duration, default| {
            if duration.is_zero() { default } else { duration.get() }
        };
        let limit = |duration: spanbridge_config::Duration| (!duration.is_zero()).then(|| duration.get());
        let server = &config.server_parameters;
        Self {
            idle: limit(server.max_connection_idle),
            age: limit(server.max_connection_age),
            age_grace: limit(server.max_connection_age_grace),
            time: or(server.time, TIME_DEFAULT),
            timeout: or(server.timeout, TIMEOUT_DEFAULT),
            min_time: or(config.enforcement_policy.min_time, MIN_TIME_DEFAULT),
            permit_without_stream: config.enforcement_policy.permit_without_stream,
        }
    }
}

impl Clock {
    /// A connection that opened at `now`. `jitter` (0 to 1) spreads the ages of connections by 10% to either side.
    pub(super) fn new(rules: Rules, now: Instant, jitter: f64) -> Self {
        let age_limit =
            rules.age.and_then(|age| now.checked_add(age.mul_f64(0.9 + jitter.clamp(0.0, 1.0) / 5.0)));
        Self {
            rules,
            last_read: now,
            pinged: None,
            idle_since: Some(now),
            age_limit,
            draining: None,
            stalled_since: None,
            last_client_ping: None,
            strikes: 0,
            answered: false,
        }
    }

    /// Something was read.
    pub(super) fn on_read(&mut self, now: Instant) {
        self.last_read = now;
        self.pinged = None;
    }

    /// The number of calls in flight is now `calls`.
    pub(super) fn on_calls(&mut self, now: Instant, calls: usize) {
        if calls > 0 {
            self.idle_since = None;
        } else if self.idle_since.is_none() {
            self.idle_since = Some(now);
        }
    }

    /// A call was answered, which resets the count of pings too many.
    pub(super) fn on_answer(&mut self) {
        self.answered = true;
    }

    /// Whether what is to be written waits for the client to read.
    pub(super) fn on_write(&mut self, now: Instant, stalled: bool) {
        self.stalled_since = stalled.then(|| self.stalled_since.unwrap_or(now));
    }

    /// A ping of ours is on its way.
    pub(super) fn on_ping_sent(&mut self, now: Instant) {
        self.pinged = Some(now);
    }

    /// The client pinged; false when it does so too often.
    pub(super) fn on_client_ping(&mut self, now: Instant, calls: usize) -> bool {
        let last = self.last_client_ping.replace(now);
        if std::mem::take(&mut self.answered) {
            self.strikes = 0;
            return true;
        }
        let min_time = if calls == 0 && !self.rules.permit_without_stream {
            MIN_TIME_WITHOUT_STREAM
        } else {
            self.rules.min_time
        };
        if last.is_some_and(|last| now.saturating_duration_since(last) < min_time) {
            self.strikes += 1;
        }
        self.strikes <= STRIKES_MAX
    }

    /// The connection drains from now on; its calls may go on until `cut`.
    pub(super) fn drain(&mut self, now: Instant, cut: Option<Instant>) {
        match &mut self.draining {
            Some(draining) => draining.cut = [draining.cut, cut].into_iter().flatten().min(),
            None => self.draining = Some(Draining { since: now, cut }),
        }
    }

    /// What is to be done at `now`.
    pub(super) fn action(&mut self, now: Instant) -> Action {
        let after = |since: Option<Instant>, time: Duration| since.and_then(|since| since.checked_add(time));
        let rules = &self.rules;
        let silent = if self.pinged.is_none() { Some(self.last_read) } else { None };
        let (cut, drained, age, idle) = match &self.draining {
            Some(draining) => {
                (draining.cut, self.idle_since.map(|since| since.max(draining.since)), None, None)
            }
            None => (None, None, self.age_limit, rules.idle.and_then(|idle| after(self.idle_since, idle))),
        };
        // In the order in which they count when several are due.
        let due = [
            (after(self.stalled_since, WRITE_STALL_MAX), Action::Cut("the client does not read")),
            (after(self.pinged, rules.timeout), Action::Cut("the client does not answer keepalive pings")),
            (cut, Action::Close("the grace period is over")),
            (after(drained, DRAIN_IDLE_MAX), Action::Close("drained")),
            (age, Action::Drain("max_connection_age")),
            (idle, Action::Drain("max_connection_idle")),
            (after(silent, rules.time), Action::Ping),
        ];
        if let Some((_, action)) = due.iter().find(|(at, _)| at.is_some_and(|at| at <= now)) {
            if matches!(action, Action::Drain(_)) {
                let grace = self.rules.age_grace.filter(|_| age.is_some_and(|at| at <= now));
                self.drain(now, grace.and_then(|grace| now.checked_add(grace)));
            }
            return *action;
        }
        let next = due.iter().filter_map(|(at, _)| *at).min();
        Action::Wait(next.unwrap_or_else(|| now + LOOK_AGAIN))
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{KeepaliveEnforcement, KeepaliveParameters};
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn clock(parameters: KeepaliveParameters, policy: KeepaliveEnforcement) -> (Clock, Instant) {
        let now = Instant::now();
        let keepalive = Keepalive { server_parameters: parameters, enforcement_policy: policy };
        (Clock::new(Rules::new(&keepalive), now, 0.5), now)
    }

    #[test]
    fn a_silent_client_is_pinged_and_closed_unless_it_answers() {
        let (mut clock, start) = clock(
            KeepaliveParameters { time: secs(10).into(), timeout: secs(2).into(), ..Default::default() },
            KeepaliveEnforcement::default(),
        );
        assert_eq!(clock.action(start), Action::Wait(start + secs(10)));
        assert_eq!(clock.action(start + secs(10)), Action::Ping);
        clock.on_ping_sent(start + secs(10));
        assert_eq!(clock.action(start + secs(11)), Action::Wait(start + secs(12)));
        clock.on_read(start + secs(11));
        assert_eq!(clock.action(start + secs(12)), Action::Wait(start + secs(21)));
        clock.on_ping_sent(start + secs(21));
        assert!(matches!(clock.action(start + secs(23)), Action::Cut(_)));
    }

    #[test]
    fn zero_times_mean_the_defaults_of_grpc_go() {
        let (mut clock, start) = clock(KeepaliveParameters::default(), KeepaliveEnforcement::default());
        assert_eq!(clock.action(start + secs(7199)), Action::Wait(start + secs(7200)));
        clock.on_ping_sent(start + secs(7200));
        assert_eq!(clock.action(start + secs(7200)), Action::Wait(start + secs(7220)));
    }

    #[test]
    fn an_idle_connection_drains_and_a_busy_one_does_not() {
        let (mut clock, start) = clock(
            KeepaliveParameters { max_connection_idle: secs(5).into(), ..Default::default() },
            KeepaliveEnforcement::default(),
        );
        clock.on_calls(start, 1);
        assert!(matches!(clock.action(start + secs(100)), Action::Wait(_)));
        clock.on_calls(start + secs(100), 0);
        clock.on_calls(start + secs(103), 0);
        assert_eq!(clock.action(start + secs(104)), Action::Wait(start + secs(105)));
        assert_eq!(clock.action(start + secs(105)), Action::Drain("max_connection_idle"));
        assert_eq!(clock.action(start + secs(105)), Action::Wait(start + secs(105) + DRAIN_IDLE_MAX));
        assert_eq!(clock.action(start + secs(105) + DRAIN_IDLE_MAX), Action::Close("drained"));
    }

    #[test]
    fn an_old_connection_drains_and_its_calls_are_cut_after_the_grace() {
        let (mut clock, start) = clock(
            KeepaliveParameters {
                max_connection_age: secs(100).into(),
                max_connection_age_grace: secs(7).into(),
                ..Default::default()
            },
            KeepaliveEnforcement::default(),
        );
        clock.on_calls(start, 1);
        clock.on_read(start + secs(100));
        assert_eq!(clock.action(start + secs(100)), Action::Drain("max_connection_age"));
        assert_eq!(clock.action(start + secs(101)), Action::Wait(start + secs(107)));
        assert!(matches!(clock.action(start + secs(107)), Action::Close(_)));
    }

    #[test]
    fn ages_are_spread_by_a_tenth() {
        let parameters = KeepaliveParameters { max_connection_age: secs(100).into(), ..Default::default() };
        let keepalive = Keepalive { server_parameters: parameters, ..Default::default() };
        let start = Instant::now();
        for (jitter, age) in [(0.0, 90), (0.5, 100), (1.0, 110)] {
            let mut clock = Clock::new(Rules::new(&keepalive), start, jitter);
            clock.on_read(start + secs(89));
            let Action::Wait(at) = clock.action(start + secs(89)) else { panic!("not yet due") };
            assert!(at.duration_since(start).abs_diff(secs(age)) < Duration::from_millis(1));
        }
    }

    #[test]
    fn the_third_ping_too_many_is_one_too_many() {
        let (mut clock, start) = clock(
            KeepaliveParameters::default(),
            KeepaliveEnforcement { min_time: secs(10).into(), permit_without_stream: false },
        );
        assert!(clock.on_client_ping(start, 1), "the first has no predecessor");
        assert!(clock.on_client_ping(start + secs(10), 1), "slow enough");
        assert!(clock.on_client_ping(start + secs(11), 1));
        assert!(clock.on_client_ping(start + secs(12), 1));
        assert!(!clock.on_client_ping(start + secs(13), 1));
    }

    #[test]
    fn an_answer_forgives_pings() {
        let (mut clock, start) = clock(KeepaliveParameters::default(), KeepaliveEnforcement::default());
        for second in 0..100 {
            assert!(clock.on_client_ping(start + secs(second), 1));
            clock.on_answer();
        }
    }

    #[test]
    fn pings_without_calls_need_permission() {
        let policy =
            |permit_without_stream| KeepaliveEnforcement { min_time: secs(1).into(), permit_without_stream };
        let (mut strict, start) = clock(KeepaliveParameters::default(), policy(false));
        let tolerated = (0..10).take_while(|i| strict.on_client_ping(start + secs(2 * i), 0)).count();
        assert_eq!(tolerated, 3);
        let (mut lenient, start) = clock(KeepaliveParameters::default(), policy(true));
        assert!((0..10).all(|i| lenient.on_client_ping(start + secs(2 * i), 0)));
    }

    #[test]
    fn a_client_that_does_not_read_is_closed() {
        let (mut clock, start) = clock(KeepaliveParameters::default(), KeepaliveEnforcement::default());
        clock.on_write(start, true);
        clock.on_write(start + secs(59), true);
        assert_eq!(clock.action(start + secs(59)), Action::Wait(start + WRITE_STALL_MAX));
        assert!(matches!(clock.action(start + WRITE_STALL_MAX), Action::Cut(_)));
        clock.on_write(start + secs(61), false);
        assert!(matches!(clock.action(start + secs(61)), Action::Wait(_)));
    }
}

//! One heartbeat for each thread; a thread that dies or falls silent ends the process.
//!
//! librdkafka's `max.poll.interval.ms` is no substitute: with split queues, every poll of any
//! partition feeds it, so one live thread hides a dead one (rd_kafka_q_pop sets `rk_ts_last_poll`
//! for each queue that has RD_KAFKA_Q_F_CONSUMER).

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{error::Error, shutdown::Shutdown};

/// How long a thread may be silent. Every wait in the engine is shorter.
pub const SILENCE_MAX: Duration = Duration::from_secs(50);

/// The beats of one thread.
#[derive(Debug)]
pub struct Heart {
    name: String,
    started: Instant,
    last_beat_ms: AtomicU64,
}

impl Heart {
    /// The heart of a thread that no watchdog sees: a command that somebody waits for.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), started: Instant::now(), last_beat_ms: AtomicU64::new(0) }
    }

    /// The thread is alive and gets somewhere.
    pub fn beat(&self) {
        self.last_beat_ms.store(self.started.elapsed().as_millis() as u64, Relaxed);
    }

    fn silence(&self) -> Duration {
        let last = Duration::from_millis(self.last_beat_ms.load(Relaxed));
        self.started.elapsed().saturating_sub(last)
    }
}

/// Sees the beats of all threads of an engine.
#[derive(Clone, Debug, Default)]
pub struct Watchdog {
    hearts: Arc<Mutex<Vec<Weak<Heart>>>>,
    looks: Arc<Mutex<Option<Looks>>>,
    shutdown: Shutdown,
}

/// When the watchdog looked.
#[derive(Clone, Copy, Debug)]
struct Looks {
    last: Instant,
    /// Since when it has looked without a pause.
    awake_since: Instant,
}

/// A watchdog that has not looked for so long was frozen itself, and the whole process with it.
const PAUSE_MAX: Duration = Duration::from_secs(5);

impl Watchdog {
    /// A watchdog that reports to `shutdown`.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { hearts: Arc::default(), looks: Arc::default(), shutdown }
    }

    /// Starts a thread under watch: its panic is a failure of the engine, and so is its silence.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn(
        &self,
        name: &str,
        body: impl FnOnce(&Heart) + Send + 'static,
    ) -> Result<JoinHandle<()>, Error> {
        let heart = Arc::new(Heart::new(name));
        {
            let mut hearts = self.hearts.lock().unwrap_or_else(PoisonError::into_inner);
            hearts.retain(|heart| heart.strong_count() > 0);
            hearts.push(Arc::downgrade(&heart));
        }
        let shutdown = self.shutdown.clone();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let guard = PanicGuard { shutdown, heart: &heart };
                body(&heart);
                drop(guard);
            })
            .map_err(|error| Error::software(format!("cannot start thread {name}: {error}")))
    }

    /// The name of a thread that has been silent for too long.
    pub fn silent(&self) -> Option<(String, Duration)> {
        let awake = self.look(Instant::now());
        let hearts = self.hearts.lock().unwrap_or_else(PoisonError::into_inner);
        hearts
            .iter()
            .filter_map(Weak::upgrade)
            .map(|heart| (heart.name.clone(), heart.silence().min(awake)))
            .find(|(_, silence)| *silence > SILENCE_MAX)
    }
}

impl Watchdog {
    /// How long it has looked without a pause. After a SIGCONT, all threads get their time anew.
    fn look(&self, now: Instant) -> Duration {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let awake_since = match *looks {
            Some(Looks { last, awake_since }) if now - last < PAUSE_MAX => awake_since,
            _ => now,
        };
        *looks = Some(Looks { last: now, awake_since });
        now - awake_since
    }
}

struct PanicGuard<'a> {
    shutdown: Shutdown,
    heart: &'a Heart,
}

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.shutdown.fail(Error::software(format!("thread {} panicked", self.heart.name)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_panicking_thread_is_a_failure_of_the_engine() {
        let shutdown = Shutdown::default();
        let watchdog = Watchdog::new(shutdown.clone());
        let handle = watchdog.spawn("doomed", |_| panic!("on purpose")).unwrap();
        assert!(handle.join().is_err());
        let failure = shutdown.failure().unwrap();
        assert_eq!(failure.kind, ErrorKind::Software);
        assert!(failure.message.contains("doomed"), "{failure}");
    }

    #[test]
    fn a_process_that_was_frozen_is_not_taken_for_a_silent_thread() {
        let watchdog = Watchdog::new(Shutdown::default());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(watchdog.look(at(0)), Duration::ZERO);
        assert_eq!(watchdog.look(at(4)), Duration::from_secs(4));
        assert_eq!(watchdog.look(at(94)), Duration::ZERO);
        assert_eq!(watchdog.look(at(96)), Duration::from_secs(2));
    }

    #[test]
    fn a_thread_that_ends_is_no_longer_watched() {
        let watchdog = Watchdog::new(Shutdown::default());
        watchdog.spawn("short", |heart| heart.beat()).unwrap().join().unwrap();
        assert_eq!(watchdog.silent(), None);
        assert!(watchdog.hearts.lock().unwrap().iter().all(|h| h.upgrade().is_none()));
    }
}

//! The last warnings and errors, by kind: for `/status`, and so that one and the same does not fill the log.
//!
//! Of the process, as its log is. What is told again within [`QUIET`] is counted and not written; the count
//! is written when that time is over.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Kinds that are remembered.
const KINDS_MAX: usize = 20;
/// The log's name of the lines that tell of repeats.
pub const REPEATED: &str = "tidegate::repeated";
/// How long the log does not repeat itself.
pub const QUIET: Duration = Duration::from_secs(10);

/// One kind of warning or error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// What it is about: a source, a sink, a lane; else the part of the program.
    pub place: String,
    /// What happened.
    pub message: String,
    /// How often.
    pub count: u64,
    /// When it was told last.
    pub last: Instant,
    /// When it was last written to the log, and how often it was told since then.
    written: Instant,
    unwritten: u64,
}

/// Those of one process, the newest first.
#[derive(Debug, Default)]
struct Incidents(VecDeque<Incident>);

static INCIDENTS: Mutex<Incidents> = Mutex::new(Incidents(VecDeque::new()));

/// It happened `count` times. True if it is worth a line in the log.
pub fn note(place: &str, message: &str, count: u64) -> bool {
    lock(|incidents| incidents.note(place, message, count, Instant::now()))
}

/// The last kinds, the newest first.
pub fn recent() -> Vec<Incident> {
    lock(|incidents| incidents.0.iter().cloned().collect())
}

/// Writes what was told more often than it was written, where its time of quiet is over.
pub fn write_repeats() {
    for (Incident { place, message, .. }, times) in lock(|all| all.repeats(Instant::now())) {
        let seconds = QUIET.as_secs();
        tracing::warn!(target: REPEATED, "{place}: {message} ({times} times more in {seconds} s)");
    }
}

fn lock<T>(with: impl FnOnce(&mut Incidents) -> T) -> T {
    with(&mut INCIDENTS.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Incidents {
    fn note(&mut self, place: &str, message: &str, count: u64, now: Instant) -> bool {
        let is_it = |known: &Incident| known.place == place && known.message == message;
        let known = self.0.iter().position(is_it).and_then(|at| self.0.remove(at));
        let mut incident = known.unwrap_or_else(|| Incident {
            place: place.to_owned(),
            message: message.to_owned(),
            count: 0,
            last: now,
            written: now,
            unwritten: 0,
        });
        let is_new = incident.count == 0;
        incident.count += count;
        incident.last = now;
        let is_due =
            is_new || incident.unwritten == 0 && now.duration_since(incident.written) >= QUIET;
        if is_due {
            incident.written = now;
        } else {
            incident.unwritten += count;
        }
        self.0.push_front(incident);
        self.0.truncate(KINDS_MAX);
        is_due
    }

    /// Each once, with the number.
    fn repeats(&mut self, now: Instant) -> Vec<(Incident, u64)> {
        let is_due = |incident: &&mut Incident| {
            incident.unwritten > 0 && now.duration_since(incident.written) >= QUIET
        };
        let told = self.0.iter_mut().filter(is_due).map(|incident| {
            incident.written = now;
            let unwritten = std::mem::take(&mut incident.unwritten);
            (incident.clone(), unwritten)
        });
        told.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_written_once_and_counted() {
        let (start, mut incidents) = (Instant::now(), Incidents::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(incidents.note("sink a", "away", 1, at(0)));
        assert!(incidents.note("sink b", "away", 1, at(1)));
        for second in 1..4 {
            assert!(!incidents.note("sink a", "away", 1, at(second)));
        }
        assert_eq!(incidents.repeats(at(9)), []);
        let told = incidents.repeats(at(10));
        assert_eq!(told.iter().map(|(i, n)| (&*i.place, *n)).collect::<Vec<_>>(), [("sink a", 3)]);
        assert_eq!(incidents.repeats(at(30)), []);
        assert!(incidents.note("sink a", "away", 1, at(31)), "quiet for long enough");
        let kinds: Vec<_> = incidents.0.iter().map(|i| (&*i.place, i.count)).collect();
        assert_eq!(kinds, [("sink a", 5), ("sink b", 1)]);
    }

    #[test]
    fn only_the_last_kinds_are_kept() {
        let (now, mut incidents) = (Instant::now(), Incidents::default());
        for number in 0..30 {
            incidents.note("x", &number.to_string(), 1, now);
        }
        assert_eq!(incidents.0.len(), KINDS_MAX);
        assert_eq!(incidents.0[0].message, "29");
    }
}

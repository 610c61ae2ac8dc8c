//! The instances and their supervisor, who does what docs/operations.md promises to suffice: starts
//! again what ended with a code that is worth it.

use std::{
    collections::BTreeMap,
    process::ExitStatus,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    error::Error,
    findings::Findings,
    instance::{Instance, Lanes, Launch},
    wait::within,
};

const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// As supervisors do.
const RESTART_PAUSE: Duration = Duration::from_millis(500);
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);
/// How long a stop may take: the drain (5 s here), the last commit (5 s), the consumer's close.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Codes that docs/operations.md calls not worth a restart, and the end that nobody asked for.
const FINAL_CODES: [i32; 5] = [0, 64, 65, 77, 78];

/// Empty while somebody holds the instance to end it.
type Slot = Mutex<Option<Arc<Instance>>>;

pub(crate) struct Fleet {
    launch: Launch,
    /// The last one is for an instance that comes and goes.
    slots: Vec<Slot>,
    /// Where the admin server of each slot's instance listens.
    ports: Vec<u16>,
    facts: Mutex<Facts>,
}

/// What is told at the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Ends by themselves, by exit code; each was started again.
    pub(crate) restarts: BTreeMap<i32, u64>,
    pub(crate) longest_stop: Duration,
    pub(crate) peak_memory_bytes: u64,
    /// Looks at a lane's counts.
    pub(crate) samples: u64,
}

impl Fleet {
    pub(crate) fn start(launch: Launch, instances: u32) -> Result<Self, Error> {
        let ports = (0..=instances).map(|_| stack::free_port()).collect::<stack::Result<_>>()?;
        let slots = (0..=instances).map(|_| Mutex::new(None)).collect();
        let fleet = Self { launch, slots, ports, facts: Mutex::default() };
        for slot in 0..fleet.len() {
            *lock(&fleet.slots[slot]) = fleet.start_in(slot)?;
        }
        Ok(fleet)
    }

    fn start_in(&self, slot: usize) -> Result<Option<Arc<Instance>>, Error> {
        Ok(Some(Arc::new(self.launch.start(self.ports[slot])?)))
    }

    /// Instances that are always there.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - 1
    }

    pub(crate) fn facts(&self) -> Facts {
        lock(&self.facts).clone()
    }

    pub(crate) fn instance(&self, slot: usize) -> Option<Arc<Instance>> {
        lock(&self.slots[slot]).clone()
    }

    /// What each of them says of itself, of those that answer.
    pub(crate) fn statuses(&self) -> Vec<(u32, Value)> {
        let instances = (0..self.slots.len()).filter_map(|slot| self.instance(slot));
        instances.filter_map(|instance| Some((instance.number, instance.status()?))).collect()
    }

    /// `kill -9`, and the next one at once.
    pub(crate) fn kill(&self, slot: usize, findings: &Findings) -> Result<(), Error> {
        let mut place = lock(&self.slots[slot]);
        if let Some(instance) = place.take()
            && !self.has_ended(&instance, findings)
        {
            instance.program().kill()?;
        }
        *place = self.start_in(slot)?;
        Ok(())
    }

    /// SIGTERM, and the next one when it has ended.
    pub(crate) fn terminate(&self, slot: usize, findings: &Findings) -> Result<(), Error> {
        self.end(slot, findings)?;
        *lock(&self.slots[slot]) = self.start_in(slot)?;
        Ok(())
    }

    /// One more than always, until [`Self::shrink`].
    pub(crate) fn grow(&self) -> Result<(), Error> {
        *lock(&self.slots[self.len()]) = self.start_in(self.len())?;
        Ok(())
    }

    pub(crate) fn shrink(&self, findings: &Findings) -> Result<(), Error> {
        self.end(self.len(), findings)
    }

    /// SIGTERM, and waits for an orderly end.
    fn end(&self, slot: usize, findings: &Findings) -> Result<(), Error> {
        let Some(instance) = lock(&self.slots[slot]).take() else { return Ok(()) };
        if self.has_ended(&instance, findings) {
            return Ok(());
        }
        let since = Instant::now();
        let number = instance.number;
        match instance.program().terminate(STOP_MAX) {
            Ok(status) if status.success() => {
                let mut facts = lock(&self.facts);
                facts.longest_stop = facts.longest_stop.max(since.elapsed());
            }
            // It may have been about to end by itself.
            Ok(status) => self.account(&instance, status, findings),
            Err(error @ stack::Error::NotStopped { .. }) => {
                findings.add(format!("tidegate-{number}: {error}"));
                instance.program().kill()?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Whether it ended by itself; then that is on the record.
    fn has_ended(&self, instance: &Instance, findings: &Findings) -> bool {
        let status = instance.exit_status();
        if let Some(status) = status {
            self.account(instance, status, findings);
        }
        status.is_some()
    }

    fn account(&self, instance: &Instance, status: ExitStatus, findings: &Findings) {
        match status.code() {
            Some(code) if !FINAL_CODES.contains(&code) => {
                *lock(&self.facts).restarts.entry(code).or_default() += 1;
            }
            _ => findings.add(format!(
                "tidegate-{} ended with {status}; the end of its log:\n{}",
                instance.number,
                instance.program().log_tail()
            )),
        }
    }

    /// Starts again what ends, until told to stop.
    pub(crate) fn supervise(&self, stop: &AtomicBool, findings: &Findings) -> Result<(), Error> {
        while !stop.load(Relaxed) {
            for (slot, place) in self.slots.iter().enumerate() {
                let mut place = lock(place);
                let Some(instance) = place.as_ref() else { continue };
                if self.has_ended(instance, findings) {
                    thread::sleep(RESTART_PAUSE);
                    *place = self.start_in(slot)?;
                }
            }
            thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    /// Holds every lane of every instance to its law, until told to stop.
    pub(crate) fn sample(&self, stop: &AtomicBool, findings: &Findings) {
        while !stop.load(Relaxed) {
            for slot in 0..self.slots.len() {
                if let Some(instance) = self.instance(slot) {
                    self.sample_one(&instance, findings);
                }
            }
            thread::sleep(SAMPLE_INTERVAL);
        }
    }

    fn sample_one(&self, instance: &Instance, findings: &Findings) {
        if let Ok(bytes) = instance.program().peak_memory_bytes() {
            let mut facts = lock(&self.facts);
            facts.peak_memory_bytes = facts.peak_memory_bytes.max(bytes);
        }
        let Some(status) = instance.status() else { return };
        lock(&self.facts).samples += 1;
        for lane in Lanes::of(&status).unbalanced {
            findings.add(format!("tidegate-{}: records unaccounted for: {lane}", instance.number));
        }
    }

    /// Waits until all are as if nothing had happened: ready, with nothing in flight, every lane in
    /// balance. Instances that end meanwhile are for the supervisor.
    pub(crate) fn await_rest(&self, limit: Duration) -> Result<(), Error> {
        within(limit, "every tidegate is ready and at rest", || {
            let statuses = self.statuses();
            let is_at_rest =
                |status: &Value| status["ready"] == true && Lanes::of(status) == Lanes::default();
            match statuses.iter().find(|(_, status)| !is_at_rest(status)) {
                Some((number, status)) => Err(format!("tidegate-{number}: {status}")),
                None if statuses.len() < self.len() => Err("one does not answer".to_owned()),
                None => Ok(()),
            }
        })
    }

    /// Ends all of them in order.
    pub(crate) fn finish(&self, findings: &Findings) -> Result<(), Error> {
        (0..self.slots.len()).try_for_each(|slot| self.end(slot, findings))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

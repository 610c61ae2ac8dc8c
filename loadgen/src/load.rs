//! A whole run against Kafka: opens the topic, starts the threads, watches them, sums up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::producer::BaseProducer;

use crate::counts::Counts;
use crate::delivery::{Deliveries, Reports};
use crate::error::LoadError;
use crate::finish_line::FinishLine;
use crate::ledger::{Ledger, PartitionEntry};
use crate::profile::Profile;
use crate::progress::Progress;
use crate::topic::{Creation, Topic};
use crate::worker::{Output, Run, Worker};

/// What to produce, where to and for how long.
#[derive(Debug, Clone)]
pub struct Load {
    pub brokers: String,
    pub topic: String,
    /// `partitions` is what a missing topic is created with; an existing one keeps its own.
    pub profile: Profile,
    pub replication: u32,
    pub count: Option<u64>,
    pub rate: Option<f64>,
    pub duration: Option<Duration>,
    pub compression: String,
    /// Producing threads; `None` leaves it to the machine.
    pub threads: Option<u32>,
    /// Further properties of the Kafka client.
    pub properties: Vec<(String, String)>,
    pub show_progress: bool,
}

/// How a run went.
#[derive(Debug)]
pub struct Report {
    pub ledger: Ledger,
    /// Bytes of keys and values, before compression.
    pub bytes: u64,
    /// From the first record to the last acknowledgement.
    pub elapsed: Duration,
    /// Why the ledger is not complete.
    pub error: Option<LoadError>,
}

/// How often the caller's wish to stop is looked at.
const STOP_CHECK: Duration = Duration::from_millis(100);

impl Load {
    /// Runs the load until it is done or `stop` is set; then too, all that was sent is
    /// acknowledged before this returns. A failure once records flow is in the report, with what
    /// is known by then.
    pub fn run(&self, stop: &AtomicBool) -> Result<Report, LoadError> {
        self.run_counting(stop, &AtomicU64::new(0))
    }

    /// [`Load::run`] that lets others see how far it is: `acknowledged` follows the number of
    /// records that the broker has acknowledged.
    pub fn run_counting(
        &self,
        stop: &AtomicBool,
        acknowledged: &AtomicU64,
    ) -> Result<Report, LoadError> {
        // Which partitions there are, only the broker knows.
        Profile { hot_partition: None, ..self.profile.clone() }.validate()?;
        let config = self.client_config();
        let topic = self.open_topic()?;
        let mut profile = self.profile.clone();
        profile.partitions = topic.watermarks.len() as u32;
        profile.validate()?;
        let threads = self.threads(profile.partitions);
        let run = Arc::new(Run {
            topic: topic.name.clone(),
            profile,
            rate: self.rate,
            threads,
            started: Instant::now(),
            finish_line: FinishLine::new(self.count),
            failed: AtomicBool::new(false),
        });
        let (finished, outputs) = mpsc::channel();
        let deliveries = start_workers(&config, &run, finished)?;
        let outputs = self.watch(&run, stop, &outputs, &deliveries, acknowledged)?;
        let elapsed = run.started.elapsed();
        Ok(sum_up(&topic, &run, &deliveries, outputs, elapsed))
    }

    /// Finds the topic, or makes it.
    pub(crate) fn open_topic(&self) -> Result<Topic, LoadError> {
        let creation =
            Creation { partitions: self.profile.partitions, replication: self.replication };
        Topic::open(&self.client_config(), &self.brokers, &self.topic, creation)
    }

    fn threads(&self, partitions: u32) -> u32 {
        // One thread fills most brokers; on a large machine two or four keep ahead of it.
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        self.threads.unwrap_or_else(|| (cores / 4).clamp(1, 4)).clamp(1, partitions)
    }

    fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "loadgen")
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.codec", &self.compression)
            // Large batches are what makes a producer fast; a record waits for its batch 20 ms.
            .set("linger.ms", "20")
            .set("batch.num.messages", "20000")
            .set("batch.size", "1000000")
            // Enough for all partitions' batches and small enough to stay near the processor's
            // caches: with five times as many, each record cost half as much time again.
            .set("queue.buffering.max.messages", "100000")
            .set("queue.buffering.max.kbytes", "131072")
            // A record of --size 1000000 with its key and envelope.
            .set("message.max.bytes", "1100000");
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config
    }

    /// Waits for the threads; stops them at the deadline or when the caller wants it.
    fn watch(
        &self,
        run: &Run,
        stop: &AtomicBool,
        finished: &Receiver<Output>,
        deliveries: &[Arc<Deliveries>],
        acknowledged: &AtomicU64,
    ) -> Result<Vec<Output>, LoadError> {
        let mut outputs = Vec::new();
        let mut progress = Progress::new(self.count, self.duration);
        let deadline = self.duration.map(|duration| run.started + duration);
        let mut next_tick = run.started + Progress::PERIOD;
        while outputs.len() < run.threads as usize {
            match finished.recv_timeout(STOP_CHECK) {
                Ok(output) => outputs.push(output),
                Err(RecvTimeoutError::Disconnected) => return Err(LoadError::Thread),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let done = deliveries.iter().map(|d| d.acknowledged()).sum();
            acknowledged.store(done, Ordering::Relaxed);
            let now = Instant::now();
            if stop.load(Ordering::Relaxed) || deadline.is_some_and(|deadline| now >= deadline) {
                run.finish_line.stop();
            }
            if now >= next_tick {
                next_tick += Progress::PERIOD;
                if self.show_progress {
                    progress.show(done, run.started.elapsed());
                }
            }
        }
        if self.show_progress {
            progress.finish();
        }
        Ok(outputs)
    }
}

fn start_workers(
    config: &ClientConfig,
    run: &Arc<Run>,
    finished: Sender<Output>,
) -> Result<Vec<Arc<Deliveries>>, LoadError> {
    let partitions = run.profile.partitions as usize;
    let mut all = Vec::new();
    let mut workers = Vec::new();
    for thread in 0..run.threads {
        let deliveries = Arc::new(Deliveries::new(partitions));
        let producer: BaseProducer<Reports> = config
            .create_with_context(Reports(Arc::clone(&deliveries)))
            .map_err(|source| LoadError::Client { source })?;
        workers.push(Worker::new(Arc::clone(run), thread, producer, Arc::clone(&deliveries)));
        all.push(deliveries);
    }
    for (thread, worker) in workers.into_iter().enumerate() {
        let finished = finished.clone();
        thread::Builder::new()
            .name(format!("produce-{thread}"))
            // Nobody listens any more if another thread panicked.
            .spawn(move || drop(finished.send(worker.run())))
            .map_err(|source| LoadError::System { source })?;
    }
    Ok(all)
}

fn sum_up(
    topic: &Topic,
    run: &Run,
    deliveries: &[Arc<Deliveries>],
    outputs: Vec<Output>,
    elapsed: Duration,
) -> Report {
    let mut counts = vec![Counts::default(); topic.watermarks.len()];
    let mut errors = Vec::new();
    let mut bytes = 0;
    for output in outputs {
        for (sum, part) in counts.iter_mut().zip(&output.counts) {
            sum.merge(part);
        }
        bytes += output.bytes;
        errors.extend(output.error);
    }
    // The thread that failed knows why; those that gave up because of it do not.
    let cause = errors.iter().position(|error| !matches!(error, LoadError::GaveUp)).unwrap_or(0);
    let mut error = (!errors.is_empty()).then(|| errors.swap_remove(cause));
    let mut entries = Vec::new();
    for (partition, (counts, &(low, high))) in counts.iter().zip(&topic.watermarks).enumerate() {
        let owner = &deliveries[partition % deliveries.len()];
        let range = owner.partition(partition).and_then(|offsets| offsets.range());
        let (first_offset, next_offset) = range.unwrap_or((high, high));
        let entry = PartitionEntry {
            partition: partition as i32,
            first_offset,
            next_offset,
            tally: counts.tally(),
        };
        if error.is_none() && low == high {
            error = check_offsets(&topic.name, &entry).err();
        }
        entries.push(entry);
    }
    let ledger = Ledger::new(&topic.name, run.profile.seed, error.is_none(), entries);
    Report { ledger, bytes, elapsed, error }
}

/// In a partition that was empty the records of this run lie without a gap.
fn check_offsets(topic: &str, entry: &PartitionEntry) -> Result<(), LoadError> {
    let produced = entry.tally.produced;
    if entry.next_offset - entry.first_offset == produced as i64 {
        return Ok(());
    }
    Err(LoadError::Offsets {
        topic: topic.to_owned(),
        partition: entry.partition,
        produced,
        first_offset: entry.first_offset,
        next_offset: entry.next_offset,
    })
}

//! The fetching: record batches from the brokers, straight to the partition threads.
//!
//! librdkafka stays the member of the group, and is asked for positions and metadata; but it makes an
//! object of each record, on its own thread, and bounds what it has fetched by partition alone. Here one
//! thread a broker reads batches as they are into buffers, and the partition thread reads the records where
//! they lie. All of it has one bound in bytes, however many partitions there are.

mod broker;
mod compression;
mod connection;
mod leaders;
mod plan;
mod records;
mod scram;
mod security;
mod settings;
mod wire;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rdkafka::{consumer::BaseConsumer, error::RDKafkaErrorCode};

pub(super) use self::settings::Settings;
use self::{
    plan::Slot,
    records::{Cursor, Fetched},
};
use super::{client::Client, figures::ClientFigures};
use crate::{error::Error, record::Record, watchdog::Watchdog};

/// The most records of one read.
const READ_MAX: u32 = 256;
/// Buffers that are kept for the next answers.
const SPARE_MAX: usize = 4;
const SPARE_BYTES_MAX: usize = 4 << 20;

/// Fetches for the partition threads of one source.
#[derive(Clone)]
pub(super) struct Fetcher(Arc<Shared>);

struct Shared {
    source: String,
    settings: Settings,
    state: Mutex<State>,
    /// A broker may be asked for something.
    changed: Condvar,
    /// The leader of a partition is to be found.
    unknown: Condvar,
    ended: AtomicBool,
    /// Bytes in the buffers that are not read to their end.
    held_bytes: AtomicUsize,
    held_records: AtomicU64,
    /// Milliseconds since `started` at which some of them were given back last.
    released_ms: AtomicU64,
    started: Instant,
    requests: AtomicU64,
    timeouts: AtomicU64,
}

#[derive(Default)]
struct State {
    slots: BTreeMap<u64, Slot>,
    next_slot: u64,
    /// Where the brokers are.
    brokers: BTreeMap<i32, (String, u16)>,
    threads: BTreeMap<i32, JoinHandle<()>>,
    /// From when on a broker that was asked and has not answered may have lost its partitions to another.
    silent_from: BTreeMap<i32, Instant>,
    /// How often a partition was given something: the order in which they are asked for.
    turns: u64,
    spare: Vec<Fetched>,
    is_tight: bool,
}

/// What waits for a partition thread.
#[derive(Default)]
struct Inbox {
    content: Mutex<Content>,
    came: Condvar,
    /// Bytes that wait, and those that are being read.
    waiting_bytes: AtomicUsize,
    reading_bytes: AtomicUsize,
}

#[derive(Default)]
struct Content {
    fetched: VecDeque<Fetched>,
    /// Why there is no more, and at which offset.
    fault: Option<(RDKafkaErrorCode, i64)>,
    /// The offset at which there is nothing yet, and whether it was told.
    end: Option<(i64, bool)>,
    /// Its thread does not read any more.
    is_left: bool,
    /// It is to wait no longer.
    is_woken: bool,
}

/// One partition, as its thread reads it.
pub(super) struct Feed {
    fetcher: Fetcher,
    number: u64,
    partition: i32,
    inbox: Arc<Inbox>,
    cursor: Cursor,
    /// A fault was told: what lies behind it is not given.
    is_over: bool,
    /// Bytes of what is unpacked, as they are counted.
    unpacked: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fetcher {
    /// Starts the thread that knows the leaders, and starts those that ask them. It ends with the
    /// fetcher's end, and `consumer` is not held any more then.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(
        source: &str,
        settings: Settings,
        consumer: Arc<BaseConsumer<Client>>,
        watchdog: &Watchdog,
    ) -> Result<(Self, JoinHandle<()>), Error> {
        let fetcher = Self(Arc::new(Shared::new(source, settings)));
        let thread = leaders::spawn(Arc::clone(&fetcher.0), consumer, watchdog)?;
        Ok((fetcher, thread))
    }

    /// Fetches a partition from `offset` on, until the feed is dropped.
    pub(super) fn open(&self, topic: &Arc<str>, partition: i32, offset: i64) -> Feed {
        let inbox = Arc::new(Inbox::default());
        let mut state = lock(&self.0.state);
        let number = state.next_slot;
        state.next_slot += 1;
        let slot = Slot::new(Arc::clone(topic), partition, offset, Arc::clone(&inbox));
        state.slots.insert(number, slot);
        drop(state);
        self.0.unknown.notify_all();
        Feed {
            fetcher: self.clone(),
            number,
            partition,
            inbox,
            cursor: Cursor::at(offset),
            is_over: false,
            unpacked: 0,
        }
    }

    /// Puts in what is fetched here, in the place of what the client fetches.
    pub(super) fn add_to(&self, figures: &mut ClientFigures) {
        // What stands in the client's own queues are no records.
        figures.queue_messages = self.0.held_records.load(Relaxed);
        figures.queue_bytes = self.0.held_bytes.load(Relaxed) as u64;
        figures.requests += self.0.requests.load(Relaxed);
        figures.timeouts += self.0.timeouts.load(Relaxed);
    }

    /// Lets all threads end.
    pub(super) fn end(&self) {
        self.0.ended.store(true, Relaxed);
        // Nobody is between its look at `ended` and its wait.
        drop(lock(&self.0.state));
        self.0.changed.notify_all();
        self.0.unknown.notify_all();
    }

    /// Ends all threads when it is dropped, whatever the way.
    pub(super) fn end_on_drop(&self) -> impl Drop + use<> {
        struct End(Fetcher);
        impl Drop for End {
            fn drop(&mut self) {
                self.0.end();
            }
        }
        End(self.clone())
    }

    /// Lets the threads that wait for records look at their orders.
    pub(super) fn wake(&self) {
        for slot in lock(&self.0.state).slots.values() {
            lock(&slot.inbox.content).is_woken = true;
            slot.inbox.came.notify_all();
        }
    }
}

impl Shared {
    fn new(source: &str, settings: Settings) -> Self {
        Self {
            source: source.to_owned(),
            settings,
            state: Mutex::default(),
            changed: Condvar::new(),
            unknown: Condvar::new(),
            ended: AtomicBool::new(false),
            held_bytes: AtomicUsize::new(0),
            held_records: AtomicU64::new(0),
            released_ms: AtomicU64::new(0),
            started: Instant::now(),
            requests: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
        }
    }

    fn release(&self, fetched: Fetched) {
        if fetched.bytes.is_empty() {
            return;
        }
        self.let_go(fetched.bytes.len());
        self.held_records.fetch_sub(fetched.records, Relaxed);
        self.released_ms.store(self.started.elapsed().as_millis() as u64, Relaxed);
        lock(&self.state).keep_spare(fetched);
    }

    fn hold(&self, bytes: usize) {
        self.held_bytes.fetch_add(bytes, Relaxed);
        self.settings.memory.fetch(bytes);
    }

    fn let_go(&self, bytes: usize) {
        self.held_bytes.fetch_sub(bytes, Relaxed);
        self.settings.memory.finish(bytes);
    }

    /// For how long nobody has read anything to its end.
    fn still_for(&self) -> Duration {
        let released = Duration::from_millis(self.released_ms.load(Relaxed));
        self.started.elapsed().saturating_sub(released)
    }
}

impl Inbox {
    /// There is nothing at `offset` yet.
    fn reach_end(&self, offset: i64) {
        let mut content = lock(&self.content);
        if content.end.is_none_or(|(end, _)| end != offset) {
            content.end = Some((offset, false));
            self.came.notify_all();
        }
    }
}

impl Feed {
    /// The offset behind all that was read, also behind marks of transactions, which are not given.
    pub(super) fn position(&self) -> i64 {
        self.cursor.position()
    }

    /// Gives `visit` the records that are there, or else waits for the next one, at most so long. Goes on
    /// while `visit` says so; it must not be asked again after it has said no. A fault is given with its offset.
    pub(super) fn read(
        &mut self,
        topic: &str,
        wait: Duration,
        mut visit: impl FnMut(Result<&Record<'_>, (RDKafkaErrorCode, i64)>) -> bool,
    ) -> u32 {
        let most = if wait.is_zero() { READ_MAX } else { 1 };
        let mut count = 0;
        while count < most && !self.is_over {
            if let Some(next) = self.cursor.next() {
                match next {
                    Ok(message) => {
                        count += 1;
                        if visit(Ok(&message.record(topic, self.partition))) {
                            continue;
                        }
                    }
                    Err(unreadable) => {
                        self.is_over = true;
                        visit(Err((unreadable.code(), self.cursor.position())));
                    }
                }
                break;
            }
            let wait = if count == 0 { wait } else { Duration::ZERO };
            if !self.turn(wait, &mut visit) {
                break;
            }
        }
        count
    }

    /// Goes on with what was fetched next. False if there is nothing.
    fn turn(
        &mut self,
        wait: Duration,
        visit: &mut impl FnMut(Result<&Record<'_>, (RDKafkaErrorCode, i64)>) -> bool,
    ) -> bool {
        let mut content = lock(&self.inbox.content);
        let is_there = !content.fetched.is_empty()
            || content.fault.is_some()
            || content.end.is_some_and(|(_, told)| !told);
        let is_woken = std::mem::take(&mut content.is_woken);
        if !is_there && !is_woken && !wait.is_zero() {
            let waited = self.inbox.came.wait_timeout(content, wait);
            (content, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let Some(next) = content.fetched.pop_front() else {
            let end = content.end.as_mut().filter(|(_, told)| !*told);
            let end = end.map(|(end, told)| {
                *told = true;
                (RDKafkaErrorCode::PartitionEOF, *end)
            });
            let fault = content.fault.take();
            self.is_over = fault.is_some();
            let fault = fault.or(end);
            drop(content);
            if let Some(fault) = fault {
                visit(Err(fault));
            }
            self.finish(Fetched::default());
            return false;
        };
        drop(content);
        if next.from != self.cursor.position() {
            self.is_over = true;
            visit(Err((RDKafkaErrorCode::Fail, next.from)));
        }
        self.finish(next);
        !self.is_over
    }

    /// Takes `next` to be read, and gives back what was.
    fn finish(&mut self, next: Fetched) {
        let length = next.length;
        self.inbox.waiting_bytes.fetch_sub(length, Relaxed);
        let before = self.inbox.reading_bytes.swap(length, Relaxed);
        if length == 0 && before == 0 {
            return;
        }
        let shared = &self.fetcher.0;
        shared.release(self.cursor.turn_to(next));
        let before = std::mem::replace(&mut self.unpacked, self.cursor.unpacked_bytes());
        shared.hold(self.unpacked);
        shared.let_go(before);
        // Nobody is between its look at the slots and its wait.
        drop(lock(&shared.state));
        shared.changed.notify_all();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let shared = &self.fetcher.0;
        lock(&shared.state).slots.remove(&self.number);
        let mut content = lock(&self.inbox.content);
        // Whatever comes now is given back by the broker's thread.
        content.is_left = true;
        let left: Vec<Fetched> = content.fetched.drain(..).collect();
        drop(content);
        shared.release(self.cursor.turn_to(Fetched::default()));
        shared.let_go(self.unpacked);
        left.into_iter().for_each(|fetched| shared.release(fetched));
        shared.changed.notify_all();
    }
}

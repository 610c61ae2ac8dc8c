//! `tidegate dlq replay`: through the same decoder, encoder and writer as `run`.
//!
//! A page of letters is a batch. Its letters are removed in the transaction of their rows, and those
//! that are refused again are put back with their new reason: so a letter is a row or a letter, also
//! when the process is killed. A letter that is not any more what was read fails the transaction,
//! and the page is read anew: so two replays make one row of it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use super::{PATIENCE, Store, Which, Whose, counted, say};
use crate::{
    batch::{Batch, Replayed},
    config::{Route, Target as Configured},
    error::{Error, ErrorKind},
    filter,
    headers::{self, KeptHeaders},
    intake::{Decoder, Intake},
    lane::{Lane, LaneKey, Outcome},
    mailbox::mailbox,
    record::{Headers, Record},
    registry::Away,
    rejection::Reason,
    route::target_name,
    selector::Selector,
    sink::{
        Flushed, Group, Sink as _, Target, WriteError, Writer,
        postgres::dead_letters::{Filter, Place, REPLAYED, Stored, Way},
    },
    stage::{Stage, StageClock},
    watchdog::Heart,
};

/// Letters of one transaction. Far below the number of refused rows at which the writer takes the
/// table to be at fault: here, refused rows are expected.
const PAGE_LETTERS: i64 = 64;
/// Their bytes, but for the last of them.
const PAGE_BYTES: i64 = 4 << 20;
/// Pages that may be read anew one after the other, because somebody else works on the same letters.
const REREADS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(500);
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    which: Which,
    /// Replay at most so many, the oldest offsets of each partition first.
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// Decode and encode them and write nothing. What Postgres itself would refuse does not show.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(arguments: &ReplayArgs) -> Result<(), Error> {
    let mut store = Store::open(&arguments.whose)?;
    let filter = arguments.which.filter(&store);
    store.resolve_topics(&filter)?;
    let mut replay = Replay::new(&store, &filter, arguments)?;
    let columns = ["consumer_group", "topic", "target"];
    let mut homeless = 0;
    for sum in store.sink.sum_dead_letters(&filter, &columns)? {
        let [group, topic, target] = sum.names.as_slice() else { continue };
        let way = Way { group: group.clone(), topic: topic.clone(), target: target.clone() };
        let Some(end) = replay.end_of(&way) else {
            tracing::warn!(
                "no route of this configuration, or more than one, brings {topic} to {target}"
            );
            homeless += sum.count as u64;
            continue;
        };
        replay.follow(&way, end)?;
    }
    say(&replay.report(homeless))
}

/// What the letters of one topic go through on their way to one target.
struct End {
    route: String,
    way: Way,
    target: Arc<dyn Target>,
    decoder: Decoder,
    intake: Intake,
}

impl End {
    fn open(
        store: &Store,
        route: &Route,
        topic: &str,
        configured: &Configured,
    ) -> Result<Self, Error> {
        let mut shape =
            || Err(Error::config("the target's table is missing, and `dlq replay` makes none"));
        // Letters that are refused again stay in the table, also where new ones go to a topic.
        let target = store.sink.open(configured, &mut shape, None)?;
        let filter = configured.filter.as_ref();
        let asked = filter.into_iter().flat_map(filter::Filter::selectors);
        let selectors = Selector::distinct(target.selectors().into_iter().chain(asked));
        let decoder = Decoder::new(&route.format, &selectors, route.max_record_bytes);
        let intake = Intake::new(target.as_ref(), filter, &selectors)?;
        let way = Way {
            group: store.config.sources[&route.source].group(&route.source),
            topic: topic.to_owned(),
            target: target_name(&store.sink_name, target.as_ref()).to_string(),
        };
        Ok(Self { route: route.name.clone(), way, target, decoder, intake })
    }

    /// Takes a letter's record into `batch` as `run` would.
    fn take(&mut self, letter: &Stored, batch: &mut Batch) -> Result<(), Error> {
        let entry = &letter.entry;
        let mut kept = Vec::new();
        if let Some(text) = &letter.headers {
            let list = serde_json::from_str(text).unwrap_or_default();
            if !headers::keep_json(&list, &mut kept) {
                return Err(Error::new(
                    ErrorKind::Data,
                    format!(
                        "the headers of {} {} {} in tidegate.dead_letters are not as tidegate writes \
                         them; set them to NULL to replay it without",
                        entry.topic, entry.partition, entry.offset
                    ),
                ));
            }
        }
        let headers = KeptHeaders::new(&kept);
        let record = Record {
            topic: &entry.topic,
            partition: entry.partition,
            offset: entry.offset,
            timestamp_ms: letter.timestamp_ms,
            key: letter.key.as_deref(),
            value: letter.value.as_deref(),
            headers: Some(&headers as &dyn Headers),
        };
        self.decoder.prepare(&record).map_err(|Away(message)| Error::unavailable(message))?;
        let decoded = self.decoder.decode(&record);
        let row = decoded.as_ref().map(|()| self.decoder.row(&record));
        self.intake.take(batch, &record, row);
        let version = letter.version.clone();
        batch.replayed.push(Replayed { offset: entry.offset, version });
        Ok(())
    }
}

struct Replay<'a> {
    store: &'a Store,
    filter: &'a Filter,
    dry_run: bool,
    left: u64,
    ends: Vec<End>,
    writer: Box<dyn Writer>,
    heart: Heart,
    rows: u64,
    unwanted: u64,
    refused: BTreeMap<&'static str, u64>,
    reported: Instant,
}

impl<'a> Replay<'a> {
    fn new(store: &'a Store, filter: &'a Filter, arguments: &ReplayArgs) -> Result<Self, Error> {
        let mut ends = Vec::new();
        for route in &store.config.routes {
            for configured in route.to.iter().filter(|to| to.sink == store.sink_name) {
                for topic in &route.topics {
                    ends.push(End::open(store, route, topic, configured)?);
                }
            }
        }
        let clock = StageClock::default().thread(Stage::Gather);
        let writer = store.sink.writer(Arc::new(clock));
        Ok(Self {
            store,
            filter,
            dry_run: arguments.dry_run,
            left: arguments.limit.unwrap_or(u64::MAX),
            ends,
            writer,
            heart: Heart::new("replay"),
            rows: 0,
            unwanted: 0,
            refused: BTreeMap::new(),
            reported: Instant::now(),
        })
    }

    /// The end of a way: of the group's own route, or for a group that the configuration does not
    /// have, of the only route that fits. Two sources may read topics of one name into one table.
    fn end_of(&self, way: &Way) -> Option<usize> {
        // What was loaded from a file went the way of a route, whatever the route's topics are.
        let is_file = way.topic.starts_with('/');
        let fits =
            |end: &End| (end.way.topic == way.topic || is_file) && end.way.target == way.target;
        let is_own = |end: &End| end.way.group == way.group;
        let fitting = || self.ends.iter().enumerate().filter(|(_, end)| fits(end));
        let is_foreign = !self.ends.iter().any(is_own);
        let mut ends = fitting().filter(|(_, end)| is_foreign || is_own(end));
        match (ends.next(), ends.next()) {
            (Some((index, _)), None) => Some(index),
            (Some((index, first)), Some((_, second))) if is_file => {
                let mut all = ends.chain([(0, second)]);
                all.all(|(_, end)| end.route == first.route).then_some(index)
            }
            _ => None,
        }
    }

    /// Replays the letters of one way, page by page, in the order of their offsets.
    fn follow(&mut self, way: &Way, end: usize) -> Result<(), Error> {
        let mut after: Option<Place> = None;
        let mut rereads = 0;
        let mut away_since = None;
        while self.left > 0 {
            let size = [self.left.min(PAGE_LETTERS as u64) as i64, PAGE_BYTES];
            let page =
                self.store.sink.page_of_dead_letters(self.filter, way, after.as_ref(), size)?;
            let Some(last) = page.last() else { break };
            match self.replay(end, &page) {
                Ok(()) => {
                    let entry = &last.entry;
                    after = Some((last.cluster_id.clone(), entry.partition, entry.offset));
                    self.left -= page.len() as u64;
                    (rereads, away_since) = (0, None);
                    self.tell_progress();
                }
                Err(WriteError::Halt(error)) => return Err(error),
                Err(WriteError::Outage { class, .. }) if class == REPLAYED && rereads < REREADS => {
                    rereads += 1;
                }
                Err(WriteError::Outage { message, .. }) => {
                    // Whether the transaction happened or not, the next page tells.
                    if away_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
                        return Err(Error::unavailable(format!(
                            "{message}; {} are rows by now, and the rest can be replayed later",
                            counted(self.rows)
                        )));
                    }
                    thread::sleep(PAUSE);
                }
            }
        }
        Ok(())
    }

    /// Replays one page in one transaction.
    fn replay(&mut self, end: usize, page: &[Stored]) -> Result<(), WriteError> {
        let (Some(first), Some(end)) = (page.first(), self.ends.get_mut(end)) else {
            return Ok(());
        };
        let mut batch = Batch::new(first.entry.offset);
        for letter in page {
            end.take(letter, &mut batch).map_err(WriteError::Halt)?;
        }
        if !self.dry_run {
            let (target, sent_at) = (end.target.id(), Instant::now());
            let flushed = Flushed { lane: lane(first), target, batch, sent_at, outcome: None };
            let mut batches = [flushed];
            self.writer.write(end.target.id(), &mut batches, &self.heart)?;
            let [flushed] = batches;
            if flushed.outcome != Some(Outcome::Durable) {
                let table = &end.way.target;
                return Err(WriteError::Halt(Error::new(
                    ErrorKind::Temporary,
                    format!("{table} was changed meanwhile; replay the rest once more"),
                )));
            }
            batch = flushed.batch;
        }
        self.rows += batch.rows();
        self.unwanted += batch.filtered;
        for letter in &batch.dead_letters {
            *self.refused.entry(letter.rejection.reason.as_str()).or_default() += 1;
        }
        Ok(())
    }

    fn tell_progress(&mut self) {
        if self.reported.elapsed() >= REPORT_INTERVAL {
            self.reported = Instant::now();
            let refused: u64 = self.refused.values().sum();
            tracing::info!("{} replayed, {refused} refused again", counted(self.rows));
        }
    }

    fn report(&self, homeless: u64) -> String {
        let refused: u64 = self.refused.values().sum();
        let order = Reason::ALL.iter().filter_map(|reason| {
            let count = self.refused.get(reason.as_str())?;
            Some(format!("{count} {}", reason.as_str()))
        });
        let reasons: Vec<String> = order.collect();
        let reasons = match reasons.as_slice() {
            [] => String::new(),
            reasons => format!(" ({})", reasons.join(", ")),
        };
        let (done, again) = match self.dry_run {
            true => ("could be encoded", "would be refused again"),
            false => ("replayed", "refused again"),
        };
        let mut text = format!("{} {done}, {refused} {again}{reasons}\n", counted(self.rows));
        if self.unwanted > 0 {
            let unwanted = counted(self.unwanted);
            text.push_str(&format!(
                "{unwanted} passed over: the target does not want them (where)\n"
            ));
        }
        if homeless > 0 {
            let left = counted(homeless);
            text.push_str(&format!("{left} left alone: no route brings them to their target\n"));
        }
        text
    }
}

/// The lane that a letter comes from, without a claim: its batch moves no checkpoint.
fn lane(letter: &Stored) -> Arc<Lane> {
    let entry = &letter.entry;
    let key = LaneKey {
        topic: Arc::from(entry.topic.as_str()),
        partition: entry.partition,
        target: Arc::from(entry.target.as_str()),
    };
    let group = Group { name: entry.group.clone(), cluster_id: letter.cluster_id.clone() };
    // Nobody waits for an answer.
    let (answers, _) = mailbox();
    Arc::new(Lane::new(key, Arc::new(group), None, 0, entry.offset, answers))
}

//! Lines on their way into the lanes of a route: one partition, number 0; the offset is the number of
//! the line, from 0.

use std::{
    io::{self, BufRead as _, BufReader, Read},
    sync::Arc,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::lines::{Blocks, lines};
use crate::{
    batch::Trigger,
    error::{Error, ErrorKind},
    lane::{Counts, Lane, Loss},
    record::Record,
    route::{Context, LaneStart, Reading, Route},
    sink::Group,
    stage::Stage,
    stop::Stop,
    watchdog::Heart,
};

pub(super) type Input = Box<dyn Read + Send>;

/// How soon the thread that waits for the end sees that it is not needed any more.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Reads one input.
pub(super) struct LineReader<'a> {
    /// The input, in messages.
    pub(super) name: &'a str,
    /// The records' topic.
    pub(super) topic: Arc<str>,
    pub(super) group: Arc<Group>,
    pub(super) route: &'a Route,
    pub(super) context: &'a Context,
}

/// What became of an input.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinesRead {
    pub(super) counts: Counts,
    /// All of its lines are durable.
    pub(super) is_complete: bool,
}

/// One line as a record.
pub(super) fn record_of<'a>(topic: &'a str, offset: i64, text: &'a [u8]) -> Record<'a> {
    Record {
        topic,
        partition: 0,
        offset,
        timestamp_ms: None,
        key: None,
        value: Some(text),
        headers: None,
    }
}

/// Shows lines to `visit`, until it has said of as many as are still `wanted` that they are of use.
pub(super) fn look(
    input: Input,
    topic: &str,
    wanted: &mut usize,
    visit: &mut dyn FnMut(&Record<'_>) -> bool,
) -> io::Result<()> {
    for (offset, line) in (0..).zip(BufReader::new(input).split(b'\n')) {
        *wanted -= usize::from(visit(&record_of(topic, offset, &line?)));
        if *wanted == 0 {
            break;
        }
    }
    Ok(())
}

impl LineReader<'_> {
    /// Reads until the end of the input, or until the end is asked for. Lines that are durable by the
    /// `starts` are passed over.
    ///
    /// # Errors
    /// When the input cannot be read, is not what it was, or a lane was lost.
    pub(super) fn run(
        &self,
        reader: Input,
        starts: &[LaneStart],
        heart: &Heart,
    ) -> Result<LinesRead, Error> {
        let context = self.context;
        let route = self.route;
        let mut open =
            route.open_partition(&self.topic, 0, &self.group, starts, Reading::Once, context)?;
        let first = open.partition.position();
        let blocks = self.read_ahead(reader)?;
        let (mut offset, mut ended) = (0, false);
        self.order_to_stop(&open.stop)?;
        'input: while !open.partition.must_stop() && !context.shutdown.is_requested() {
            open.partition.tick(heart);
            open.partition.enter(Stage::Poll);
            let received = blocks.recv_timeout(open.partition.wait());
            open.partition.enter(Stage::Encode);
            let block = match received {
                Ok(block) => block.map_err(|error| {
                    Error::new(ErrorKind::Data, format!("{}: {error}", self.name))
                })?,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => {
                    ended = true;
                    break;
                }
            };
            for text in lines(&block) {
                if offset >= first && !text.is_empty() {
                    open.partition.push(&record_of(&self.topic, offset, text), heart);
                    // A line that was not taken in is a hole below the next one.
                    if open.partition.must_stop() {
                        break 'input;
                    }
                }
                offset += 1;
            }
        }
        if ended && offset < first {
            return Err(Error::new(
                ErrorKind::Data,
                format!(
                    "{}: {first} lines were written already, but the file has only {offset}: it is \
                     another file than before (see \"Positions\" in docs/delivery.md)",
                    self.name
                ),
            ));
        }
        // At the end of the input there is no hurry: an outage of the sink is waited out in rounds.
        let drained = loop {
            open.stop.request(Trigger::Shutdown, context.drain_deadline());
            let drained = open.partition.drain(heart);
            if drained
                || context.shutdown.is_requested()
                || open.lanes.iter().any(|l| l.is_closed())
            {
                break drained;
            }
        };
        let counts = self.close(&open.lanes)?;
        Ok(LinesRead { counts, is_complete: ended && drained })
    }

    /// Lets go of the lanes, and gives what they have counted.
    fn close(&self, lanes: &[Arc<Lane>]) -> Result<Counts, Error> {
        let loss = lanes.iter().find_map(|lane| lane.loss());
        let mut counts = Counts::default();
        for lane in lanes {
            lane.cancel();
            self.context.status.remove_lane(lane);
            counts = counts.plus(&lane.counts());
        }
        let Some(loss) = loss else { return Ok(counts) };
        let why = match loss {
            Loss::Fenced => "another process reads the same file into the same table",
            Loss::Regressed => {
                "the database has gone back in time; the next start goes on where it stands"
            }
            Loss::NotKept => "a line was not kept that the table refuses",
        };
        Err(Error::new(ErrorKind::Temporary, format!("{}: {why}", self.name)))
    }

    /// Reads whole lines ahead, on a thread that may wait for input as long as it likes: nobody
    /// can take a read of standard input back.
    fn read_ahead(&self, reader: Input) -> Result<Receiver<io::Result<Vec<u8>>>, Error> {
        let (sender, receiver) = crossbeam_channel::bounded(2);
        let shutdown = self.context.shutdown.clone();
        let read = move || {
            for block in Blocks::new(reader) {
                if shutdown.is_requested() || sender.send(block).is_err() {
                    return;
                }
            }
        };
        self.spawn("lines", read)?;
        Ok(receiver)
    }

    /// Orders the partition to stop when the end is asked for: its own thread sees no more than its
    /// orders while it waits for the sink.
    fn order_to_stop(&self, stop: &Arc<Stop>) -> Result<(), Error> {
        let (stop, context) = (Arc::downgrade(stop), self.context.clone());
        let order = move || {
            // Nobody is left to be ordered about once the partition is gone.
            while stop.strong_count() > 0 {
                if context.shutdown.sleep(LOOK_INTERVAL) {
                    if let Some(stop) = stop.upgrade() {
                        stop.request(Trigger::Shutdown, context.drain_deadline());
                    }
                    return;
                }
            }
        };
        self.spawn("stop", order)
    }

    fn spawn(&self, what: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let spawned =
            std::thread::Builder::new().name(format!("{what}-{}", self.topic)).spawn(body);
        spawned
            .map(drop)
            .map_err(|error| Error::software(format!("cannot start a thread: {error}")))
    }
}

//! Records that want another shape of their target, and batches that were encoded for one that it no
//! longer has.

use std::time::Duration;

use super::{
    Batch, Heart, Instant, Partition, Record, Selector, Stage, Trigger, WAIT_MAX, metrics,
};
use crate::{
    error::Error,
    filter::Filter,
    intake::Intake,
    lane::Loss,
    sink::{Adapted, Wish, WriteError},
};

/// A record may wish for columns, and then for one wider column after the other; more often than
/// that, the target does not become what it was asked to become.
const CHANGES_MAX: usize = 64;
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Nobody waits any more for what the target was asked.
struct GivenUp;

impl Partition {
    /// Takes in a record that the target of lane `index` has to change for. False if the thread has to
    /// stop before that; the record is then not taken in.
    #[cold]
    pub(super) fn take_with_change(
        &mut self,
        index: usize,
        record: &Record<'_>,
        mut wish: Wish,
        heart: &Heart,
    ) -> bool {
        let mut why = "it is asked for again and again".to_owned();
        for _ in 0..CHANGES_MAX {
            let asked = self.lanes[index].target.id();
            // What is refused anyway need not close a batch.
            if let Some(refusal) = self.lanes[index].target.objection(&wish) {
                why = refusal;
                break;
            }
            if !self.lanes[index].open.is_empty() {
                self.flush(index, Trigger::Adapt, None, heart);
                if !self.lanes[index].open.is_empty() {
                    return false;
                }
            }
            // While the batch before it came back, the target may have become another one, of which this
            // would be the wrong wish: to widen the former type may be to narrow the present one.
            if self.lanes[index].target.id() == asked {
                match self.adapt(index, &wish, heart, Self::must_stop) {
                    Err(GivenUp) => return false,
                    Ok(Some(refusal)) => {
                        why = refusal;
                        break;
                    }
                    Ok(None) => {}
                }
            }
            let decoded = self.decoder.decode_again(record);
            let row = decoded.as_ref().map(|()| self.decoder.row(record));
            match self.lanes[index].offer(record, row) {
                Some(next) => wish = next,
                None => return true,
            }
        }
        let decoded = self.decoder.decode_again(record);
        let row = decoded.as_ref().map(|()| self.decoder.row(record));
        self.lanes[index].take_refused(record, row, &why);
        true
    }

    /// Encodes the batches anew that came back because their target had changed, and hands them to the
    /// writers once more.
    pub(super) fn encode_stale(&mut self, heart: &Heart) {
        for index in 0..self.lanes.len() {
            if let Some(batch) = self.lanes[index].stale.take() {
                self.encode_again(index, batch, heart);
            }
        }
    }

    #[cold]
    fn encode_again(&mut self, index: usize, mut batch: Batch, heart: &Heart) {
        if !batch.is_kept() || !self.lanes[index].open.is_kept() {
            self.lanes[index].lane.lose(Loss::NotKept);
            return;
        }
        let is_over = |partition: &Self| partition.is_given_up(&partition.lanes[index].lane);
        if self.adapt(index, &Wish::Present, heart, is_over).is_err() {
            // It is read again by whoever reads the lane next.
            self.lanes[index].lane.cancel();
            return;
        }
        self.turns += 1;
        let feed = &mut self.lanes[index];
        let (topic, partition) = (&feed.lane.key.topic, feed.lane.key.partition);
        for batch in [&mut batch, &mut feed.open] {
            feed.intake.take_again(batch, &mut self.decoder, topic, partition);
        }
        let (records, letters) = (batch.records, &batch.dead_letters);
        if let Err(tripped) = feed.breaker.check(records, letters.len() as u64) {
            self.shutdown.fail(feed.halt(tripped, letters.last()));
            return;
        }
        self.send(index, batch, heart);
    }

    /// Asks the target of lane `index` to change, until it has an answer. `Some` says why it does not.
    fn adapt(
        &mut self,
        index: usize,
        wish: &Wish,
        heart: &Heart,
        is_over: impl Fn(&Self) -> bool,
    ) -> Result<Option<String>, GivenUp> {
        let since = Instant::now();
        self.enter(Stage::Send);
        let target = self.lanes[index].target.clone();
        let (mut pause, mut told) = (PAUSE_MIN, false);
        let mut go_on = || {
            heart.beat();
            !is_over(self)
        };
        let answer = loop {
            if !go_on() {
                break Err(GivenUp);
            }
            match target.adapt(wish, &mut go_on) {
                Ok(Adapted::To(target)) => break Ok(Ok(target)),
                Ok(Adapted::Refused(why)) => break Ok(Err(why)),
                Err(WriteError::Halt(error)) => {
                    self.shutdown.fail(error);
                    break Err(GivenUp);
                }
                Err(WriteError::Outage { message, .. }) => {
                    if !told && since.elapsed() > WAIT_MAX {
                        tracing::warn!("a table cannot change yet, will try again: {message}");
                        told = true;
                    }
                    wait(pause, &mut go_on);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        };
        self.enter(Stage::Encode);
        match answer? {
            Err(why) => return Ok(Some(why)),
            Ok(target) => self.lanes[index].target = target,
        }
        if let Err(error) = self.reopen(index) {
            self.shutdown.fail(error);
            return Err(GivenUp);
        }
        Ok(None)
    }

    /// Decoder and encoder for the target of lane `index` as it is now. What the other lanes ask for
    /// keeps its place.
    fn reopen(&mut self, index: usize) -> Result<(), Error> {
        let asked = self.lanes.iter().flat_map(|feed| {
            let filtered = feed.intake.filter.iter().flat_map(Filter::selectors);
            feed.target.selectors().into_iter().chain(filtered)
        });
        let asked = Selector::distinct(asked);
        for selector in &asked {
            if self.selectors.contains(selector) {
                continue;
            }
            match self.selectors.iter_mut().find(|place| !asked.contains(place)) {
                Some(free) => *free = selector.clone(),
                None => self.selectors.push(selector.clone()),
            }
        }
        self.decoder = self.decoder.over(&self.selectors);
        self.turns += 1;
        let feed = &mut self.lanes[index];
        let filter = feed.intake.filter.take();
        feed.intake = Intake::new(feed.target.as_ref(), filter.as_ref(), &self.selectors)?;
        metrics::adapted();
        Ok(())
    }
}

/// Sleeps in short pieces.
fn wait(pause: Duration, go_on: &mut dyn FnMut() -> bool) {
    let until = Instant::now() + pause;
    while Instant::now() < until && go_on() {
        std::thread::sleep(PAUSE_MIN);
    }
}

//! Which rate to try next: up by a factor until one is too much, then between the two.

use super::trend::Finding;

/// How much faster the next rate is while none was too much.
const FACTOR: f64 = 1.5;
/// The search ends when the least rate that was too much is only by this share above the best.
const PRECISION: f64 = 0.06;
/// How often a rate is held again whose hold told nothing clear. A pause of the disk or of the machine
/// looks like a lag that grows, but not so often in a row.
const DOUBTS_MAX: u32 = 2;
/// Records a second below which there is nothing left to find.
const LEAST: f64 = 1.0;

/// What is known so far. Rates are records a second.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    start: f64,
    sustained: Option<f64>,
    exceeded: Option<f64>,
    /// A rate whose holds told nothing clear, and how many there were.
    doubt: Option<(f64, u32)>,
    ended: bool,
}

impl Search {
    pub(crate) fn new(start: f64) -> Self {
        Self { start, sustained: None, exceeded: None, doubt: None, ended: false }
    }

    /// The rate to hold next; `None` at the end.
    pub(crate) fn next(&self) -> Option<f64> {
        if self.ended {
            return None;
        }
        let again = self.doubt.map(|(rate, _)| rate);
        again.or_else(|| match (self.sustained, self.exceeded) {
            (None, None) => Some(self.start),
            (Some(sustained), None) => Some(sustained * FACTOR),
            (None, Some(exceeded)) => Some(exceeded / 2.0).filter(|rate| *rate >= LEAST),
            (Some(sustained), Some(exceeded)) => {
                let is_near = exceeded <= sustained * (1.0 + PRECISION);
                (!is_near).then(|| (sustained * exceeded).sqrt())
            }
        })
    }

    /// What a hold has shown, for which `asked` was the goal and `produced` was reached.
    pub(crate) fn learn(&mut self, asked: f64, produced: f64, finding: Finding) {
        let doubts = self.doubt.take().map_or(0, |(_, doubts)| doubts);
        match finding {
            Finding::Sustained => self.sustain(asked),
            Finding::Grows => self.exceed(asked.min(produced)),
            Finding::Unclear | Finding::Short if doubts < DOUBTS_MAX => {
                self.doubt = Some((asked, doubts + 1));
            }
            Finding::Unclear => self.exceed(asked.min(produced)),
            Finding::Short => {
                self.sustain(produced);
                self.ended = true;
            }
        }
    }

    fn sustain(&mut self, rate: f64) {
        self.sustained = Some(self.sustained.map_or(rate, |best| best.max(rate)));
    }

    fn exceed(&mut self, rate: f64) {
        self.exceeded = Some(self.exceeded.map_or(rate, |least| least.min(rate)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::trend::{Point, judge};
    use super::*;
    use crate::random::{Stream, bits};

    /// A system that takes `capacity` records a second, by batches, and now and then stands still.
    struct Simulated {
        capacity: f64,
        /// What the producer can do.
        producer: f64,
        /// Seconds that a batch takes.
        batch: f64,
        /// Share of holds that have a pause in them, of a tenth of the hold.
        pauses: f64,
        seed: u64,
        holds: u64,
    }

    impl Simulated {
        const HOLD: f64 = 10.0;

        fn draw(&self, stream: Stream, index: u64) -> f64 {
            bits(self.seed, stream, index) as f64 / u64::MAX as f64
        }

        fn hold(&mut self, asked: f64) -> (f64, Finding) {
            self.holds += 1;
            let produced = asked.min(self.producer);
            let pause_at = self.draw(Stream::Kind, self.holds) * Self::HOLD;
            let has_pause = self.draw(Stream::Target, self.holds) < self.pauses;
            let (step, mut lag, mut durable) = (0.01, 0.0, 0.0);
            let (mut points, mut produced_by_now) = (Vec::new(), 0.0);
            for tick in 0..(Self::HOLD / step) as u64 {
                let now = tick as f64 * step;
                produced_by_now += produced * step;
                lag += produced * step;
                let is_paused = has_pause && now >= pause_at && now < pause_at + Self::HOLD / 10.0;
                if !is_paused {
                    lag -= f64::min(lag, self.capacity * step);
                }
                // What is done shows when its batch is.
                if tick.is_multiple_of((self.batch / step) as u64) {
                    durable = produced_by_now - lag;
                }
                if tick.is_multiple_of(20) {
                    let noise = 0.05 * produced * (self.draw(Stream::Heat, tick) - 0.5);
                    points.push(Point { at_s: now, lag: produced_by_now - durable + noise });
                }
            }
            (produced, judge(&points, Self::HOLD, asked, produced))
        }

        fn find(&mut self) -> Search {
            let mut search = Search::new(1_000.0);
            while let Some(asked) = search.next() {
                let (produced, finding) = self.hold(asked);
                search.learn(asked, produced, finding);
                assert!(self.holds < 60, "{search:?}");
            }
            search
        }
    }

    #[test]
    fn the_limit_is_found_through_batches_noise_and_pauses() {
        for seed in 0..200 {
            let capacity = 300.0 * 1.07_f64.powi(seed as i32 % 100);
            let batch = [0.02, 0.2, 0.5][seed as usize % 3];
            let pauses = [0.0, 0.15][seed as usize % 2];
            let mut simulated =
                Simulated { capacity, producer: 1e9, batch, pauses, seed, holds: 0 };
            let search = simulated.find();
            let share = search.sustained.unwrap() / capacity;
            assert!((0.85..1.05).contains(&share), "seed {seed}: {share} of {capacity}");
        }
    }

    #[test]
    fn a_producer_that_can_do_no_more_ends_the_search_at_what_it_did() {
        let mut simulated = Simulated {
            capacity: 1e9,
            producer: 40_000.0,
            batch: 0.02,
            pauses: 0.0,
            seed: 1,
            holds: 0,
        };
        let search = simulated.find();
        assert_eq!((search.sustained, search.exceeded), (Some(40_000.0), None));
        assert!(simulated.holds < 14, "{}", simulated.holds);
    }

    #[test]
    fn a_system_that_takes_nothing_has_no_limit_to_find() {
        let mut search = Search::new(1_000.0);
        while let Some(asked) = search.next() {
            search.learn(asked, asked, Finding::Grows);
        }
        assert_eq!(search.sustained, None);
    }
}

//! Random moments that a failed run can have again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A sequence that the seed decides (splitmix64).
pub(crate) struct Chance {
    pub(crate) seed: u64,
    state: u64,
}

impl Chance {
    /// The seed of `TIDEGATE_TEST_SEED`, or a new one; shown with the output of a failed test.
    pub(crate) fn new() -> Self {
        let seed = match std::env::var("TIDEGATE_TEST_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => {
                u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos())
            }
        };
        eprintln!("TIDEGATE_TEST_SEED={seed}");
        Self::from_seed(seed)
    }

    /// A sequence of its own, for a thread.
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    pub(crate) fn up_to(&mut self, limit: Duration) -> Duration {
        limit.mul_f64((self.bits() >> 11) as f64 / (1u64 << 53) as f64)
    }

    fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `count`.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.bits() as usize % count
    }

    /// Lets a random time pass: what happens next is to happen at a random moment.
    pub(crate) fn pass_up_to(&mut self, limit: Duration) {
        std::thread::sleep(self.up_to(limit));
    }
}

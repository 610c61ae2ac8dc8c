//! The numbers behind a record: a pure function of seed and index.
//!
//! No state runs from one record to the next, so any thread can make any record and the stream
//! does not depend on how many threads made it. The algorithm (SplitMix64) lives here and not in a
//! crate because a ledger written today must still describe the records of tomorrow's build.

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Which draw an index is for: the same index gives unrelated numbers in two streams.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    /// What the record at this position is: new order, update, tombstone or poison.
    Kind = 1,
    /// Which earlier order an update or a tombstone is about.
    Target = 2,
    /// Who orders.
    Customer = 3,
    /// The rest of the order's columns.
    Columns = 4,
    /// How far in the past a late order lies.
    Lateness = 5,
    /// Whether a key belongs to the hot partition.
    Heat = 6,
    /// The order of the fields, or the fields that an order does not have.
    Fields = 7,
}

/// 64 well mixed bits for this seed, stream and index.
pub(crate) fn bits(seed: u64, stream: Stream, index: u64) -> u64 {
    let base = mix(seed.wrapping_add((stream as u64).wrapping_mul(0xd1b5_4a32_d192_ed03)));
    mix(base.wrapping_add(index.wrapping_mul(GAMMA)))
}

/// The bits that follow `bits`, for a second draw of the same record.
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(GAMMA);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `bits` as a number in `0..bound` (Lemire's multiply and shift).
pub(crate) fn below(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

/// `bits` as a fraction in `[0, 1)`.
pub(crate) fn fraction(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The bound below which a draw falls with probability `share`.
pub(crate) fn threshold(share: f64) -> u64 {
    if share >= 1.0 { u64::MAX } else { (share * 2f64.powi(64)) as u64 }
}

/// Draws customers: even for exponent 0, else a bounded power law over their ranks.
#[derive(Debug, Clone)]
pub(crate) struct Popularity {
    customers: u64,
    exponent: f64,
    // Spreads the popular ranks over the id space; odd and prime, so ranks stay distinct unless
    // the customer count is a multiple of it.
    stride: u64,
}

impl Popularity {
    pub(crate) fn new(customers: u64, exponent: f64) -> Self {
        Popularity { customers, exponent, stride: 2_147_483_647 }
    }

    /// The customer that these bits select.
    pub(crate) fn draw(&self, bits: u64) -> u64 {
        if self.exponent == 0.0 {
            return below(bits, self.customers);
        }
        let top = self.customers as f64 + 1.0;
        let u = fraction(bits);
        // Inverse distribution function of a density x^-exponent on [1, customers + 1).
        let x = if (self.exponent - 1.0).abs() < 1e-9 {
            top.powf(u)
        } else {
            let e = 1.0 - self.exponent;
            (u * (top.powf(e) - 1.0) + 1.0).powf(1.0 / e)
        };
        let rank = (x as u64).clamp(1, self.customers) - 1;
        ((u128::from(rank) * u128::from(self.stride)) % u128::from(self.customers)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_never_change() {
        assert_eq!(bits(7, Stream::Kind, 0), bits(7, Stream::Kind, 0));
        // Reference value of SplitMix64 seeded with 0.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn an_index_gives_other_numbers_in_another_stream_and_under_another_seed() {
        let here = bits(7, Stream::Kind, 5);
        assert_ne!(here, bits(7, Stream::Target, 5));
        assert_ne!(here, bits(8, Stream::Kind, 5));
        assert_ne!(here, bits(7, Stream::Kind, 6));
    }

    #[test]
    fn even_popularity_gives_each_customer_about_its_part() {
        let popularity = Popularity::new(10, 0.0);
        let mut hits = [0u32; 10];
        for i in 0..100_000 {
            hits[popularity.draw(bits(1, Stream::Customer, i)) as usize] += 1;
        }
        assert!(hits.iter().all(|&n| (9_500..10_500).contains(&n)), "{hits:?}");
    }

    #[test]
    fn a_higher_exponent_gives_the_first_customer_more() {
        let share = |exponent| {
            let popularity = Popularity::new(1000, exponent);
            (0..50_000).filter(|&i| popularity.draw(bits(1, Stream::Customer, i)) == 0).count()
        };
        let (even, some, strong) = (share(0.0), share(1.0), share(1.5));
        assert!(even < 100 && some > 3_000 && strong > 2 * some, "{even} {some} {strong}");
    }
}

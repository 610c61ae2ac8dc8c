//! Which partition a key belongs to.
//!
//! The choice is made here and not in the client, so that the ledger knows it when the record is
//! made and a seed always gives the same partitions.

use crate::random::{self, Stream};

/// One partition that takes more than its part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HotPartition {
    pub partition: u32,
    /// The share of the keys that go there, in `[0, 1]`.
    pub share: f64,
}

/// Maps keys to partitions as Kafka's own producers do, but for the hot partition.
#[derive(Debug, Clone)]
pub(crate) struct Partitioner {
    count: u32,
    seed: u64,
    hot: Option<(u32, u64)>,
}

impl Partitioner {
    pub(crate) fn new(count: u32, seed: u64, hot: Option<HotPartition>) -> Self {
        let hot = hot.map(|h| (h.partition, random::threshold(h.share)));
        Partitioner { count, seed, hot }
    }

    /// The partition of a key; a key never changes its partition.
    pub(crate) fn of_key(&self, key: &[u8]) -> u32 {
        // Kafka's default partitioner clears the sign bit before it takes the remainder.
        let hash = murmur2(key) & 0x7fff_ffff;
        self.place(hash, u64::from(hash))
    }

    /// The partition of the `index`th keyless order: in turn.
    pub(crate) fn in_turn(&self, index: u64) -> u32 {
        self.place((index & 0x7fff_ffff) as u32, index)
    }

    fn place(&self, slot: u32, heat: u64) -> u32 {
        let Some((hot, threshold)) = self.hot else { return slot % self.count };
        if self.count == 1 || random::bits(self.seed, Stream::Heat, heat) < threshold {
            return hot;
        }
        let other = slot % (self.count - 1);
        if other < hot { other } else { other + 1 }
    }
}

/// MurmurHash2 with the seed that Kafka's Java client uses (`Utils.murmur2`), so that a key lands
/// where a Java producer would put it.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let chunks = data.chunks_exact(4);
    let tail = chunks.remainder();
    for chunk in chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (i, &byte) in tail.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_agrees_with_the_java_client() {
        // The values of Kafka's UtilsTest.testMurmur2.
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, expected) in cases {
            assert_eq!(murmur2(key) as i32, expected);
        }
    }

    #[test]
    fn the_hot_partition_gets_its_share_and_the_others_split_the_rest() {
        let hot = HotPartition { partition: 2, share: 0.7 };
        let partitioner = Partitioner::new(4, 7, Some(hot));
        let mut hits = [0f64; 4];
        for key in 0..100_000u32 {
            hits[partitioner.of_key(key.to_string().as_bytes()) as usize] += 1e-5;
        }
        assert!((hits[2] - 0.7).abs() < 0.01, "{hits:?}");
        assert!([0, 1, 3].iter().all(|&p: &usize| (hits[p] - 0.1).abs() < 0.01), "{hits:?}");
    }
}

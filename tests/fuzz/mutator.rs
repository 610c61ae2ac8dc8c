//! Inputs from seeds, by a few random changes.

/// A sequence that its seed decides (splitmix64).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Bytes at which something ends, begins or overflows.
const BYTES: &[u8] = b"\0\x01\x1f \"'\\/{}[]:,.-+0159eEn\n\r\t\x7f\x80\xbf\xc0\xe2\xed\xf0\xff=_#$";
/// What an input may grow to.
const MOST_BYTES: usize = 4096;
/// The most changes to a seed, and copies of a piece.
const MOST_CHANGES: usize = 7;
const MOST_COPIES: usize = 200;

pub(crate) struct Mutator {
    seed: u64,
    seeds: &'static [&'static str],
    tokens: &'static [&'static str],
}

impl Mutator {
    pub(crate) fn new(
        seed: u64,
        name: &str,
        seeds: &'static [&'static str],
        tokens: &'static [&'static str],
    ) -> Self {
        let seed = name.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
        Self { seed, seeds, tokens }
    }

    /// Writes input `number` to `out`.
    pub(crate) fn make(&self, number: u64, out: &mut Vec<u8>) {
        let mut chance = Chance::new(self.seed.wrapping_add(number.wrapping_mul(0x1_0000_0001)));
        chance.next();
        out.clear();
        out.extend_from_slice(chance.pick(self.seeds).as_bytes());
        // The seeds themselves first.
        if let Some(seed) = self.seeds.get(number as usize) {
            out.clear();
            out.extend_from_slice(seed.as_bytes());
            return;
        }
        for _ in 0..=chance.below(MOST_CHANGES) {
            self.change(&mut chance, out);
            out.truncate(MOST_BYTES);
        }
    }

    fn change(&self, chance: &mut Chance, out: &mut Vec<u8>) {
        let at = chance.below(out.len() + 1);
        let end = (at + 1 + chance.below(12)).min(out.len());
        match chance.below(12) {
            0 if at < out.len() => out[at] ^= 1 << chance.below(8),
            1 if at < out.len() => out[at] = *chance.pick(BYTES),
            2 => out.insert(at, *chance.pick(BYTES)),
            3 => out.insert(at, chance.next() as u8),
            4 => drop(out.splice(at..at, chance.pick(self.tokens).bytes())),
            5 => drop(out.splice(at..end, chance.pick(self.tokens).bytes())),
            6 => drop(out.drain(at..end)),
            7 => {
                let piece = out[at..end].to_vec();
                let to = chance.below(out.len() + 1);
                out.splice(to..to, piece);
            }
            8 => {
                let piece = out[at..end].repeat(1 + chance.below(MOST_COPIES));
                out.splice(at..at, piece);
            }
            9 => {
                let other = chance.pick(self.seeds).as_bytes();
                out.truncate(at);
                out.extend_from_slice(&other[chance.below(other.len() + 1)..]);
            }
            10 => {
                let digits: Vec<usize> =
                    (0..out.len()).filter(|i| out[*i].is_ascii_digit()).collect();
                if !digits.is_empty() {
                    out[*chance.pick(&digits)] = b'0' + chance.below(10) as u8;
                }
            }
            _ => {
                let digits = (0..1 + chance.below(24)).map(|_| b'0' + chance.below(10) as u8);
                let digits: Vec<u8> = digits.collect();
                out.splice(at..at, digits);
            }
        }
    }
}

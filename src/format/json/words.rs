//! Text eight bytes at a time, in a register: most strings of a record are shorter than the vectors
//! for which other ways are made.

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
pub(super) const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// The position, from `at`, of the first quote, backslash or control character; the end if there
/// is none. Gathers the bits of all bytes that it read in `seen`, so that the caller knows when
/// everything was ASCII (it may have read some bytes past the position).
#[inline]
pub(crate) fn find_break(bytes: &[u8], mut at: usize, seen: &mut u64) -> usize {
    const QUOTES: u64 = LOW_BITS * b'"' as u64;
    const BACKSLASHES: u64 = LOW_BITS * b'\\' as u64;
    const SPACES: u64 = LOW_BITS * b' ' as u64;

    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        *seen |= word;
        // Subtracting borrows into the high bit of a byte that was smaller; the borrow can only
        // disturb the bytes above the first hit.
        let hits = (word ^ QUOTES).wrapping_sub(LOW_BITS)
            | (word ^ BACKSLASHES).wrapping_sub(LOW_BITS)
            | word.wrapping_sub(SPACES);
        let hits = hits & !word & HIGH_BITS;
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        *seen |= u64::from(byte);
        if byte < b' ' || byte == b'"' || byte == b'\\' {
            break;
        }
        at += 1;
    }
    at
}

/// The position, from `at`, of the first byte that is no digit; the end if there is none.
#[inline]
pub(super) fn find_non_digit(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        // Digits become 0 to 9; adding 0x76 carries everything from 10 on into the high bit.
        let word = u64::from_le_bytes(*chunk) ^ (LOW_BITS * b'0' as u64);
        let hits = (word.wrapping_add(LOW_BITS * 0x76) | word) & HIGH_BITS;
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    at
}

/// Bytes that a text may begin with. The first sixteen are compared in registers: a call of `memcmp` takes
/// longer than the comparison of a short key.
#[derive(Clone, Debug, Default)]
pub(super) struct Pattern {
    bytes: Vec<u8>,
    head: u128,
    mask: u128,
}

impl Pattern {
    /// Takes other bytes, which are not none.
    pub(super) fn set(&mut self, bytes: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        (self.head, self.mask) = (0, 0);
        for (place, byte) in bytes.iter().take(16).enumerate() {
            self.head |= u128::from(*byte) << (8 * place);
            self.mask |= 0xff << (8 * place);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether `text` begins with it; never, as long as it was not set.
    #[inline(always)]
    pub(super) fn begins(&self, text: &[u8]) -> bool {
        let Some(chunk) = text.first_chunk::<16>() else { return self.begins_end(text) };
        let is_head = u128::from_le_bytes(*chunk) & self.mask == self.head;
        is_head && self.mask != 0 && (self.bytes.len() <= 16 || text.starts_with(&self.bytes))
    }

    /// As [`Self::begins`], where there is no sixteen bytes of text.
    #[cold]
    fn begins_end(&self, text: &[u8]) -> bool {
        !self.bytes.is_empty() && text.starts_with(&self.bytes)
    }
}

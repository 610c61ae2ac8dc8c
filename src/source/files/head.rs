//! What tells a file from another one of the same name.

use std::{
    fmt,
    io::{self, Read},
};

use crate::digest::fnv1a;

/// The digest of a file's first bytes, decompressed, and how many they are: the file may grow and be
/// packed anew, and is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) bytes: u64,
    digest: u64,
}

impl Head {
    /// So many bytes tell files apart.
    pub(super) const BYTES: u64 = 64 << 10;

    /// The head of at most `bytes` bytes.
    pub(super) fn of(input: impl Read, bytes: u64) -> io::Result<Self> {
        let mut head = Vec::new();
        input.take(bytes).read_to_end(&mut head)?;
        Ok(Self { bytes: head.len() as u64, digest: fnv1a(&head) })
    }

    /// Reads what is shown.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (bytes, digest) = text.split_once(':')?;
        let digest = u64::from_str_radix(digest, 16).ok()?;
        Some(Self { bytes: bytes.parse().ok()?, digest })
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:016x}", self.bytes, self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_grown_has_the_same_head() {
        let short = Head::of(&b"{}\n"[..], Head::BYTES).unwrap();
        assert_eq!(short.bytes, 3);
        assert_eq!(Head::parse(&short.to_string()), Some(short));
        assert_eq!(Head::of(&b"{}\n{}\n"[..], short.bytes).unwrap(), short);
        assert_ne!(Head::of(&b"[]\n{}\n"[..], short.bytes).unwrap(), short);
        assert_ne!(Head::of(&b"{}"[..], short.bytes).unwrap(), short);
        assert_eq!(Head::parse("AAAA"), None);
    }
}

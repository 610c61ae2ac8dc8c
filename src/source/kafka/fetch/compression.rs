//! The compressions of record batches.

use std::io::Read;

use zstd::stream::raw::{Decoder, InBuffer, Operation as _, OutBuffer};

use super::records::Unreadable;

/// The most that a batch may grow to. Brokers take batches of 1 MB unless told otherwise.
const PLAIN_MAX: usize = 128 << 20;
const STEP: usize = 64 << 10;
/// What Java's Snappy writes before blocks that have their lengths in front.
const XERIAL: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER: usize = 16;

/// Keeps what is costly to set up.
#[derive(Default)]
pub(super) struct Decompressor {
    zstd: Option<Decoder<'static>>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decompressor")
    }
}

impl Decompressor {
    /// Appends to `plain` what `packed` holds; `codec` is the number that batches have for it.
    pub(super) fn decompress(
        &mut self,
        codec: u8,
        packed: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), Unreadable> {
        let read = |mut reader: &mut dyn Read, plain: &mut Vec<u8>| {
            let read = (&mut reader).take(PLAIN_MAX as u64 + 1).read_to_end(plain);
            read.map_err(|_| Unreadable::Corrupt).map(drop)
        };
        match codec {
            1 => read(&mut flate2::read::MultiGzDecoder::new(packed), plain)?,
            2 => snappy(packed, plain)?,
            3 => read(&mut lz4_flex::frame::FrameDecoder::new(packed), plain)?,
            4 => self.zstd(packed, plain)?,
            _ => return Err(Unreadable::Unknown),
        }
        if plain.len() > PLAIN_MAX { Err(Unreadable::Corrupt) } else { Ok(()) }
    }

    fn zstd(&mut self, packed: &[u8], plain: &mut Vec<u8>) -> Result<(), Unreadable> {
        let corrupt = |_| Unreadable::Corrupt;
        let decoder = match &mut self.zstd {
            Some(decoder) => {
                decoder.reinit().map_err(corrupt)?;
                decoder
            }
            none => none.insert(Decoder::new().map_err(corrupt)?),
        };
        let mut input = InBuffer::around(packed);
        loop {
            if plain.len() > PLAIN_MAX {
                return Err(Unreadable::Corrupt);
            }
            let begin = plain.len();
            plain.resize(begin + STEP.max(packed.len()), 0);
            let mut output = OutBuffer::around(&mut plain[begin..]);
            let hint = decoder.run(&mut input, &mut output).map_err(corrupt)?;
            let written = output.pos();
            plain.truncate(begin + written);
            if input.pos() == packed.len() && written == 0
                || hint == 0 && input.pos() == packed.len()
            {
                return if hint == 0 { Ok(()) } else { Err(Unreadable::Corrupt) };
            }
        }
    }
}

fn snappy(packed: &[u8], plain: &mut Vec<u8>) -> Result<(), Unreadable> {
    if !packed.starts_with(XERIAL) {
        return snappy_block(packed, plain);
    }
    let mut rest = packed.get(XERIAL_HEADER..).ok_or(Unreadable::Corrupt)?;
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let (block, behind) = behind.split_at_checked(length).ok_or(Unreadable::Corrupt)?;
        snappy_block(block, plain)?;
        rest = behind;
    }
    if rest.is_empty() { Ok(()) } else { Err(Unreadable::Corrupt) }
}

fn snappy_block(packed: &[u8], plain: &mut Vec<u8>) -> Result<(), Unreadable> {
    let corrupt = |_| Unreadable::Corrupt;
    let length = snap::raw::decompress_len(packed).map_err(corrupt)?;
    let begin = plain.len();
    if begin + length > PLAIN_MAX {
        return Err(Unreadable::Corrupt);
    }
    plain.resize(begin + length, 0);
    let written =
        snap::raw::Decoder::new().decompress(packed, &mut plain[begin..]).map_err(corrupt)?;
    plain.truncate(begin + written);
    Ok(())
}

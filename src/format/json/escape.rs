//! The escapes of JSON strings.

use super::words::find_break;

/// Why a string cannot be a text of Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadEscape {
    /// U+0000, which the types `text` and `jsonb` cannot hold.
    Null,
    /// Half of a surrogate pair, which is no character.
    Surrogate(u16),
    /// No escape of JSON. The scanner lets none through.
    Unknown,
}

/// Appends the characters that `raw`, the inside of a JSON string, stands for.
///
/// # Errors
/// When one of them is no character that Postgres can store; `out` then holds a part.
pub(crate) fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Result<(), BadEscape> {
    let mut rest = raw;
    loop {
        let at = find_break(rest, 0, &mut 0);
        let (plain, escape) = rest.split_at(at);
        out.extend_from_slice(plain);
        rest = match escape {
            [] => return Ok(()),
            [b'\\', b'u', after @ ..] => {
                let (character, after) = unicode(after)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                after
            }
            [b'\\', letter, after @ ..] => {
                out.push(single(*letter)?);
                after
            }
            _ => return Err(BadEscape::Unknown),
        };
    }
}

/// The first escape in `raw` that [`unescape`] would refuse.
///
/// # Errors
/// When there is one.
pub(crate) fn check(raw: &[u8]) -> Result<(), BadEscape> {
    let mut rest = raw;
    loop {
        rest = match rest.split_at(find_break(rest, 0, &mut 0)).1 {
            [] => return Ok(()),
            [b'\\', b'u', after @ ..] => unicode(after)?.1,
            [b'\\', letter, after @ ..] => {
                single(*letter)?;
                after
            }
            _ => return Err(BadEscape::Unknown),
        };
    }
}

fn single(letter: u8) -> Result<u8, BadEscape> {
    match letter {
        b'"' | b'\\' | b'/' => Ok(letter),
        b'b' => Ok(0x08),
        b'f' => Ok(0x0c),
        b'n' => Ok(b'\n'),
        b'r' => Ok(b'\r'),
        b't' => Ok(b'\t'),
        _ => Err(BadEscape::Unknown),
    }
}

/// The character of an escape whose `\u` has been read, and what follows it.
fn unicode(rest: &[u8]) -> Result<(char, &[u8]), BadEscape> {
    let (first, rest) = code_unit(rest)?;
    if first == 0 {
        return Err(BadEscape::Null);
    }
    if let Some(character) = char::from_u32(u32::from(first)) {
        return Ok((character, rest));
    }
    let [b'\\', b'u', low @ ..] = rest else { return Err(BadEscape::Surrogate(first)) };
    let (second, rest) = code_unit(low)?;
    match char::decode_utf16([first, second]).next() {
        Some(Ok(character)) => Ok((character, rest)),
        _ => Err(BadEscape::Surrogate(first)),
    }
}

fn code_unit(rest: &[u8]) -> Result<(u16, &[u8]), BadEscape> {
    let (digits, rest) = rest.split_first_chunk::<4>().ok_or(BadEscape::Unknown)?;
    let mut unit = 0;
    for &digit in digits {
        let value = char::from(digit).to_digit(16).ok_or(BadEscape::Unknown)?;
        unit = unit << 4 | value as u16;
    }
    Ok((unit, rest))
}

//! JSON text that is made here.

use super::words::find_break;

/// Appends `text` as a string in quotes. What is not UTF-8 in it is for the reader to refuse.
pub(crate) fn put_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    put_characters(text, out);
    out.push(b'"');
}

/// Appends `text` as the inside of a string.
pub(crate) fn put_characters(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    loop {
        let (plain, special) = rest.split_at(find_break(rest, 0, &mut 0));
        out.extend_from_slice(plain);
        let [byte, after @ ..] = special else { return };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            control => {
                out.extend_from_slice(b"\\u00");
                put_hex(&[*control], out);
            }
        }
        rest = after;
    }
}

/// Appends two hexadecimal digits for each byte.
pub(crate) fn put_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value & 15)).copied().unwrap_or(b'0');
    out.extend(bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte)]));
}

//! Numbers as JSON has them.

use std::io::Write as _;

pub(super) fn put_integer(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    // A vector takes everything.
    let _ = write!(out, "{value}");
}

/// Appends the shortest text that reads as this float again; JSON has none for those that are not
/// finite, and columns read them as strings.
pub(super) fn put_float(value: f32, out: &mut Vec<u8>) {
    let _ = match value.abs() {
        size if size == 0.0 || (1e-5..1e16).contains(&size) => write!(out, "{value}"),
        size if size.is_finite() => write!(out, "{value:e}"),
        _ => return put_special(f64::from(value), out),
    };
}

/// As [`put_float`].
pub(super) fn put_double(value: f64, out: &mut Vec<u8>) {
    let _ = match value.abs() {
        size if size == 0.0 || (1e-5..1e16).contains(&size) => write!(out, "{value}"),
        size if size.is_finite() => write!(out, "{value:e}"),
        _ => return put_special(value, out),
    };
}

fn put_special(value: f64, out: &mut Vec<u8>) {
    let text: &[u8] = match value {
        f64::INFINITY => b"\"Infinity\"",
        f64::NEG_INFINITY => b"\"-Infinity\"",
        _ => b"\"NaN\"",
    };
    out.extend_from_slice(text);
}

//! Large inputs: the time may grow with the size, and not faster.

use std::time::{Duration, Instant};

use crate::Target;

const BYTES: usize = 1 << 20;
/// Linear work on a mebibyte takes milliseconds; what takes this long is quadratic.
const LIMIT: Duration = Duration::from_secs(10);

/// What is repeated until it is large, and what stands around it.
const PIECES: [(&str, &str, &str); 16] = [
    ("", "[", ""),
    ("", "{\"a\":", ""),
    ("{\"a\":", "1", "}"),
    ("{\"a\":1.", "9", "}"),
    ("{\"a\":0.", "0", "}"),
    ("{\"a\":1e", "9", "}"),
    ("{\"a\":\"", "\\u0061", "\"}"),
    ("{\"a\":\"", "é", "\"}"),
    ("{\"a\":\"", "A", "\"}"),
    ("{\"a\":[", "1e5,\"\\n\",", "1]}"),
    ("{", "\"a\":1,", "\"a\":1}"),
    ("", "\n", ""),
    ("", "name\nvalue\n", ""),
    ("", "a.b.c = 1\n", ""),
    ("a = \"", "${env:X:-", "\""),
    ("", "COPY a, line ", ""),
];

pub(crate) fn run(target: &Target) {
    let mut body = (target.start)();
    let mut slowest = (Duration::ZERO, "");
    for (before, piece, after) in PIECES {
        let input = format!("{before}{}{after}", piece.repeat(BYTES / piece.len()));
        // As it is, and as the value that it may be inside of.
        let inside = input.strip_prefix("{\"a\":").and_then(|rest| rest.strip_suffix('}'));
        for input in [Some(input.as_str()), inside].into_iter().flatten() {
            let started = Instant::now();
            body(input.as_bytes());
            slowest = slowest.max((started.elapsed(), piece));
        }
    }
    let ((took, piece), name) = (slowest, target.name);
    println!("fuzz: {name} takes {took:.1?} at most for 1 MiB ({})", piece.escape_debug());
    assert!(took < LIMIT, "{name}: more than {LIMIT:?}");
}

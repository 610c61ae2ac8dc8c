//! Durations and sizes as texts: `100ms`, `4MiB`.

use std::time::Duration;

const SIZES: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
    ("", 1),
];

const DURATIONS_MS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads `64KiB`, `4MiB`, `1GB` or a number of bytes; the case of the unit does not matter.
pub(super) fn parse_size(text: &str) -> Option<usize> {
    usize::try_from(parse(text, &SIZES)?).ok()
}

/// Reads `100ms`, `5s`, `2m`, `1h` or `30d`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    parse(text, &DURATIONS_MS).map(Duration::from_millis)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The shortest exact text of a size, in binary units.
pub(super) fn size_text(bytes: usize) -> String {
    let binary = [("GiB", 1_usize << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match binary.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

/// The shortest exact text of a duration.
pub(super) fn duration_text(duration: Duration) -> String {
    let ms = duration.as_millis();
    let fits = |factor: u64| ms >= u128::from(factor) && ms.is_multiple_of(u128::from(factor));
    match DURATIONS_MS.iter().find(|(_, factor)| fits(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", ms / u128::from(*factor)),
        None => format!("{ms}ms"),
    }
}

//! Numbers as people read them: on the status page, in `tidegate top`, in lines of progress.

/// What stands where a figure is not known.
pub(crate) const UNKNOWN: &str = "–";

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Whole below 10,000; above with three digits that count and `k`, `M` or `G`.
pub(crate) fn short(number: f64) -> String {
    if number < 9_999.5 {
        return grouped(number.max(0.0).round() as u64);
    }
    scaled(number, 1_000.0, &["", "k", "M", "G", "T"])
}

/// `44040192` as `42.0 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    scaled(bytes as f64, 1_024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

/// Three digits that count, in the largest unit that leaves one before the point.
fn scaled(number: f64, step: f64, units: &[&str]) -> String {
    let (mut number, mut index) = (number, 0);
    // 999.5 would be shown as 1000.
    while number >= 999.5 && index + 1 < units.len() {
        number /= step;
        index += 1;
    }
    let decimals = if number < 9.995 { 2 } else { usize::from(number < 99.95) };
    format!("{number:.decimals$}{}", units.get(index).unwrap_or(&""))
}

/// A time in seconds: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    let tenths = (seconds * 10.0).round() as u64;
    if tenths < 100 && !tenths.is_multiple_of(10) {
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    let whole = seconds.round() as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, _) => format!("{minutes} min {} s", whole % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// A time in milliseconds: `3.2 ms`, `120 ms`, and from ten seconds on as [`duration`].
pub(crate) fn milliseconds(ms: f64) -> String {
    match ms {
        ..9.95 => format!("{ms:.1} ms"),
        ..9_999.5 => format!("{} ms", grouped(ms.round() as u64)),
        _ => duration(ms / 1_000.0),
    }
}

/// A share from 0 to 1: `0.417` as `42%`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0}%", 100.0 * share.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_stands_before_every_three_digits_but_the_first() {
        let texts = [0, 999, 1_000, 123_456, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "123,456", "1,234,567"]);
    }

    #[test]
    fn large_numbers_keep_three_digits() {
        let texts = [0.0, 9_999.4, 9_999.5, 99_950.0, 412_345.0, 999_499.0, 999_500.0].map(short);
        assert_eq!(texts, ["0", "9,999", "10.0k", "100k", "412k", "999k", "1.00M"]);
        let texts = [0, 1_023, 1_024, 44_040_192, 1 << 40].map(bytes);
        assert_eq!(texts, ["0 B", "1023 B", "1.00 KiB", "42.0 MiB", "1.00 TiB"]);
        assert_eq!(bytes(1_023 << 10), "1.00 MiB");
    }

    #[test]
    fn times_have_two_units_at_most() {
        let seconds = [0.0, 0.04, 0.4, 4.25, 9.96, 59.0, 61.0, 3_725.0, 273_600.0];
        let texts = seconds.map(duration);
        let expected =
            ["0 s", "0 s", "0.4 s", "4.3 s", "10 s", "59 s", "1 min 1 s", "1 h 2 min", "3 d 4 h"];
        assert_eq!(texts, expected);
        assert_eq!(
            [0.0, 9.96, 1_234.0, 61_000.0].map(milliseconds),
            ["0.0 ms", "10 ms", "1,234 ms", "1 min 1 s"]
        );
        assert_eq!([-1.0, 0.417, 1.2].map(percent), ["0%", "42%", "100%"]);
    }
}

//! Writes an instant as RFC 3339 with milliseconds, without allocation.

const MS_A_DAY: i64 = 86_400_000;

/// Formats instants; keeps the text of the last day it saw, as orders come in time order.
#[derive(Debug, Clone)]
pub(crate) struct InstantText {
    day: i64,
    text: [u8; 24],
}

impl InstantText {
    pub(crate) fn new() -> Self {
        let mut text = InstantText { day: 0, text: *b"1970-01-01T00:00:00.000Z" };
        text.set_day(0);
        text
    }

    /// `unix_ms` as `2026-01-31T23:59:59.999Z`.
    pub(crate) fn format(&mut self, unix_ms: i64) -> &[u8; 24] {
        let day = unix_ms.div_euclid(MS_A_DAY);
        if day != self.day {
            self.set_day(day);
        }
        let ms = unix_ms.rem_euclid(MS_A_DAY) as u32;
        let seconds = ms / 1000;
        put_two(&mut self.text, 11, seconds / 3600);
        put_two(&mut self.text, 14, seconds / 60 % 60);
        put_two(&mut self.text, 17, seconds % 60);
        self.text[20] = digit(ms / 100 % 10);
        put_two(&mut self.text, 21, ms % 100);
        &self.text
    }

    fn set_day(&mut self, day: i64) {
        let (year, month, day_of_month) = civil(day);
        put_two(&mut self.text, 0, year / 100);
        put_two(&mut self.text, 2, year % 100);
        put_two(&mut self.text, 5, month);
        put_two(&mut self.text, 8, day_of_month);
        self.day = day;
    }
}

fn digit(value: u32) -> u8 {
    b'0' + value as u8
}

fn put_two(text: &mut [u8; 24], at: usize, value: u32) {
    text[at] = digit(value / 10 % 10);
    text[at + 1] = digit(value % 10);
}

/// Year, month and day of a day number since 1970-01-01, in the Gregorian calendar
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(day: i64) -> (u32, u32, u32) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year as u32, month as u32, day_of_month as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_read_as_the_calendar_says() {
        let mut text = InstantText::new();
        for step in 0..200_000i64 {
            // Strides over leap days and year ends, forwards and back.
            let unix_ms = 1_767_225_600_000 + (step - 100_000) * 7_200_123;
            let expected = jiff::Timestamp::from_millisecond(unix_ms).unwrap();
            let got = String::from_utf8(text.format(unix_ms).to_vec()).unwrap();
            assert_eq!(got, format!("{expected:.3}"));
        }
    }
}

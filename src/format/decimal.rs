//! Decimals as Kafka Connect and Avro send them: an unscaled integer, and a scale.

/// More digits than any numeric of Postgres has before and behind its point.
const MAX_DIGITS: u64 = 150_000;
/// Bytes of an integer of so many digits; turning it into digits is quadratic.
const MAX_BYTES: usize = 60_000;

/// Appends the number whose digits are `unscaled` (two's complement, big-endian), of which `scale` are
/// behind the point; false, and nothing, if it is beyond every numeric.
pub(super) fn put_decimal(unscaled: &[u8], scale: i64, out: &mut Vec<u8>) -> bool {
    if unscaled.len() > MAX_BYTES || scale.unsigned_abs() > MAX_DIGITS {
        return false;
    }
    let negative = unscaled.first().is_some_and(|byte| *byte >= 0x80);
    if negative {
        out.push(b'-');
    }
    let start = out.len();
    if unscaled.len() <= 16 {
        let fill = if negative { -1_i128 } else { 0 };
        let value = unscaled.iter().fold(fill, |value, byte| value << 8 | i128::from(*byte));
        put_digits(value.unsigned_abs(), out);
    } else {
        put_long_digits(unscaled, negative, out);
    }
    put_point(start, scale, out);
    true
}

fn put_digits(mut value: u128, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        out.push(b'0' + (value % 10) as u8);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

/// Divides by 10⁹ until nothing is left.
fn put_long_digits(unscaled: &[u8], negative: bool, out: &mut Vec<u8>) {
    const BILLION: u64 = 1_000_000_000;
    let fill = if negative { 0xff } else { 0 };
    let mut limbs: Vec<u32> = unscaled
        .rchunks(4)
        .rev()
        .map(|chunk| {
            chunk.iter().fold(fill * 0x0101_0101, |limb, byte| limb << 8 | u32::from(*byte))
        })
        .collect();
    if negative {
        // The magnitude: all bits turned, and one more, carried from the end.
        let mut carry = true;
        for limb in limbs.iter_mut().rev() {
            (*limb, carry) = (!*limb).overflowing_add(u32::from(carry));
        }
    }
    let start = out.len();
    let mut first = 0;
    while first < limbs.len() {
        let mut remainder = 0;
        for limb in limbs.iter_mut().skip(first) {
            let value = remainder << 32 | u64::from(*limb);
            *limb = (value / BILLION) as u32;
            remainder = value % BILLION;
        }
        first += limbs.iter().skip(first).take_while(|limb| **limb == 0).count();
        for _ in 0..9 {
            out.push(b'0' + (remainder % 10) as u8);
            remainder /= 10;
        }
    }
    while out.len() > start + 1 && out.last() == Some(&b'0') {
        out.pop();
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

/// Puts the point into the digits that stand at the end of `out`, from `start` on.
fn put_point(start: usize, scale: i64, out: &mut Vec<u8>) {
    let zeros = |count: usize| std::iter::repeat_n(b'0', count);
    let Ok(scale) = usize::try_from(scale) else {
        if out.get(start..) != Some(b"0") {
            out.extend(zeros(scale.unsigned_abs() as usize));
        }
        return;
    };
    if scale == 0 {
        return;
    }
    let digits = out.len() - start;
    if digits <= scale {
        out.splice(start..start, zeros(scale + 1 - digits));
    }
    let point = out.len() - scale;
    out.insert(point, b'.');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(unscaled: &[u8], scale: i64) -> String {
        let mut out = b"x".to_vec();
        assert!(put_decimal(unscaled, scale, &mut out));
        String::from_utf8(out).unwrap().split_off(1)
    }

    #[test]
    fn digits_and_scale_make_a_number() {
        assert_eq!(text(&[0xfb, 0x2e], 2), "-12.34");
        assert_eq!(text(&[0xff], 2), "-0.01");
        assert_eq!(text(&[0], 4), "0.0000");
        assert_eq!(text(&[], 0), "0");
        assert_eq!(text(&[15], -3), "15000");
        assert_eq!(text(&[0], -3), "0");
        assert_eq!(text(&[0x80], 0), "-128");
        let two_to_128 = [&[1][..], &[0; 16]].concat();
        assert_eq!(text(&two_to_128, 0), "340282366920938463463374607431768211456");
        let minus = [&[0xff][..], &[0; 16]].concat();
        assert_eq!(text(&minus, 38), "-3.40282366920938463463374607431768211456");
        assert_eq!(text(&[0xff; 17], 0), "-1");
    }

    #[test]
    fn what_no_numeric_holds_is_refused() {
        let mut out = Vec::new();
        assert!(!put_decimal(&[1], i64::MIN, &mut out) && out.is_empty());
        assert!(!put_decimal(&vec![1; MAX_BYTES + 1], 0, &mut out) && out.is_empty());
    }

    proptest! {
        #[test]
        fn long_and_short_ways_agree(value: i128, more in 0_usize..9) {
            let fill = if value < 0 { 0xff } else { 0 };
            let bytes = [&vec![fill; more][..], &value.to_be_bytes()].concat();
            prop_assert_eq!(text(&bytes, 0), value.to_string());
        }
    }
}

//! Which fields a record has, and their order: orders as they are, shuffled, or with many more.

use std::io::Write as _;

use crate::{instant::InstantText, random};

/// The fields of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fields {
    /// The nine of an order, always in the same order
    Order,
    /// The same nine, in an order of its own for each record
    Shuffled,
    /// 40: the nine, and numbers, texts, instants, a uuid, an address, arrays and JSON
    Wide,
}

/// The fields of an order, as each begins; the first has no comma before it.
const BEGINNINGS: [&[u8]; 9] = [
    br#""order_id":"#,
    br#","customer_id":"#,
    br#","status":"#,
    br#","amount":"#,
    br#","currency":"#,
    br#","item_count":"#,
    br#","express":"#,
    br#","created_at":"#,
    br#","note":"#,
];

/// Puts the fields of an order, `{...}`, into the order that `draw` decides.
pub(crate) fn shuffle(order: &mut Vec<u8>, scratch: &mut Vec<u8>, mut draw: u64) {
    let mut starts = [0; BEGINNINGS.len() + 1];
    let mut from = 0;
    for (start, beginning) in starts.iter_mut().zip(BEGINNINGS) {
        // Only the note, which is the last, may have any text in it.
        let at = order[from..].windows(beginning.len()).position(|piece| piece == beginning);
        from += at.unwrap_or_default();
        *start = from;
    }
    starts[BEGINNINGS.len()] = order.len() - 1;
    let mut fields: [usize; BEGINNINGS.len()] = std::array::from_fn(|field| field);
    for left in (1..fields.len()).rev() {
        draw = random::mix(draw);
        fields.swap(left, random::below(draw, left as u64 + 1) as usize);
    }
    scratch.clear();
    for field in fields {
        scratch.push(if scratch.is_empty() { b'{' } else { b',' });
        let start = starts[field] + usize::from(field > 0);
        scratch.extend_from_slice(&order[start..starts[field + 1]]);
    }
    scratch.push(b'}');
    std::mem::swap(order, scratch);
}

const CITIES: [&str; 8] =
    ["Zürich", "Hà Nội", "東京", "São Paulo", "Austin", "Łódź", "Lagos", "Montréal"];
const COUNTRIES: [&str; 8] = ["CH", "VN", "JP", "BR", "US", "PL", "NG", "CA"];
const TAGS: [&str; 8] =
    ["new", "gift", "fragile", "return", "wholesale", "sale", "pre order", "späti"];
const PRODUCTS: [&str; 4] = ["kettle", "desk lamp", "USB cable, 2 m", "\\\"noisy\\\" radio"];

/// Puts 31 more fields behind those of an order, whose closing brace is the last byte.
pub(crate) fn widen(order: &mut Vec<u8>, draw: u64, created_ms: i64, instant: &mut InstantText) {
    order.pop();
    let mut state = draw;
    let mut below = |limit: u64| {
        state = random::mix(state);
        random::below(state, limit)
    };
    // Writing to a vector cannot fail.
    let place = below(8) as usize;
    let (city, country) = (CITIES[place], COUNTRIES[place]);
    let (shop, clerk, points) = (below(400), below(20_000), below(5_000));
    let (stock_before, taken, weight) = (below(10_000), below(9), below(30_000));
    let _ = write!(
        order,
        r#","shop_id":{shop},"clerk_id":{clerk},"stock_before":{stock_before},"stock_after":{},"weight_grams":{weight},"loyalty_points":{points}"#,
        stock_before as i64 - taken as i64,
    );
    let (latitude, longitude) = (below(180_000_000) as f64 / 1e6 - 90.0, below(360_000_000));
    let longitude = longitude as f64 / 1e6 - 180.0;
    let (discount, rating) = (below(1_000) as f64 / 1e4, below(50) as f64 / 10.0);
    let _ = write!(
        order,
        r#","latitude":{latitude},"longitude":{longitude},"discount":{discount},"rating":{rating}"#
    );
    for name in ["tax", "shipping", "subtotal", "refund"] {
        let cents = below(1_000_000);
        let _ = write!(order, r#","{name}":{}.{:02}"#, cents / 100, cents % 100);
    }
    let _ = write!(
        order,
        r#","email":"user{}@example.com","city":"{city}","country":"{country}""#,
        below(200_000)
    );
    match below(4) {
        0 => order.extend_from_slice(br#","coupon":"WELCOME10""#),
        _ => order.extend_from_slice(br#","coupon":null"#),
    }
    for (name, after_ms) in
        [("paid_at", 90_000), ("packed_at", 7_200_000), ("shipped_at", 86_400_000)]
    {
        let at_ms = created_ms + below(after_ms) as i64;
        let _ = write!(order, r#","{name}":""#);
        order.extend_from_slice(instant.format(at_ms));
        order.push(b'"');
    }
    let _ = write!(order, r#","due_on":"2026-{:02}-{:02}""#, 1 + below(12), 1 + below(28));
    let (high, low) = (random::mix(draw ^ 1), random::mix(draw ^ 2));
    let _ = write!(
        order,
        r#","session_id":"{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}""#,
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    );
    let _ = write!(order, r#","client_ip":"10.{}.{}.{}""#, below(256), below(256), below(256));
    let (gift, insured) = (below(2) == 0, below(2) == 0);
    let _ = write!(order, r#","gift":{gift},"insured":{insured}"#);

    let products = 1 + below(5);
    list(order, "product_ids", products, |out| write!(out, "{}", below(1_000_000)));
    list(order, "quantities", products, |out| write!(out, "{}", 1 + below(9)));
    let tags = below(4);
    list(order, "tags", tags, |out| write!(out, r#""{}""#, TAGS[below(8) as usize]));
    let _ = write!(
        order,
        r#","address":{{"street":"Main street {}","zip":"{:05}","city":"{city}","floor":{},"lift":{}}}"#,
        below(900),
        below(100_000),
        below(30),
        below(2) == 0
    );
    list(order, "items", products, |out| {
        let name = PRODUCTS[below(4) as usize];
        let cents = below(100_000);
        write!(out, r#"{{"name":"{name}","price":{}.{:02}}}"#, cents / 100, cents % 100)
    });
    order.push(b'}');
}

fn list(
    out: &mut Vec<u8>,
    name: &str,
    length: u64,
    mut element: impl FnMut(&mut Vec<u8>) -> std::io::Result<()>,
) {
    let _ = write!(out, r#","{name}":["#);
    for index in 0..length {
        if index > 0 {
            out.push(b',');
        }
        let _ = element(out);
    }
    out.push(b']');
}

//! Renders events into bytes: JSON by hand, into buffers that are reused.

use crate::fields::{self, Fields};
use crate::instant::InstantText;
use crate::orders::{Content, Event, Order, poison_id};
use crate::poison::Poison;
use crate::profile::Profile;
use crate::random::{self, Popularity, Stream, bits};
use crate::window::Status;

const CURRENCIES: [&str; 4] = ["USD", "EUR", "VND", "JPY"];

/// Notes as they stand between the quotes of JSON: plain, empty, unicode raw and escaped, every
/// kind of escape, and null.
const NOTES: [Option<&str>; 12] = [
    Some("leave at the front door, please"),
    Some(""),
    Some("gift ✨ wrap, two ribbons"),
    Some(r#"call \\ \"first\""#),
    Some(r"r\u00e9ception, 2e \u00e9tage"),
    Some(r"line one\nline two\tand a tab"),
    None,
    Some("gọi trước khi giao hàng"),
    Some(r"emoji \ud83c\udf81 by surrogates"),
    Some(r"slash \/ and \b\f\r controls"),
    Some("ご配達前にお電話ください"),
    Some("ring twice"),
];

/// Columns that only an order's number decides.
#[derive(Debug, Clone, Copy)]
struct Columns {
    amount_cents: u64,
    currency: &'static str,
    item_count: u64,
    express: bool,
    note: Option<&'static str>,
}

impl Columns {
    fn of(seed: u64, index: u64) -> Self {
        let draw = bits(seed, Stream::Columns, index);
        let more = random::mix(draw);
        Columns {
            amount_cents: amount_cents(draw),
            currency: CURRENCIES[(more & 3) as usize],
            item_count: 1 + (more >> 2) % 9,
            express: (more >> 16).is_multiple_of(5),
            note: NOTES[random::below(more, NOTES.len() as u64) as usize],
        }
    }
}

fn amount_cents(draw: u64) -> u64 {
    100 + random::below(draw, 90_000)
}

/// The `amount` of an order.
pub(crate) fn amount_of(seed: u64, number: u64) -> u64 {
    amount_cents(bits(seed, Stream::Columns, number))
}

/// Key and value of one record, as bytes; kept to be filled again.
#[derive(Debug, Clone, Default)]
pub struct Record {
    key: Vec<u8>,
    has_key: bool,
    value: Vec<u8>,
    is_tombstone: bool,
}

impl Record {
    /// The key, or `None` if the record has none.
    pub fn key(&self) -> Option<&[u8]> {
        self.has_key.then_some(self.key.as_slice())
    }

    /// The value, or `None` for a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        (!self.is_tombstone).then_some(self.value.as_slice())
    }

    /// Bytes of key and value.
    pub fn size_bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

/// Turns events into records.
#[derive(Debug, Clone)]
pub struct Renderer {
    seed: u64,
    start_id: i64,
    size_bytes: Option<usize>,
    fields: Fields,
    popularity: Popularity,
    instant: InstantText,
    padding: Vec<u8>,
    scratch: Vec<u8>,
}

impl Renderer {
    pub fn new(profile: &Profile) -> Self {
        Renderer {
            seed: profile.seed,
            start_id: profile.start_id,
            size_bytes: profile.size_bytes,
            fields: profile.fields,
            popularity: Popularity::new(profile.customers, profile.key_skew),
            instant: InstantText::new(),
            padding: profile.size_bytes.map_or_else(Vec::new, |_| padding(profile.seed)),
            scratch: Vec::new(),
        }
    }

    /// Fills `record` with what `event` says.
    pub fn render(&mut self, event: &Event, record: &mut Record) {
        record.key.clear();
        record.value.clear();
        record.has_key = event.key.is_some();
        record.is_tombstone = matches!(event.content, Content::Tombstone { .. });
        if let Some(key) = event.key {
            integer(key, &mut record.key);
        }
        match event.content {
            Content::Order(order) => self.order(&order, &mut record.value),
            Content::Poison { kind, index } => self.poison(kind, index, &mut record.value),
            Content::Tombstone { .. } => {}
        }
    }

    fn order(&mut self, order: &Order, out: &mut Vec<u8>) {
        let columns = Columns::of(self.seed, order.number);
        let id = self.start_id.saturating_add_unsigned(order.number);
        self.up_to_item_count(id, order.customer, order.status, &columns, out);
        integer(columns.item_count as i64, out);
        self.up_to_note(order.created_ms, &columns, out);
        self.note(columns.note, order.number, out);
        out.push(b'}');
        let draw = bits(self.seed, Stream::Fields, order.number);
        match self.fields {
            Fields::Order => {}
            Fields::Shuffled => fields::shuffle(out, &mut self.scratch, draw),
            Fields::Wide => fields::widen(out, draw, order.created_ms, &mut self.instant),
        }
    }

    /// An order in all but the one thing that is wrong.
    fn poison(&mut self, kind: Poison, index: u64, out: &mut Vec<u8>) {
        let columns = Columns::of(self.seed, !index);
        let id = poison_id(index);
        if kind == Poison::NotJson {
            out.extend_from_slice(b"order ");
            integer(id, out);
            out.extend_from_slice(b" was paid in cash");
            return;
        }
        let customer = self.popularity.draw(bits(self.seed, Stream::Customer, !index));
        self.up_to_item_count(id, customer, Status::Created, &columns, out);
        match kind {
            Poison::WrongType => out.extend_from_slice(b"\"three\""),
            Poison::OutOfRange => out.extend_from_slice(b"99999999999999999999"),
            _ => integer(columns.item_count as i64, out),
        }
        self.up_to_note(0, &columns, out);
        match kind {
            Poison::Nul => out.extend_from_slice(br#""cut\u0000off""#),
            // A lead byte that nothing continues.
            Poison::InvalidUtf8 => out.extend_from_slice(b"\"caf\xc3(\""),
            _ => self.note(columns.note, index, out),
        }
        out.push(b'}');
        if kind == Poison::Truncated {
            out.truncate(out.len() * 2 / 3);
        }
    }

    fn up_to_item_count(
        &mut self,
        id: i64,
        customer: u64,
        status: Status,
        columns: &Columns,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(br#"{"order_id":"#);
        integer(id, out);
        out.extend_from_slice(br#","customer_id":"#);
        integer(customer as i64, out);
        out.extend_from_slice(br#","status":""#);
        out.extend_from_slice(status.name().as_bytes());
        out.extend_from_slice(br#"","amount":"#);
        integer((columns.amount_cents / 100) as i64, out);
        let cents = (columns.amount_cents % 100) as u8;
        out.extend_from_slice(&[b'.', b'0' + cents / 10, b'0' + cents % 10]);
        out.extend_from_slice(br#","currency":""#);
        out.extend_from_slice(columns.currency.as_bytes());
        out.extend_from_slice(br#"","item_count":"#);
    }

    fn up_to_note(&mut self, created_ms: i64, columns: &Columns, out: &mut Vec<u8>) {
        out.extend_from_slice(if columns.express {
            br#","express":true,"created_at":""#
        } else {
            br#","express":false,"created_at":""#
        });
        out.extend_from_slice(self.instant.format(created_ms));
        out.extend_from_slice(br#"","note":"#);
    }

    fn note(&mut self, note: Option<&str>, index: u64, out: &mut Vec<u8>) {
        // What is still to come besides padding: two quotes and the closing brace.
        let room = self.size_bytes.map_or(0, |size| size.saturating_sub(out.len() + 3));
        let text = note.unwrap_or_default();
        let padding = room.saturating_sub(text.len());
        if note.is_none() && padding == 0 {
            out.extend_from_slice(b"null");
            return;
        }
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        self.pad(padding, index, out);
        out.push(b'"');
    }

    fn pad(&self, mut missing: usize, index: u64, out: &mut Vec<u8>) {
        let mut draw = bits(self.seed, Stream::Target, !index);
        while missing > 0 {
            let from = random::below(draw, self.padding.len() as u64 / 2) as usize;
            let piece = missing.min(self.padding.len() - from);
            out.extend_from_slice(&self.padding[from..from + piece]);
            missing -= piece;
            draw = random::mix(draw);
        }
    }
}

fn integer(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Words to pad notes with: text that compresses about as text does.
fn padding(seed: u64) -> Vec<u8> {
    const LENGTH_BYTES: usize = 1 << 16;
    const SYLLABLES: [&str; 16] = [
        "ka", "ro", "mi", "ten", "sol", "ba", "ne", "vu", "lor", "shi", "pa", "den", "o", "gri",
        "ta", "we",
    ];
    let mut text = Vec::with_capacity(LENGTH_BYTES + 8);
    let mut draw = seed;
    while text.len() < LENGTH_BYTES {
        draw = random::mix(draw);
        text.extend_from_slice(SYLLABLES[(draw & 15) as usize].as_bytes());
        if draw >> 62 == 0 {
            text.push(b' ');
        }
    }
    text.truncate(LENGTH_BYTES);
    text
}

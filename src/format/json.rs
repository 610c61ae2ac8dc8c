//! JSON objects.

mod escape;
mod fields;
mod pointer;
mod rest;
mod scanner;
mod walk;
mod words;
mod write;

use fields::{Fields, Place};
use pointer::Path;
use rest::Rest;
use scanner::Malformed;

pub(crate) use escape::{BadEscape, check, unescape};
pub(crate) use scanner::{Scanner, excerpt, validate};
pub(crate) use walk::{elements, members};
pub(crate) use words::find_break;
pub(crate) use write::{put_characters, put_hex, put_string};

use super::Format;
use crate::{
    record::Record,
    rejection::{Reason, Rejection},
    row::{Change, Kind, Span},
    selector::{Selector, spells},
};

/// A larger payload is refused.
const MAX_BYTES: usize = 1 << 30;

/// Reads the fields of a JSON object.
///
/// The whole payload is checked, strictly as RFC 8259: what gets through can be stored as `json`.
/// Of a field that comes twice the last one counts, as in `jsonb`. Half a surrogate pair (`\ud800`)
/// is grammatically a string; it is refused where it is used as text.
///
/// A tombstone deletes the row whose key fields are in the record's key, if that is a JSON object.
#[derive(Debug)]
pub struct JsonFormat {
    selectors: Vec<Selector>,
    /// The top-level names that something depends on, and behind the first `named` of them keys that
    /// records have shown.
    names: Vec<String>,
    named: usize,
    /// How the names are found.
    fields: Fields,
    /// What depends on each of them.
    entries: Vec<Entry>,
    rests: Vec<Rest>,
    /// Spans that have got the value of the very name which they ask for.
    settled: Vec<usize>,
    /// Whether there are selectors that take any spelling.
    has_spellings: bool,
    /// Whether there are only fields, so that a name's number is its span's.
    is_plain: bool,
    /// The payload with the rests behind it, if there are rests.
    text: Vec<u8>,
    /// Whether `text` is what the spans point into: a record may have no rest.
    has_rest: bool,
    key: Vec<u8>,
}

/// What depends on a top-level name.
#[derive(Debug, Default)]
struct Entry {
    /// The spans that ask for this very name.
    places: Vec<usize>,
    /// The spans that ask for it in another spelling.
    spelt: Vec<usize>,
    /// The ways into its value.
    paths: Vec<Path>,
}

/// The member that comes next: the number of its name, if that is known, and where the name begins.
type Next = Option<(Option<usize>, usize)>;

/// Keys that are remembered beyond the names themselves.
const ENTERED_MAX: usize = 256;
/// The longest key that nobody asks for and that is remembered.
const ENTERED_BYTES_MAX: usize = 256;

impl JsonFormat {
    /// A format that answers `selectors`; each once.
    pub fn new(selectors: &[Selector]) -> Self {
        let mut names: Vec<String> = Vec::new();
        let known = selectors.iter().flat_map(|selector| match selector {
            Selector::Rest { except } => except.iter().map(String::as_str).collect(),
            _ => Vec::from_iter(selector.head()),
        });
        for name in known {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        let mut format = Self {
            selectors: selectors.to_vec(),
            named: names.len(),
            names: Vec::new(),
            fields: Fields::new(&[]),
            entries: Vec::new(),
            rests: Vec::new(),
            settled: Vec::new(),
            has_spellings: selectors.iter().any(|s| matches!(s, Selector::Spelling(_))),
            is_plain: false,
            text: Vec::new(),
            has_rest: false,
            key: Vec::new(),
        };
        for (place, selector) in selectors.iter().enumerate() {
            if let Selector::Rest { .. } = selector {
                format.rests.push(Rest::new(place));
            }
        }
        names.into_iter().for_each(|name| format.enter(name));
        format.fields = Fields::new(&format.names);
        let mut entries = format.entries.iter().enumerate();
        format.is_plain = selectors.iter().all(|s| matches!(s, Selector::Field(_)))
            && entries.all(|(field, entry)| entry.places == [field]);
        format
    }

    /// Notes what depends on the field `name`.
    fn enter(&mut self, name: String) {
        let mut entry = Entry::default();
        for (place, selector) in self.selectors.iter().enumerate() {
            match selector {
                Selector::Field(wanted) if *wanted == name => entry.places.push(place),
                Selector::Spelling(wanted) if *wanted == name => entry.places.push(place),
                Selector::Spelling(wanted) if spells(wanted, &name) => entry.spelt.push(place),
                Selector::Pointer(pointer) if selector.head() == Some(&name) => {
                    entry.paths.push(Path::new(place, pointer));
                }
                _ => {}
            }
        }
        let spelt = |wanted: &String| {
            let is_spelling =
                |s: &Selector| matches!(s, Selector::Spelling(name) if name == wanted);
            spells(wanted, &name) && self.selectors.iter().any(is_spelling)
        };
        for rest in &mut self.rests {
            let Some(Selector::Rest { except }) = self.selectors.get(rest.place()) else {
                continue;
            };
            // Where any spelling will do, each of them is known.
            rest.enter(except.contains(&name) || except.iter().any(spelt));
        }
        self.entries.push(entry);
        self.names.push(name);
    }

    /// The field that `self.key` is a spelling of, from now on a name of its own. So is a key that nobody
    /// asks for, which then need not be compared with every spelling again.
    #[cold]
    fn enter_key(&mut self) -> Option<usize> {
        let name = str::from_utf8(&self.key).ok()?;
        let asks = |s: &Selector| matches!(s, Selector::Spelling(wanted) if spells(wanted, name));
        let is_asked = self.selectors.iter().any(asks);
        let is_full = self.names.len() >= self.named + ENTERED_MAX;
        if !is_asked && (is_full || name.len() > ENTERED_BYTES_MAX) {
            return None;
        }
        let name = name.to_owned();
        if is_full {
            self.names.truncate(self.named);
            self.entries.truncate(self.named);
            self.rests.iter_mut().for_each(|rest| rest.truncate(self.named));
        }
        self.enter(name);
        self.fields = Fields::new(&self.names);
        Some(self.names.len() - 1)
    }

    /// Reads the object; `PLAIN` is known beforehand, so that the usual way has nothing to look up.
    fn object<const PLAIN: bool>(
        &mut self,
        payload: &[u8],
        spans: &mut [Span],
    ) -> Result<(), Malformed> {
        let mut scanner = Scanner::new(payload);
        let mut place = Place::START;
        loop {
            let Some((field, start)) = self.next(&mut scanner, place)? else {
                return scanner.end();
            };
            let value = scanner.value(1)?;
            if let Some(field) = field {
                match PLAIN {
                    true => spans.get_mut(field).into_iter().for_each(|span| *span = value),
                    false => self.put(field, payload, value, spans)?,
                }
            }
            if !PLAIN {
                self.rests.iter_mut().for_each(|rest| rest.offer(field, scanner.since(start)));
            }
            place = place.behind(field);
        }
    }

    /// Notes the value of a field where it is wanted.
    fn put(
        &mut self,
        field: usize,
        payload: &[u8],
        value: Span,
        spans: &mut [Span],
    ) -> Result<(), Malformed> {
        let Some(entry) = self.entries.get(field) else { return Ok(()) };
        for place in &entry.places {
            if let Some(span) = spans.get_mut(*place) {
                *span = value;
            }
        }
        if self.has_spellings {
            self.settled.extend(&entry.places);
        }
        for place in entry.spelt.iter().filter(|place| !self.settled.contains(place)) {
            if let Some(span) = spans.get_mut(*place) {
                *span = value;
            }
        }
        for path in &entry.paths {
            if let Some(span) = spans.get_mut(path.place) {
                *span = path.follow(payload, value, &mut self.key)?;
            }
        }
        Ok(())
    }

    /// Finds the selected values of the object `payload`.
    fn select(&mut self, payload: &[u8], spans: &mut [Span]) -> Result<(), Malformed> {
        if self.is_plain {
            return self.object::<true>(payload, spans);
        }
        self.settled.clear();
        self.rests.iter_mut().for_each(Rest::clear);
        self.object::<false>(payload, spans)?;
        self.has_rest = self.rests.iter().any(|rest| !rest.is_empty());
        if self.has_rest {
            self.text.clear();
            self.text.extend_from_slice(payload);
            self.rests.iter().for_each(|rest| rest.finish(&mut self.text, spans));
        }
        Ok(())
    }

    /// Goes on to the value of the next member: the field of that name, if there is one, and where the
    /// name begins. `None` behind the last.
    #[inline(always)]
    fn next(&mut self, scanner: &mut Scanner<'_>, place: Place) -> Result<Next, Malformed> {
        let gap = scanner.position();
        match self.fields.follower(place) {
            Some((field, quote, pattern)) if scanner.skip_pattern(pattern) => {
                scanner.skip_space();
                Ok(Some((Some(field), gap + quote)))
            }
            _ => self.other(scanner, place),
        }
    }

    /// As [`Self::next`], where it is not the one that was expected.
    fn other(&mut self, scanner: &mut Scanner<'_>, place: Place) -> Result<Next, Malformed> {
        let gap = scanner.position();
        scanner.skip_space();
        if place == Place::START {
            scanner.expect(b'{', "a JSON object")?;
            scanner.skip_space();
            if scanner.skip_byte(b'}') {
                return Ok(None);
            }
        } else if !scanner.skip_byte(b',') {
            let is_end = scanner.skip_byte(b'}');
            return if is_end { Ok(None) } else { Err(scanner.fault("',' or '}'")) };
        }
        scanner.expect(b'"', "a field name in quotes")?;
        let start = scanner.position() - 1;
        let span = scanner.string()?;
        scanner.expect(b':', "':' after the field name")?;
        let field = self.find(scanner.text(span), span.kind);
        scanner.skip_space();
        if let Some(field) = field {
            self.fields.learn(place, field, start - gap, scanner.since(gap));
        }
        Ok(Some((field, start)))
    }

    /// The field called `name`.
    fn find(&mut self, name: &[u8], kind: Kind) -> Option<usize> {
        let is_escaped = kind == Kind::EscapedText;
        if is_escaped {
            self.key.clear();
            // A key with half a surrogate pair is nobody's name.
            unescape(name, &mut self.key).ok()?;
        }
        let field = self.fields.find(if is_escaped { &self.key } else { name });
        if field.is_some() || !self.has_spellings {
            return field;
        }
        if !is_escaped {
            self.key.clear();
            self.key.extend_from_slice(name);
        }
        self.enter_key()
    }
}

/// For formats that are read as JSON.
impl JsonFormat {
    /// Finds the fields of the object `text`.
    pub(super) fn read(&mut self, text: &[u8], spans: &mut [Span]) -> Result<(), Rejection> {
        check_size(text)?;
        spans.fill(Span::ABSENT);
        self.select(text, spans).map_err(|fault| rejection(text, fault))
    }

    /// What the spans of `text`, which was read last, point into.
    pub(super) fn text_of<'a>(&'a self, text: &'a [u8]) -> &'a [u8] {
        if self.has_rest { &self.text } else { text }
    }

    /// Appends the rests to `text`, which was read last, so that the spans point into it.
    pub(super) fn append_rests(&self, text: &mut Vec<u8>) {
        if self.has_rest {
            text.extend_from_slice(self.text.get(text.len()..).unwrap_or_default());
        }
    }
}

impl Format for JsonFormat {
    fn decode(&mut self, record: &Record<'_>, spans: &mut [Span]) -> Result<Change, Rejection> {
        let Some(payload) = record.value else {
            let key = record.key.unwrap_or_default();
            spans.fill(Span::ABSENT);
            if check_size(key).is_err() || self.select(key, spans).is_err() {
                // A key of another kind has no fields.
                spans.fill(Span::ABSENT);
            }
            return Ok(Change::Delete);
        };
        self.read(payload, spans)?;
        Ok(Change::Put)
    }

    fn text<'a>(&'a self, record: &Record<'a>) -> &'a [u8] {
        self.text_of(record.value.or(record.key).unwrap_or_default())
    }
}

pub(super) fn check_size(payload: &[u8]) -> Result<(), Rejection> {
    // With a rest beside it, which is no larger, positions still have 32 bits.
    if payload.len() <= MAX_BYTES {
        return Ok(());
    }
    let message = format!("the payload has {} bytes, more than {MAX_BYTES}", payload.len());
    Err(Rejection::record(Reason::TooLarge, message))
}

/// Says what is wrong with `payload`; the frequent mistakes by name.
#[cold]
fn rejection(payload: &[u8], fault: Malformed) -> Rejection {
    let start = payload.trim_ascii_start();
    let found = match start.first() {
        _ if payload.is_empty() => {
            return Rejection::record(Reason::Malformed, "empty payload");
        }
        Some(0) => "a zero, as before Avro and the like of a schema registry (see format),",
        _ if payload.starts_with(b"\xef\xbb\xbf") => "a UTF-8 byte order mark",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b'-' | b'0'..=b'9') => "a number",
        _ if start.starts_with(b"null") => "null",
        _ if start.starts_with(b"true") || start.starts_with(b"false") => "a boolean",
        _ => return fault.rejection(payload),
    };
    let at = payload.len() - start.len();
    let message = format!("expected a JSON object, found {found} at byte {at}");
    Rejection::record(Reason::Malformed, message)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

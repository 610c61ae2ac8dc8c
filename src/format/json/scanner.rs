//! One pass over JSON text, strict as RFC 8259, without a tree.
//!
//! What a field goes through is `inline(always)`: a call would keep the position in memory.

use std::slice::EscapeAscii;

use super::words::{HIGH_BITS, Pattern, find_break, find_non_digit};
use crate::{
    rejection::{Reason, Rejection},
    row::{Kind, Span},
};

/// How deep arrays and objects may nest, the outermost one included: as many as there are bits in
/// the stack of [`Scanner::nested`].
const MAX_DEPTH: u32 = 128;

/// Bytes of the payload that a message may show.
const EXCERPT_BYTES: usize = 20;

/// Where the text stops being JSON. Small and `Copy`: the message is only built for a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) at: usize,
    pub(crate) expected: &'static str,
}

impl Malformed {
    /// The rejection of `text`, which this is a fault of.
    #[cold]
    pub(crate) fn rejection(self, text: &[u8]) -> Rejection {
        let Self { at, expected } = self;
        let found = match text.get(at..) {
            None | Some([]) => "the end".to_owned(),
            Some(rest) => format!("`{}`", excerpt(rest)),
        };
        let message = format!("invalid JSON at byte {at}: expected {expected}, found {found}");
        Rejection::record(Reason::Malformed, message)
    }
}

/// The beginning of `text`, safe to print.
pub(crate) fn excerpt(text: &[u8]) -> EscapeAscii<'_> {
    text.get(..EXCERPT_BYTES).unwrap_or(text).escape_ascii()
}

/// Checks that `text` is one JSON value.
///
/// # Errors
/// Where it is not.
pub(crate) fn validate(text: &[u8]) -> Result<(), Malformed> {
    let mut scanner = Scanner::new(text);
    scanner.skip_space();
    scanner.value(0)?;
    scanner.end()
}

/// A position in JSON text.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner at the first byte. The text is at most `u32::MAX` bytes long.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A scanner at byte `at`.
    pub(super) fn new_at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Where it is.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The bytes from `start` up to here.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// The next byte; 0, which is no token of JSON, at the end.
    #[inline]
    pub(crate) fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Whether the rest of the text begins with `pattern`, which is then skipped.
    #[inline(always)]
    pub(super) fn skip_pattern(&mut self, pattern: &Pattern) -> bool {
        let found = self.bytes.get(self.at..).is_some_and(|rest| pattern.begins(rest));
        if found {
            self.at += pattern.len();
        }
        found
    }

    /// Whether the rest of the text begins with `token`, which is then skipped.
    #[inline]
    pub(crate) fn skip(&mut self, token: &[u8]) -> bool {
        let found = self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(token));
        if found {
            self.at += token.len();
        }
        found
    }

    /// Skips one byte if it is `byte`.
    #[inline]
    pub(crate) fn skip_byte(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        self.at += usize::from(found);
        found
    }

    #[inline]
    pub(crate) fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// Skips white space, then `byte`.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Malformed> {
        self.skip_space();
        if self.skip_byte(byte) { Ok(()) } else { Err(self.fault(expected)) }
    }

    /// Skips white space up to the end of the text.
    pub(crate) fn end(&mut self) -> Result<(), Malformed> {
        self.skip_space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.fault("the end")) }
    }

    #[cold]
    pub(crate) fn fault(&self, expected: &'static str) -> Malformed {
        Malformed { at: self.at, expected }
    }

    /// The bytes of `span`.
    pub(crate) fn text(&self, span: Span) -> &'a [u8] {
        self.bytes.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// Reads the value that starts here, inside `depth` arrays and objects.
    #[inline(always)]
    pub(crate) fn value(&mut self, depth: u32) -> Result<Span, Malformed> {
        let start = self.at;
        let kind = match self.peek() {
            b'"' => {
                self.at += 1;
                return self.string();
            }
            b'{' | b'[' => self.nested(depth)?,
            _ => self.scalar()?,
        };
        Ok(Span { kind, start: start as u32, end: self.at as u32 })
    }

    /// Reads a number or a literal.
    #[inline(always)]
    fn scalar(&mut self) -> Result<Kind, Malformed> {
        let (word, kind): (&[u8], _) = match self.peek() {
            b'-' | b'0'..=b'9' => return self.number(),
            b't' => (b"true", Kind::True),
            b'f' => (b"false", Kind::False),
            b'n' => (b"null", Kind::Null),
            _ => return Err(self.fault("a value")),
        };
        if self.skip(word) { Ok(kind) } else { Err(self.fault("true, false or null")) }
    }

    #[inline(always)]
    fn number(&mut self) -> Result<Kind, Malformed> {
        self.skip_byte(b'-');
        if !self.skip_byte(b'0') {
            self.digits()?;
        }
        if self.skip_byte(b'.') {
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Kind::Number)
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        self.at = find_non_digit(self.bytes, start);
        if self.at > start { Ok(()) } else { Err(self.fault("a digit")) }
    }

    /// Reads a string whose opening quote has been skipped; the span is between the quotes.
    #[inline(always)]
    pub(crate) fn string(&mut self) -> Result<Span, Malformed> {
        let start = self.at;
        let mut escaped = false;
        let mut seen = 0;
        loop {
            self.at = find_break(self.bytes, self.at, &mut seen);
            match self.peek() {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ if self.at == self.bytes.len() => return Err(self.fault("a closing quote")),
                _ => return Err(self.fault("control characters in a string to be escaped")),
            }
        }
        let span = Span {
            kind: if escaped { Kind::EscapedText } else { Kind::Text },
            start: start as u32,
            end: self.at as u32,
        };
        self.at += 1;
        if seen & HIGH_BITS != 0 {
            self.check_utf8(span)?;
        }
        Ok(span)
    }

    #[cold]
    fn check_utf8(&self, span: Span) -> Result<(), Malformed> {
        match std::str::from_utf8(self.text(span)) {
            Ok(_) => Ok(()),
            Err(error) => {
                let at = span.start as usize + error.valid_up_to();
                Err(Malformed { at, expected: "UTF-8" })
            }
        }
    }

    #[cold]
    fn escape(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_ascii_hexdigit() {
                        return Err(self.fault("4 hexadecimal digits after \\u"));
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.fault("one of \"\\/bfnrtu after a backslash")),
        }
        Ok(())
    }

    /// Skips an array or object that stands inside `depth` others. Not recursive: the payload
    /// must not choose how much stack is used.
    fn nested(&mut self, depth: u32) -> Result<Kind, Malformed> {
        // One bit for each open bracket, the innermost lowest: 1 for an object.
        let mut open: u128 = 0;
        let mut inside = depth;
        loop {
            self.skip_space();
            let object = match self.peek() {
                b'{' => Some(true),
                b'[' => Some(false),
                b'"' => {
                    self.at += 1;
                    self.string()?;
                    None
                }
                _ => {
                    self.scalar()?;
                    None
                }
            };
            if let Some(object) = object {
                if inside == MAX_DEPTH {
                    return Err(self.fault("at most 128 levels of arrays and objects"));
                }
                self.at += 1;
                self.skip_space();
                if !self.skip_byte(if object { b'}' } else { b']' }) {
                    open = open << 1 | u128::from(object);
                    inside += 1;
                    if object {
                        self.key()?;
                    }
                    continue;
                }
            }
            loop {
                if inside == depth {
                    return Ok(Kind::Nested);
                }
                let object = open & 1 == 1;
                self.skip_space();
                if self.skip_byte(b',') {
                    if object {
                        self.key()?;
                    }
                    break;
                }
                if !self.skip_byte(if object { b'}' } else { b']' }) {
                    return Err(self.fault(if object { "',' or '}'" } else { "',' or ']'" }));
                }
                open >>= 1;
                inside -= 1;
            }
        }
    }

    /// Skips a key and its colon.
    fn key(&mut self) -> Result<(), Malformed> {
        self.expect(b'"', "a field name in quotes")?;
        self.string()?;
        self.expect(b':', "':' after the field name")
    }
}

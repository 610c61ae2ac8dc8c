//! One line of comma-separated values a record (RFC 4180).

use super::{
    Format,
    json::{put_string, validate},
    transcoded::{Transcode, Transcoded},
};
use crate::{
    config::CsvOptions,
    record::Record,
    rejection::{Reason, Rejection},
    row::{Change, Kind},
    selector::Selector,
};

/// A format that reads lines of the cells that `options` names.
///
/// A cell is a string, which the column's encoder reads; one that holds a JSON array or object is
/// that for columns of type `json`, `jsonb` and arrays, and a text for all others. A cell without quotes that is the null text (nothing,
/// by default) is NULL: so an empty text is `""`, as for Postgres' own COPY.
pub fn csv(options: &CsvOptions, selectors: &[Selector]) -> Box<dyn Format> {
    let csv = Csv { options: options.clone(), cell: Vec::new() };
    Box::new(Transcoded::new(csv, selectors))
}

#[derive(Debug)]
struct Csv {
    options: CsvOptions,
    /// The cell that is read, without its quotes.
    cell: Vec<u8>,
}

impl Transcode for Csv {
    fn transcode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<Change, Rejection> {
        // A key is no line: it cannot tell which row is gone.
        let Some(payload) = record.value else { return Ok(Change::Delete) };
        let line = payload.strip_suffix(b"\n").unwrap_or(payload);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Err(error) = std::str::from_utf8(line) {
            return Err(malformed(error.valid_up_to(), "not UTF-8"));
        }
        self.line(line, out)?;
        Ok(Change::Put)
    }

    /// A cell is a text: `[1,5]` is a range for a column of ranges.
    fn nested(&self) -> Kind {
        Kind::Document
    }
}

impl Csv {
    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), Rejection> {
        out.push(b'{');
        let (mut at, mut count) = (0, 0);
        loop {
            let (end, is_quoted) = self.read_cell(line, at)?;
            if let Some(name) = self.options.fields.get(count) {
                if count > 0 {
                    out.push(b',');
                }
                put_string(name.as_bytes(), out);
                out.push(b':');
                self.put_cell(is_quoted, out);
            }
            count += 1;
            match line.get(end) {
                None => break,
                Some(_) => at = end + 1,
            }
        }
        out.push(b'}');
        let expected = self.options.fields.len();
        if count != expected && !self.options.ragged {
            let message = format!(
                "the line has {count} cells, and the route's format names {expected} fields; with \
                 ragged = true, missing ones are absent and more are left out"
            );
            return Err(Rejection::record(Reason::Malformed, message));
        }
        Ok(())
    }

    /// Reads the cell at `at` up to its delimiter, or to the end; says where that is, and whether
    /// the cell was in quotes.
    fn read_cell(&mut self, line: &[u8], at: usize) -> Result<(usize, bool), Rejection> {
        let (delimiter, quote) = (self.options.delimiter, self.options.quote);
        self.cell.clear();
        let rest = line.get(at..).unwrap_or_default();
        let Some(mut rest) = rest.strip_prefix(&[quote]) else {
            let end = rest.iter().position(|&b| b == delimiter).unwrap_or(rest.len());
            let cell = rest.get(..end).unwrap_or_default();
            if let Some(stray) = cell.iter().position(|b| *b == quote || matches!(b, b'\r' | b'\n'))
            {
                let problem = match cell.get(stray) == Some(&quote) {
                    true => "a quote inside a cell without quotes",
                    false => "a second line; a record holds one",
                };
                return Err(malformed(at + stray, problem));
            }
            self.cell.extend_from_slice(cell);
            return Ok((at + end, false));
        };
        loop {
            let Some(end) = rest.iter().position(|&b| b == quote) else {
                return Err(malformed(line.len(), "the end of the line inside quotes"));
            };
            let (cell, after) = rest.split_at(end);
            self.cell.extend_from_slice(cell);
            match after.get(1) {
                Some(&next) if next == quote => {
                    self.cell.push(quote);
                    rest = after.get(2..).unwrap_or_default();
                }
                next => {
                    let at = line.len() - after.len() + 1;
                    let ends = next.is_none_or(|&next| next == delimiter);
                    let problem = "something between a closing quote and the delimiter";
                    return if ends { Ok((at, true)) } else { Err(malformed(at, problem)) };
                }
            }
        }
    }

    fn put_cell(&self, is_quoted: bool, out: &mut Vec<u8>) {
        if !is_quoted && self.cell == self.options.null.as_bytes() {
            out.extend_from_slice(b"null");
        } else if matches!(self.cell.as_slice(), [b'[', .., b']'] | [b'{', .., b'}'])
            && validate(&self.cell).is_ok()
        {
            out.extend_from_slice(&self.cell);
        } else {
            put_string(&self.cell, out);
        }
    }
}

fn malformed(at: usize, problem: &str) -> Rejection {
    Rejection::record(Reason::Malformed, format!("invalid CSV at byte {at}: {problem}"))
}

#[cfg(test)]
mod tests;

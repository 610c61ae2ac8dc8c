//! Reads typed values out of the tree and notes every problem, so that all are shown at once.
//!
//! A value that cannot be read is noted and given as `None`: the caller goes on, with a default
//! if need be, and what it builds is thrown away in the end.

use std::{
    cell::{Cell, RefCell},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use super::{
    error::{Origin, Problem, nearest, quoted_list, suggestion},
    keys,
    node::{Entries, Node, Value},
    quantity::{duration_text, parse_duration, parse_size, size_text},
    secret::Secret,
};

/// What is gathered while a configuration is read.
#[derive(Default)]
pub(super) struct Findings {
    /// The folder of the file.
    pub(super) folder: PathBuf,
    pub(super) problems: RefCell<Vec<Problem>>,
    pub(super) warnings: RefCell<Vec<String>>,
    /// Whether the smallest configuration should be shown.
    pub(super) example: Cell<bool>,
}

impl Findings {
    pub(super) fn problem(&self, origin: &Origin, key: &str, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem {
            origin: origin.clone(),
            key: key.to_owned(),
            message: message.into(),
        });
    }

    pub(super) fn warn(&self, warning: String) {
        self.warnings.borrow_mut().push(warning);
    }
}

static NO_ENTRIES: Entries = Entries::new();

/// A table, and which keys it may have: those that were asked for.
pub(super) struct Table<'a> {
    pub(super) path: String,
    entries: &'a Entries,
    origin: &'a Origin,
    keys: Vec<&'static str>,
    /// The required keys that are absent, with what belongs there.
    missing: Vec<(&'static str, String)>,
    findings: &'a Findings,
}

impl<'a> Table<'a> {
    pub(super) fn root(node: &'a Node, findings: &'a Findings) -> Self {
        let entries = node.entries().unwrap_or(&NO_ENTRIES);
        Self {
            path: String::new(),
            entries,
            origin: &node.origin,
            keys: Vec::new(),
            missing: Vec::new(),
            findings,
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The entry of a key that may be absent.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Entry<'a>> {
        #[cfg(test)]
        assert!(keys::is_listed(&self.path_of(key)), "{} is not in keys.rs", self.path_of(key));
        self.keys.push(key);
        let node = self.entries.get(key)?;
        Some(Entry { path: self.path_of(key), node, findings: self.findings })
    }

    /// The entry of a key that must be there; `expected` says what belongs there.
    pub(super) fn require(&mut self, key: &'static str, expected: &str) -> Option<Entry<'a>> {
        let entry = self.take(key);
        if entry.is_none() {
            self.missing.push((key, expected.to_owned()));
        }
        entry
    }

    /// The entry of the key that says which other keys there are. Without it the table cannot be
    /// read on, and [`Table::finish`] is of no use.
    pub(super) fn require_kind(&mut self, expected: &str) -> Option<Entry<'a>> {
        let entry = self.take("kind");
        if entry.is_none() {
            let likely = self.all().find(|(key, _)| nearest(key, &["kind"]).is_some());
            match likely {
                Some((_, entry)) => entry.fail("unknown key; did you mean `kind`?"),
                None => self.fail("kind", format!("missing; expected {expected}")),
            }
        }
        entry
    }

    /// The table of a key; an empty one if there is none.
    pub(super) fn section(&mut self, key: &'static str) -> Table<'a> {
        let empty = Table {
            path: self.path_of(key),
            entries: &NO_ENTRIES,
            origin: self.origin,
            keys: Vec::new(),
            missing: Vec::new(),
            findings: self.findings,
        };
        self.take(key).and_then(|entry| entry.table()).unwrap_or(empty)
    }

    /// Every entry, of a table whose keys are names that the user chooses.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'a str, Entry<'a>)> {
        self.entries.iter().map(|(key, node)| {
            let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            let shown = if key.bytes().all(bare) { key.clone() } else { format!("{key:?}") };
            (key.as_str(), Entry { path: self.path_of(&shown), node, findings: self.findings })
        })
    }

    /// Notes a problem with a key of this table that is absent.
    pub(super) fn fail(&self, key: &str, message: impl Into<String>) {
        self.findings.problem(self.origin, &self.path_of(key), message);
    }

    /// Notes the keys that nobody asked for, and those that are missing. A slip in the name of a
    /// required key is both, and is noted once.
    pub(super) fn finish(mut self) {
        for (key, entry) in self.all().collect::<Vec<_>>() {
            if self.keys.contains(&key) {
                continue;
            }
            let meant = nearest(key, &self.keys);
            let homes = keys::homes(key, &self.path);
            let hint = match meant {
                None if !homes.is_empty() => format!("; it belongs to {}", quoted_list(&homes)),
                _ => suggestion(key, "key", &self.keys),
            };
            entry.fail(format!("unknown key{hint}"));
            self.missing.retain(|(missing, _)| Some(*missing) != meant);
        }
        for (key, expected) in &self.missing {
            self.fail(key, format!("missing; expected {expected}"));
        }
    }
}

/// A value that is there, with its dotted key.
#[derive(Clone)]
pub(super) struct Entry<'a> {
    pub(super) path: String,
    pub(super) node: &'a Node,
    findings: &'a Findings,
}

impl<'a> Entry<'a> {
    /// Notes a problem with this value.
    pub(super) fn fail(&self, message: impl Into<String>) {
        self.findings.problem(&self.node.origin, &self.path, message);
    }

    /// Notes that the value is not what it should be.
    pub(super) fn expected(&self, expected: &str) {
        if !matches!(self.node.value, Value::Unreadable) {
            self.fail(format!("expected {expected}, found {}", self.node.describe()));
        }
    }

    /// Whether a variable or a flag gave it, and not the file.
    pub(super) fn is_overridden(&self) -> bool {
        matches!(self.node.origin, Origin::Variable(_) | Origin::Flag)
    }

    /// As [`Entry::expected`], for a value that is a string in TOML.
    fn expected_string(&self, expected: &str) {
        match self.as_text() {
            Some(_) => self.expected(expected),
            None => self.expected(&format!("a string ({expected})")),
        }
    }

    pub(super) fn table(self) -> Option<Table<'a>> {
        let Some(entries) = self.node.entries() else {
            self.expected("a table");
            return None;
        };
        let Self { path, node, findings } = self;
        Some(Table {
            path,
            entries,
            origin: &node.origin,
            keys: Vec::new(),
            missing: Vec::new(),
            findings,
        })
    }

    pub(super) fn items(&self, expected: &str) -> Vec<Entry<'a>> {
        let Value::Array(items) = &self.node.value else {
            self.expected(expected);
            return Vec::new();
        };
        let item = |(index, node)| Entry {
            path: format!("{}[{index}]", self.path),
            node,
            findings: self.findings,
        };
        items.iter().enumerate().map(item).collect()
    }

    pub(super) fn as_text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) | Value::Word(text) => Some(text),
            _ => None,
        }
    }

    /// A text that is not empty; `expected` says what is in it.
    pub(super) fn text(&self, expected: &str) -> Option<String> {
        self.parsed(expected, |text| (!text.is_empty()).then(|| text.to_owned()))
    }

    /// What `parse` makes of a text.
    pub(super) fn parsed<T>(
        &self,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.as_text().and_then(parse);
        if value.is_none() {
            self.expected_string(expected);
        }
        value
    }

    /// A text that is not shown, whatever is wrong with it.
    pub(super) fn secret(&self, expected: &str) -> Option<Secret> {
        match &self.node.value {
            Value::Text(text) | Value::Word(text) => return Some(Secret::new(text)),
            _ => self.expected_string(expected),
        }
        None
    }

    /// Any scalar, as its text.
    pub(super) fn scalar_text(&self, expected: &str) -> Option<String> {
        match &self.node.value {
            Value::Text(text) | Value::Word(text) | Value::Float(text) | Value::Datetime(text) => {
                return Some(text.clone());
            }
            Value::Integer(integer) => return Some(integer.to_string()),
            Value::Boolean(boolean) => return Some(boolean.to_string()),
            Value::Array(_) | Value::Table(_) | Value::Unreadable => self.expected(expected),
        }
        None
    }

    /// A number from 0 to 1.
    pub(super) fn share(&self) -> Option<f64> {
        let number = match &self.node.value {
            Value::Float(text) | Value::Word(text) => text.parse().ok(),
            Value::Integer(integer) => Some(*integer as f64),
            _ => None,
        };
        let share = number.filter(|number| (0.0..=1.0).contains(number));
        if share.is_none() {
            self.expected("a number from 0 to 1");
        }
        share
    }

    /// A path: one in the file is relative to the file's folder, one in a variable or a flag to
    /// the working directory. `-` stays as it is.
    pub(super) fn path(&self, expected: &str) -> Option<PathBuf> {
        let text = self.text(expected)?;
        Some(if !self.is_overridden() && text != "-" {
            self.findings.folder.join(text)
        } else {
            text.into()
        })
    }

    pub(super) fn integer(&self, range: RangeInclusive<usize>) -> Option<usize> {
        let value = match &self.node.value {
            Value::Integer(integer) => usize::try_from(*integer).ok(),
            Value::Word(word) => word.trim().parse().ok(),
            _ => None,
        };
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            self.expected(&format!("an integer from {} to {}", range.start(), range.end()));
        }
        value
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match &self.node.value {
            Value::Boolean(boolean) => return Some(*boolean),
            Value::Word(word) if word == "true" => return Some(true),
            Value::Word(word) if word == "false" => return Some(false),
            _ => self.expected("`true` or `false`"),
        }
        None
    }

    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let value = self.as_text().and_then(parse_duration);
        if let Some(value) = value.filter(|value| range.contains(value)) {
            return Some(value);
        }
        let (least, most) = (duration_text(*range.start()), duration_text(*range.end()));
        let unit = "a number with a unit (ms, s, m, h, d)";
        match &self.node.value {
            Value::Integer(integer) => {
                self.expected(&format!("{unit} such as \"{integer}ms\" or \"{integer}s\""));
            }
            _ if value.is_none() => self.expected(&format!("{unit}, from {least} to {most}")),
            _ => self.expected(&format!("a duration from {least} to {most}")),
        }
        None
    }

    pub(super) fn size(&self, range: RangeInclusive<usize>) -> Option<usize> {
        let value = match &self.node.value {
            Value::Integer(integer) => usize::try_from(*integer).ok(),
            _ => self.as_text().and_then(parse_size),
        };
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            let least = size_text(*range.start());
            let bounds = match *range.end() {
                usize::MAX => format!("at least {least}"),
                most => format!("from {least} to {}", size_text(most)),
            };
            self.expected(&format!("a size such as \"4MiB\" or a number of bytes, {bounds}"));
        }
        value
    }

    pub(super) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.as_text();
        let chosen = choices.iter().find(|(name, _)| Some(*name) == text);
        if let Some((_, value)) = chosen {
            return Some(*value);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let expected = match names.as_slice() {
            [name] => format!("`{name}`"),
            _ => format!("one of {}", quoted_list(&names)),
        };
        let Some(text) = text else {
            self.expected_string(&expected);
            return None;
        };
        let likely = nearest(text, &names).filter(|_| !self.node.hidden);
        let hint = likely.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        self.fail(format!("expected {expected}, found {}{hint}", self.node.describe()));
        None
    }
}

//! The tree that the file, the variables and the flags are merged into, before it is checked.

use std::collections::BTreeMap;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::error::{Origin, Problem};

/// The entries of a table.
pub(super) type Entries = BTreeMap<String, Node>;

/// A value with its place.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
    /// Whether it came out of a `${...}`, and so may be a secret.
    pub(super) hidden: bool,
}

#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    /// A text whose type is not known: from a variable, a flag or a reference. It reads as
    /// whatever type its key asks for.
    Word(String),
    Integer(i64),
    /// The text of a float.
    Float(String),
    Boolean(bool),
    /// The text of a date or time.
    Datetime(String),
    Array(Vec<Node>),
    Table(Entries),
    /// A value that has been reported already.
    Unreadable,
}

impl Node {
    pub(super) fn new(value: Value, origin: Origin) -> Self {
        Self { value, origin, hidden: false }
    }

    /// Reads the text of a file.
    ///
    /// Of the parser's errors only the message is used: its `Display` quotes the line, which may
    /// hold a password.
    pub(super) fn parse_file(text: &str) -> Result<Self, Vec<Problem>> {
        let lines = Lines::new(text);
        if let Some(index) = text.lines().position(is_too_deep) {
            let message = format!("a key has more than {MOST_KEY_PARTS} parts");
            let origin = Origin::Line(index + 1);
            return Err(vec![Problem { origin, key: String::new(), message }]);
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            let at = |offset| Origin::Line(lines.at(offset));
            return Ok(Self::new(table_value(table.get_ref(), &at), Origin::File));
        }
        let problem = |error: &toml::de::Error| {
            let mut message = format!("not TOML: {}", error.message());
            if let Some(key) = error.span().and_then(|span| text.get(span))
                && error.message() == "duplicate key"
            {
                message = format!("{message} `{key}`");
            }
            let origin = error.span().map_or(Origin::File, |s| Origin::Line(lines.at(s.start)));
            Problem { origin, key: String::new(), message }
        };
        let mut problems: Vec<Problem> = errors.iter().map(problem).collect();
        // One slip makes the parser stumble several times on its line; the first says it best.
        problems.dedup_by(|next, first| next.origin == first.origin);
        Err(problems)
    }

    /// Reads a value given by a variable or a flag: TOML where only TOML can say it (a list, a
    /// table, a quoted string), or a word.
    pub(super) fn parse_word(text: &str, origin: Origin) -> Self {
        if !text.lines().any(is_too_deep)
            && text.trim_start().starts_with(['[', '{', '"', '\''])
            && let Ok(value) = DeValue::parse(text.trim())
        {
            return convert(&value, &|_| origin.clone());
        }
        Self::new(Value::Word(text.to_owned()), origin)
    }

    pub(super) fn entries(&self) -> Option<&Entries> {
        match &self.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
    }

    pub(super) fn entries_mut(&mut self) -> Option<&mut Entries> {
        match &mut self.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// Where the value at the end of `path` was written, or as near to it as there is one.
    pub(super) fn origin_of(&self, path: &[&str]) -> &Origin {
        let Some((key, rest)) = path.split_first() else { return &self.origin };
        match self.entries().and_then(|entries| entries.get(*key)) {
            Some(node) => node.origin_of(rest),
            None => &self.origin,
        }
    }

    /// For a person: what the value is, and what type it has. Never shows what may be a secret.
    pub(super) fn describe(&self) -> String {
        let text = match &self.value {
            Value::Integer(integer) => return format!("the integer {integer}"),
            Value::Float(text) => return format!("the number {text}"),
            Value::Boolean(boolean) => return format!("the boolean {boolean}"),
            Value::Datetime(text) => return format!("the date {text}"),
            Value::Array(_) => return "an array".to_owned(),
            Value::Table(_) => return "a table".to_owned(),
            Value::Unreadable => return "a value that cannot be read".to_owned(),
            Value::Text(text) | Value::Word(text) => text,
        };
        if self.hidden { "a string from a `${...}` (not shown)".to_owned() } else { shown(text) }
    }
}

/// A text in backticks, unless it looks as if it held a password, or is long.
pub(super) fn shown(text: &str) -> String {
    const LONGEST_CHARS: usize = 60;
    if text.is_empty() {
        "an empty string".to_owned()
    } else if text.contains('@') || text.to_lowercase().contains("password") {
        "a string (not shown: it may hold a password)".to_owned()
    } else if text.chars().count() > LONGEST_CHARS {
        format!("`{}...`", text.chars().take(LONGEST_CHARS).collect::<String>().escape_debug())
    } else {
        format!("`{}`", text.escape_debug())
    }
}

fn convert(value: &Spanned<DeValue<'_>>, at: &dyn Fn(usize) -> Origin) -> Node {
    let converted = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => {
            match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(integer) => Value::Integer(integer),
                // Wider than 64 bits: no key takes it as a number, and its text says what it is.
                Err(_) => Value::Float(integer.to_string()),
            }
        }
        DeValue::Float(float) => Value::Float(float.as_str().to_owned()),
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(datetime) => Value::Datetime(datetime.to_string()),
        DeValue::Array(items) => Value::Array(items.iter().map(|i| convert(i, at)).collect()),
        DeValue::Table(table) => table_value(table, at),
    };
    Node::new(converted, at(value.span().start))
}

fn table_value(table: &DeTable<'_>, at: &dyn Fn(usize) -> Origin) -> Value {
    let entry = |(key, value): (&Spanned<_>, &Spanned<_>)| {
        let mut node = convert(value, at);
        // The place of the key: a value may stand lines below it.
        node.origin = at(key.span().start);
        let key: &std::borrow::Cow<'_, str> = key.get_ref();
        (key.to_string(), node)
    };
    Value::Table(table.iter().map(entry).collect())
}

/// The parser bounds the nesting of brackets, but not of dotted keys, and a table of tables is
/// converted and dropped by recursion: without a bound, `a.a.a...` can end the process.
pub(super) const MOST_KEY_PARTS: usize = 16;

/// Whether a line may hold a key of too many parts: it has more dots outside quotes and comments.
fn is_too_deep(line: &str) -> bool {
    let mut quote = None;
    let mut is_escaped = false;
    let mut dot_count = 0;
    for character in line.chars() {
        match (quote, character) {
            (Some('"'), _) if is_escaped => is_escaped = false,
            (Some('"'), '\\') => is_escaped = true,
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '#') => break,
            (None, '.') => dot_count += 1,
            (None, _) => {}
        }
    }
    dot_count >= MOST_KEY_PARTS
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(offset, _)| offset + 1).collect())
    }

    /// The line, from 1, of the byte at `offset`.
    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset) + 1
    }
}

//! `table` or `schema.table`.

use std::fmt;

/// The name of a table, as the catalog has it: unquoted, and case matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The schema; `None` is `public`.
    pub schema: Option<String>,
    /// The table.
    pub name: String,
}

impl TableName {
    /// Whether a table or a schema can have this name.
    pub(crate) fn is_identifier(text: &str) -> bool {
        is_identifier(text)
    }

    /// Reads `table`, `schema.table`, or either with a part in double quotes because it holds a
    /// dot.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (first, rest) = part(text)?;
        let Some(rest) = rest else { return Some(Self { schema: None, name: first }) };
        match part(rest)? {
            (name, None) => Some(Self { schema: Some(first), name }),
            _ => None,
        }
    }
}

/// The first part of a name, and what follows its dot.
fn part(text: &str) -> Option<(String, Option<&str>)> {
    let (part, rest) = match text.strip_prefix('"') {
        Some(quoted) => {
            let (part, rest) = quoted.split_once('"')?;
            let rest = if rest.is_empty() { None } else { Some(rest.strip_prefix('.')?) };
            (part, rest)
        }
        None => match text.split_once('.') {
            Some((part, rest)) => (part, Some(rest)),
            None => (text, None),
        },
    };
    is_identifier(part).then(|| (part.to_owned(), rest))
}

/// Whether Postgres can have an identifier with this text: NAMEDATALEN is 64, and the quote is
/// left out because no one needs it.
pub(super) fn is_identifier(text: &str) -> bool {
    (1..=63).contains(&text.len()) && !text.contains(['"', '\0'])
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&self.name)
    }
}

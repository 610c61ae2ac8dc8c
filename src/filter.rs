//! `where`: which records a target wants, as an expression in CEL (the Common Expression Language,
//! <https://cel.dev>).
//!
//! A record for which it is false is passed over and counted. One for which it has no answer (a
//! comparison of a text with a number, say) becomes a dead letter: nothing is lost by a slip.

use std::{collections::HashMap, fmt, sync::Arc};

use cel::{Context, Env, Program, Value as Cel, objects::Key};

use crate::{
    format::json::unescape,
    record::Record,
    rejection::{Reason, Rejection},
    row::{Change, Row, Value},
    selector::Selector,
};

/// The name under which the facts about the record itself are known.
const METADATA: &str = "metadata";

/// An expression that is true for the records that are wanted.
#[derive(Clone)]
pub struct Filter {
    text: Arc<str>,
    program: Arc<Program>,
    env: Arc<Env>,
    /// The names that it looks at, with the places of their fields in the rows.
    variables: Vec<(String, usize)>,
    has_metadata: bool,
}

impl Filter {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let env = Arc::new(Env::stdlib());
        let program = env.compile(text).map_err(|errors| {
            let first = errors.errors.first();
            first.map_or_else(|| errors.to_string(), |error| error.msg.clone())
        })?;
        let references = program.references();
        let mut names: Vec<&str> = references.variables();
        names.sort_unstable();
        let has_metadata = names.contains(&METADATA);
        let fields = names.into_iter().filter(|name| *name != METADATA);
        let variables = fields.enumerate().map(|(place, name)| (name.to_owned(), place)).collect();
        Ok(Self { text: text.into(), variables, has_metadata, env, program: Arc::new(program) })
    }

    /// What it asks of each record.
    pub fn selectors(&self) -> impl Iterator<Item = Selector> {
        self.variables.iter().map(|(name, _)| Selector::Field(name.clone()))
    }

    /// The filter for rows that hold `selectors`.
    #[must_use]
    pub fn over(&self, selectors: &[Selector]) -> Self {
        let mut filter = self.clone();
        for (name, place) in &mut filter.variables {
            let found =
                selectors.iter().position(|selector| *selector == Selector::Field(name.clone()));
            *place = found.unwrap_or(usize::MAX);
        }
        filter
    }

    /// Whether the record is wanted. A deletion always is: of the row that it deletes there is
    /// nothing to look at but its key.
    ///
    /// # Errors
    /// When the expression has no answer for this record.
    pub fn wants(&self, record: &Record<'_>, row: &Row<'_>) -> Result<bool, Rejection> {
        if row.change() == Change::Delete {
            return Ok(true);
        }
        let mut context = Context::with_env(Arc::clone(&self.env));
        for (name, place) in &self.variables {
            let value = convert(row.get(*place)).map_err(|message| self.rejection(&message))?;
            context.add_variable_from_value(name.as_str(), value);
        }
        if self.has_metadata {
            context.add_variable_from_value(METADATA, metadata(record));
        }
        match self.program.execute(&context) {
            Ok(Cel::Bool(wanted)) => Ok(wanted),
            Ok(other) => Err(self.rejection(&format!("gave {other:?}, not true or false"))),
            Err(error) => Err(self.rejection(&error.to_string())),
        }
    }

    #[cold]
    fn rejection(&self, problem: &str) -> Rejection {
        Rejection::record(Reason::Filter, format!("where = `{}`: {problem}", self.text))
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.text).finish()
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Filter {}

/// A record's value as the expression sees it; one that is not there is null.
fn convert(value: Value<'_>) -> Result<Cel, String> {
    Ok(match value {
        Value::Absent | Value::Null => Cel::Null,
        Value::Bool(boolean) => Cel::Bool(boolean),
        Value::Number(text) => number(text),
        Value::Text { raw, escaped: true } => {
            let mut text = Vec::new();
            unescape(raw, &mut text).map_err(|_| "a string holds half a surrogate pair")?;
            string(&text)
        }
        Value::Text { raw, escaped: false }
        | Value::Plain(raw)
        | Value::Document(raw)
        | Value::Bytes(raw) => string(raw),
        Value::Nested(json) => {
            let tree: serde_json::Value =
                serde_json::from_slice(json).map_err(|error| error.to_string())?;
            tree_of(tree)
        }
    })
}

/// A nested value. Whole numbers are signed, as they are outside of it: CEL does not add the two kinds.
fn tree_of(tree: serde_json::Value) -> Cel {
    match tree {
        serde_json::Value::Null => Cel::Null,
        serde_json::Value::Bool(boolean) => Cel::Bool(boolean),
        serde_json::Value::Number(text) => number(text.to_string().as_bytes()),
        serde_json::Value::String(text) => Cel::String(Arc::new(text)),
        serde_json::Value::Array(items) => {
            Cel::List(Arc::new(items.into_iter().map(tree_of).collect()))
        }
        serde_json::Value::Object(members) => {
            let members =
                members.into_iter().map(|(name, value)| (Key::from(name), tree_of(value)));
            members.collect::<HashMap<Key, Cel>>().into()
        }
    }
}

fn number(text: &[u8]) -> Cel {
    let text = str::from_utf8(text).unwrap_or_default();
    if let Ok(integer) = text.parse() {
        return Cel::Int(integer);
    }
    text.parse().map_or(Cel::Null, Cel::Float)
}

fn string(bytes: &[u8]) -> Cel {
    match str::from_utf8(bytes) {
        Ok(text) => Cel::String(Arc::new(text.to_owned())),
        Err(_) => Cel::Bytes(Arc::new(bytes.to_vec())),
    }
}

fn metadata(record: &Record<'_>) -> Cel {
    let mut headers: HashMap<Key, Cel> = HashMap::new();
    if let Some(list) = record.headers {
        list.for_each(&mut |name, value| {
            headers.insert(name.into(), value.map_or(Cel::Null, string));
        });
    }
    let facts: HashMap<Key, Cel> = HashMap::from([
        ("topic".into(), string(record.topic.as_bytes())),
        ("partition".into(), Cel::Int(record.partition.into())),
        ("offset".into(), Cel::Int(record.offset)),
        ("timestamp_ms".into(), record.timestamp_ms.map_or(Cel::Null, Cel::Int)),
        ("key".into(), record.key.map_or(Cel::Null, string)),
        ("headers".into(), headers.into()),
    ]);
    facts.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Format, JsonFormat};
    use crate::row::Span;

    fn ask(filter: &str, payload: &str) -> Result<bool, Rejection> {
        let filter = Filter::parse(filter).unwrap();
        let selectors: Vec<Selector> =
            ["other".into()].into_iter().chain(filter.selectors()).collect();
        let filter = filter.over(&selectors);
        let header = ("trace", Some(&b"abc"[..]));
        let record = Record {
            topic: "orders",
            partition: 3,
            offset: 17,
            timestamp_ms: None,
            key: Some(b"k-1"),
            value: Some(payload.as_bytes()),
            headers: Some(&header),
        };
        let mut format = JsonFormat::new(&selectors);
        let mut spans = vec![Span::ABSENT; selectors.len()];
        let change = format.decode(&record, &mut spans).unwrap();
        filter.wants(&record, &Row::new(format.text(&record), &spans, change))
    }

    #[test]
    fn a_record_is_wanted_where_the_expression_is_true() {
        let order = r#"{"status":"paid","amount":10.50,"items":[{"sku":"a"},{"sku":"b"}],"n":3,"order":{"n":4,"net":1.5},
                        "note":"caf\u00e9","gift":true,"none":null,"big":18446744073709551615}"#;
        for (filter, wanted) in [
            ("status == 'paid' && amount > 10", true),
            ("status in ['removed', 'lost']", false),
            ("amount > 10.5", false),
            ("n == 3 && n < 3.5", true),
            ("items.exists(i, i.sku == 'b') && size(items) == 2", true),
            ("order.n + n > 5 && order.n - 10 < 0 && order.net * 2.0 == 3.0", true),
            ("note == 'café' && gift", true),
            ("none == null && missing == null", true),
            ("big > 9223372036854775807.0", true),
            ("status.startsWith('pa') || amount.no.such > 1", true),
            ("status.matches('^p.*d$')", true),
            ("metadata.topic == 'orders' && metadata.partition == 3", true),
            ("metadata.offset >= 18", false),
            ("metadata.key == 'k-1' && metadata.headers.trace == 'abc'", true),
            ("metadata.timestamp_ms == null", true),
        ] {
            assert_eq!(ask(filter, order), Ok(wanted), "{filter}");
        }
    }

    #[test]
    fn an_expression_without_an_answer_loses_no_record() {
        for (filter, problem) in
            [("amount > 10", "amount"), ("amount", "not true or false"), ("amount.x == 1", "")]
        {
            let rejection = ask(filter, r#"{"amount":"12"}"#).unwrap_err();
            assert_eq!(rejection.reason, Reason::Filter);
            assert!(rejection.message.contains(&format!("where = `{filter}`")), "{rejection}");
            assert!(rejection.message.contains(problem), "{rejection}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for bad in ["", "status ==", "status = 'paid'", "(", "'", "1 +* 2", "a b"] {
            assert!(Filter::parse(bad).is_err(), "{bad}");
        }
    }
}

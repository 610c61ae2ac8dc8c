//! Schemas of Avro 1.12, as far as reading what was written needs them: no defaults, no aliases.

use std::collections::HashMap;

use serde_json::Value;

use crate::{format::json::put_string, registry};

/// Types in one schema; more is a mistake.
const MAX_NODES: usize = 100_000;

/// A schema whose names are resolved: each type is a place in `nodes`.
#[derive(Debug)]
pub struct Schema {
    nodes: Vec<Node>,
    root: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Null,
    Boolean,
    Int(Int),
    Long(Long),
    Float,
    Double,
    Bytes(Bytes),
    String,
    Fixed(usize, Bytes),
    /// The symbols, as JSON strings.
    Enum(Vec<Vec<u8>>),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    /// Each field with its key and colon in JSON.
    Record(Vec<(Vec<u8>, usize)>),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Int {
    Number,
    Date,
    TimeMillis,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Long {
    Number,
    TimeMicros,
    /// Units of 10 to the minus so many seconds, and whether they are counted in UTC.
    Timestamp {
        digits: u32,
        zoned: bool,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Bytes {
    Raw,
    Decimal {
        scale: i64,
    },
    Uuid,
    /// Months, days and milliseconds.
    Duration,
}

impl Schema {
    /// Reads a schema after those that it refers to.
    ///
    /// # Errors
    /// When it is none, or a name in it is nobody's.
    pub fn parse(schema: &registry::Schema) -> Result<Self, String> {
        let mut parser = Parser { nodes: Vec::new(), names: HashMap::new() };
        for reference in &schema.references {
            let what = |fault| format!("the reference {}: {fault}", reference.name);
            parser.text(&reference.text).map_err(what)?;
        }
        let root = parser.text(&schema.text)?;
        Ok(Self { nodes: parser.nodes, root })
    }

    pub(super) fn root(&self) -> usize {
        self.root
    }

    pub(super) fn node(&self, place: usize) -> Option<&Node> {
        self.nodes.get(place)
    }
}

struct Parser {
    nodes: Vec<Node>,
    /// Types by their full names.
    names: HashMap<String, usize>,
}

impl Parser {
    fn text(&mut self, text: &str) -> Result<usize, String> {
        match serde_json::from_str(text) {
            Ok(value) => self.read(&value, ""),
            // Some registries give the name of a primitive type as it is.
            Err(_) if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => self.named(text, ""),
            Err(error) => Err(format!("it is not JSON: {error}")),
        }
    }

    /// Reads a type inside `namespace`. serde_json has bounded the depth.
    fn read(&mut self, value: &Value, namespace: &str) -> Result<usize, String> {
        match value {
            Value::String(name) => self.named(name, namespace),
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.read(branch, namespace));
                let branches = branches.collect::<Result<_, _>>()?;
                self.add(Node::Union(branches))
            }
            Value::Object(_) => self.complex(value, namespace),
            _ => Err("a type is neither a name nor an object nor a list".to_owned()),
        }
    }

    fn named(&mut self, name: &str, namespace: &str) -> Result<usize, String> {
        if let Some(node) = primitive(name) {
            return self.add(node);
        }
        let full = full_name(name, namespace);
        let place = self.names.get(&full).or_else(|| self.names.get(name)).copied();
        place.ok_or_else(|| format!("no type is named {full}"))
    }

    fn complex(&mut self, value: &Value, namespace: &str) -> Result<usize, String> {
        let kind = value.get("type").ok_or("a type without `type`")?;
        let Value::String(kind) = kind else { return self.read(kind, namespace) };
        match kind.as_str() {
            "record" | "error" => self.record(value, namespace),
            "enum" => {
                let symbols = list(value, "symbols")?.iter().map(|symbol| {
                    let mut text = Vec::new();
                    put_string(
                        symbol.as_str().ok_or("a symbol that is no text")?.as_bytes(),
                        &mut text,
                    );
                    Ok(text)
                });
                let symbols = symbols.collect::<Result<_, &str>>()?;
                self.define(value, namespace, Node::Enum(symbols))
            }
            "fixed" => {
                let size =
                    value.get("size").and_then(Value::as_u64).ok_or("a fixed without size")?;
                let size = usize::try_from(size).map_err(|error| error.to_string())?;
                let bytes = match logical(value) {
                    "decimal" => Bytes::Decimal { scale: scale(value) },
                    "uuid" if size == 16 => Bytes::Uuid,
                    "duration" if size == 12 => Bytes::Duration,
                    _ => Bytes::Raw,
                };
                self.define(value, namespace, Node::Fixed(size, bytes))
            }
            "array" => {
                let items =
                    self.read(value.get("items").ok_or("an array without items")?, namespace)?;
                self.add(Node::Array(items))
            }
            "map" => {
                let values =
                    self.read(value.get("values").ok_or("a map without values")?, namespace)?;
                self.add(Node::Map(values))
            }
            name => match primitive(name) {
                Some(node) => self.add(with_logical(node, value)),
                None => self.named(name, namespace),
            },
        }
    }

    fn record(&mut self, value: &Value, namespace: &str) -> Result<usize, String> {
        // Known before its fields are, which may name it.
        let place = self.define(value, namespace, Node::Record(Vec::new()))?;
        let name = full_name(text(value, "name")?, own_namespace(value, namespace));
        let inside = name.rsplit_once('.').map_or("", |(namespace, _)| namespace);
        let mut fields = Vec::new();
        for field in list(value, "fields")? {
            let mut key = Vec::new();
            put_string(text(field, "name")?.as_bytes(), &mut key);
            key.push(b':');
            let kind = field.get("type").ok_or("a field without `type`")?;
            // Where a logical type stands beside the type of a field, it is the field's, and nobody's.
            fields.push((key, self.read(kind, inside)?));
        }
        if let Some(node) = self.nodes.get_mut(place) {
            *node = Node::Record(fields);
        }
        Ok(place)
    }

    fn define(&mut self, value: &Value, namespace: &str, node: Node) -> Result<usize, String> {
        let name = full_name(text(value, "name")?, own_namespace(value, namespace));
        let place = self.add(node)?;
        self.names.insert(name, place);
        Ok(place)
    }

    fn add(&mut self, node: Node) -> Result<usize, String> {
        if self.nodes.len() == MAX_NODES {
            return Err(format!("it has more than {MAX_NODES} types"));
        }
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }
}

fn primitive(name: &str) -> Option<Node> {
    Some(match name {
        "null" => Node::Null,
        "boolean" => Node::Boolean,
        "int" => Node::Int(Int::Number),
        "long" => Node::Long(Long::Number),
        "float" => Node::Float,
        "double" => Node::Double,
        "bytes" => Node::Bytes(Bytes::Raw),
        "string" => Node::String,
        _ => return None,
    })
}

/// A logical type that does not fit is ignored, as the specification has it.
fn with_logical(node: Node, value: &Value) -> Node {
    let timestamp = |digits, zoned| Node::Long(Long::Timestamp { digits, zoned });
    match (node, logical(value)) {
        (Node::Int(_), "date") => Node::Int(Int::Date),
        (Node::Int(_), "time-millis") => Node::Int(Int::TimeMillis),
        (Node::Long(_), "time-micros") => Node::Long(Long::TimeMicros),
        (Node::Long(_), "timestamp-millis") => timestamp(3, true),
        (Node::Long(_), "timestamp-micros") => timestamp(6, true),
        (Node::Long(_), "timestamp-nanos") => timestamp(9, true),
        (Node::Long(_), "local-timestamp-millis") => timestamp(3, false),
        (Node::Long(_), "local-timestamp-micros") => timestamp(6, false),
        (Node::Long(_), "local-timestamp-nanos") => timestamp(9, false),
        (Node::Bytes(_), "decimal") => Node::Bytes(Bytes::Decimal { scale: scale(value) }),
        (node, _) => node,
    }
}

fn logical(value: &Value) -> &str {
    value.get("logicalType").and_then(Value::as_str).unwrap_or_default()
}

fn scale(value: &Value) -> i64 {
    value.get("scale").and_then(Value::as_i64).unwrap_or(0)
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str, String> {
    value.get(key).and_then(Value::as_str).ok_or_else(|| format!("a type or field without `{key}`"))
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>, String> {
    value.get(key).and_then(Value::as_array).ok_or_else(|| format!("a type without `{key}`"))
}

fn own_namespace<'a>(value: &'a Value, outer: &'a str) -> &'a str {
    value.get("namespace").and_then(Value::as_str).unwrap_or(outer)
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        name.trim_start_matches('.').to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

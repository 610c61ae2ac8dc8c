//! What stands above the file: `TIDEGATE__SINKS__SERVING__URL=...`, and above that
//! `--set sinks.serving.url=...`.

use super::{
    environment::Environment,
    error::Origin,
    node::{Entries, MOST_KEY_PARTS, Node, Value, shown},
    reader::Findings,
};

const PREFIX: &str = "TIDEGATE__";

/// Writes the `TIDEGATE__` variables into the tree.
///
/// A name is matched without regard to case and with `_` for everything that the name of a
/// variable cannot hold, so that `SOURCES__MY_SHOP__...` finds `[sources.my-shop]`.
pub(super) fn apply_variables(root: &mut Node, environment: &Environment, findings: &Findings) {
    for name in environment.names() {
        let Some(key) = name.strip_prefix(PREFIX) else { continue };
        let origin = Origin::Variable(name.to_owned());
        let segments: Vec<String> = key.split("__").map(str::to_lowercase).collect();
        if segments.iter().any(String::is_empty) || segments.len() > MOST_KEY_PARTS {
            findings.problem(&origin, "", "expected a name such as TIDEGATE__BATCH__ROWS");
            continue;
        }
        let key = segments.join(".");
        match environment.get(name) {
            Ok(value) => {
                let node = Node::parse_word(value, origin.clone());
                if let Err(message) = put(root, segments, find_folded, node) {
                    findings.problem(&origin, &key, message);
                }
            }
            Err(absence) => findings.problem(&origin, &key, format!("the value {absence}")),
        }
    }
}

/// Writes the values of the `--set` flags into the tree.
pub(super) fn apply_flags(root: &mut Node, flags: &[String], findings: &Findings) {
    for flag in flags {
        let parsed = flag.split_once('=').map(|(key, value)| (key.trim(), value));
        let Some((key, value)) = parsed else {
            let found = shown(flag);
            findings.problem(&Origin::Flag, "", format!("expected `key=value`, found {found}"));
            continue;
        };
        let Some(segments) = split_key(key).filter(|s| s.len() <= MOST_KEY_PARTS) else {
            let expected = "a dotted key such as `sinks.serving.url` or `routes[0].format`";
            let found = shown(key);
            findings.problem(&Origin::Flag, "", format!("expected {expected}, found {found}"));
            continue;
        };
        let node = Node::parse_word(value, Origin::Flag);
        if let Err(message) = put(root, segments, find_exact, node) {
            findings.problem(&Origin::Flag, key, message);
        }
    }
}

/// The names of a dotted key; `[0]` counts as a name, and quotes hold dots together.
fn split_key(key: &str) -> Option<Vec<String>> {
    let mut segments = vec![String::new()];
    let mut quoted = false;
    for character in key.chars() {
        match character {
            '"' => quoted = !quoted,
            '.' | '[' if !quoted => segments.push(String::new()),
            ']' if !quoted => {}
            _ => segments.last_mut()?.push(character),
        }
    }
    (!quoted && segments.iter().all(|segment| !segment.is_empty())).then_some(segments)
}

/// Finds the existing key that a name means; the error says why it cannot be told.
type Find = fn(&Entries, &str) -> Result<Option<String>, String>;

fn find_exact(entries: &Entries, name: &str) -> Result<Option<String>, String> {
    Ok(entries.contains_key(name).then(|| name.to_owned()))
}

fn find_folded(entries: &Entries, name: &str) -> Result<Option<String>, String> {
    let mut same = entries.keys().filter(|key| folded(key) == folded(name));
    match (same.next(), same.next()) {
        (Some(first), Some(second)) => {
            Err(format!("means both `{first}` and `{second}`; use --set, which tells them apart"))
        }
        (first, _) => Ok(first.cloned()),
    }
}

fn folded(name: &str) -> String {
    let fold = |c: char| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    name.chars().map(fold).collect()
}

/// Puts `node` where `segments` lead, through tables that are made on the way and lists that must
/// have the element.
fn put(root: &mut Node, segments: Vec<String>, find: Find, node: Node) -> Result<(), String> {
    let mut here = root;
    let mut path = String::new();
    let mut segments = segments.into_iter().enumerate();
    while let Some((depth, mut segment)) = segments.next() {
        if depth == 3 && path.starts_with("sources.") && path.ends_with(".properties") {
            // librdkafka's names hold dots: the rest is one name.
            let rest: Vec<String> = segments.by_ref().map(|(_, segment)| segment).collect();
            segment = std::iter::once(segment).chain(rest).collect::<Vec<_>>().join(".");
            if matches!(node.origin, Origin::Variable(_)) {
                segment = segment.replace('_', ".");
            }
        }
        here = match &mut here.value {
            Value::Table(entries) => {
                segment = find(entries, &segment)?.unwrap_or(segment);
                let empty = || Node::new(Value::Table(Entries::new()), node.origin.clone());
                entries.entry(segment.clone()).or_insert_with(empty)
            }
            Value::Array(items) => {
                let count = items.len();
                let item = segment.parse().ok().and_then(|index: usize| items.get_mut(index));
                item.ok_or_else(|| match count {
                    0 => format!("`{path}` is an empty list"),
                    _ => format!("`{path}` is a list; expected a number from 0 to {}", count - 1),
                })?
            }
            _ => return Err(format!("`{path}` is not a table")),
        };
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&segment);
    }
    *here = node;
    Ok(())
}

/// Joins the nested tables that TOML makes of unquoted property names
/// (`security.protocol = "ssl"`) back into names with dots.
pub(super) fn join_property_names(root: &mut Node, findings: &Findings) {
    let sources = root.entries_mut().and_then(|root| root.get_mut("sources"));
    let Some(sources) = sources.and_then(Node::entries_mut) else { return };
    for (name, source) in sources {
        let Some(source) = source.entries_mut() else { continue };
        let Some(properties) = source.get_mut("properties").and_then(Node::entries_mut) else {
            continue;
        };
        let mut joined = Entries::new();
        for (property, node) in with_joined_names("", std::mem::take(properties)) {
            if joined.contains_key(&property) {
                let key = format!("sources.{name}.properties.{property:?}");
                let message = "given twice, with and without quotes; remove one";
                findings.problem(&node.origin, &key, message);
            }
            joined.insert(property, node);
        }
        *properties = joined;
    }
}

fn with_joined_names(prefix: &str, entries: Entries) -> Vec<(String, Node)> {
    let mut joined = Vec::new();
    for (key, node) in entries {
        let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match node.value {
            Value::Table(entries) => joined.extend(with_joined_names(&name, entries)),
            _ => joined.push((name, node)),
        }
    }
    joined
}

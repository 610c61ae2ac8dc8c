//! The configuration: a TOML file, `TIDEGATE__` environment variables and `--set` flags, made into
//! one [`Config`] that is known to make sense.
//!
//! The file is read with the place of every value and walked by hand, not by serde: an error names
//! file, line and dotted key, what was found and what belongs there, and all errors are shown at
//! once. No error and no `Debug` shows a secret.

mod environment;
mod error;
mod feed;
mod fold;
mod format;
mod growth;
mod keys;
mod node;
mod overrides;
mod partitions;
mod quantity;
mod reader;
mod reference;
mod registry;
mod rollup;
mod route;
mod secret;
mod settings;
mod sink;
mod source;
mod table_name;
mod target;
#[cfg(test)]
mod tests;
mod write;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::registry::Registry;

pub use environment::Environment;
pub use error::ConfigError;
pub use feed::{ColumnFeed, Constant};
pub(crate) use fold::{Fold, fold};
pub use format::{CsvOptions, FormatKind};
pub use growth::{Growth, OnOutOfRange, OnUnknownField};
pub use partitions::{Expired, PartitionBy, Partitions};
pub(crate) use quantity::parse_duration;
pub use registry::{Login, RegistrySettings};
pub use rollup::{Bucket, Late, Rollup};
pub use route::Route;
pub use secret::Secret;
pub use settings::{Admin, Batch, Log, LogFormat, Memory, Shutdown, Tracing};
pub use sink::{NdjsonSink, PostgresSink, Sink};
pub use source::{KafkaSource, NdjsonSource, Source, Start};
pub use table_name::TableName;
pub use target::{DeadLetters, Delivery, Matching, OnMissingTable, Target};
pub use write::{OnTombstone, Write, WriteMode};

use error::{Origin, Problem, suggestion};
use node::{Node, Value};
use reader::{Entry, Findings, Table};

/// A configuration that has been checked: every name resolves, every value is in its range, and
/// what must fit together does.
///
/// Sizes in the file are texts such as `"64KiB"`, `"4MiB"`, `"1GB"`, or a number of bytes;
/// durations are texts such as `"100ms"`, `"5s"`, `"2m"`, `"1h"`. Inside any text, `${env:NAME}`,
/// `${env:NAME:-default}` and `${file:/path}` are replaced, and `$${` stands for `${`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[sources.<name>]`, at least one.
    pub sources: BTreeMap<String, Source>,
    /// `[registries.<name>]`
    pub registries: BTreeMap<String, Arc<Registry>>,
    /// `[sinks.<name>]`, at least one.
    pub sinks: BTreeMap<String, Sink>,
    /// `[[routes]]`, at least one.
    pub routes: Vec<Route>,
    /// `[[rollups]]`
    pub rollups: Vec<Rollup>,
    /// `[batch]`
    pub batch: Batch,
    /// `[memory]`
    pub memory: Memory,
    /// `[admin]`
    pub admin: Admin,
    /// `[shutdown]`
    pub shutdown: Shutdown,
    /// `[tracing]`
    pub tracing: Tracing,
    /// `[log]`
    pub log: Log,
    /// What is allowed but can hardly be meant, for the log: a sink that no route writes to, say.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the file at `path`; a variable of `environment` overrides the file, and an element of
    /// `overrides` (`sinks.serving.url=...`) overrides both.
    ///
    /// # Errors
    /// When the file cannot be read, and for everything that is wrong with its content, all at
    /// once.
    pub fn load(
        path: &Path,
        overrides: &[String],
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let file_name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            file_name: file_name.clone(),
            problems: vec![Problem {
                origin: Origin::File,
                key: String::new(),
                message: format!("cannot be read: {error}"),
            }],
            example: error.kind() == std::io::ErrorKind::NotFound,
        })?;
        Self::parse(&text, &file_name, overrides, environment)
    }

    /// Reads `text`, which errors call `file_name`; relative paths in it are relative to the folder
    /// of that name.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(
        text: &str,
        file_name: &str,
        overrides: &[String],
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let folder = Path::new(file_name).parent().map(PathBuf::from).unwrap_or_default();
        let findings = Findings { folder, ..Findings::default() };
        let config = match Node::parse_file(text) {
            Ok(mut root) => {
                overrides::join_property_names(&mut root, &findings);
                overrides::apply_variables(&mut root, environment, &findings);
                overrides::apply_flags(&mut root, overrides, &findings);
                // Once more, for the tables that variables and flags may have brought.
                overrides::join_property_names(&mut root, &findings);
                resolve(&mut root, "", environment, &findings);
                read(&root, &findings)
            }
            Err(problems) => {
                findings.problems.borrow_mut().extend(problems);
                None
            }
        };
        let mut problems = findings.problems.into_inner();
        // Stable: the problems of one line stay in the order in which they were found.
        problems.sort_by(|left, right| left.origin.cmp(&right.origin));
        match config {
            Some(config) if problems.is_empty() => {
                Ok(Self { warnings: findings.warnings.into_inner(), ..config })
            }
            _ => Err(ConfigError {
                file_name: file_name.to_owned(),
                problems,
                example: findings.example.get(),
            }),
        }
    }
}

/// Replaces the references in every text of the tree.
fn resolve(node: &mut Node, path: &str, environment: &Environment, findings: &Findings) {
    match &mut node.value {
        Value::Text(text) | Value::Word(text) => {
            match reference::resolve(text, environment, &findings.folder) {
                Ok(resolved) if resolved.referenced => {
                    node.value = Value::Word(resolved.text);
                    node.hidden = true;
                }
                Ok(resolved) => *text = resolved.text,
                Err(message) => {
                    findings.problem(&node.origin, path, message);
                    node.value = Value::Unreadable;
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                resolve(item, &format!("{path}[{index}]"), environment, findings);
            }
        }
        Value::Table(entries) => {
            for (key, entry) in entries {
                let dot = if path.is_empty() { "" } else { "." };
                resolve(entry, &format!("{path}{dot}{key}"), environment, findings);
            }
        }
        _ => {}
    }
}

/// The sources and sinks that routes may name; `None` for one that is there but wrong.
struct Ends {
    sources: BTreeMap<String, Option<Source>>,
    sinks: BTreeMap<String, Option<Sink>>,
    registries: BTreeMap<String, Option<Arc<Registry>>>,
    used_registries: RefCell<BTreeSet<String>>,
    used_sources: RefCell<BTreeSet<String>>,
    used_sinks: RefCell<BTreeSet<String>>,
}

/// Reads the tree; `None` only if a problem was noted.
fn read(tree: &Node, findings: &Findings) -> Option<Config> {
    let mut root = Table::root(tree, findings);
    let sources = read_named(&mut root, "sources", findings, source::read);
    let sinks = read_named(&mut root, "sinks", findings, |_, entry| sink::read(entry, findings));
    let registries = read_registries(&mut root);
    let ends = Ends {
        sources,
        sinks,
        registries,
        used_registries: RefCell::default(),
        used_sources: RefCell::default(),
        used_sinks: RefCell::default(),
    };
    let (batch, memory) = settings::batch_and_memory(&mut root);
    let routes = read_routes(&mut root, &ends, batch.bytes, findings);
    let known_routes = routes.as_deref().unwrap_or_default();
    let rollups = rollup::read_all(&mut root, &ends, known_routes);
    let admin = settings::admin(&mut root);
    let shutdown = settings::shutdown(&mut root);
    let tracing = settings::tracing(&mut root);
    let log = settings::log(&mut root);
    root.finish();
    check_files(tree, &ends, findings);
    warn_of_unused(&ends, findings);
    let Ends { sources, sinks, registries, .. } = ends;
    Some(Config {
        sources: sources.into_iter().map(|(n, s)| Some((n, s?))).collect::<Option<_>>()?,
        sinks: sinks.into_iter().map(|(n, s)| Some((n, s?))).collect::<Option<_>>()?,
        registries: registries.into_iter().map(|(n, r)| Some((n, r?))).collect::<Option<_>>()?,
        routes: routes?,
        rollups: rollups?,
        batch,
        memory,
        admin,
        shutdown,
        tracing,
        log,
        warnings: Vec::new(),
    })
}

fn read_named<T>(
    root: &mut Table<'_>,
    key: &'static str,
    findings: &Findings,
    read: impl Fn(&str, Entry<'_>) -> Option<T>,
) -> BTreeMap<String, Option<T>> {
    let noun = key.trim_end_matches('s');
    let section = root.section(key);
    let mut named = BTreeMap::new();
    let in_file: Vec<&str> =
        section.all().filter(|(_, entry)| !entry.is_overridden()).map(|(name, _)| name).collect();
    for (name, entry) in section.all() {
        if !is_name(name) {
            entry.fail(format!(
                "not a name for a {noun}; expected 1 to 63 characters among a-z, 0-9, `_` and `-`"
            ));
        }
        let lacks_kind = entry.node.entries().is_some_and(|entries| !entries.contains_key("kind"));
        if entry.is_overridden() && lacks_kind {
            // A slip in the name of one that exists, much more likely than a new one.
            let suggestion = suggestion(name, noun, &in_file);
            entry.fail(format!("no {noun} is named `{name}`{suggestion}"));
            continue;
        }
        named.insert(name.to_owned(), read(name, entry));
    }
    if named.is_empty() {
        root.fail(key, format!("there is no {noun}; add a [{key}.<name>]"));
        findings.example.set(true);
    }
    named
}

/// Reads the registries, of which there need be none.
fn read_registries(root: &mut Table<'_>) -> BTreeMap<String, Option<Arc<Registry>>> {
    let section = root.section("registries");
    let mut registries = BTreeMap::new();
    for (name, entry) in section.all() {
        if !is_name(name) {
            entry.fail(
                "not a name for a registry; expected 1 to 63 characters among a-z, 0-9, `_` and `-`",
            );
        }
        let read = registry::read(name, entry);
        registries.insert(name.to_owned(), read.map(|settings| Arc::new(Registry::new(settings))));
    }
    registries
}

/// Whether a text can name a source, a sink or a route.
fn is_name(text: &str) -> bool {
    let is_legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(is_legal)
}

fn read_routes(
    root: &mut Table<'_>,
    ends: &Ends,
    batch_bytes: usize,
    findings: &Findings,
) -> Option<Vec<Route>> {
    let entry = root.take("routes");
    let entries = entry.as_ref().map(|entry| entry.items("one [[routes]] or more"));
    let is_empty = match (&entry, &entries) {
        (Some(entry), Some(entries)) => {
            entries.is_empty() && matches!(entry.node.value, Value::Array(_))
        }
        _ => true,
    };
    if is_empty {
        root.fail("routes", "there is no route; add a [[routes]]");
        findings.example.set(true);
    }
    let mut taken = route::Taken::default();
    let routes: Vec<Option<Route>> = entries?
        .into_iter()
        .map(|entry| route::read(entry, ends, batch_bytes, &mut taken))
        .collect();
    routes.into_iter().collect()
}

/// Two sinks must not write to one file, and stdin can be read only once.
fn check_files(tree: &Node, ends: &Ends, findings: &Findings) {
    let mut written: BTreeMap<&Path, &str> = BTreeMap::new();
    for (name, sink) in &ends.sinks {
        let Some(Sink::Ndjson(sink)) = sink else { continue };
        let what = if sink.is_stdout() { "stdout" } else { "the same file" };
        if let Some(other) = written.insert(&sink.path, name) {
            findings.problem(
                tree.origin_of(&["sinks", name, "path"]),
                &format!("sinks.{name}.path"),
                format!("sinks.{other} writes to {what}, too; expected a path of its own"),
            );
        }
    }
    let mut reader: Option<&str> = None;
    for (name, source) in &ends.sources {
        if !matches!(source, Some(Source::Ndjson(source)) if source.is_stdin()) {
            continue;
        }
        if let Some(other) = reader.replace(name) {
            findings.problem(
                tree.origin_of(&["sources", name, "path"]),
                &format!("sources.{name}.path"),
                format!("sources.{other} reads stdin, too; expected a path of its own"),
            );
        }
    }
}

fn warn_of_unused(ends: &Ends, findings: &Findings) {
    let (used_sources, used_sinks) = (ends.used_sources.borrow(), ends.used_sinks.borrow());
    for name in ends.sources.keys().filter(|name| !used_sources.contains(*name)) {
        findings.warn(format!("sources.{name}: no route reads from it"));
    }
    let used_registries = ends.used_registries.borrow();
    for name in ends.registries.keys().filter(|name| !used_registries.contains(*name)) {
        findings.warn(format!("registries.{name}: no route has a format with it"));
    }
    for name in ends.sinks.keys().filter(|name| !used_sinks.contains(*name)) {
        findings.warn(format!("sinks.{name}: no route writes to it"));
    }
}

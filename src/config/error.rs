//! What is wrong with a configuration: all of it, not only the first.

use std::fmt;

/// Where a value was written. The order is the order in which problems are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// The file as a whole, or what it lacks.
    File,
    /// A line of the file, from 1.
    Line(usize),
    /// A `TIDEGATE__` environment variable.
    Variable(String),
    /// A `--set` flag.
    Flag,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Problem {
    pub(super) origin: Origin,
    /// The dotted key; empty where no key can be named.
    pub(super) key: String,
    pub(super) message: String,
}

/// Everything that is wrong with a configuration, one line a problem, in the order of the file:
/// `tidegate.toml:12: routes[0].to[0].sink: no sink is named ...`.
///
/// Holds no secret: values that may be one are never quoted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    pub(super) file_name: String,
    pub(super) problems: Vec<Problem>,
    /// For a file that is about empty: what the smallest one looks like.
    pub(super) example: bool,
}

impl ConfigError {
    /// How many problems there are; at least one.
    pub fn problem_count(&self) -> usize {
        self.problems.len()
    }
}

const EXAMPLE: &str = r#"
The smallest configuration:

    [sources.shop]
    kind = "kafka"
    brokers = "localhost:9092"
    [sinks.serving]
    kind = "postgres"
    url = "${env:DATABASE_URL}"
    [[routes]]
    source = "shop"
    topics = ["orders"]
    to = [{ sink = "serving", table = "orders" }]"#;

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match &problem.origin {
                Origin::File => write!(f, "{}: ", self.file_name)?,
                Origin::Line(line) => write!(f, "{}:{line}: ", self.file_name)?,
                Origin::Variable(name) => write!(f, "{name}: ")?,
                Origin::Flag => f.write_str("--set: ")?,
            }
            if !problem.key.is_empty() {
                write!(f, "{}: ", problem.key)?;
            }
            f.write_str(&problem.message)?;
        }
        if self.example {
            write!(f, "\n{EXAMPLE}")?;
        }
        Ok(())
    }
}

/// The name among `names` that was most likely meant by `written`.
pub(super) fn nearest<'a>(written: &str, names: &[&'a str]) -> Option<&'a str> {
    let written = written.to_lowercase().replace('-', "_");
    names
        .iter()
        .map(|name| (strsim::jaro_winkler(&written, &name.replace('-', "_")), *name))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}

/// The end of a message about a name that does not exist: the likely one, or all of them.
pub(super) fn suggestion(written: &str, noun: &str, names: &[&str]) -> String {
    if let Some(name) = nearest(written, names) {
        return format!("; did you mean `{name}`?");
    }
    match names {
        [] => String::new(),
        [name] => format!("; the only {noun} is `{name}`"),
        _ => format!("; the {noun}s are {}", quoted_list(names)),
    }
}

/// `` `a`, `b`, `c` ``
pub(super) fn quoted_list(names: &[impl fmt::Display]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

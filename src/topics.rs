//! Patterns of topics, and names of tables that are made of topics' names.
//!
//! Both are resolved before the routes are opened: from then on a route has a fixed set of topics, and
//! each of them a fixed set of tables.

use std::collections::{BTreeMap, BTreeSet};

use regex::{Captures, Regex};

use crate::{
    config::{Config, DeadLetters, Route, TableName, Target},
    error::Error,
};

/// Whether a topic of the configuration is a pattern.
pub(crate) fn is_pattern(topic: &str) -> bool {
    topic.starts_with('^')
}

/// Whether one of the routes that read `source` has a pattern.
pub(crate) fn wants_all(config: &Config, source: &str) -> bool {
    let own = config.routes.iter().filter(|route| route.source == source);
    own.flat_map(|route| &route.topics).any(|topic| is_pattern(topic))
}

/// The routes with their patterns replaced by the topics that match among `known`, which are those of
/// each source, and the placeholders of their tables by what they stand for: a route for each topic,
/// where tables depend on it.
///
/// # Errors
/// When two routes would read the same one, or a name does not make a table's.
pub(crate) fn resolve(
    config: &Config,
    known: &BTreeMap<String, Vec<String>>,
) -> Result<Vec<Route>, Error> {
    let mut resolved = Vec::new();
    let mut readers: BTreeMap<(String, String), String> = BTreeMap::new();
    for route in &config.routes {
        let found = find(config, route, known.get(&route.source).map_or(&[], Vec::as_slice))?;
        for topic in found.iter().map(|found| found.topic) {
            let key = (route.source.clone(), topic.to_owned());
            if let Some(other) = readers.insert(key, route.name.clone()) {
                return Err(Error::config(format!(
                    "the routes {other} and {} would both read topic {topic}; make their patterns \
                     exclude each other",
                    route.name
                )));
            }
        }
        if route.to.iter().filter_map(|target| target.table.as_ref()).any(has_placeholder) {
            for found in &found {
                resolved.push(for_topic(route, found)?);
            }
        } else {
            let topics = found.iter().map(|found| found.topic.to_owned()).collect();
            resolved.push(Route { topics, ..route.clone() });
        }
    }
    Ok(resolved)
}

/// Names a route whose patterns no topic matches.
///
/// # Errors
/// When there is one.
pub(crate) fn check(config: &Config, resolved: &[Route]) -> Result<(), Error> {
    let is_found = |route: &&Route| {
        let own = resolved.iter().filter(|found| found.configured_name() == route.name);
        own.map(|found| found.topics.len()).sum::<usize>() > 0
    };
    let Some(route) = config.routes.iter().find(|route| !is_found(route)) else { return Ok(()) };
    Err(Error::unavailable(format!(
        "route {}: no topic of source {} matches {} (or this user may not see it)",
        route.name,
        route.source,
        route.topics.join(", ")
    )))
}

/// A topic that a route reads.
struct Found<'a> {
    topic: &'a str,
    /// What the groups of the pattern have matched.
    captures: Option<Captures<'a>>,
}

fn find<'a>(
    config: &Config,
    route: &'a Route,
    known: &'a [String],
) -> Result<Vec<Found<'a>>, Error> {
    let ours = of_dead_letters(config);
    let mut found: Vec<Found<'a>> = Vec::new();
    for topic in &route.topics {
        if !is_pattern(topic) {
            if found.iter().any(|found| found.topic == topic) {
                continue;
            }
            found.push(Found { topic, captures: None });
            continue;
        }
        let pattern = Regex::new(topic).map_err(|error| Error::config(error.to_string()))?;
        for name in known {
            // Those with two underscores are Kafka's own.
            if name.starts_with("__") || ours.contains(name) {
                continue;
            }
            if found.iter().any(|found| found.topic == name) {
                continue;
            }
            if let Some(captures) = pattern.captures(name) {
                found.push(Found { topic: name, captures: Some(captures) });
            }
        }
    }
    Ok(found)
}

/// The topics for our dead letters, which no pattern means: those of all sources, as two of them may
/// read the same cluster.
pub(crate) fn of_dead_letters(config: &Config) -> BTreeSet<String> {
    let targets = config.routes.iter().flat_map(|route| &route.to);
    let letters = targets.filter_map(|target| match &target.dead_letters {
        DeadLetters::Topic(topic) => Some(topic.clone()),
        DeadLetters::Table => None,
    });
    letters.collect()
}

/// Whether a table depends on the topic.
pub(crate) fn has_placeholder(table: &TableName) -> bool {
    table.name.contains('{') || table.schema.as_ref().is_some_and(|schema| schema.contains('{'))
}

fn for_topic(route: &Route, found: &Found<'_>) -> Result<Route, Error> {
    let mut to: Vec<Target> = Vec::new();
    for target in &route.to {
        let table =
            target.table.as_ref().map(|table| fill_table(route, table, found)).transpose()?;
        let is_same = |other: &Target| other.sink == target.sink && other.table == table;
        if let Some(table) = table.as_ref().filter(|_| to.iter().any(is_same)) {
            return Err(Error::config(format!(
                "route {}: topic {} makes table {table} of two of its targets",
                route.name, found.topic
            )));
        }
        to.push(Target { table, ..target.clone() });
    }
    Ok(Route {
        name: format!("{}/{}", route.name, found.topic),
        topics: vec![found.topic.to_owned()],
        to,
        ..route.clone()
    })
}

fn fill_table(route: &Route, table: &TableName, found: &Found<'_>) -> Result<TableName, Error> {
    let fill = |template: &str| {
        let name = fill(template, found).map_err(|problem| {
            Error::config(format!(
                "route {}: table {table}: {problem}; it has {{topic}}, and the groups of a pattern \
                 by number or by name",
                route.name
            ))
        })?;
        if TableName::is_identifier(&name) {
            return Ok(name);
        }
        Err(Error::config(format!(
            "route {}: topic {} makes `{name}` of table {table}, which is no name of a table (1 to 63 \
             bytes without quotes)",
            route.name, found.topic
        )))
    };
    let schema = table.schema.as_deref().map(fill).transpose()?;
    // A topic's name is not for us to choose, and must not choose our bookkeeping.
    let is_ours = |schema: &String| {
        matches!(schema.as_str(), "tidegate" | "information_schema") || schema.starts_with("pg_")
    };
    if let Some(schema) = schema.as_ref().filter(|schema| is_ours(schema)) {
        return Err(Error::config(format!(
            "route {}: topic {} makes the schema `{schema}` of table {table}, which is not for records",
            route.name, found.topic
        )));
    }
    Ok(TableName { schema, name: fill(&table.name)? })
}

/// Replaces the placeholders of a name.
fn fill(template: &str, found: &Found<'_>) -> Result<String, String> {
    let mut name = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (placeholder, after) = after.split_once('}').ok_or("a `{` has no `}`")?;
        name.push_str(before);
        let group = found.captures.as_ref().and_then(|captures| match placeholder.parse() {
            Ok(number) => captures.get(number),
            Err(_) => captures.name(placeholder),
        });
        name.push_str(match (placeholder, group) {
            ("topic", _) => found.topic,
            (_, Some(group)) => group.as_str(),
            (_, None) => return Err(format!("nothing is called {{{placeholder}}}")),
        });
        rest = after;
    }
    name.push_str(rest);
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    /// The routes of a configuration with these topics and this table, as topics and tables.
    fn resolved(topics: &str, table: &str) -> Result<Vec<(Vec<String>, String)>, Error> {
        let text = format!(
            "[sources.shop]\nkind = \"kafka\"\nbrokers = \"b:9092\"\n[sinks.pg]\nkind = \"postgres\"\n\
             url = \"postgres://u@h/d\"\n[[routes]]\nsource = \"shop\"\ntopics = {topics}\n\
             [[routes.to]]\nsink = \"pg\"\ntable = {table}\ndead_letters = {{ topic = \"shop.dead\" }}"
        );
        let environment: Environment = std::iter::empty::<(&str, &str)>().collect();
        let config = Config::parse(&text, "t.toml", &[], &environment).unwrap();
        let known = ["__consumer_offsets", "other", "shop.dead", "shop.eu.orders", "shop.us.users"];
        let known = BTreeMap::from([("shop".to_owned(), known.map(str::to_owned).to_vec())]);
        let routes = resolve(&config, &known)?;
        check(&config, &routes)?;
        let shown = |route: Route| (route.topics, route.to[0].table.as_ref().unwrap().to_string());
        Ok(routes.into_iter().map(shown).collect())
    }

    fn route(topics: &[&str], table: &str) -> (Vec<String>, String) {
        (topics.iter().map(|&topic| topic.to_owned()).collect(), table.to_owned())
    }

    #[test]
    fn a_pattern_stands_for_the_topics_that_match_but_for_our_own() {
        let topics = ["shop.eu.orders", "shop.us.users"];
        assert_eq!(resolved(r#"["^shop"]"#, r#""t""#).unwrap(), [route(&topics, "t")]);
        let more = ["other", "shop.eu.orders", "shop.us.users"];
        assert_eq!(resolved(r#"["^."]"#, r#""t""#).unwrap(), [route(&more, "t")]);
        let one = ["plain", "shop.eu.orders"];
        assert_eq!(resolved(r#"["plain", "^.*orders$"]"#, r#""t""#).unwrap(), [route(&one, "t")]);
    }

    #[test]
    fn a_table_may_be_named_after_its_topic() {
        let pattern = r#"['^shop\.(..)\.(?<what>.+)$', "a-b"]"#;
        let problem = resolved(pattern, r#""{1}.{what}""#).unwrap_err().message;
        assert!(problem.contains("nothing is called {1}"), "{problem}");
        let pattern = r#"['^shop\.(..)\.(?<what>.+)$']"#;
        let expected =
            [route(&["shop.eu.orders"], "eu.orders_v1"), route(&["shop.us.users"], "us.users_v1")];
        assert_eq!(resolved(pattern, r#""{1}.{what}_v1""#).unwrap(), expected);
        // A dot that comes from the topic does not part the schema from the table.
        let expected = [route(&["a.b"], "s.a.b"), route(&["c"], "s.c")];
        assert_eq!(resolved(r#"["a.b", "c"]"#, r#""s.{topic}""#).unwrap(), expected);
    }

    #[test]
    fn what_makes_no_tables_name_is_refused() {
        let long = "x".repeat(64);
        for (topics, table, problem) in [
            (format!("[\"{long}\"]"), r#""{topic}""#, "which is no name of a table"),
            (r#"["a"]"#.to_owned(), r#""{tpoic}""#, "nothing is called {tpoic}"),
            (r#"["tidegate"]"#.to_owned(), r#""{topic}.checkpoints""#, "not for records"),
            (r#"["^none"]"#.to_owned(), r#""t""#, "no topic of source shop matches ^none"),
        ] {
            let error = resolved(&topics, table).unwrap_err();
            assert!(error.message.contains(problem), "{error}");
        }
    }
}

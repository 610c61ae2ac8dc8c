//! One route of a configuration, by itself: what is loaded or read again goes its way.

use super::printable;
use crate::{
    config::{Config, DeadLetters, Delivery, Route, Target},
    error::{Error, ErrorKind},
    sink::postgres::catalog::nearest,
    topics::has_placeholder,
};

/// The route of that name; the only one, if none is named.
pub(super) fn route<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a Route, Error> {
    let names: Vec<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
    match (name, config.routes.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => Err(Error::new(
            ErrorKind::Usage,
            format!(
                "the configuration has several routes; choose with --route one of {}",
                names.join(", ")
            ),
        )),
        (Some(name), routes) => routes.iter().find(|route| route.name == name).ok_or_else(|| {
            let hint = nearest(name, &names)
                .map_or_else(String::new, |near| format!(" Did you mean `{near}`?"));
            Error::config(format!(
                "the configuration has no route `{}`; it has {}.{hint}",
                printable(name),
                names.join(", ")
            ))
        }),
    }
}

/// The targets of the route that keep positions, so that what was done is not done again.
pub(super) fn exact_targets(route: &Route) -> Result<Vec<&Target>, Error> {
    let is_exact = |target: &&Target| target.delivery == Delivery::ExactlyOnce;
    let (exact, others): (Vec<&Target>, Vec<&Target>) = route.to.iter().partition(is_exact);
    for target in others {
        tracing::warn!(
            "route {}: its target in {} is left out, as it keeps no position and would double",
            route.name,
            target.sink
        );
    }
    let named_by_topic =
        exact.iter().filter_map(|t| t.table.as_ref()).find(|table| has_placeholder(table));
    if let Some(table) = named_by_topic {
        return Err(Error::config(format!(
            "route {}: its table {table} is named after a topic, and here is none",
            route.name
        )));
    }
    if exact.is_empty() {
        return Err(Error::config(format!(
            "route {} has no target with delivery = \"exactly-once\", and no other keeps a position: \
             what was interrupted would be doubled",
            route.name
        )));
    }
    Ok(exact)
}

/// The configuration with nothing but `route`, which goes to `to`. Its dead letters go to the table:
/// a topic would get them once more.
pub(super) fn only(config: &Config, route: &Route, to: Vec<Target>) -> Config {
    let mut config = config.clone();
    config.sources.retain(|name, _| *name == route.source);
    config.sinks.retain(|name, _| to.iter().any(|target| target.sink == *name));
    let to = to.into_iter().map(|to| Target { dead_letters: DeadLetters::Table, ..to });
    config.routes = vec![Route { to: to.collect(), ..route.clone() }];
    config
}

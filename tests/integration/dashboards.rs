//! The dashboards and the alerts on a real run of the playground of docker-compose.yml: a real Prometheus
//! scrapes it, and every panel, every variable, every alert and every query of a runbook gets data.

use std::{
    fs::{self, File},
    process::Stdio,
};

use serde_json::Value;
use stack::{Client, Prometheus, Proxy, promtool};

use crate::support::{RunningLoad, Tidegate, World, eventually, orders_profile, start_load};

const RATE: f64 = 2_000.0;
const SEED: u64 = 31;
/// Thirty scrapes, of which some may come too late on a busy machine.
const RATE_INTERVAL: &str = "30s";
/// The address of nobody: the Kafka client has something to complain about.
const NOBODY: &str = "127.0.0.1:1";

/// What a run that is well has no series of.
const OF_OUTAGES: [&str; 3] = ["ALERTS", "tidegate_write_retries_total", "outcome=\"failed\""];

const PIPELINE: &str = include_str!("../../dashboards/pipeline.json");
const POSTGRES: &str = include_str!("../../dashboards/postgres.json");
const ORDERS: &str = include_str!("../../dashboards/orders.json");

/// The playground, with a proxy between tidegate and Postgres, under load with some poison.
struct Playground {
    tidegate: Tidegate,
    _load: RunningLoad,
    proxy: Proxy,
    world: World,
}

impl Playground {
    fn start(name: &str) -> Self {
        let world = World::bare(name, 3);
        world.sql.execute(include_str!("../../deploy/compose/orders.sql")).unwrap();
        let (proxy, config) = world.behind_proxy(&playground_config(&world));
        world.write_config(&config);
        let created = Tidegate::spawn(world.folder.path(), &["rollup", "create"], Stdio::null());
        let exit = created.wait();
        assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.log);
        let load = start_load(&world, orders_profile(SEED), RATE);
        let mut tidegate = world.run(&config, &[]);
        tidegate.await_ready();
        Self { tidegate, _load: load, proxy, world }
    }
}

/// The playground's own configuration, with this test's addresses, and rollups that turn more often.
fn playground_config(world: &World) -> String {
    let mut config = include_str!("../../deploy/compose/tidegate.toml").to_owned();
    let brokers = format!("{},{NOBODY}", world.brokers);
    for (from, to) in [
        ("${env:KAFKA_BROKERS}", brokers.as_str()),
        ("${env:DATABASE_URL}", &world.url),
        ("\"orders-speed-layer\"", &format!("\"{}\"", world.name)),
        ("[\"orders\"]", &format!("[\"{}\"]", world.name)),
        ("0.0.0.0:9187", "127.0.0.1:0"),
        ("every = \"1m\"", "every = \"1s\""),
        ("every = \"10s\"", "every = \"1s\""),
    ] {
        assert!(config.contains(from), "no {from} in the playground's configuration");
        config = config.replace(from, to);
    }
    // Without it the client might never try the last address.
    config + "[sources.shop.properties]\n\"enable.sparse.connections\" = \"false\"\n"
}

/// A Prometheus with the configuration of the dashboards, but for the target and a quicker pulse.
fn start_prometheus(playground: &mut Playground) -> Prometheus {
    let folder = playground.world.folder.path();
    let mut config = include_str!("../../dashboards/prometheus.yml").to_owned();
    let address = playground.tidegate.address();
    for (from, to) in [
        ("tidegate:9187", address.as_str()),
        ("interval: 5s", "interval: 1s"),
        ("timeout: 4s", "timeout: 1s"),
    ] {
        assert!(config.contains(from), "no {from} in prometheus.yml");
        config = config.replace(from, to);
    }
    let path = folder.join("prometheus.yml");
    fs::write(&path, config).unwrap();
    fs::write(folder.join("alerts.yml"), include_str!("../../dashboards/alerts.yml")).unwrap();
    Prometheus::start(&path).unwrap()
}

fn answer(json: &str) -> Value {
    let answer: Value =
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert_eq!(answer["status"], "success", "{json}");
    answer["data"].clone()
}

/// What must give data.
struct Expression {
    /// Where it stands.
    place: String,
    text: String,
    /// The labels that each of its series must have.
    labels: Vec<String>,
}

impl Expression {
    fn new(place: String, text: &str, legend: &str) -> Self {
        let mut text =
            text.replace("$__rate_interval", RATE_INTERVAL).replace("\"$job\"", "\"tidegate\"");
        for variable in ["$instance", "$topic", "$target"] {
            text = text.replace(&format!("\"{variable}\""), "\".+\"");
        }
        assert!(!text.contains('$'), "{place}: a variable that nobody replaces: {text}");
        let labels =
            legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap().to_owned());
        Self { place, text, labels: labels.collect() }
    }

    fn has_data(&self, prometheus: &Prometheus) -> bool {
        let data = answer(&prometheus.query(&self.text).unwrap());
        assert_eq!(data["resultType"], "vector", "{}: {}", self.place, self.text);
        let series = data["result"].as_array().unwrap();
        for one in series {
            let missing = self.labels.iter().find(|label| one["metric"][label.as_str()].is_null());
            assert_eq!(missing, None, "{}: a label of the legend that {one} has not", self.place);
        }
        series.iter().any(|one| one["value"][1] != "NaN")
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no `{key}` in {value}"))
}

fn variables(dashboard: &str) -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    dashboard["templating"]["list"].as_array().unwrap().clone()
}

/// The targets of all panels of a dashboard, with the panel's title.
fn targets(dashboard: &str) -> Vec<(String, Value)> {
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let of_panel = |panel: &Value| -> Vec<(String, Value)> {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(|target| (text(panel, "title").to_owned(), target)).collect()
    };
    let targets: Vec<_> =
        dashboard["panels"].as_array().unwrap().iter().flat_map(of_panel).collect();
    assert!(!targets.is_empty());
    targets
}

/// What the panels and the variables of the pipeline's dashboard ask.
fn of_panels() -> Vec<Expression> {
    let variables = variables(PIPELINE);
    let queries = variables.iter().filter_map(|variable| variable["query"]["query"].as_str());
    let of_variables = queries.map(|query| {
        let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (selector, label) = inside.unwrap().rsplit_once(", ").unwrap();
        let counted = format!("count by ({label}) ({selector})");
        Expression::new(format!("variable {label}"), &counted, &format!("{{{{{label}}}}}"))
    });
    let of_panels = targets(PIPELINE).into_iter().map(|(title, target)| {
        let legend = target["legendFormat"].as_str().unwrap_or_default();
        Expression::new(
            format!("panel '{title}' {}", text(&target, "refId")),
            text(&target, "expr"),
            legend,
        )
    });
    of_variables.chain(of_panels).collect()
}

/// The conditions of the alerts, made to tell 0 or 1: a condition that does not hold has no data.
fn of_alerts(prometheus: &Prometheus) -> Vec<Expression> {
    let data = answer(&prometheus.rules().unwrap());
    let rules = data["groups"][0]["rules"].as_array().unwrap().clone();
    let expression = |rule: &Value| {
        let (name, query) = (text(rule, "name"), text(rule, "query"));
        let told = telling(query);
        assert!(told.contains(" bool "), "{name} compares nothing: {query}");
        Expression::new(format!("alert {name}"), &told, "")
    };
    rules.iter().map(expression).collect()
}

/// The expression with `bool` behind each comparison outside of strings and matchers.
fn telling(query: &str) -> String {
    let (mut told, mut in_string, mut in_matchers) = (String::new(), false, false);
    let mut characters = query.chars().peekable();
    while let Some(character) = characters.next() {
        told.push(character);
        match character {
            '"' => in_string = !in_string,
            '{' | '}' if !in_string => in_matchers = character == '{',
            '<' | '>' | '=' | '!' if !in_string && !in_matchers => {
                told.extend(characters.next_if_eq(&'='));
                told.push_str(" bool ");
            }
            _ => {}
        }
    }
    told
}

/// What the runbooks ask Prometheus: each line of a block.
fn of_runbooks() -> Vec<Expression> {
    let lines = blocks_of_runbooks("promql").into_iter().flat_map(|(page, block)| {
        let lines: Vec<String> = block.lines().map(str::to_owned).collect();
        lines.into_iter().map(move |line| Expression::new(page.clone(), &line, ""))
    });
    lines.collect()
}

/// The blocks of a language in a page.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(str::to_owned).collect()
}

/// All blocks of a language in the runbooks, with the page's name.
fn blocks_of_runbooks(language: &str) -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbooks");
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let page = fs::read_to_string(&path).unwrap();
        all.extend(blocks(&page, language).into_iter().map(|block| (name.clone(), block)));
    }
    assert!(!all.is_empty(), "no {language} in the runbooks");
    all
}

/// What has not given data yet.
struct Watch {
    prometheus: Prometheus,
    waiting: Vec<Expression>,
}

impl Watch {
    /// Waits until every expression that is `chosen` by its text has had data.
    fn await_data(&mut self, what: &str, chosen: impl Fn(&str) -> bool) {
        eventually(what, || {
            let prometheus = &self.prometheus;
            self.waiting.retain(|expression| !expression.has_data(prometheus));
            let missing = self.waiting.iter().filter(|expression| chosen(&expression.text));
            let missing: Vec<String> = missing
                .map(|expression| format!("{}: {}", expression.place, expression.text))
                .collect();
            if missing.is_empty() {
                Ok(())
            } else {
                Err(format!("none for\n{}", missing.join("\n")))
            }
        });
    }
}

/// An outage, long enough for a write to be tried again, for a rollup to fail, and for an alert to be pending.
#[test]
fn every_panel_and_every_alert_gets_data_from_a_run() {
    let mut playground = Playground::start("dashboards-metrics");
    let prometheus = start_prometheus(&mut playground);
    let mut waiting = of_panels();
    waiting.extend(of_runbooks());
    waiting.extend(of_alerts(&prometheus));
    let mut watch = Watch { prometheus, waiting };
    let needs_outage = |text: &str| OF_OUTAGES.iter().any(|part| text.contains(part));
    watch.await_data("data of a run that is well", |text| !needs_outage(text));

    playground.proxy.refuse().unwrap();
    playground.proxy.cut();
    playground.tidegate.await_degraded("sink serving is away");
    watch.await_data("data of an outage", |_| true);
    playground.proxy.pass().unwrap();
    playground.tidegate.await_ready();

    for rule in answer(&watch.prometheus.rules().unwrap())["groups"][0]["rules"].as_array().unwrap()
    {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    let page = playground.world.folder.path().join("metrics");
    fs::write(&page, playground.tidegate.get("/metrics").1).unwrap();
    let linted = promtool(&["check", "metrics"], File::open(&page).unwrap()).unwrap();
    let said = String::from_utf8_lossy(&linted.stdout) + String::from_utf8_lossy(&linted.stderr);
    assert!(linted.status.success() && said.is_empty(), "{said}");
}

/// The SQL of all panels of a dashboard, with their titles, as Grafana would send it for the last hour.
fn sql_of_panels(dashboard: &str, reader: &Client) -> Vec<(String, String)> {
    let variables = variables(dashboard).into_iter().filter_map(|variable| {
        let query = variable["query"].as_str().filter(|query| query.starts_with("SELECT"))?;
        let value = reader.query_text(query).unwrap().remove(0).remove(0).unwrap();
        Some((format!("${{{}:raw}}", text(&variable, "name")), value))
    });
    let variables: Vec<(String, String)> = variables.collect();
    let sql = |(title, target): (String, Value)| {
        let mut sql = text(&target, "rawSql").to_owned();
        for (name, value) in &variables {
            sql = sql.replace(name, value);
        }
        (title, for_the_last_hour(sql))
    };
    targets(dashboard).into_iter().map(sql).collect()
}

/// With Grafana's macros replaced.
fn for_the_last_hour(sql: String) -> String {
    let mut sql =
        sql.replace("$__timeFrom()", "(now() - interval '1 hour')").replace("$__timeTo()", "now()");
    for (begin, replacement) in [
        ("$__timeFilter(", "{} BETWEEN now() - interval '1 hour' AND now()"),
        ("$__timeGroup(", "date_bin('1 minute', {}, timestamptz '2026-01-01')"),
    ] {
        while let Some(at) = sql.find(begin) {
            let end = at + sql[at..].find(')').unwrap();
            let column = sql[at + begin.len()..end].split(',').next().unwrap().to_owned();
            sql.replace_range(at..=end, &replacement.replace("{}", &column));
        }
    }
    assert!(!sql.contains('$'), "{sql}");
    sql
}

/// The rights that the documentation tells to give to Grafana's role, and no more. A session holds what
/// tidegate waits for, so that what shows waiting has something to show.
#[test]
fn every_panel_on_postgres_gets_rows_without_the_rights_of_a_superuser() {
    let playground = Playground::start("dashboards-sql");
    let world = &playground.world;
    eventually("a dead letter", || {
        match world.number("SELECT count(*) FROM tidegate.dead_letters") {
            0 => Err("none"),
            _ => Ok(()),
        }
        .map_err(str::to_owned)
    });
    let grants = blocks(include_str!("../../docs/operations.md"), "sql");
    let grants = grants.iter().find(|block| block.contains("CREATE ROLE grafana")).unwrap();
    world.sql.execute(grants).unwrap();
    world.sql.execute("GRANT SELECT ON orders_summary, orders_by_minute TO grafana").unwrap();
    let reader = Client::connect(&world.url).unwrap();
    reader.execute("SET ROLE grafana").unwrap();
    let holder = world.lock("orders_realtime");

    let of_postgres = sql_of_panels(POSTGRES, &reader);
    for (title, sql) in of_postgres.into_iter().chain(sql_of_panels(ORDERS, &reader)) {
        eventually(&format!("rows for '{title}'"), || {
            let rows =
                reader.query_text(&sql).unwrap_or_else(|error| panic!("'{title}': {error:?}"));
            if rows.is_empty() { Err(sql.clone()) } else { Ok(()) }
        });
    }
    for (page, block) in blocks_of_runbooks("sql") {
        reader.query_text(&block).unwrap_or_else(|error| panic!("{page}: {error:?}"));
    }
    holder.execute("ROLLBACK").unwrap();
}

//! The dashboards, the alerts and the runbooks, as far as the files alone can tell. What they show on a
//! real run is in `integration/dashboards.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use tidegate::{metrics::ALL, verdict::Bottleneck};

const COLUMNS: u64 = 24;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a folder with one of these extensions.
fn files(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).expect(folder);
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        extensions.iter().any(|extension| path.extension() == Some(extension.as_ref()))
    });
    assert!(!paths.is_empty(), "nothing in {folder}");
    paths.sort();
    paths
}

fn dashboards() -> Vec<(String, Value)> {
    let paths = files("dashboards", &["json"]);
    assert_eq!(paths.len(), 3, "{paths:?}");
    let parse = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let dashboard =
            serde_json::from_str(&read(&path)).unwrap_or_else(|e| panic!("{name}: {e}"));
        (name, dashboard)
    };
    paths.into_iter().map(parse).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no `{key}` in {value}"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no list `{key}` in {value}"))
}

/// The names of the series that `/metrics` may show.
fn series() -> BTreeSet<String> {
    let suffixes = |kind| match kind {
        "histogram" => ["_bucket", "_sum", "_count"].as_slice(),
        _ => [""].as_slice(),
    };
    let names = |metric: &tidegate::metrics::Metric| {
        suffixes(metric.kind).iter().map(|suffix| format!("{}{suffix}", metric.name)).collect()
    };
    ALL.iter().flat_map(|metric| -> Vec<String> { names(metric) }).collect()
}

/// Every word that begins like a metric of ours.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    let is_metric = |word: &&str| word.starts_with("tidegate_") || word.starts_with("process_");
    words.filter(is_metric).map(str::to_owned).collect()
}

#[test]
fn every_metric_that_is_asked_for_exists() {
    let series = series();
    let asked =
        files("dashboards", &["json", "yml"]).into_iter().chain(files("docs/runbooks", &["md"]));
    let mut seen = BTreeSet::new();
    for path in asked {
        let shown = metrics_in(&read(&path));
        let unknown: Vec<_> = shown.difference(&series).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?} do not exist", path.display());
        seen.extend(shown);
    }
    let base = |metric: &str| seen.iter().any(|name| name.starts_with(metric));
    let nowhere: Vec<_> = ALL.iter().map(|metric| metric.name).filter(|name| !base(name)).collect();
    assert!(nowhere.is_empty(), "no dashboard and no alert shows {nowhere:?}");
}

#[test]
fn every_panel_asks_a_question_and_says_what_the_answer_means() {
    for (name, dashboard) in dashboards() {
        let mut seen = BTreeSet::new();
        for panel in list(&dashboard, "panels") {
            let title = text(panel, "title");
            assert!(seen.insert(panel["id"].as_u64().unwrap().to_string()), "{name}: {panel}");
            if text(panel, "type") == "row" {
                continue;
            }
            assert!(seen.insert(title.to_owned()), "{name}: '{title}' is asked twice");
            assert!(title.ends_with('?'), "{name}: '{title}' is no question");
            assert!(
                text(panel, "description").ends_with('.'),
                "{name}: '{title}' explains nothing"
            );
            assert!(
                !text(&panel["fieldConfig"]["defaults"], "unit").is_empty(),
                "{name}: '{title}'"
            );
            assert_eq!(text(&panel["datasource"], "uid"), "${datasource}", "{name}: '{title}'");
            let targets = list(panel, "targets");
            assert!(!targets.is_empty(), "{name}: '{title}' asks nothing");
            for (target, id) in targets.iter().zip('A'..='Z') {
                assert_eq!(text(target, "refId"), id.to_string(), "{name}: '{title}'");
                assert!(target["expr"].is_string() || target["rawSql"].is_string(), "{target}");
            }
        }
    }
}

/// Which panel each cell of the grid belongs to; none overlaps another, none is left over.
#[test]
fn the_panels_fill_the_grid_and_none_overlaps_another() {
    for (name, dashboard) in dashboards() {
        let mut cells: BTreeMap<(u64, u64), &str> = BTreeMap::new();
        let mut bottom = 0;
        for panel in list(&dashboard, "panels") {
            let title = text(panel, "title");
            let place =
                |key: &str| panel["gridPos"][key].as_u64().unwrap_or_else(|| panic!("{panel}"));
            let (x, y, width, height) = (place("x"), place("y"), place("w"), place("h"));
            assert!(x + width <= COLUMNS, "{name}: '{title}' is wider than the page");
            assert!(y >= bottom || y + height <= bottom, "{name}: '{title}' is not in order");
            for cell in (y..y + height).flat_map(|y| (x..x + width).map(move |x| (y, x))) {
                if let Some(other) = cells.insert(cell, title) {
                    panic!("{name}: '{title}' lies on '{other}'");
                }
            }
            if x + width == COLUMNS {
                bottom = y + height;
            }
        }
        for y in 0..bottom {
            let hole = (0..COLUMNS).find(|x| !cells.contains_key(&(y, *x)));
            assert_eq!(hole, None, "{name}: a hole in line {y}, below '{}'", cells[&(y - 1, 0)]);
        }
        assert_eq!(cells.len() as u64, bottom * COLUMNS, "{name}: a hole in the last line");
    }
}

#[test]
fn an_expression_uses_only_variables_that_its_dashboard_defines() {
    for (name, dashboard) in dashboards() {
        let variables = list(&dashboard["templating"], "list");
        let defined: BTreeSet<&str> =
            variables.iter().map(|variable| text(variable, "name")).collect();
        let mut used = BTreeSet::new();
        let asked = dashboard["panels"].to_string() + &dashboard["templating"].to_string();
        for rest in asked.split('$').skip(1) {
            let rest = rest.trim_start_matches('{');
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap();
            used.insert(rest[..end].to_owned());
        }
        used.retain(|variable| !variable.starts_with("__"));
        let used: BTreeSet<&str> = used.iter().map(String::as_str).collect();
        assert_eq!(used, defined, "{name}: used, and defined");
    }
}

/// Name and text of each rule of alerts.yml.
fn alerts() -> Vec<(String, String)> {
    let rules = read("dashboards/alerts.yml");
    let alerts: Vec<(String, String)> = rules
        .split("- alert: ")
        .skip(1)
        .map(|rule| (rule.lines().next().unwrap().to_owned(), rule.to_owned()))
        .collect();
    assert!(alerts.len() >= 15, "{alerts:?}");
    alerts
}

/// The value of a key that stands on a line of its own.
fn value<'a>(rule: &'a str, key: &str) -> &'a str {
    let line = rule.lines().find_map(|line| line.trim().strip_prefix(key));
    line.unwrap_or_else(|| panic!("no `{key}` in {rule}")).trim()
}

#[test]
fn every_stage_that_may_be_the_limit_is_explained_on_the_dashboard_and_has_its_cure() {
    let runbook = read("docs/runbooks/lag-growing.md");
    let dashboard = read("dashboards/pipeline.json");
    let panel = dashboard.lines().find(|line| line.contains("The stage that the verdict names"));
    let panel = panel.expect("the panel of the verdict");
    for stage in Bottleneck::ALL {
        let name = stage.stage();
        let is_explained = panel.contains(&format!(" {name}"));
        assert!(is_explained, "the panel of the verdict does not know {name}");
        let has_cure = stage == Bottleneck::None || runbook.contains(&format!("*{name}*"));
        assert!(has_cure, "docs/runbooks/lag-growing.md has no cure for {name}");
    }
}

#[test]
fn every_alert_has_a_runbook_and_stands_in_the_table() {
    let table = read("docs/operations.md");
    let mut runbooks = BTreeSet::new();
    for (alert, rule) in alerts() {
        value(&rule, "for:");
        let severity = value(&rule, "labels: {severity:").trim_end_matches('}');
        assert!(["critical", "warning"].contains(&severity), "{alert}: {severity}");
        for key in ["summary:", "description:"] {
            assert!(
                value(&rule, key).contains("{{") || key == "summary:",
                "{alert}: {key} has no value"
            );
        }
        let runbook = value(&rule, "runbook_url:");
        let page = read(runbook);
        let headings: Vec<&str> = page.lines().filter(|line| line.starts_with('#')).collect();
        let expected =
            [&format!("# {alert}"), "## Meaning", "## Impact", "## Diagnosis", "## Cure"];
        assert_eq!(headings, expected, "{runbook}");
        let link = runbook.strip_prefix("docs/").unwrap();
        let row = format!("| [{alert}]({link}) | {severity} |");
        assert!(table.contains(&row), "docs/operations.md has no row that begins with {row}");
        runbooks.insert(root().join(runbook));
    }
    let pages: BTreeSet<PathBuf> = files("docs/runbooks", &["md"]).into_iter().collect();
    assert_eq!(pages, runbooks, "a runbook without an alert");
    assert_eq!(table.matches("](runbooks/").count(), runbooks.len(), "a row without an alert");
}

#[test]
fn every_alert_fires_when_it_must_and_only_then() {
    let cases = read("dashboards/alerts.test.yml");
    for (alert, _) in alerts() {
        let silent = format!("- {{alertname: {alert}, eval_time: ");
        let fires = format!("- alertname: {alert}\n");
        assert!(cases.contains(&silent), "no case in which {alert} keeps silent");
        assert!(cases.contains(&fires), "no case in which {alert} fires");
    }
    let file = root().join("dashboards/alerts.test.yml");
    let tested =
        stack::promtool(&["test", "rules", file.to_str().unwrap()], Stdio::null()).unwrap();
    let said = String::from_utf8_lossy(&tested.stdout) + String::from_utf8_lossy(&tested.stderr);
    assert!(tested.status.success(), "{said}");
    let config = root().join("dashboards/prometheus.yml");
    let checked =
        stack::promtool(&["check", "config", config.to_str().unwrap()], Stdio::null()).unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

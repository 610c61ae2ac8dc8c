//! What is written about the metrics is what there is.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeSet, fs, path::Path};

use tidegate::metrics::ALL;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The first three cells of each row of the table of metrics.
fn documented() -> BTreeSet<[String; 3]> {
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let table = page.split("| metric | type | labels | meaning |").nth(1).expect("the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        [cells[1].trim_matches('`').to_owned(), cells[2].to_owned(), cells[3].to_owned()]
    })
    .collect()
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
    words.filter(|word| word.starts_with("tidegate_")).map(str::to_owned).collect()
}

#[test]
fn the_documentation_lists_exactly_the_metrics_that_there_are() {
    let exported: BTreeSet<[String; 3]> = ALL
        .iter()
        .map(|metric| [metric.name, metric.kind, metric.labels].map(str::to_owned))
        .collect();
    let documented = documented();
    let missing: Vec<_> = exported.difference(&documented).collect();
    let invented: Vec<_> = documented.difference(&exported).collect();
    assert!(missing.is_empty(), "not in docs/operations.md, or with other words: {missing:#?}");
    assert!(invented.is_empty(), "in docs/operations.md alone: {invented:#?}");
}

#[test]
fn every_metric_of_a_dashboard_exists() {
    let folder = root().join("dashboards");
    let series = series();
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(&folder).expect("dashboards/") {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let panels: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert!(panels["panels"].is_array(), "{}: no panels", path.display());
        // What shows rows of Postgres is tried in tests/integration.
        if !text.contains("\"prometheus\"") {
            continue;
        }
        let shown = metrics_in(&text);
        assert!(!shown.is_empty(), "{}: shows no metric", path.display());
        let unknown: Vec<_> = shown.difference(&series).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?} do not exist", path.display());
        seen.insert(path.file_name().unwrap().to_owned());
    }
    assert!(seen.iter().any(|name| name == "pipeline.json"), "found {seen:?}");
}

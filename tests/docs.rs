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

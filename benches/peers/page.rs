//! The page and the chart, from runs that are made up; see `main.rs` for the bench.

mod chart;
#[path = "../common/mod.rs"]
mod common;
mod report;

use report::{Contender, OURS, Report, Run, Setting};

fn run(name: &'static str, rows_per_s: f64) -> Run {
    Run {
        name,
        round: 1,
        rows: 1000,
        rows_per_s,
        rows_per_s_with_start: rows_per_s / 2.0,
        cpu_s_per_million_rows: 1.0,
        postgres_cpu_s_per_million_rows: 2.0,
        peak_rss_mb: 100.0,
        stopped: name == "slow",
        lost: 0,
        duplicated: 0,
        fingerprint: "1".to_owned(),
    }
}

fn report() -> Report {
    let contender = |name| Contender {
        name,
        title: name,
        how: "by <hand> & eye",
        version: "1.0".to_owned(),
        limit_s: 20,
    };
    let setting = Setting {
        rows: 1000,
        rounds: 3,
        partitions: 6,
        columns: "id bigint",
        machine: vec!["a machine".to_owned()],
    };
    let mut report = Report::new([OURS, "slow", "fast & good"].map(contender).into(), setting);
    for rate in [900_000.0, 300_000.0, 600_000.0] {
        report.add(run(OURS, rate));
        report.add(run("slow", rate / 300.0));
        report.add(run("fast & good", rate / 2.0));
    }
    report
}

#[test]
fn the_table_has_medians_with_the_fastest_first() {
    let table = report().table();
    let lines: Vec<&str> = table.lines().skip(2).collect();
    assert_eq!(
        lines,
        [
            "| tidegate | 600,000 | 300,000 | 1.0 | 1.00 | 2.00 | 100 | 0 | 0 |",
            "| fast & good | 300,000 | 150,000 | 2.0 | 1.00 | 2.00 | 100 | 0 | 0 |",
            "| slow * | 2,000 | 1,000 | 300.0 | 1.00 | 2.00 | 100 | – | 0 |",
        ]
    );
}

#[test]
fn the_page_says_who_was_stopped_and_where_it_was_measured() {
    let page = report().markdown();
    assert!(page.contains("\\* slow: too slow for the whole topic, so stopped 20 s"), "{page}");
    assert!(page.contains("- a machine\n"), "{page}");
    assert!(page.contains("its medians are over 3 runs and theirs over 3"), "{page}");
}

#[test]
fn a_bar_is_as_long_as_its_median_and_has_a_dot_for_each_round() {
    let chart = report().chart();
    assert_eq!(chart.matches("<circle").count(), 9);
    // Of 470 for the longest round, 900,000 rows a second.
    assert!(chart.contains("width=\"313.3\""), "{chart}");
    assert!(chart.contains("fast &amp; good") && !chart.contains("fast & good"), "{chart}");
}

#[test]
fn one_doubled_row_of_ours_in_any_run_is_not_exact() {
    let mut report = report();
    assert!(report.is_exact());
    report.add(Run { duplicated: 1, ..run(OURS, 1.0) });
    assert!(!report.is_exact());
}

#[test]
fn the_file_has_every_run_in_the_order_of_time() {
    let runs = report().json();
    assert_eq!(runs.as_array().unwrap().len(), 9);
    assert_eq!(runs[1]["name"], "slow");
    assert_eq!(runs[0]["rows_per_s"], 900_000.0);
}

#[test]
fn the_page_names_who_wrote_other_values() {
    let mut report = report();
    assert!(!report.markdown().contains("some values"));
    report.add(Run { fingerprint: "2".to_owned(), ..run("fast & good", 1.0) });
    assert!(report.markdown().contains("fast & good: some values are not those"));
}

use serde_json::{Value, json};

use super::*;

fn document_of(status: Value) -> String {
    document(&serde_json::from_value(status).unwrap())
}

fn lanes(count: i32) -> Value {
    let lane = |partition| {
        json!({"topic": "orders", "partition": partition, "target": "serving.public.orders",
               "lag_records": partition, "lag_seconds": 2.0 * f64::from(partition),
               "lag_state": if partition == 3 { "stalled" } else { "ok" }})
    };
    (0..count).map(lane).collect()
}

#[test]
fn what_is_not_known_is_a_dash() {
    let page = document_of(json!({}));
    for text in ["– rows/s", "degraded", "No partitions yet", "None since the start", "Bottleneck"]
    {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[test]
fn a_member_on_standby_is_not_ill() {
    let sources = json!([{"name": "shop", "state": "standby"}]);
    let page = document_of(json!({"ready": true, "state": "running", "sources": sources}));
    assert!(page.contains("state idle"), "{page}");
    assert!(page.contains("On standby: the other members"), "{page}");
}

#[test]
fn each_partition_has_a_cell_from_one_to_thousands() {
    for (count, with_numbers) in [(1, true), (40, true), (41, false), (2_000, false)] {
        let page = document_of(json!({"lanes": lanes(count)}));
        assert_eq!(page.matches("title=\"partition ").count(), count as usize);
        assert_eq!(page.contains("heat few"), with_numbers, "{count}");
        assert_eq!(page.contains("furthest behind of 2,000"), count == 2_000);
    }
    let page = document_of(json!({"lanes": lanes(4)}));
    assert!(page.contains("<i class=\"l1\" title=\"partition 3: lag 3 records, 6 s, stalled\">3="));
    assert!(page.contains("4 partitions, lag 6, 1 stalled"), "{page}");
}

#[test]
fn the_bottleneck_is_marked_where_it_is() {
    let page = |stage: &str| {
        document_of(json!({
            "verdict": {"stage": stage, "bottleneck": "bound", "since_seconds": 61.0},
            "stages": {"partition": {"threads": 2, "poll": 0.1, "encode": 0.2, "send": 0.7},
                       "writers": [{"sink": "idle", "gather": 0.9}, {"sink": "busy", "gather": 0.1}]},
            "sinks": [{"name": "idle", "writers": 1}, {"name": "busy", "writers": 2,
                       "outage": {"seconds": 3.0, "sqlstate": "io", "message": "gone"}}],
        }))
    };
    let copy = page("copy");
    assert_eq!(copy.matches("<span class=\"mark\">").count(), 1, "{copy}");
    let (before, after) = copy.split_once("<span class=\"mark\">").unwrap();
    assert!(before.contains("idle") && before.contains("busy"), "of the busiest sink");
    assert!(after.contains("<tr class=\"hot\"><th scope=\"row\">COPY</th>"), "{after}");
    assert!(copy.contains("for 1 min 1 s"), "{copy}");
    let decode = page("decode");
    assert!(decode.contains("<tr class=\"hot\"><th scope=\"row\">encoding</th>"), "{decode}");
    let none = page("none");
    assert!(!none.contains("class=\"mark\"") && !none.contains("class=\"hot\""), "{none}");
}

#[test]
fn no_text_is_anything_but_text() {
    let evil = "</title><script>alert(1)</script>\" onload='x'";
    let page = document_of(json!({
        "version": evil, "state": evil, "obstacles": [evil],
        "verdict": {"stage": evil, "bottleneck": evil, "evidence": evil, "advice": evil},
        "sources": [{"name": evil, "state": evil, "reason": evil}],
        "sinks": [{"name": evil, "outage": {"seconds": 1, "message": evil}}],
        "routes": [{"name": evil, "source": evil, "topics": [evil],
                    "targets": [{"target": evil, "sink": evil, "table": evil, "lag_state": evil}]}],
        "lanes": [{"topic": evil, "partition": 0, "target": evil, "lost": evil}],
        "errors": [{"seconds_ago": 1, "where": evil, "message": evil, "count": 2}],
        "dead_letters": {"total": 3, "by_reason": {evil: 3}},
    }));
    assert!(page.matches("&lt;/title&gt;&lt;script&gt;").count() > 15, "{page}");
    assert_eq!(page.matches("<script").count(), 1, "only its own: {page}");
    assert!(!page.contains("alert(1)</script>") && !page.contains("\" onload"), "{page}");
}

#[test]
fn nothing_is_inline_as_the_policy_forbids_it() {
    let page = document_of(
        json!({"lanes": lanes(5), "dead_letters": {"total": 1, "by_reason": {"a": 1}}}),
    );
    assert!(!page.contains(" style=") && !page.contains("<style"), "{page}");
    assert!(page.contains("<script src=\"page.js\" defer></script>"), "{page}");
}

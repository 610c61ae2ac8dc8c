//! The partitions of a table by time.

use std::time::Duration;

use super::{super::*, check, full_with, parse, problems};

const PIECE: &str = "on_missing_table = \"fail\"\n";
const DAY: Duration = Duration::from_secs(86_400);

fn partitions(text: &str) -> Partitions {
    let text = full_with(PIECE, &format!("partitions = {text}\n"));
    parse(&text).unwrap().routes[0].to[0].partitions.clone().unwrap()
}

#[test]
fn what_is_left_out_of_the_partitions_has_its_default() {
    let least = Partitions {
        by: PartitionBy::Day,
        column: None,
        ahead: 3,
        behind: 30 * DAY,
        retention: None,
        expired: Expired::Detach,
    };
    assert_eq!(partitions("{ by = \"day\" }"), least);
    let kept = partitions("{ by = \"hour\", retention = \"90d\" }");
    assert_eq!(
        (kept.by, kept.behind, kept.retention),
        (PartitionBy::Hour, 90 * DAY, Some(90 * DAY))
    );
    let full = "{ by = \"week\", column = \"at\", ahead = 1, behind = \"0s\", retention = \"7d\", \
                expired = \"drop\" }";
    let full = partitions(full);
    assert_eq!((full.column.as_deref(), full.ahead, full.behind), (Some("at"), 1, Duration::ZERO));
    assert_eq!(full.expired, Expired::Drop);
}

#[test]
fn what_is_wrong_with_the_partitions_is_named() {
    let cases = [
        ("\"day\"", ": expected a table such as `{ by = \"day\" }`, found `day`"),
        ("{}", ".by: missing; expected `hour`, `day`, `week` or `month`"),
        ("{ by = \"year\" }", ".by: expected one of `hour`, `day`, `week`, `month`, found `year`"),
        (
            "{ by = \"day\", ahead = 0 }",
            ".ahead: expected an integer from 1 to 1000, found the integer 0",
        ),
        (
            "{ by = \"day\", retention = \"7d\", behind = \"8d\" }",
            ".behind: expected a duration from 0ms to 7d, found `8d`",
        ),
        (
            "{ by = \"day\", expired = \"drop\" }",
            ".expired: without `retention` no partition expires; remove it",
        ),
    ];
    for (text, problem) in cases {
        let found = problems(&full_with(PIECE, &format!("partitions = {text}\n")));
        assert_eq!(found, format!("tidegate.toml:35: routes[0].to[0].partitions{problem}"));
    }
    check(&[(
        "sink = \"archive\"\n",
        "sink = \"archive\"\npartitions = { by = \"day\" }\n",
        "tidegate.toml:44: routes[0].to[1].partitions: only a postgres sink has this key; remove it",
    )]);
}

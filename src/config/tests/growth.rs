//! What becomes of fields and values for which the table has no place.

use super::{super::*, check, full_with, parse};

const PIECE: &str = "on_missing_table = \"fail\"\n";

fn target(keys: &str) -> Target {
    parse(&full_with(PIECE, &format!("{keys}\n"))).unwrap().routes[0].to[0].clone()
}

#[test]
fn the_overflow_is_a_column_that_takes_the_rest() {
    let growth = target("on_unknown_field = \"add_column\"\nmax_added_columns = 7").growth;
    let expected = Growth {
        on_unknown_field: OnUnknownField::AddColumn,
        on_out_of_range: OnOutOfRange::DeadLetter,
        max_added_columns: 7,
    };
    assert_eq!(growth, expected);
    assert!(growth.alters());
    let wide = target("on_out_of_range = \"widen\"").growth;
    assert_eq!((wide.on_out_of_range, wide.alters()), (OnOutOfRange::Widen, true));
    let target = target("on_unknown_field = \"overflow\"\noverflow = \"extra\"");
    assert_eq!(target.columns["extra"], ColumnFeed::Rest);
    assert_eq!(target.growth.on_unknown_field, OnUnknownField::Overflow);
    assert!(!target.growth.alters());
}

#[test]
fn what_does_not_go_together_is_named() {
    check(&[
        (
            PIECE,
            "on_unknown_field = \"add\"\n",
            "tidegate.toml:35: routes[0].to[0].on_unknown_field: expected one of `ignore`, \
             `overflow`, `add_column`, `dead_letter`, found `add`; did you mean `add_column`?",
        ),
        (
            PIECE,
            "on_unknown_field = \"overflow\"\n",
            "tidegate.toml:35: routes[0].to[0].on_unknown_field: `overflow` must name the column \
             that takes the unknown fields",
        ),
        (
            PIECE,
            "overflow = \"extra\"\n",
            "tidegate.toml:35: routes[0].to[0].overflow: only on_unknown_field = \"overflow\" has \
             this key; remove it",
        ),
        (
            PIECE,
            "on_unknown_field = \"overflow\"\noverflow = \"total\"\n",
            "tidegate.toml:36: routes[0].to[0].overflow: columns.total feeds this column with \
             something else",
        ),
        (
            PIECE,
            "max_added_columns = 5\n",
            "tidegate.toml:35: routes[0].to[0].max_added_columns: only on_unknown_field = \
             \"add_column\" has this key; remove it",
        ),
        (
            PIECE,
            "on_unknown_field = \"add_column\"\nmax_added_columns = 0\n",
            "tidegate.toml:36: routes[0].to[0].max_added_columns: expected an integer from 1 to \
             1600, found the integer 0",
        ),
        (
            "sink = \"archive\"\n",
            "sink = \"archive\"\non_out_of_range = \"widen\"\n",
            "tidegate.toml:44: routes[0].to[1].on_out_of_range: only a postgres sink has this key; \
             remove it",
        ),
    ]);
}

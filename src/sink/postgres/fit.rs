//! The encoder of a target: rows for its table, and what the table would have to become for a row that
//! does not fit.

use std::sync::Arc;

use super::{
    catalog::Table,
    column::{Column, ColumnType, Feed},
    encode,
};
use crate::{
    batch::Layout,
    config::{Growth, OnOutOfRange, OnUnknownField},
    detect,
    record::Record,
    rejection::{Reason, Rejection},
    row::{Row, Value},
    sink::{Encoder, OnDelete, Wish},
};

/// Names of fields that a message shows.
const SHOWN_FIELDS: usize = 5;
/// The longest `varchar(n)` that Postgres has (MaxAttrSize).
const VARCHAR_MAX: u32 = 10_485_760;

/// An encoder for a table that may change, or whose target wants no unknown fields.
pub(super) struct PgEncoder {
    pub(super) rows: Box<dyn Encoder>,
    pub(super) columns: Vec<Column>,
    pub(super) table: Arc<Table>,
    pub(super) growth: Growth,
    /// Where a row has the fields that no column takes, if they matter.
    pub(super) unknown: Option<usize>,
}

impl Encoder for PgEncoder {
    fn on_delete(&self) -> OnDelete {
        self.rows.on_delete()
    }

    fn layout(&self, row: &Row<'_>) -> Layout {
        self.rows.layout(row)
    }

    fn encode(
        &mut self,
        record: &Record<'_>,
        row: &Row<'_>,
        layout: Layout,
        out: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        if let Some(unknown) = self.unknown_of(row) {
            self.check_unknown(unknown)?;
        }
        self.rows.encode(record, row, layout, out)
    }

    fn wish(&self, row: &Row<'_>, rejection: &Rejection) -> Option<Wish> {
        if !self.growth.alters() {
            return None;
        }
        match (rejection.reason, &rejection.column) {
            (Reason::UnknownField, _)
                if self.growth.on_unknown_field == OnUnknownField::AddColumn =>
            {
                let columns = detect::columns(self.unknown_of(row)?);
                (!columns.is_empty()).then_some(Wish::Columns(columns))
            }
            (Reason::OutOfRange | Reason::WrongType, Some(name))
                if self.growth.on_out_of_range == OnOutOfRange::Widen =>
            {
                let column = self.columns.iter().find(|column| column.name == *name)?;
                let Feed::Field(field) = column.feed else { return None };
                let shown = self.table.columns.iter().find(|shown| shown.name == *name)?;
                let from = shown.type_name.clone();
                let sql_type = wider(column, &from, row.get(field))?;
                Some(Wish::Wider { column: name.clone(), from, sql_type })
            }
            _ => None,
        }
    }
}

impl PgEncoder {
    /// The fields of a row that no column takes; `csv` has its objects as documents.
    fn unknown_of<'a>(&self, row: &Row<'a>) -> Option<&'a [u8]> {
        match row.get(self.unknown?) {
            Value::Nested(unknown) | Value::Document(unknown) => Some(unknown),
            _ => None,
        }
    }

    /// A field that is null has no value to lose, and shows no type for a column.
    #[cold]
    fn check_unknown(&self, unknown: &[u8]) -> Result<(), Rejection> {
        let adds = self.growth.on_unknown_field == OnUnknownField::AddColumn;
        if adds && !detect::has_value(unknown) {
            return Ok(());
        }
        let fields = detect::field_names(unknown);
        let shown: Vec<String> = fields
            .iter()
            .take(SHOWN_FIELDS)
            .map(|name| format!("`{}`", encode::shown(name.as_bytes())))
            .collect();
        let more = match fields.len().saturating_sub(SHOWN_FIELDS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let table = self.table.display();
        let message = format!("{table} has no column for {}{more}", shown.join(", "));
        Err(Rejection::record(Reason::UnknownField, message))
    }
}

/// The narrowest type that takes `value` and all that a column of this type holds; `None` if there is
/// none, or it would change what is there.
fn wider(column: &Column, type_name: &str, value: Value<'_>) -> Option<String> {
    let fits = |column_type: ColumnType| {
        let candidate = Column { column_type, ..column.clone() };
        encode::constant(&candidate, value, &mut Vec::new()).is_ok()
    };
    let numbers = [
        ("integer", ColumnType::Int4),
        ("bigint", ColumnType::Int8),
        ("numeric", ColumnType::Numeric { limits: None }),
    ];
    let number = |skip: usize| {
        let mut wider = numbers.into_iter().skip(skip);
        wider.find(|(_, column_type)| fits(column_type.clone())).map(|(name, _)| name.to_owned())
    };
    match type_name {
        "smallint" => number(0),
        "integer" => number(1),
        "bigint" => number(2),
        "real" => fits(ColumnType::Float8).then(|| "double precision".to_owned()),
        _ => {
            let length = type_name.strip_prefix("character varying(")?.strip_suffix(')')?;
            let length: u32 = length.parse().ok()?;
            // Doubled: a column that grows with each record would be altered with each record.
            let mut lengths = std::iter::successors(Some(length), |length| length.checked_mul(2));
            let longer = lengths.find(|length| {
                *length > VARCHAR_MAX || fits(ColumnType::Text { max_chars: Some(*length) })
            })?;
            match longer {
                longer if longer <= VARCHAR_MAX => Some(format!("character varying({longer})")),
                _ => fits(ColumnType::Text { max_chars: None }).then(|| "text".to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::postgres::column::Reading;

    fn column(column_type: ColumnType) -> Column {
        Column {
            name: "v".to_owned(),
            column_type,
            not_null: false,
            has_default: false,
            reading: Reading::default(),
            feed: Feed::Field(0),
            fallback: None,
        }
    }

    #[test]
    fn a_column_becomes_no_wider_than_its_value_needs() {
        let widened = |column_type, shown: &str, number: &str| {
            wider(&column(column_type), shown, Value::Number(number.as_bytes()))
        };
        let cases = [
            (ColumnType::Int2, "smallint", "40000", Some("integer")),
            (ColumnType::Int2, "smallint", "3000000000", Some("bigint")),
            (ColumnType::Int4, "integer", "3000000000", Some("bigint")),
            (ColumnType::Int4, "integer", "1.5", Some("numeric")),
            (ColumnType::Int8, "bigint", "9223372036854775808", Some("numeric")),
            (ColumnType::Float4, "real", "1e300", Some("double precision")),
            (ColumnType::Float4, "real", "1e400", None),
            (ColumnType::Float8, "double precision", "1e400", None),
            // A domain's checks and a scale are there for a reason.
            (ColumnType::Int4, "positive_integer", "3000000000", None),
            (ColumnType::Numeric { limits: Some((4, 2)) }, "numeric(4,2)", "100", None),
        ];
        for (column_type, shown, number, expected) in cases {
            assert_eq!(
                widened(column_type, shown, number).as_deref(),
                expected,
                "{shown} {number}"
            );
        }
    }

    #[test]
    fn a_varchar_doubles_until_its_value_fits_and_never_becomes_another_type() {
        let column = column(ColumnType::Text { max_chars: Some(3) });
        let text = "x".repeat(20);
        let value = Value::Text { raw: text.as_bytes(), escaped: false };
        let widened = wider(&column, "character varying(3)", value);
        assert_eq!(widened.as_deref(), Some("character varying(24)"));
        assert_eq!(wider(&column, "character(3)", value), None);
        let nul = Value::Text { raw: br"\u0000", escaped: true };
        assert_eq!(wider(&column, "character varying(3)", nul), None);
    }
}

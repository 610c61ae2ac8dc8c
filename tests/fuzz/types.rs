//! The types of columns, by what their values look like.

use std::sync::Arc;

use tidegate::sink::postgres::column::{ArrayType, Attribute, ColumnType, CompositeType, EnumType};

pub(crate) fn numbers() -> Vec<ColumnType> {
    let limits = [None, Some((12, 2)), Some((3, 5)), Some((3, -2)), Some((1000, 1000))];
    let numerics = limits.into_iter().map(|limits| ColumnType::Numeric { limits });
    let others = [
        ColumnType::Bool,
        ColumnType::Int2,
        ColumnType::Int4,
        ColumnType::Int8,
        ColumnType::Oid,
        ColumnType::Float4,
        ColumnType::Float8,
        ColumnType::Money { digits: 2 },
    ];
    others.into_iter().chain(numerics).collect()
}

pub(crate) fn times() -> Vec<ColumnType> {
    vec![
        ColumnType::Date,
        ColumnType::Timestamp,
        ColumnType::Timestamptz,
        ColumnType::Time,
        ColumnType::Timetz,
        ColumnType::Interval,
    ]
}

pub(crate) fn texts() -> Vec<ColumnType> {
    vec![
        ColumnType::Text { max_chars: None },
        ColumnType::Text { max_chars: Some(5) },
        ColumnType::Text { max_chars: Some(1) },
        ColumnType::Uuid,
        ColumnType::Bytea,
        ColumnType::Name,
        ColumnType::Char,
        ColumnType::Xml,
        ColumnType::Unknown("geometry".into()),
        mood(),
    ]
}

pub(crate) fn addresses() -> Vec<ColumnType> {
    vec![
        ColumnType::Inet,
        ColumnType::Cidr,
        ColumnType::Macaddr,
        ColumnType::Macaddr8,
        ColumnType::Bit { bits: Some(3) },
        ColumnType::Varbit { max_bits: Some(9) },
    ]
}

fn mood() -> ColumnType {
    let labels = ["bad", "good", "so-so"].map(str::to_owned).to_vec();
    ColumnType::Enum(Arc::new(EnumType { name: "mood".to_owned(), labels }))
}

pub(crate) fn documents() -> Vec<ColumnType> {
    vec![ColumnType::Json, ColumnType::Jsonb, ColumnType::Text { max_chars: None }]
}

/// An array of `element`, which counts as the type of that number.
pub(crate) fn array(element: ColumnType, oid: u32, dimensions: usize) -> ColumnType {
    ColumnType::Array(Arc::new(ArrayType { element, oid, dimensions }))
}

/// Types that are made of others.
pub(crate) fn structures() -> Vec<ColumnType> {
    let attribute =
        |name: &str, column_type, oid| Attribute { name: name.to_owned(), column_type, oid };
    let pair = ColumnType::Composite(Arc::new(CompositeType {
        name: "pair".to_owned(),
        attributes: vec![
            attribute("n", ColumnType::Int4, 23),
            attribute("label", ColumnType::Text { max_chars: None }, 25),
            attribute("list", array(ColumnType::Int8, 20, 1), 1016),
        ],
    }));
    let range = |bound: ColumnType| ColumnType::Range(Arc::new(bound));
    vec![
        array(ColumnType::Int4, 23, 1),
        array(ColumnType::Text { max_chars: None }, 25, 2),
        array(ColumnType::Jsonb, 3802, 2),
        array(pair.clone(), 70_000, 1),
        array(range(ColumnType::Int8), 3926, 1),
        pair,
        range(ColumnType::Int4),
        range(ColumnType::Numeric { limits: None }),
        range(ColumnType::Timestamptz),
        range(ColumnType::Text { max_chars: None }),
        ColumnType::Multirange(Arc::new(ColumnType::Date)),
        ColumnType::Point,
    ]
}

/// All of them.
pub(crate) fn all() -> Vec<ColumnType> {
    [numbers(), times(), texts(), addresses(), documents(), structures()].concat()
}

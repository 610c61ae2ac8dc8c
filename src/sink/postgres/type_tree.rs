//! The types of a table's columns, down to the elements, attributes and bounds that they are made of.

use std::{collections::BTreeMap, sync::Arc};

use deadpool_postgres::Object;
use tokio_postgres::Row;

use super::{
    column::{ArrayType, Attribute, ColumnType, CompositeType, EnumType},
    sqlstate::PgError,
};

/// How deep types are followed into each other. Postgres lets none contain itself.
const MAX_DEPTH: usize = 32;

/// All types that the columns of a table are made of, each once. An array that can have elements
/// has a length that varies (`typlen` -1); the fixed ones, as `point`, only look like arrays.
const TYPES_SQL: &str = "\
    WITH RECURSIVE wanted AS ( \
        SELECT atttypid AS oid FROM pg_attribute \
        WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped \
      UNION \
        SELECT part.oid FROM wanted w JOIN pg_type t ON t.oid = w.oid CROSS JOIN LATERAL ( \
            SELECT t.typelem AS oid WHERE t.typlen = -1 \
          UNION ALL SELECT t.typbasetype \
          UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid) \
          UNION ALL SELECT a.atttypid FROM pg_attribute a \
            WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped \
        ) part WHERE part.oid <> 0 \
    ) \
    SELECT t.oid, t.typname::text, t.typnamespace = 'pg_catalog'::regnamespace, t.typtype::text, \
           CASE WHEN t.typlen = -1 THEN t.typelem ELSE 0 END, t.typbasetype, t.typtypmod, t.typndims, \
           t.typnotnull, t.typdefault IS NOT NULL, \
           (SELECT r.rngsubtype FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)), \
           ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid), \
           CASE WHEN t.oid = 'money'::regtype THEN cash_send(1::money) END, \
           a.names, a.types, a.typmods, a.dimensions \
    FROM wanted JOIN pg_type t USING (oid) CROSS JOIN LATERAL ( \
        SELECT array_agg(attname::text ORDER BY attnum) AS names, \
               array_agg(atttypid ORDER BY attnum) AS types, \
               array_agg(atttypmod ORDER BY attnum) AS typmods, \
               array_agg(attndims::int ORDER BY attnum) AS dimensions \
        FROM pg_attribute \
        WHERE t.typtype = 'c' AND attrelid = t.typrelid AND attnum > 0 AND NOT attisdropped \
    ) a";

/// What the catalog tells of one type.
#[derive(Clone, Debug, Default)]
struct TypeRow {
    name: String,
    built_in: bool,
    /// `typtype`: base, domain, enum, composite, range, multirange.
    kind: String,
    /// Of an array; else 0.
    element: u32,
    /// Of a domain.
    base: u32,
    typmod: i32,
    dimensions: i32,
    not_null: bool,
    has_default: bool,
    /// Of a range or a multirange.
    bound: Option<u32>,
    labels: Vec<String>,
    /// What one unit of `money` is, as it is sent.
    unit: Option<Vec<u8>>,
    attributes: Vec<AttributeRow>,
}

/// A type where it is used: its number, its modifier, and how many dimensions are declared.
type Use = (u32, i32, i32);

#[derive(Clone, Debug)]
struct AttributeRow {
    name: String,
    used: Use,
}

/// The types that a table's columns are made of.
#[derive(Clone, Debug, Default)]
pub(super) struct TypeTree(BTreeMap<u32, TypeRow>);

impl TypeTree {
    /// Reads the types of the table of that number.
    pub(super) async fn read(client: &Object, table: u32) -> Result<Self, PgError> {
        let rows = client.query(TYPES_SQL, &[&table]).await;
        let rows = rows.map_err(|error| PgError::from_driver(&error))?;
        Ok(Self(rows.iter().map(|row| (row.get(0), TypeRow::of(row))).collect()))
    }

    /// The type as its encoder knows it; `None` if there is no encoder for it, or for a part of it.
    pub(super) fn column_type(&self, used: Use) -> Option<ColumnType> {
        self.follow(used, 0)
    }

    /// Whether a domain refuses NULL, and whether it has a default; on any level.
    pub(super) fn domain(&self, oid: u32) -> (bool, bool) {
        let (mut not_null, mut has_default, mut oid) = (false, false, oid);
        for _ in 0..MAX_DEPTH {
            match self.0.get(&oid) {
                Some(row) if row.kind == "d" => {
                    not_null |= row.not_null;
                    has_default |= row.has_default;
                    oid = row.base;
                }
                _ => break,
            }
        }
        (not_null, has_default)
    }

    fn follow(&self, (oid, typmod, dimensions): Use, depth: usize) -> Option<ColumnType> {
        let row = self.0.get(&oid).filter(|_| depth < MAX_DEPTH)?;
        let depth = depth + 1;
        Some(match row.kind.as_str() {
            // Vectors count from 0, and take no other dimension.
            "b" if row.built_in && matches!(row.name.as_str(), "int2vector" | "oidvector") => {
                return None;
            }
            "b" if row.element != 0 => ColumnType::Array(Arc::new(ArrayType {
                element: self.follow((row.element, typmod, 0), depth)?,
                oid: row.element,
                dimensions: usize::try_from(dimensions).unwrap_or(0).max(1),
            })),
            "b" if row.built_in => scalar(&row.name, typmod, row.money_digits())?,
            "d" => {
                let typmod = if typmod >= 0 { typmod } else { row.typmod };
                self.follow((row.base, typmod, dimensions.max(row.dimensions)), depth)?
            }
            "e" => {
                let mut labels = row.labels.clone();
                labels.sort_unstable();
                ColumnType::Enum(Arc::new(EnumType { name: row.name.clone(), labels }))
            }
            "c" => {
                let attribute = |attribute: &AttributeRow| {
                    Some(Attribute {
                        name: attribute.name.clone(),
                        column_type: self.follow(attribute.used, depth)?,
                        oid: attribute.used.0,
                    })
                };
                let attributes = row.attributes.iter().map(attribute).collect::<Option<_>>()?;
                let name = row.name.clone();
                ColumnType::Composite(Arc::new(CompositeType { name, attributes }))
            }
            "r" => ColumnType::Range(Arc::new(self.follow((row.bound?, -1, 0), depth)?)),
            "m" => ColumnType::Multirange(Arc::new(self.follow((row.bound?, -1, 0), depth)?)),
            _ => return None,
        })
    }
}

impl TypeRow {
    fn of(row: &Row) -> Self {
        let list = |names: Vec<String>| -> Vec<AttributeRow> {
            let types: Vec<u32> = row.get(14);
            let modifiers: Vec<i32> = row.get(15);
            let dimensions: Vec<i32> = row.get(16);
            let uses = types.into_iter().zip(modifiers).zip(dimensions);
            let uses = uses.map(|((oid, typmod), dimensions)| (oid, typmod, dimensions));
            names.into_iter().zip(uses).map(|(name, used)| AttributeRow { name, used }).collect()
        };
        Self {
            name: row.get(1),
            built_in: row.get(2),
            kind: row.get(3),
            element: row.get(4),
            base: row.get(5),
            typmod: row.get(6),
            dimensions: row.get(7),
            not_null: row.get(8),
            has_default: row.get(9),
            bound: row.get(10),
            labels: row.get(11),
            unit: row.get(12),
            attributes: row.get::<_, Option<Vec<String>>>(13).map(list).unwrap_or_default(),
        }
    }

    /// `lc_monetary` says how many digits `money` has after the point; what 1 is sent as tells it.
    fn money_digits(&self) -> u8 {
        let unit = self.unit.as_deref().and_then(|unit| unit.first_chunk::<8>());
        let unit = unit.map_or(100, |unit| u64::from_be_bytes(*unit));
        unit.checked_ilog10().unwrap_or(2) as u8
    }
}

/// A built-in type by its name.
fn scalar(name: &str, typmod: i32, money_digits: u8) -> Option<ColumnType> {
    // Modifiers of types of varying length count 4 bytes of header (VARHDRSZ); those of bits do not.
    let modifier = (typmod >= 4).then_some(typmod - 4);
    let bits = u32::try_from(typmod).ok().filter(|&bits| bits > 0);
    Some(match name {
        "bool" => ColumnType::Bool,
        "int2" => ColumnType::Int2,
        "int4" => ColumnType::Int4,
        "int8" => ColumnType::Int8,
        "oid" => ColumnType::Oid,
        "float4" => ColumnType::Float4,
        "float8" => ColumnType::Float8,
        // numeric.c: precision in the upper half, the scale in the lower 11 bits, signed.
        "numeric" => ColumnType::Numeric {
            limits: modifier
                .map(|m| (((m >> 16) & 0xffff) as u16, (((m & 0x7ff) ^ 1024) - 1024) as i16)),
        },
        "money" => ColumnType::Money { digits: money_digits },
        "text" => ColumnType::Text { max_chars: None },
        "varchar" | "bpchar" => ColumnType::Text { max_chars: modifier.map(|m| m as u32) },
        "name" => ColumnType::Name,
        "char" => ColumnType::Char,
        "xml" => ColumnType::Xml,
        "uuid" => ColumnType::Uuid,
        "date" => ColumnType::Date,
        "time" => ColumnType::Time,
        "timetz" => ColumnType::Timetz,
        "timestamp" => ColumnType::Timestamp,
        "timestamptz" => ColumnType::Timestamptz,
        "interval" => ColumnType::Interval,
        "json" => ColumnType::Json,
        "jsonb" => ColumnType::Jsonb,
        "bytea" => ColumnType::Bytea,
        "inet" => ColumnType::Inet,
        "cidr" => ColumnType::Cidr,
        "macaddr" => ColumnType::Macaddr,
        "macaddr8" => ColumnType::Macaddr8,
        "bit" => ColumnType::Bit { bits },
        "varbit" => ColumnType::Varbit { max_bits: bits },
        "point" => ColumnType::Point,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, kind: &str) -> TypeRow {
        TypeRow { name: name.to_owned(), kind: kind.to_owned(), typmod: -1, ..TypeRow::default() }
    }

    fn built_in(name: &str) -> TypeRow {
        TypeRow { built_in: true, ..row(name, "b") }
    }

    #[test]
    fn type_modifiers_are_read_as_postgres_writes_them() {
        // atttypmod of numeric(12,2), varchar(20), numeric(5,-2), bit(3) as Postgres 15 shows them.
        for (name, typmod, expected) in [
            ("numeric", 786438, ColumnType::Numeric { limits: Some((12, 2)) }),
            ("varchar", 24, ColumnType::Text { max_chars: Some(20) }),
            ("numeric", 329730, ColumnType::Numeric { limits: Some((5, -2)) }),
            ("numeric", -1, ColumnType::Numeric { limits: None }),
            ("bit", 3, ColumnType::Bit { bits: Some(3) }),
            ("varbit", -1, ColumnType::Varbit { max_bits: None }),
        ] {
            assert_eq!(scalar(name, typmod, 2), Some(expected), "{name} {typmod}");
        }
        assert_eq!(scalar("tsvector", -1, 2), None);
    }

    #[test]
    fn a_type_is_followed_through_arrays_domains_and_composites() {
        let tree = TypeTree(BTreeMap::from([
            (1, built_in("varchar")),
            (2, TypeRow { base: 1, typmod: 9, not_null: true, ..row("code", "d") }),
            (3, TypeRow { element: 2, ..row("_code", "b") }),
            (4, TypeRow { labels: vec!["b".to_owned(), "a".to_owned()], ..row("mood", "e") }),
            (
                5,
                TypeRow {
                    attributes: vec![
                        AttributeRow { name: "codes".to_owned(), used: (3, -1, 2) },
                        AttributeRow { name: "mood".to_owned(), used: (4, -1, 0) },
                    ],
                    ..row("pair", "c")
                },
            ),
            (6, TypeRow { base: 5, has_default: true, ..row("wrapped", "d") }),
        ]));
        let codes = ColumnType::Array(Arc::new(ArrayType {
            element: ColumnType::Text { max_chars: Some(5) },
            oid: 2,
            dimensions: 2,
        }));
        let mood = ColumnType::Enum(Arc::new(EnumType {
            name: "mood".to_owned(),
            labels: vec!["a".to_owned(), "b".to_owned()],
        }));
        let pair = ColumnType::Composite(Arc::new(CompositeType {
            name: "pair".to_owned(),
            attributes: vec![
                Attribute { name: "codes".to_owned(), column_type: codes, oid: 3 },
                Attribute { name: "mood".to_owned(), column_type: mood, oid: 4 },
            ],
        }));
        assert_eq!(tree.column_type((6, -1, 0)), Some(pair));
        assert_eq!(tree.domain(6), (false, true));
        assert_eq!(tree.domain(2), (true, false));
        assert_eq!(tree.domain(1), (false, false));
    }

    #[test]
    fn a_part_without_an_encoder_leaves_the_whole_without_one() {
        let tree = TypeTree(BTreeMap::from([
            (1, row("geometry", "b")),
            (2, TypeRow { element: 1, ..row("_geometry", "b") }),
            (3, TypeRow { element: 21, ..built_in("int2vector") }),
            // A type of the same name as a built-in one, in a schema of its owner.
            (4, row("bool", "b")),
        ]));
        for oid in [1, 2, 3, 4, 5] {
            assert_eq!(tree.column_type((oid, -1, 0)), None, "{oid}");
        }
    }

    #[test]
    fn money_counts_in_the_fraction_that_the_database_uses() {
        for (unit, digits) in [(1_u64, 0), (100, 2), (1_000, 3)] {
            let row = TypeRow { unit: Some(unit.to_be_bytes().to_vec()), ..built_in("money") };
            assert_eq!(row.money_digits(), digits);
        }
    }
}

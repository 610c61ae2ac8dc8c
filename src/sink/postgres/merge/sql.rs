//! The statements of a merge, as texts.

use std::collections::BTreeMap;

use super::{DELETED, Deletes, ORDER};
use crate::sink::postgres::catalog::quote_identifier;

/// The last delete of a key that has no version: whatever comes before it does not count.
const CLEARED: &str = "\"tidegate:cleared\"";

#[derive(Clone, Debug)]
pub(super) struct Statements {
    pub(super) put: String,
    /// For rows of which no two have one key.
    pub(super) put_unique: String,
    pub(super) change: String,
}

/// What the statements are made of.
pub(super) struct Parts<'a> {
    pub(super) table: &'a str,
    pub(super) stage: &'a str,
    pub(super) columns: &'a [&'a str],
    /// The types of those that are staged as texts, by name.
    pub(super) casts: &'a BTreeMap<&'a str, &'a str>,
    pub(super) key: &'a [String],
    pub(super) version: Option<&'a str>,
    pub(super) deletes: &'a Deletes,
}

impl Parts<'_> {
    pub(super) fn statements(&self) -> Statements {
        let put_unique = self.put_from(&self.each());
        Statements { put: self.put(), put_unique, change: self.change() }
    }

    /// The last row of each key that is in the staging table, in the order of the keys. A version
    /// decides before the order of delivery does, and no version is older than any.
    fn last(&self) -> String {
        let key = self.key_of("");
        let version = self.order_of_version();
        let stage = self.stage;
        format!(
            "(SELECT DISTINCT ON ({key}) * FROM {stage} ORDER BY {key}, {version}{ORDER} DESC) s"
        )
    }

    /// As [`Self::last`], where some rows delete. A delete without a version, as tombstones are,
    /// undoes what was delivered before it, whatever its version.
    fn last_change(&self) -> String {
        let Some(version) = self.version.map(quote_identifier) else { return self.last() };
        let (key, order) = (self.key_of(""), self.order_of_version());
        let stage = self.stage;
        format!(
            "(SELECT DISTINCT ON ({key}) * FROM (SELECT *, max({ORDER}) \
             FILTER (WHERE {DELETED} AND {version} IS NULL) OVER (PARTITION BY {key}) AS {CLEARED} \
             FROM {stage}) c WHERE ({ORDER} >= {CLEARED}) IS NOT FALSE \
             ORDER BY {key}, {order}{ORDER} DESC) s"
        )
    }

    /// The rows in the order of their keys, where no two have the same.
    fn each(&self) -> String {
        format!("{} s ORDER BY {}", self.stage, self.key_of("s."))
    }

    fn put(&self) -> String {
        self.put_from(&self.last())
    }

    fn put_from(&self, rows: &str) -> String {
        let Self { table, .. } = self;
        let (list, values) = (self.list(""), self.values());
        if self.key.is_empty() {
            let stage = self.stage;
            return format!(
                "INSERT INTO {table} ({list}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {stage} s \
                 ORDER BY s.{ORDER}"
            );
        }
        let conflict = self.on_conflict(false);
        format!(
            "INSERT INTO {table} AS t ({list}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {rows} \
             {conflict}"
        )
    }

    fn change(&self) -> String {
        match self.deletes {
            Deletes::No => self.put(),
            Deletes::Remove => self.remove(),
            Deletes::Mark { .. } => self.mark(),
        }
    }

    /// Rows to be deleted are locked in the pass in which others are written, and removed after it.
    /// What was not there in that pass, and is held by somebody in the second, came later.
    fn remove(&self) -> String {
        let Self { table, .. } = self;
        let (list, values) = (self.list(""), self.values());
        let (last, conflict) = (self.last_change(), self.on_conflict(false));
        let (same_in_e, same) = (self.same("e", "s"), self.same("t", "s"));
        let (same_in_d, key) = (self.same("t", "d"), self.key_of("t."));
        let is_newer = self.version.map_or_else(String::new, |version| {
            let version = quote_identifier(version);
            format!(" AND (t.{version} <= s.{version}) IS NOT FALSE")
        });
        let clear = match self.version {
            Some(_) => format!(
                "DELETE FROM {table} t USING {last} WHERE NOT s.{DELETED} AND s.{CLEARED} IS NOT NULL \
                 AND {same}; "
            ),
            None => String::new(),
        };
        format!(
            "{clear}INSERT INTO {table} AS t ({list}) OVERRIDING SYSTEM VALUE SELECT {values} \
             FROM {last} LEFT JOIN LATERAL (SELECT true AS found FROM {table} e \
             WHERE s.{DELETED} AND {same_in_e} FOR UPDATE) e ON true \
             WHERE coalesce(e.found, s.{DELETED}) IS FALSE {conflict}; \
             DELETE FROM {table} t USING (SELECT {key} FROM {last} JOIN {table} t ON {same} \
             WHERE s.{DELETED}{is_newer} FOR UPDATE OF t SKIP LOCKED) d WHERE {same_in_d}"
        )
    }

    /// A row that is not there is not marked. Postgres looks at NOT NULL before it looks for a conflict,
    /// so a mark brings the row along that it found; what is in the table by then stays as it is.
    fn mark(&self) -> String {
        let Self { table, .. } = self;
        let value = |name: &&str| {
            let column = quote_identifier(name);
            match Some(*name) == self.version {
                true => format!(
                    "CASE WHEN s.{DELETED} THEN coalesce(s.{column}, e.{column}) ELSE s.{column} END"
                ),
                false => {
                    let value = self.value(name);
                    format!("CASE WHEN s.{DELETED} THEN e.{column} ELSE {value} END")
                }
            }
        };
        let is_key = |name: &&&str| self.key.iter().any(|key| key == **name);
        let kept = self.key.iter().map(|name| format!("s.{}", quote_identifier(name)));
        let values: Vec<String> = kept
            .chain(self.columns.iter().filter(|name| !is_key(name)).map(value))
            .chain(self.mark_column().map(|column| format!("s.{column}")))
            .collect();
        let (list, values) = (self.list(""), values.join(", "));
        let (last, conflict) = (self.last_change(), self.on_conflict(true));
        let (same, key) = (self.same("e", "s"), self.key_of("s."));
        let found = self.key.first().map_or_else(String::new, |name| quote_identifier(name));
        format!(
            "INSERT INTO {table} AS t ({list}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {last} \
             LEFT JOIN {table} e ON s.{DELETED} AND {same} \
             WHERE NOT s.{DELETED} OR e.{found} IS NOT NULL ORDER BY {key} {conflict}"
        )
    }

    /// What a row does to the one that has its key. One that only marks leaves all else as it is.
    fn on_conflict(&self, may_mark: bool) -> String {
        let is_mark = match self.deletes {
            Deletes::Mark { column, is_flag } if may_mark => {
                let column = quote_identifier(column);
                Some(match is_flag {
                    true => format!("excluded.{column}"),
                    false => format!("excluded.{column} IS NOT NULL"),
                })
            }
            _ => None,
        };
        let set = |name: &str| {
            let column = quote_identifier(name);
            match &is_mark {
                Some(is_mark) if Some(name) == self.version => format!(
                    "{column} = CASE WHEN {is_mark} THEN coalesce(excluded.{column}, t.{column}) \
                     ELSE excluded.{column} END"
                ),
                Some(is_mark) => format!(
                    "{column} = CASE WHEN {is_mark} THEN t.{column} ELSE excluded.{column} END"
                ),
                None => format!("{column} = excluded.{column}"),
            }
        };
        let is_key = |name: &&&str| self.key.iter().any(|key| key == **name);
        let mut sets: Vec<String> =
            self.columns.iter().filter(|name| !is_key(name)).map(|name| set(name)).collect();
        sets.extend(self.mark_column().map(|column| format!("{column} = excluded.{column}")));
        let key = self.key_of("");
        if sets.is_empty() {
            return format!("ON CONFLICT ({key}) DO NOTHING");
        }
        let is_newer = self.version.map_or_else(String::new, |version| {
            let version = quote_identifier(version);
            format!(" WHERE t.{version} IS NULL OR t.{version} <= excluded.{version}")
        });
        format!("ON CONFLICT ({key}) DO UPDATE SET {}{is_newer}", sets.join(", "))
    }

    fn mark_column(&self) -> Option<String> {
        match self.deletes {
            Deletes::Mark { column, .. } => Some(quote_identifier(column)),
            Deletes::No | Deletes::Remove => None,
        }
    }

    /// What a column of the table gets from the staging table.
    fn value(&self, name: &str) -> String {
        let column = quote_identifier(name);
        match self.casts.get(name) {
            Some(type_name) => format!("s.{column}::{type_name}"),
            None => format!("s.{column}"),
        }
    }

    /// What the columns that are written get.
    fn values(&self) -> String {
        let fed = self.columns.iter().map(|name| self.value(name));
        let mark = self.mark_column().map(|column| format!("s.{column}"));
        fed.chain(mark).collect::<Vec<_>>().join(", ")
    }

    /// The columns that are written.
    fn list(&self, before: &str) -> String {
        let fed = self.columns.iter().map(|name| quote_identifier(name));
        let all: Vec<String> =
            fed.chain(self.mark_column()).map(|column| format!("{before}{column}")).collect();
        all.join(", ")
    }

    fn key_of(&self, before: &str) -> String {
        let key: Vec<String> =
            self.key.iter().map(|name| format!("{before}{}", quote_identifier(name))).collect();
        key.join(", ")
    }

    fn order_of_version(&self) -> String {
        self.version.map_or_else(String::new, |version| {
            format!("{} DESC NULLS LAST, ", quote_identifier(version))
        })
    }

    /// Two rows have the same key.
    fn same(&self, one: &str, other: &str) -> String {
        let same = |name: &String| {
            let column = quote_identifier(name);
            format!("{one}.{column} = {other}.{column}")
        };
        self.key.iter().map(same).collect::<Vec<_>>().join(" AND ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(version: Option<&str>, deletes: &Deletes) -> Statements {
        let key = ["a".to_owned(), "b".to_owned()];
        let parts = Parts {
            table: "t",
            stage: "stage",
            columns: &["a", "b", "c", "v"],
            casts: &BTreeMap::new(),
            key: &key,
            version,
            deletes,
        };
        parts.statements()
    }

    #[test]
    fn an_upsert_writes_the_last_row_of_each_key_in_the_order_of_the_keys() {
        let Statements { put, put_unique, change } = statements(None, &Deletes::No);
        assert_eq!(
            put,
            r#"INSERT INTO t AS t ("a", "b", "c", "v") OVERRIDING SYSTEM VALUE SELECT s."a", s."b", s."c", s."v" FROM (SELECT DISTINCT ON ("a", "b") * FROM stage ORDER BY "a", "b", "tidegate:order" DESC) s ON CONFLICT ("a", "b") DO UPDATE SET "c" = excluded."c", "v" = excluded."v""#
        );
        assert_eq!(change, put);
        assert!(
            put_unique.contains(r#"FROM stage s ORDER BY s."a", s."b" ON CONFLICT"#),
            "{put_unique}"
        );
        let versioned = statements(Some("v"), &Deletes::No).put;
        assert!(
            versioned.ends_with(r#" WHERE t."v" IS NULL OR t."v" <= excluded."v""#),
            "{versioned}"
        );
        assert!(
            versioned.contains(r#""b", "v" DESC NULLS LAST, "tidegate:order" DESC"#),
            "{versioned}"
        );
    }

    #[test]
    fn what_has_no_encoder_is_cast_on_its_way_to_the_table() {
        let casts = BTreeMap::from([("area", "circle")]);
        let (table, stage, deletes) = ("t", "stage", &Deletes::No);
        let columns = &["a", "area"][..];
        let mut parts =
            Parts { table, stage, columns, casts: &casts, key: &[], version: None, deletes };
        assert_eq!(
            parts.statements().put,
            r#"INSERT INTO t ("a", "area") OVERRIDING SYSTEM VALUE SELECT s."a", s."area"::circle FROM stage s ORDER BY s."tidegate:order""#
        );
        let key = ["a".to_owned()];
        parts.key = &key;
        assert!(parts.statements().put.contains(r#"SELECT s."a", s."area"::circle FROM"#));
    }

    #[test]
    fn a_table_of_nothing_but_its_key_leaves_rows_as_they_are() {
        let key = ["a".to_owned()];
        let (table, stage, deletes) = ("t", "stage", &Deletes::No);
        let (columns, casts) = (&["a"][..], &BTreeMap::new());
        let parts = Parts { table, stage, columns, casts, key: &key, version: None, deletes };
        assert!(parts.statements().put.ends_with("ON CONFLICT (\"a\") DO NOTHING"));
    }
}

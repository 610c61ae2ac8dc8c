//! What a table has beside its rows, and how it goes over to the table that takes its place.

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::{failed, views::repoint};
use crate::sink::postgres::sqlstate::PgError;

/// What cannot be moved: it is bound to the table by number, and there is no statement that binds it to
/// another one. Views are, too, but they can be replaced.
const OBSTACLES_SQL: &str = "\
    WITH types AS ( \
        SELECT t.oid FROM pg_type t WHERE t.typrelid = $1 \
        UNION ALL SELECT t.typarray FROM pg_type t WHERE t.typrelid = $1 AND t.typarray <> 0) \
    SELECT 'row-level security' FROM pg_class WHERE oid = $1 AND relrowsecurity \
    UNION SELECT format('policy %I', polname) FROM pg_policy WHERE polrelid = $1 \
    UNION SELECT format('foreign key %I of %s', conname, conrelid::regclass) FROM pg_constraint \
        WHERE contype = 'f' AND (conrelid = $1 OR confrelid = $1) \
    UNION SELECT format('rule %I', rulename) FROM pg_rewrite WHERE ev_class = $1 \
    UNION SELECT format('inheritance of %s', inhrelid::regclass) FROM pg_inherits \
        WHERE inhrelid = $1 OR inhparent = $1 \
    UNION SELECT format('rollup %I, as there are no detailed rows before %s', name, details_from) \
        FROM tidegate.rollups WHERE source_table = $1 AND details_from > '-infinity' \
    UNION SELECT format('the columns or rows that publication %I chooses', p.pubname) \
        FROM pg_publication_rel pr JOIN pg_publication p ON p.oid = pr.prpubid \
        WHERE pr.prrelid = $1 AND coalesce(to_jsonb(pr) ->> 'prqual', to_jsonb(pr) ->> 'prattrs') IS NOT NULL \
    UNION SELECT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend d \
        WHERE d.deptype = 'n' \
          AND (d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 \
               OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (SELECT oid FROM types)) \
          AND NOT (d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND EXISTS ( \
              SELECT FROM pg_rewrite r JOIN pg_class v ON v.oid = r.ev_class \
              WHERE r.oid = d.objid AND v.relkind = 'v')) \
          AND NOT (d.classid = 'pg_constraint'::regclass AND EXISTS ( \
              SELECT FROM pg_constraint WHERE oid = d.objid AND conrelid = $1)) \
          AND NOT (d.classid = 'pg_attrdef'::regclass AND EXISTS ( \
              SELECT FROM pg_attrdef WHERE oid = d.objid AND adrelid = $1)) \
    ORDER BY 1";

const VIEWS_SQL: &str = "\
    SELECT v.oid::regclass::text, pg_get_viewdef(v.oid), array_to_string(v.reloptions, ', ') \
    FROM pg_class v WHERE v.relkind = 'v' AND EXISTS ( \
        SELECT FROM pg_rewrite r JOIN pg_depend d \
            ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid \
        WHERE r.ev_class = v.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1) \
    ORDER BY v.oid";

const TRIGGERS_SQL: &str = "\
    SELECT format('DROP TRIGGER %I ON %s', tgname, tgrelid::regclass), \
           pg_get_triggerdef(oid) || CASE tgenabled WHEN 'O' THEN '' ELSE \
               format('; ALTER TABLE %s %s TRIGGER %I', tgrelid::regclass, \
                   CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' \
                       ELSE 'ENABLE ALWAYS' END, tgname) END \
    FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal ORDER BY tgname";

/// The statements that give the table $2 what the table $1 has; $3 is the replay that has made one of
/// them. Both have their new names already.
const MOVES_SQL: &str = "\
    WITH t AS ( \
        SELECT o.oid AS old, n.oid AS new, o.oid::regclass::text AS old_name, \
               n.oid::regclass::text AS new_name, o.relowner AS owner, n.relowner AS new_owner, \
               o.relacl AS acl, n.relacl AS new_acl, o.relreplident AS identity, \
               n.relreplident AS new_identity \
        FROM pg_class o, pg_class n WHERE o.oid = $1 AND n.oid = $2), \
    sequences AS ( \
        SELECT t.new_name, a.attname, a.attidentity, \
               pg_get_serial_sequence(t.old_name, a.attname) AS old, \
               pg_get_serial_sequence(t.new_name, a.attname) AS new \
        FROM t JOIN pg_attribute a ON a.attrelid = t.old AND a.attnum > 0 AND NOT a.attisdropped) \
    SELECT sql FROM ( \
        SELECT 1, format('ALTER TABLE %s OWNER TO %I', new_name, pg_get_userbyid(owner)) \
        FROM t WHERE owner <> new_owner \
        UNION ALL \
        SELECT DISTINCT 2, format('REVOKE ALL ON TABLE %s FROM %s', new_name, \
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END) \
        FROM t CROSS JOIN LATERAL aclexplode(new_acl) a WHERE a.grantee <> new_owner \
        UNION ALL \
        SELECT 3, format('GRANT %s ON TABLE %s TO %s%s', a.privilege_type, new_name, \
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, \
            CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) \
        FROM t CROSS JOIN LATERAL aclexplode(acl) a WHERE a.grantee <> owner \
        UNION ALL \
        SELECT 4, format('GRANT %s (%I) ON TABLE %s TO %s%s', a.privilege_type, c.attname, new_name, \
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, \
            CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) \
        FROM t JOIN pg_attribute c ON c.attrelid = old AND NOT c.attisdropped \
        CROSS JOIN LATERAL aclexplode(c.attacl) a \
        UNION ALL \
        SELECT 5, format('COMMENT ON TABLE %s IS %L', new_name, obj_description(old, 'pg_class')) \
        FROM t WHERE obj_description(old, 'pg_class') IS NOT NULL \
        UNION ALL \
        SELECT 6, format('ALTER PUBLICATION %I ADD TABLE %s', p.pubname, new_name) \
        FROM t JOIN pg_publication_rel pr ON pr.prrelid = old JOIN pg_publication p ON p.oid = pr.prpubid \
        UNION ALL \
        SELECT 7, format('ALTER PUBLICATION %I DROP TABLE %s', p.pubname, old_name) \
        FROM t JOIN pg_publication_rel pr ON pr.prrelid = old JOIN pg_publication p ON p.oid = pr.prpubid \
        UNION ALL \
        SELECT 8, format('ALTER TABLE %s REPLICA IDENTITY %s', new_name, CASE identity \
            WHEN 'd' THEN 'DEFAULT' WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' ELSE ( \
                SELECT 'USING INDEX ' || quote_ident(k.key) \
                FROM tidegate.replays r CROSS JOIN LATERAL jsonb_each_text(r.index_names) k, \
                     pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid \
                WHERE r.replay_id = $3 AND i.indrelid = old AND i.indisreplident AND k.value = ic.relname \
            ) END) \
        FROM t WHERE identity <> new_identity OR identity = 'i' \
        UNION ALL \
        SELECT 9, format('ALTER SEQUENCE %s OWNED BY %s.%I', old, new_name, attname) \
        FROM sequences WHERE attidentity = '' AND old IS NOT NULL \
        UNION ALL \
        SELECT 10, format('SELECT setval(%L, %s)', new, last) \
        FROM sequences CROSS JOIN LATERAL (SELECT greatest(pg_sequence_last_value(old::regclass), \
            pg_sequence_last_value(new::regclass)) AS last) s \
        WHERE attidentity <> '' AND last IS NOT NULL \
    ) AS moves (place, sql) ORDER BY place";

/// What keeps the table from being replaced, by name.
pub(super) async fn obstacles(
    transaction: &Transaction<'_>,
    table: u32,
) -> Result<Vec<String>, PgError> {
    let rows = transaction.query(OBSTACLES_SQL, &[&table]).await.map_err(failed)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Turns the views of one table to another; `alias` is what columns are called after. Where one could
/// not be turned it is still bound to the table, and named.
pub(super) async fn turn_views(
    transaction: &Transaction<'_>,
    table: u32,
    [from, to, alias]: [&str; 3],
) -> Result<Vec<String>, PgError> {
    for row in transaction.query(VIEWS_SQL, &[&table]).await.map_err(failed)? {
        let (view, definition): (String, String) = (row.get(0), row.get(1));
        let options: Option<String> = row.get(2);
        let options = options.map_or_else(String::new, |options| format!(" WITH ({options})"));
        let definition = repoint(&definition, from, to, alias);
        let sql = format!("CREATE OR REPLACE VIEW {view}{options} AS {definition}");
        transaction.batch_execute(&sql).await.map_err(failed)?;
    }
    let left = transaction.query(VIEWS_SQL, &[&table]).await.map_err(failed)?;
    Ok(left.iter().map(|row| format!("view {}", row.get::<_, &str>(0))).collect())
}

/// Triggers that were taken off a table, as statements that put them onto the table of its name.
pub(super) async fn take_triggers(
    transaction: &Transaction<'_>,
    table: u32,
) -> Result<Vec<String>, PgError> {
    let rows = transaction.query(TRIGGERS_SQL, &[&table]).await.map_err(failed)?;
    for row in &rows {
        transaction.batch_execute(row.get(0)).await.map_err(failed)?;
    }
    Ok(rows.iter().map(|row: &Row| row.get(1)).collect())
}

/// Gives the table `new` what `old` has: rights, publications, sequences and the like.
pub(super) async fn hand_over(
    transaction: &Transaction<'_>,
    [old, new]: [u32; 2],
    replay_id: i64,
) -> Result<(), PgError> {
    let moves = transaction.query(MOVES_SQL, &[&old, &new, &replay_id]).await.map_err(failed)?;
    for row in &moves {
        transaction.batch_execute(row.get(0)).await.map_err(failed)?;
    }
    Ok(())
}

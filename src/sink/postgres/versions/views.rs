//! Views that look at a table, turned to another one.
//!
//! A view is bound to its table by number, so it does not follow a name. It cannot be asked for with
//! another table in it, so its text is changed: as Postgres itself writes it, with an empty search
//! path, so that each table has its schema and every identifier its one spelling.

/// The text of a view with `other` in the place of `table`; both as `quote_ident` writes them, with
/// their schema. Columns go on being called after `alias`, the table's bare name.
pub(super) fn repoint(definition: &str, table: &str, other: &str, alias: &str) -> String {
    let mut text = String::with_capacity(definition.len() + other.len());
    let mut rest = definition;
    let mut is_begin = true;
    while let Some(c) = rest.chars().next() {
        if is_begin
            && let Some(behind) = rest.strip_prefix(table)
            && !behind.starts_with(continues)
        {
            text.push_str(other);
            if !has_alias(behind) {
                text.push(' ');
                text.push_str(alias);
            }
            rest = behind;
        } else {
            // Texts and quoted names are passed over as a whole; a quote in them is doubled.
            let length = match c {
                '\'' | '"' => rest
                    .char_indices()
                    .skip(1)
                    .find(|(_, end)| *end == c)
                    .map_or(rest.len(), |(at, end)| at + end.len_utf8()),
                c => c.len_utf8(),
            };
            let (token, behind) = rest.split_at(length);
            text.push_str(token);
            rest = behind;
        }
        is_begin = !text.ends_with(|c| c == '.' || c == '"' || is_word(c));
    }
    text
}

/// Whether the name before has not ended yet, or is not a table's: a column's, a function's.
fn continues(c: char) -> bool {
    c == '.' || c == '"' || c == '(' || is_word(c)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Whether the table has a name of its own in the view. Postgres writes its own words in capitals, and
/// names that need no quotes in small letters.
fn has_alias(behind: &str) -> bool {
    let Some(next) = behind.strip_prefix(' ') else { return false };
    next.starts_with(|c: char| c == '"' || c == '_' || (c.is_alphabetic() && !c.is_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(definition: &str) -> String {
        repoint(definition, "public.orders", "public.orders_2", "orders")
    }

    #[test]
    fn a_table_is_replaced_where_it_is_a_table_and_keeps_its_name_for_columns() {
        for (before, after) in [
            (
                " SELECT orders.id,\n    'public.orders'::text AS t\n   FROM public.orders;",
                " SELECT orders.id,\n    'public.orders'::text AS t\n   FROM public.orders_2 orders;",
            ),
            ("FROM public.orders o WHERE o.a", "FROM public.orders_2 o WHERE o.a"),
            ("FROM public.orders \"O\")", "FROM public.orders_2 \"O\")"),
            (
                "FROM (public.orders JOIN public.orders_old ON",
                "FROM (public.orders_2 orders JOIN public.orders_old ON",
            ),
            ("FROM ONLY public.orders\n  WHERE", "FROM ONLY public.orders_2 orders\n  WHERE"),
            (
                "SELECT public.orders(1), x.public.orders",
                "SELECT public.orders(1), x.public.orders",
            ),
            (
                "\"a public.orders\" = 'it''s public.orders'",
                "\"a public.orders\" = 'it''s public.orders'",
            ),
            ("my_public.orders, public.orders.x", "my_public.orders, public.orders.x"),
        ] {
            assert_eq!(turned(before), after);
        }
        let quoted = "FROM \"My S\".\"T\"\"x\", \"My S\".\"T\"";
        assert_eq!(
            repoint(quoted, "\"My S\".\"T\"", "\"My S\".u", "\"T\""),
            "FROM \"My S\".\"T\"\"x\", \"My S\".u \"T\""
        );
    }
}

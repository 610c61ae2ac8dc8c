//! Aggregates of which two parts make one: that of all rows is made of that of some and that of the
//! others.

/// How two parts of an aggregate become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    /// Of `count` and `sum`.
    Add,
    /// Of `min`.
    Least,
    /// Of `max`.
    Greatest,
}

/// How parts of `aggregate`, an expression in SQL, become one; `None` if they may not, or if it is more
/// than one call of a function that is known.
pub(crate) fn fold(aggregate: &str) -> Option<Fold> {
    let (function, rest) = aggregate.split_once('(')?;
    let (inside, behind) = split_group(rest)?;
    let fold = match function.trim().to_ascii_lowercase().as_str() {
        "count" | "sum" => Fold::Add,
        "min" => Fold::Least,
        "max" => Fold::Greatest,
        _ => return None,
    };
    let is_distinct = inside
        .split_whitespace()
        .next()
        .is_some_and(|word| word.to_ascii_lowercase().starts_with("distinct"));
    if is_distinct && fold == Fold::Add {
        return None;
    }
    let is_filter = |text: &str| {
        let (word, rest) = text.split_once('(')?;
        let is_it = word.trim().eq_ignore_ascii_case("filter");
        let (_, behind) = split_group(rest).filter(|_| is_it)?;
        behind.trim().is_empty().then_some(())
    };
    (behind.trim().is_empty() || is_filter(behind).is_some()).then_some(fold)
}

/// What stands before the parenthesis that closes, and behind it. What is quoted is passed over; a
/// comment, or a text in dollars, is not known to end.
fn split_group(text: &str) -> Option<(&str, &str)> {
    let (mut depth, mut quote) = (1, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) => quote = Some(open).filter(|open| *open != c),
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, '$') => return None,
            (None, _) if text[at..].starts_with("--") || text[at..].starts_with("/*") => {
                return None;
            }
            (None, _) => {}
        }
        if depth == 0 {
            return Some((&text[..at], &text[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_of_a_known_function_can_be_made_of_parts() {
        for (sql, expected) in [
            ("count(*)", Some(Fold::Add)),
            (" COUNT ( id ) ", Some(Fold::Add)),
            ("sum(amount * (1 - rebate))", Some(Fold::Add)),
            ("min(at)", Some(Fold::Least)),
            ("max(coalesce(name, ')'))", Some(Fold::Greatest)),
            ("max(DISTINCT \"a)b\")", Some(Fold::Greatest)),
            ("count(*) FILTER (WHERE status = 'paid')", Some(Fold::Add)),
            ("avg(amount)", None),
            ("count(DISTINCT id)", None),
            ("count( distinct(id))", None),
            ("sum(a) / count(*)", None),
            ("sum(a) + sum(b)", None),
            ("round(sum(a))", None),
            ("sum(a", None),
            ("sum(a -- all of them\n)", None),
            ("sum(a /* ) */)", None),
            ("sum($$)$$)", None),
            ("sum(a) OVER ()", None),
            ("42", None),
        ] {
            assert_eq!(fold(sql), expected, "{sql}");
        }
    }
}

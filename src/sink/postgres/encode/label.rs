//! Enums: the label, which must be one of those that the catalog had at the start.

use super::{Literal, put, refuse};
use crate::{
    rejection::{Reason, Rejection},
    sink::postgres::{catalog::nearest, column::EnumType},
};

pub(super) fn encode(
    literal: Literal<'_>,
    labels: &EnumType,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let (Literal::Number(text) | Literal::Text(text)) = literal;
    match labels.labels.binary_search_by(|label| label.as_bytes().cmp(text)) {
        Ok(_) => put(text, out),
        Err(_) => Err(unknown(text, labels)),
    }
}

#[cold]
fn unknown(text: &[u8], EnumType { name, labels }: &EnumType) -> Rejection {
    let known: Vec<&str> = labels.iter().map(String::as_str).collect();
    let hint = nearest(&String::from_utf8_lossy(text), &known)
        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    let problem = format!("is no label of {name} (as it was at the start){hint}");
    refuse(Reason::InvalidText, text, problem)
}

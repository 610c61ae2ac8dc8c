//! Headers that outlive the client's buffer: of records that are kept, and of dead letters.

use serde_json::{Value, json};

use crate::record::Headers;

/// A name and a value.
type Header<'a> = (&'a str, Option<&'a [u8]>);

/// The headers of a kept record: for each the lengths of name and value (-1 is null), then both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptHeaders<'a>(&'a [u8]);

impl<'a> KeptHeaders<'a> {
    /// What [`keep`] wrote.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Their bytes.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl Headers for KeptHeaders<'_> {
    fn for_each(&self, visit: &mut dyn FnMut(&str, Option<&[u8]>)) {
        let mut rest = self.0;
        while let Some(((name, value), behind)) = read(rest) {
            visit(name, value);
            rest = behind;
        }
    }
}

/// Appends a copy of `headers`.
pub fn keep(headers: &dyn Headers, out: &mut Vec<u8>) {
    headers.for_each(&mut |name, value| {
        out.extend_from_slice(&(name.len() as u32).to_le_bytes());
        out.extend_from_slice(&value.map_or(-1, |value| value.len() as i32).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value.unwrap_or_default());
    });
}

/// The name and the value of the first header, and what stands behind it.
fn read(bytes: &[u8]) -> Option<(Header<'_>, &[u8])> {
    let (name_length, rest) = bytes.split_first_chunk()?;
    let (value_length, rest) = rest.split_first_chunk()?;
    let value_length = usize::try_from(i32::from_le_bytes(*value_length)).ok();
    let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*name_length) as usize)?;
    let (value, rest) = rest.split_at_checked(value_length.unwrap_or(0))?;
    Some(((std::str::from_utf8(name).ok()?, value_length.map(|_| value)), rest))
}

/// The headers as JSON, in their order, each with its name and either its text in `value` or, where
/// that is not a text which Postgres can store, its digits in `hex`. `None` if there are none.
pub fn to_json(headers: KeptHeaders<'_>) -> Option<Value> {
    let mut list = Vec::new();
    headers.for_each(&mut |name, value| {
        let text = value.map(std::str::from_utf8);
        list.push(match (value, text) {
            (None, _) => json!({"name": name, "value": null}),
            (Some(_), Some(Ok(text))) if !text.contains('\0') => {
                json!({"name": name, "value": text})
            }
            (Some(bytes), _) => json!({"name": name, "hex": hex(bytes)}),
        });
    });
    (!list.is_empty()).then_some(Value::Array(list))
}

/// Reads what [`to_json`] wrote, and appends it as [`keep`] does. False if it is something else.
pub fn keep_json(list: &Value, out: &mut Vec<u8>) -> bool {
    let Some(list) = list.as_array() else { return false };
    list.iter().all(|header| {
        let Some(name) = header["name"].as_str() else { return false };
        let value = match (&header["value"], &header["hex"]) {
            (Value::String(text), _) => Some(text.as_bytes().to_vec()),
            (_, Value::String(digits)) => match unhex(digits) {
                Some(bytes) => Some(bytes),
                None => return false,
            },
            _ => None,
        };
        keep(&(name, value.as_deref()), out);
        true
    })
}

impl Headers for Header<'_> {
    fn for_each(&self, visit: &mut dyn FnMut(&str, Option<&[u8]>)) {
        visit(self.0, self.1);
    }
}

/// Hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Owned = Vec<(String, Option<Vec<u8>>)>;

    fn list(headers: KeptHeaders<'_>) -> Owned {
        let mut list = Vec::new();
        headers.for_each(&mut |name, value| {
            list.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        });
        list
    }

    #[test]
    fn headers_of_any_kind_come_back_from_memory_and_from_json_in_their_order() {
        let sent: [(&str, Option<&[u8]>); 7] = [
            ("trace", Some(b"abc")),
            ("empty", Some(b"")),
            ("null", None),
            ("trace", Some(b"again")),
            ("binary", Some(b"\xff\0\x01")),
            ("nul", Some(b"a\0b")),
            ("", Some("\u{e9}\"\\".as_bytes())),
        ];
        let mut kept = Vec::new();
        sent.iter().for_each(|header| keep(header, &mut kept));
        let expected: Owned =
            sent.iter().map(|(n, v)| ((*n).to_owned(), v.map(<[u8]>::to_vec))).collect();
        assert_eq!(list(KeptHeaders::new(&kept)), expected);

        let json = to_json(KeptHeaders::new(&kept)).unwrap();
        assert_eq!(json[4], json!({"name": "binary", "hex": "ff0001"}));
        assert!(!json.to_string().contains("\\u0000"), "Postgres does not store it: {json}");
        let mut again = Vec::new();
        assert!(keep_json(&json, &mut again));
        assert_eq!(again, kept);
    }

    #[test]
    fn no_headers_are_no_json_and_other_json_is_no_headers() {
        assert_eq!(to_json(KeptHeaders::default()), None);
        for other in [json!({}), json!([1]), json!([{"name": "x", "hex": "0g"}])] {
            assert!(!keep_json(&other, &mut Vec::new()), "{other}");
        }
    }
}

//! What is asked of a record: a field, a value inside a field, or the fields that nobody asked for.

use std::{collections::BTreeSet, fmt, sync::Arc};

/// One thing that a target asks of each record; a format answers with a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The top-level field of this name.
    Field(String),
    /// The top-level field of this name in whatever spelling: the case of letters, `_` and `-` do not
    /// count.
    Spelling(String),
    /// The value that a JSON pointer leads to.
    Pointer(Pointer),
    /// The top-level fields but for these, as one JSON object; absent if there is no other.
    Rest {
        /// The names that are known.
        except: Arc<BTreeSet<String>>,
    },
}

impl Selector {
    /// Each of them once, in order.
    pub fn distinct(selectors: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut distinct = Vec::new();
        for selector in selectors {
            if !distinct.contains(&selector) {
                distinct.push(selector);
            }
        }
        distinct
    }

    /// The name of a top-level field, if that is all that is asked for.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Field(name) | Self::Spelling(name) => Some(name),
            Self::Pointer(_) | Self::Rest { .. } => None,
        }
    }

    /// The top-level field that it looks at.
    pub fn head(&self) -> Option<&str> {
        match self {
            Self::Field(name) | Self::Spelling(name) => Some(name),
            Self::Pointer(pointer) => pointer.tokens.first().map(String::as_str),
            Self::Rest { .. } => None,
        }
    }
}

impl From<&str> for Selector {
    fn from(name: &str) -> Self {
        Self::Field(name.to_owned())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) | Self::Spelling(name) => f.write_str(name),
            Self::Pointer(pointer) => pointer.fmt(f),
            Self::Rest { .. } => f.write_str("the rest"),
        }
    }
}

/// What all spellings of a name have in common.
pub fn spell(name: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let letters = name.iter().filter(|byte| !matches!(byte, b'_' | b'-'));
    out.extend(letters.map(u8::to_ascii_lowercase));
}

/// Whether the two names are spellings of the same one.
pub fn spells(name: &str, other: &str) -> bool {
    let letters = |name: &str| {
        let letters = name.bytes().filter(|byte| !matches!(byte, b'_' | b'-'));
        letters.map(|byte| byte.to_ascii_lowercase()).collect::<Vec<u8>>()
    };
    letters(name) == letters(other)
}

/// A JSON pointer (RFC 6901) with at least one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    tokens: Vec<String>,
}

impl Pointer {
    /// Reads `/address/city`; `~1` stands for a slash in a name, `~0` for a tilde.
    pub fn parse(text: &str) -> Option<Self> {
        let tokens = text.strip_prefix('/')?.split('/').map(unescape).collect::<Option<_>>()?;
        Some(Self { tokens })
    }

    /// The names and indexes on the way, from the outside in.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }
}

fn unescape(token: &str) -> Option<String> {
    let mut parts = token.split('~');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (escape, rest) = part.split_at_checked(1)?;
        name.push(match escape {
            "0" => '~',
            "1" => '/',
            _ => return None,
        });
        name.push_str(rest);
    }
    Some(name)
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.tokens {
            write!(f, "/{}", token.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_read_as_the_rfc_has_it() {
        let tokens = |text| Pointer::parse(text).map(|pointer| pointer.tokens);
        assert_eq!(tokens("/a/0/b"), Some(vec!["a".into(), "0".into(), "b".into()]));
        assert_eq!(tokens("/a~1b/m~0n/~01"), Some(vec!["a/b".into(), "m~n".into(), "~1".into()]));
        assert_eq!(tokens("/"), Some(vec![String::new()]));
        for bad in ["", "a", "/a~", "/a~2", "/~é"] {
            assert_eq!(tokens(bad), None, "{bad}");
        }
        assert_eq!(Pointer::parse("/a~1b/m~0n").unwrap().to_string(), "/a~1b/m~0n");
    }
}

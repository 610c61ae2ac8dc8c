//! `${env:NAME}`, `${env:NAME:-default}` and `${file:/path}` inside texts.

use std::{fs::File, io::Read, path::Path};

use super::environment::{Absence, Environment};

/// Enough for a certificate chain; a `${file:/dev/zero}` ends here.
const LARGEST_FILE_BYTES: u64 = 1 << 20;

/// A text with its references replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) text: String,
    /// Whether there was a reference, and not only an escape.
    pub(super) referenced: bool,
}

/// Replaces the references in `text`; `$${` stands for `${`. Relative files lie in `folder`.
///
/// The message of an error names the variable or the file, and nothing else of the text.
pub(super) fn resolve(
    text: &str,
    environment: &Environment,
    folder: &Path,
) -> Result<Resolved, String> {
    let mut resolved = Resolved { text: String::with_capacity(text.len()), referenced: false };
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            resolved.text.push_str(before);
            resolved.text.push_str("${");
            rest = after;
            continue;
        }
        let Some((reference, after)) = after.split_once('}') else {
            return Err("a `${` has no `}`; write `$${` for a literal `${`".to_owned());
        };
        resolved.text.push_str(before);
        resolved.text.push_str(&look_up(reference, environment, folder)?);
        resolved.referenced = true;
        rest = after;
    }
    resolved.text.push_str(rest);
    Ok(resolved)
}

fn look_up(reference: &str, environment: &Environment, folder: &Path) -> Result<String, String> {
    match reference.split_once(':') {
        Some(("env", name)) => variable(name, environment),
        Some(("file", path)) if !path.is_empty() => read(path, &folder.join(path)),
        // Not quoted: it may be a part of a password that happens to hold `${`.
        _ => Err("a `${...}` is neither `${env:NAME}`, `${env:NAME:-default}` nor \
                  `${file:/path}`; write `$${` for a literal `${`"
            .to_owned()),
    }
}

fn variable(name: &str, environment: &Environment) -> Result<String, String> {
    let (name, default) = match name.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (name, None),
    };
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err("a `${env:...}` holds no name of a variable (letters, digits and `_`)".into());
    }
    match (environment.get(name), default) {
        // As in a shell: `:-` also stands in for an empty variable.
        (Ok("") | Err(Absence::NotSet), Some(default)) => Ok(default.to_owned()),
        (Ok(value), _) => Ok(value.to_owned()),
        (Err(Absence::NotSet), None) => Err(format!(
            "the environment variable `{name}` is not set; set it, or write \
             `${{env:{name}:-default}}`"
        )),
        (Err(Absence::NotUtf8), _) => {
            Err(format!("the environment variable `{name}` is not UTF-8"))
        }
    }
}

fn read(written: &str, path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let failed = |error: std::io::Error| format!("the file `{written}` cannot be read: {error}");
    let file = File::open(path).map_err(failed)?;
    file.take(LARGEST_FILE_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LARGEST_FILE_BYTES {
        return Err(format!("the file `{written}` is larger than {LARGEST_FILE_BYTES} bytes"));
    }
    let end =
        text.strip_suffix('\n').map_or(text.len(), |t| t.strip_suffix('\r').unwrap_or(t).len());
    text.truncate(end);
    Ok(text)
}

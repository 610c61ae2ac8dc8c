//! `[registries.*]`: where schemas are.

use std::path::PathBuf;

use super::{reader::Entry, secret::Secret};

/// A schema registry that speaks Confluent's protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrySettings {
    /// The name that routes use.
    pub name: String,
    /// `http://` or `https://`, without a slash at its end. Required.
    pub url: String,
    /// What proves who asks. Default: nothing.
    pub login: Option<Login>,
    /// PEM certificates that the server's must lead to; required for `https://`.
    pub ca_file: Option<PathBuf>,
}

/// What proves who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// `user` and `password`
    Basic {
        /// The user, or the name of an API key.
        user: String,
        /// The password, or the key's secret.
        password: Secret,
    },
    /// `token`
    Bearer(Secret),
}

pub(super) fn read(name: &str, entry: Entry<'_>) -> Option<RegistrySettings> {
    let mut table = entry.table()?;
    let expected = "a URL such as \"http://localhost:8081\"";
    let url_entry = table.require("url", expected);
    let url = url_entry.as_ref().and_then(|entry| read_url(entry, expected));
    let user = table.take("user").map(|entry| entry.text("the name of a user"));
    let password = table.take("password").map(|entry| entry.secret("a password"));
    let token = table.take("token").map(|entry| entry.secret("a token"));
    let ca_file = table.take("ca_file").map(|entry| entry.path("the path of a PEM file"));
    let login = match (user, password, token) {
        (None, None, None) => Some(None),
        (Some(user), Some(password), None) => {
            user.zip(password).map(|(user, password)| Some(Login::Basic { user, password }))
        }
        (None, None, Some(token)) => token.map(|token| Some(Login::Bearer(token))),
        (_, _, Some(_)) => {
            table.fail("token", "expected either a token, or a user and a password");
            None
        }
        _ => {
            table.fail("password", "a user and a password go together");
            None
        }
    };
    if url.as_ref().is_some_and(|url| url.starts_with("https:")) && ca_file.is_none() {
        table.fail(
            "ca_file",
            "missing; https:// needs the certificates that the server's must lead to, such as \
             \"/etc/ssl/certs/ca-certificates.crt\"",
        );
    }
    table.finish();
    Some(RegistrySettings {
        name: name.to_owned(),
        url: url?,
        login: login?,
        ca_file: ca_file.flatten(),
    })
}

/// Reads a URL that may be shown, for which it must hold no password.
fn read_url(entry: &Entry<'_>, expected: &str) -> Option<String> {
    let url = entry.text(expected)?;
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    match rest {
        Some(rest) if rest.contains('@') => {
            entry.fail("a URL with a login in it; put that into `user` and `password`");
            None
        }
        Some(rest)
            if !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['?', '#', ' ']) =>
        {
            Some(url.trim_end_matches('/').to_owned())
        }
        _ => {
            entry.expected(expected);
            None
        }
    }
}

//! The environment variables, as one value that a test can make.

use std::{collections::BTreeMap, ffi::OsString};

/// What `${env:NAME}` and the `TIDEGATE__` variables are looked up in.
///
/// A snapshot, and not a function from name to value, because a variable that no setting answers
/// to is an error, and to find it takes the list of all names. `Debug` shows the names alone.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// The variables of this process.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect()
    }

    /// The value of `name`; the error says why there is none, and goes on from the name.
    pub(super) fn get(&self, name: &str) -> Result<&str, Absence> {
        let value = self.0.get(name).ok_or(Absence::NotSet)?;
        value.to_str().ok_or(Absence::NotUtf8)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<N: Into<String>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Why a variable has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Absence {
    #[error("is not set")]
    NotSet,
    #[error("is not UTF-8")]
    NotUtf8,
}

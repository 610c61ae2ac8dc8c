//! Where `scripts/setup.sh` puts the jars of Kafka.

use std::{env, path::PathBuf};

use crate::{Error, Result};

pub const VERSION: &str = "4.1.0";

#[derive(Clone, Debug)]
pub(super) struct Jars {
    pub(super) class_path: String,
    /// Classes in the JVM's own format, which it maps in place of parsing the jars. A JVM that
    /// cannot use it, or does not find it, parses them.
    pub(super) archive: PathBuf,
}

/// The folder is complete if it exists: it gets its name when the last jar is there.
pub(super) fn find() -> Result<Jars> {
    let folder = cache(&format!("kafka-{VERSION}"));
    if !folder.is_dir() {
        return Err(Error::JarsMissing { folder });
    }
    let class_path = folder.join("*").to_string_lossy().into_owned();
    Ok(Jars { class_path, archive: folder.join("classes.jsa") })
}

/// What was downloaded: the shell's `${TIDEGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate}/<name>`.
pub fn cache(name: &str) -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("TIDEGATE_CACHE").unwrap_or_else(|| {
        set("XDG_CACHE_HOME")
            .unwrap_or_else(|| set("HOME").unwrap_or_default().join(".cache"))
            .join("tidegate")
    });
    cache.join(name)
}

/// Of a broker, which has all that Kafka Connect needs, too.
pub(crate) fn class_path() -> Result<String> {
    find().map(|jars| jars.class_path)
}

//! What the stack sets in `postgresql.conf`.

use std::{fs, path::Path};

use crate::{Error, Result};

/// sun_path of unix(7) holds 108 bytes; the socket's name is `.s.PGSQL.12345` and a lock file's
/// five bytes longer.
const MAX_SOCKET_FOLDER_BYTES: usize = 85;

/// The folder, unless sockets in it would have too long a path.
pub(super) fn socket_folder(folder: &Path) -> Option<&Path> {
    (folder.as_os_str().len() <= MAX_SOCKET_FOLDER_BYTES).then_some(folder)
}

/// Writes `stack.conf`, which `postgresql.conf` includes last.
pub(super) fn write(
    data: &Path,
    sockets: Option<&Path>,
    port: u16,
    extra: &[(String, String)],
) -> Result<()> {
    let conf = data.join("postgresql.conf");
    let include = "include = 'stack.conf'\n";
    let mut text = fs::read_to_string(&conf).map_err(Error::io("read", &conf))?;
    if !text.ends_with(include) {
        text.push_str(include);
        fs::write(&conf, text).map_err(Error::io("write", &conf))?;
    }
    let stack = data.join("stack.conf");
    fs::write(&stack, render(sockets, port, extra)).map_err(Error::io("write", &stack))
}

fn render(sockets: Option<&Path>, port: u16, extra: &[(String, String)]) -> String {
    let sockets = sockets.unwrap_or(Path::new("")).to_string_lossy();
    let port = port.to_string();
    let settings = [
        ("listen_addresses", "127.0.0.1"),
        ("port", &port),
        ("unix_socket_directories", &sockets),
        ("max_connections", "200"),
        ("shared_buffers", "512MB"),
        ("max_wal_size", "8GB"),
        ("fsync", "on"),
        // In place of /dev/shm, whose files nobody would find after kill -9.
        ("dynamic_shared_memory_type", "mmap"),
        ("log_line_prefix", "%m [%p] "),
    ];
    let extra = extra.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    settings
        .into_iter()
        .chain(extra)
        .map(|(key, value)| format!("{key} = '{}'\n", value.replace('\'', "''")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_setting_comes_after_the_default_and_is_quoted() {
        let extra = [("shared_buffers".to_owned(), "1GB".to_owned()), ("a".into(), "it's".into())];
        let text = render(Some(Path::new("/home")), 5432, &extra);
        let default = text.find("shared_buffers = '512MB'").unwrap();
        let given = text.find("shared_buffers = '1GB'").unwrap();
        assert!(default < given);
        assert!(text.contains("a = 'it''s'\n"), "{text}");
        assert!(text.contains("unix_socket_directories = '/home'\n"), "{text}");
    }

    #[test]
    fn there_is_no_socket_where_its_path_would_be_too_long() {
        let deep = "/x".repeat(60);
        assert_eq!(socket_folder(Path::new(&deep)), None);
        assert!(render(None, 1, &[]).contains("unix_socket_directories = ''\n"));
    }
}

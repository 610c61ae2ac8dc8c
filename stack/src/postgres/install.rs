//! The installed server binaries, and the user they run as: Postgres refuses to run as root.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use nix::unistd::{User, chown, geteuid};

use crate::{Error, Result};

const DEBIAN: &str = "/usr/lib/postgresql";

#[derive(Clone, Debug)]
pub(super) struct Install {
    binaries: PathBuf,
    /// Only when this process is root.
    user: Option<User>,
}

impl Install {
    /// `$TIDEGATE_POSTGRES_BIN`, else the newest of Debian's versions, else what `PATH` has.
    pub(super) fn find() -> Result<Self> {
        let binaries = env::var_os("TIDEGATE_POSTGRES_BIN")
            .map(PathBuf::from)
            .or_else(newest_of_debian)
            .or_else(on_path)
            .ok_or(Error::NotInstalled { program: "the Postgres server" })?;
        let user = if geteuid().is_root() { Some(unprivileged_user()?) } else { None };
        Ok(Self { binaries, user })
    }

    /// A call of one of the binaries, as a user that Postgres accepts.
    pub(super) fn command(&self, program: &str) -> Command {
        let program = self.binaries.join(program);
        let Some(user) = &self.user else { return Command::new(program) };
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={}", user.uid))
            .arg(format!("--regid={}", user.gid))
            .arg("--clear-groups")
            .arg(program);
        command
    }

    /// Whom the binaries run as, where that is not this process's own user.
    pub(super) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// Hands a file or folder to the user that the binaries run as.
    pub(super) fn give(&self, path: &Path) -> Result<()> {
        let Some(user) = &self.user else { return Ok(()) };
        chown(path, Some(user.uid), Some(user.gid))
            .map_err(|errno| Error::io("change the owner of", path)(errno.into()))
    }

    pub(super) fn check_access(&self, folder: &Path) -> Result<()> {
        let Some(user) = &self.user else { return Ok(()) };
        for ancestor in folder.ancestors() {
            let metadata = fs::metadata(ancestor).map_err(Error::io("look at", ancestor))?;
            let enters_as_owner = metadata.uid() == user.uid.as_raw();
            if !enters_as_owner && metadata.mode() & 0o001 == 0 {
                let (user, folder) = (user.name.clone(), ancestor.to_owned());
                return Err(Error::NotAccessible { user, folder });
            }
        }
        Ok(())
    }
}

fn newest_of_debian() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN).ok()?;
    versions
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version: u32 = path.file_name()?.to_str()?.parse().ok()?;
            let binaries = path.join("bin");
            has_server(&binaries).then_some((version, binaries))
        })
        .max()
        .map(|(_, binaries)| binaries)
}

fn on_path() -> Option<PathBuf> {
    env::split_paths(env::var_os("PATH").as_deref().unwrap_or(OsStr::new("")))
        .find(|folder| has_server(folder))
}

fn has_server(binaries: &Path) -> bool {
    binaries.join("postgres").is_file() && binaries.join("initdb").is_file()
}

/// The distribution's user for Postgres, or the one that owns nothing.
fn unprivileged_user() -> Result<User> {
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .ok_or(Error::NotInstalled { program: "a user 'postgres' or 'nobody'" })
}

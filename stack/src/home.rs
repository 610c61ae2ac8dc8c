//! The folder that a server lives in, and its keeper, who clears it when the owner is gone.
//!
//! Homes without a given folder lie in `$TMPDIR/tidegate-stack-<uid>`, each with a `lock` file. The
//! owner and the keeper share the lock, so a home whose lock is free has lost both; whoever opens
//! the next home deletes it.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::fcntl::{Flock, FlockArg};

use crate::{Error, Result};

const KEEPER: &str = include_str!("keeper.sh");
const LOCK: &str = "lock";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Delete,
    Keep,
}

#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    fate: Fate,
    keeper: Child,
    /// The owner's end of the pipe: closing it is what the keeper waits for.
    pipe: Option<ChildStdin>,
    _lock: Flock<File>,
}

impl Home {
    /// Opens `folder` and keeps it afterwards, or makes a temporary home when there is none.
    pub(crate) fn open(name: &str, folder: Option<&Path>) -> Result<Self> {
        match folder {
            Some(folder) => Self::open_lasting(folder),
            None => Self::open_temporary(name),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_temporary(&self) -> bool {
        self.fate == Fate::Delete
    }

    fn open_lasting(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        // The keeper compares it with what the kernel says of a working directory.
        let path = folder.canonicalize().map_err(Error::io("resolve", folder))?;
        let lock = lock_file(&path.join(LOCK), FlockArg::LockExclusiveNonblock)?;
        Self::keep(path, Fate::Keep, lock)
    }

    fn open_temporary(name: &str) -> Result<Self> {
        Self::open_temporary_in(&root()?, name)
    }

    fn open_temporary_in(root: &Path, name: &str) -> Result<Self> {
        static OPENED: AtomicU32 = AtomicU32::new(0);
        // Between its creation and its locking a home looks abandoned; this lock closes the gap.
        let _alone = lock_file(&root.join(LOCK), FlockArg::LockExclusive)?;
        delete_abandoned(root)?;

        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("{name}-{}-{number}", std::process::id()));
        fs::create_dir(&path).map_err(Error::io("create", &path))?;
        let lock = lock_file(&path.join(LOCK), FlockArg::LockExclusiveNonblock)?;
        Self::keep(path, Fate::Delete, lock)
    }

    fn keep(path: PathBuf, fate: Fate, lock: Flock<File>) -> Result<Self> {
        fs::set_permissions(&path, Permissions::from_mode(0o755))
            .map_err(Error::io("open up", &path))?;
        let shared = lock.try_clone().map_err(Error::io("share the lock of", &path))?;
        let mut keeper = spawn_keeper(&path, fate, Stdio::piped(), shared.into())?;
        let pipe = keeper.stdin.take();
        Ok(Self { path, fate, keeper, pipe, _lock: lock })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.pipe = None;
        // A keeper that cannot be waited for has nobody to tell; the next start looks again.
        self.keeper.wait().ok();
    }
}

fn spawn_keeper(path: &Path, fate: Fate, stdin: Stdio, stdout: Stdio) -> Result<Child> {
    let fate = match fate {
        Fate::Delete => "delete",
        Fate::Keep => "keep",
    };
    Command::new("/bin/sh")
        .args(["-c", KEEPER, "keeper"])
        .arg(path)
        .arg(fate)
        // A working directory inside the home would make the keeper kill itself.
        .current_dir("/")
        // Ctrl-C reaches the whole foreground group; the keeper has to outlive the owner.
        .process_group(0)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(Stdio::null())
        .spawn()
        .map_err(Error::io("start the keeper of", path))
}

/// `$TMPDIR`, or else `/var/tmp`: on many systems `/tmp` is memory, where fsync costs nothing.
fn root() -> Result<PathBuf> {
    let parent =
        std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    let parent = parent.canonicalize().map_err(Error::io("resolve", &parent))?;
    let uid = nix::unistd::getuid();
    let root = parent.join(format!("tidegate-stack-{uid}"));
    match fs::create_dir(&root) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => created.map_err(Error::io("create", &root))?,
    }
    // Everybody may write to the parent, and the name is no secret.
    let metadata = fs::symlink_metadata(&root).map_err(Error::io("look at", &root))?;
    if !metadata.is_dir() || metadata.uid() != uid.as_raw() {
        return Err(Error::NotOwned { folder: root });
    }
    fs::set_permissions(&root, Permissions::from_mode(0o755))
        .map_err(Error::io("open up", &root))?;
    Ok(root)
}

fn lock_file(path: &Path, how: FlockArg) -> Result<Flock<File>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(Error::io("open", path))?;
    Flock::lock(file, how).map_err(|(_, errno)| Error::Io {
        action: "lock (does another stack use it?)",
        path: path.into(),
        source: errno.into(),
    })
}

/// Homes are abandoned when the keeper was killed as well as the owner.
fn delete_abandoned(root: &Path) -> Result<()> {
    for entry in fs::read_dir(root).map_err(Error::io("list", root))? {
        let path = entry.map_err(Error::io("list", root))?.path();
        if !path.is_dir() {
            continue;
        }
        // Its own keeper may be deleting it at this moment, which is as good.
        let Ok(_lock) = lock_file(&path.join(LOCK), FlockArg::LockExclusiveNonblock) else {
            continue;
        };
        let mut keeper = spawn_keeper(&path, Fate::Delete, Stdio::null(), Stdio::null())?;
        keeper.wait().map_err(Error::io("wait for the keeper of", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path) -> Child {
        Command::new("sleep").arg("600").current_dir(folder).spawn().unwrap()
    }

    #[test]
    fn a_dropped_home_takes_its_processes_and_files_with_it() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::open_temporary_in(root.path(), "test").unwrap();
        let path = home.path().to_owned();
        fs::create_dir(path.join("below")).unwrap();
        let mut sleepers = [sleeper(&path), sleeper(&path.join("below"))];
        let mut bystander = sleeper(root.path());

        drop(home);

        assert!(!path.exists());
        assert!(sleepers.iter_mut().all(|sleeper| sleeper.try_wait().unwrap().is_some()));
        assert!(bystander.try_wait().unwrap().is_none());
        bystander.kill().unwrap();
        bystander.wait().unwrap();
    }

    #[test]
    fn the_next_start_deletes_the_home_whose_owner_and_keeper_were_both_killed() {
        let root = tempfile::tempdir().unwrap();
        let mut home = Home::open_temporary_in(root.path(), "test").unwrap();
        let path = home.path().to_owned();
        let mut sleeper = sleeper(&path);
        home.keeper.kill().unwrap();
        home.keeper.wait().unwrap();

        let other = Home::open_temporary_in(root.path(), "test").unwrap();
        assert!(path.exists(), "its owner still holds it");
        drop(home);
        assert!(path.exists(), "nobody was left to delete it");

        let next = Home::open_temporary_in(root.path(), "test").unwrap();
        assert!(!path.exists());
        assert!(sleeper.try_wait().unwrap().is_some());
        assert!(other.path().exists() && next.path().exists());
    }

    #[test]
    fn a_given_folder_is_kept_and_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open("test", Some(folder.path())).unwrap();
        let mut sleeper = sleeper(folder.path());
        assert!(Home::open("test", Some(folder.path())).is_err());

        drop(home);

        assert!(sleeper.try_wait().unwrap().is_some());
        assert!(folder.path().exists());
        drop(Home::open("test", Some(folder.path())).unwrap());
    }
}

//! A file system of limited size inside a server's home, so that a disk can be full.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    unistd::User,
};

use crate::{Error, Result};

/// Below a home: the keeper unmounts whatever is mounted in this folder.
const FOLDER: &str = "disks";
const BALLAST: &str = "ballast";
/// The size of a page, the least that a tmpfs gives to a file.
const PIECE_BYTES: usize = 4096;

/// A tmpfs in a server's home. It ends with the home, and what was on it too, also where the home's
/// folder stays.
#[derive(Clone, Debug)]
pub struct Disk {
    mounted: PathBuf,
}

impl Disk {
    /// Mounts a disk of `bytes` for `owner`, or for this process's own user.
    pub(crate) fn mount(home: &Path, name: &str, bytes: u64, owner: Option<&User>) -> Result<Self> {
        let disk = Self { mounted: home.join(FOLDER).join(name) };
        fs::create_dir_all(&disk.mounted).map_err(Error::io("create", &disk.mounted))?;
        let (uid, gid) = owner.map_or_else(
            || (nix::unistd::getuid(), nix::unistd::getgid()),
            |user| (user.uid, user.gid),
        );
        let options = format!("size={bytes},mode=0700,uid={uid},gid={gid}");
        mount(
            Some("tmpfs"),
            &disk.mounted,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some(options.as_str()),
        )
        .map_err(|source| Error::NotMounted { path: disk.mounted.clone(), source })?;
        Ok(disk)
    }

    /// The disks that are mounted in a home.
    pub(crate) fn all_in(home: &Path) -> Result<Vec<Self>> {
        let folder = home.join(FOLDER);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Error::io("list", &folder))?,
        };
        entries
            .map(|entry| {
                let mounted = entry.map_err(Error::io("list", &folder))?.path();
                Ok(Self { mounted })
            })
            .collect()
    }

    pub fn path(&self) -> &Path {
        &self.mounted
    }

    pub(crate) fn name(&self) -> String {
        self.mounted.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(crate) fn size_bytes(&self) -> Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.mounted)
            .map_err(|errno| Error::io("look at", &self.mounted)(errno.into()))?;
        Ok(stat.blocks() * stat.fragment_size())
    }

    /// Takes all the space that is left.
    pub fn fill(&self) -> Result<()> {
        let path = self.mounted.join(BALLAST);
        let mut ballast = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(Error::io("create", &path))?;
        loop {
            match ballast.write_all(&[0; PIECE_BYTES]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(Error::io("fill", &path)(error)),
            }
        }
    }

    /// Gives back what [`Self::fill`] took.
    pub fn free(&self) -> Result<()> {
        let path = self.mounted.join(BALLAST);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(Error::io("delete", &path)),
        }
    }
}

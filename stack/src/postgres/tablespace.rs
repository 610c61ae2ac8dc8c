//! Tablespaces on disks of their own, which can be full while the log's disk is not.

use super::Postgres;
use crate::{Disk, Result};

impl Postgres {
    /// Creates a tablespace on a new disk of `bytes`, in memory. Needs root. What is in it is gone
    /// when this server is dropped.
    pub fn create_tablespace(&self, name: &str, bytes: u64) -> Result<Disk> {
        let disk = Disk::mount(self.home.path(), name, bytes, self.install.user())?;
        let location = disk.path().display();
        self.execute(&format!("CREATE TABLESPACE \"{name}\" LOCATION '{location}'"))?;
        Ok(disk)
    }

    /// The disk under a tablespace; a standby has one of its own under the same name.
    pub fn disk(&self, tablespace: &str) -> Result<Option<Disk>> {
        let disks = Disk::all_in(self.home.path())?;
        Ok(disks.into_iter().find(|disk| disk.name() == tablespace))
    }
}

//! One running `tidegate`: its process and what its admin server says.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use serde_json::Value;
use stack::Program;

use crate::error::Error;

/// Short, as one that is frozen does not answer.
const HTTP_LIMIT: Duration = Duration::from_secs(2);
const CONFIG: &str = include_str!("tidegate.toml");
/// In the configuration.
pub(crate) const GROUP: &str = "torture";

/// What it takes to start instances.
#[derive(Debug)]
pub(crate) struct Launch {
    tidegate: PathBuf,
    config: PathBuf,
    brokers: String,
    url: String,
    /// Where logs and the configuration stay.
    logs: PathBuf,
    started: AtomicU32,
}

impl Launch {
    /// Finds the `tidegate` that was built along with this program, and empties `logs`.
    pub(crate) fn prepare(logs: &Path, brokers: String, url: String) -> Result<Self, Error> {
        let me = env::current_exe().map_err(Error::io("find my own program file", "."))?;
        let tidegate = me.with_file_name("tidegate");
        if !tidegate.exists() {
            return Err(Error::NotBuilt { path: tidegate });
        }
        if logs.exists() {
            fs::remove_dir_all(logs).map_err(Error::io("empty", logs))?;
        }
        fs::create_dir_all(logs).map_err(Error::io("create", logs))?;
        let logs = logs.canonicalize().map_err(Error::io("resolve", logs))?;
        let config = logs.join("tidegate.toml");
        fs::write(&config, CONFIG).map_err(Error::io("write", &config))?;
        Ok(Self { tidegate, config, brokers, url, logs, started: AtomicU32::new(0) })
    }

    /// Starts one whose admin server listens on `port`.
    pub(crate) fn start(&self, port: u16) -> Result<Instance, Error> {
        let number = self.started.fetch_add(1, Relaxed) + 1;
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(&self.tidegate);
        command
            .args(["run", "--config"])
            .arg(&self.config)
            .args(["--set", &format!("admin.listen={address}")])
            .env("KAFKA_BROKERS", &self.brokers)
            .env("DATABASE_URL", &self.url);
        let program = Program::start("tidegate", command)?;
        let log = self.logs.join(format!("tidegate-{number}.log"));
        Ok(Instance { number, program, address, log })
    }
}

#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) number: u32,
    program: Program,
    address: String,
    /// Where its log stays.
    log: PathBuf,
}

impl Instance {
    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    /// How it ended, if nobody here ended it.
    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        self.program.exit_status()
    }

    /// What `/status` says; nothing while it does not answer.
    pub(crate) fn status(&self) -> Option<Value> {
        match stack::http_get(&self.address, "/status", HTTP_LIMIT) {
            Ok((200, body)) => serde_json::from_str(&body).ok(),
            _ => None,
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Its own folder goes with it. A log that cannot be kept is missed by a reader alone.
        fs::copy(self.program.log(), &self.log).ok();
    }
}

/// Lanes of a status that break the law consumed = written + coalesced + filtered +
/// dead-lettered + in flight, and those
/// with something in flight.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lanes {
    pub(crate) unbalanced: Vec<String>,
    pub(crate) in_flight: usize,
}

impl Lanes {
    pub(crate) fn of(status: &Value) -> Self {
        let mut found = Self::default();
        let lanes = status.get("lanes").and_then(Value::as_array);
        for lane in lanes.into_iter().flatten() {
            let count = |key: &str| lane.get(key).and_then(Value::as_u64);
            let parts =
                ["written", "coalesced", "filtered", "dead_lettered", "in_flight"].map(count);
            let sum: Option<u64> = parts.into_iter().sum();
            if sum.is_none() || sum != count("consumed") {
                found.unbalanced.push(lane.to_string());
            } else {
                found.in_flight += usize::from(count("in_flight") > Some(0));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(consumed: u64, written: u64, dead_lettered: u64, in_flight: u64) -> Value {
        serde_json::json!({"consumed": consumed, "written": written, "coalesced": 0, "filtered": 0,
                           "dead_lettered": dead_lettered, "in_flight": in_flight})
    }

    #[test]
    fn a_lane_with_a_record_too_few_or_too_many_is_unbalanced() {
        let lanes = [lane(10, 5, 2, 3), lane(10, 5, 2, 2), lane(10, 9, 1, 1), lane(0, 0, 0, 0)];
        let found = Lanes::of(&serde_json::json!({ "lanes": lanes }));
        assert_eq!(found.unbalanced, [lanes[1].to_string(), lanes[2].to_string()]);
        assert_eq!(found.in_flight, 1);
        let nameless = Lanes::of(&serde_json::json!({"lanes": [{"consumed": 0}]}));
        assert_eq!(nameless.unbalanced.len(), 1);
    }
}

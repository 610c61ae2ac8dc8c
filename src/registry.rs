//! A schema registry: schemas by their number, over Confluent's protocol.
//!
//! What a number stands for never changes, so a schema that was found is kept for ever. A registry
//! that does not answer is an outage: whoever asks waits and asks again, and nothing is refused
//! for it.

mod client;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::config::RegistrySettings;
use client::{Client, Fault};

/// How long a number that the registry does not know is not asked for again: it may be a follower
/// that lags, and it may be poison of which every record names it.
const UNKNOWN_MAX_AGE: Duration = Duration::from_secs(10);
/// How often the warning about one and the same outage is repeated.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// A schema as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// `AVRO`, `PROTOBUF` or `JSON`.
    pub kind: String,
    /// In the language of its kind.
    pub text: String,
    /// What it refers to, directly or not: what is referred to comes first.
    pub references: Vec<Reference>,
}

/// A schema that another one refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The name that is used for it: a type, or a file to import.
    pub name: String,
    /// In the language of its kind.
    pub text: String,
}

/// What was found under a number.
#[derive(Clone, Debug)]
pub enum Found {
    /// This.
    Schema(Arc<Schema>),
    /// Nothing, in the registry's words.
    Nothing(String),
}

/// The registry does not answer, or not as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away(pub String);

/// One registry, shared by all that ask it.
pub struct Registry {
    settings: RegistrySettings,
    schemas: Mutex<HashMap<u32, Arc<Schema>>>,
    unknown: Mutex<HashMap<u32, (Instant, String)>>,
    /// One request at a time: a topic's partitions meet a new schema all at once.
    turn: Mutex<Turn>,
    outage: Mutex<Option<Outage>>,
}

#[derive(Default)]
struct Turn {
    client: Option<Client>,
    /// When the last request failed, and how.
    failed: Option<(Instant, Away)>,
}

#[derive(Clone, Debug)]
struct Outage {
    since: Instant,
    warned: Instant,
    message: String,
}

impl Registry {
    /// A registry that is asked nothing yet.
    pub fn new(settings: RegistrySettings) -> Self {
        Self {
            settings,
            schemas: Mutex::default(),
            unknown: Mutex::default(),
            turn: Mutex::default(),
            outage: Mutex::default(),
        }
    }

    /// Where it is, and what is needed to ask.
    pub fn settings(&self) -> &RegistrySettings {
        &self.settings
    }

    /// The schema with this number. May block for as long as two requests take, which is less than
    /// any watchdog's patience.
    ///
    /// # Errors
    /// When the registry does not answer: to be tried again, for ever.
    pub fn find(&self, id: u32) -> Result<Found, Away> {
        if let Some(found) = self.known(id) {
            return Ok(found);
        }
        let asked = Instant::now();
        let mut turn = lock(&self.turn);
        // Whoever had the turn before may have asked the same, or have found nobody there.
        if let Some(found) = self.known(id) {
            return Ok(found);
        }
        if let Some((at, away)) = &turn.failed
            && *at >= asked
        {
            return Err(away.clone());
        }
        let answer = self.ask(&mut turn, id);
        match answer {
            Ok(schema) => {
                let schema = Arc::new(schema);
                lock(&self.schemas).insert(id, Arc::clone(&schema));
                self.recovered();
                Ok(Found::Schema(schema))
            }
            Err(Fault::Unknown(message)) => {
                lock(&self.unknown).insert(id, (Instant::now(), message.clone()));
                self.recovered();
                Ok(Found::Nothing(message))
            }
            Err(Fault::Away(message)) => {
                let away = Away(format!("registry {}: {message}", self.settings.name));
                turn.failed = Some((Instant::now(), away.clone()));
                self.degraded(&away);
                Err(away)
            }
        }
    }

    /// Since when the registry has not answered, and why.
    pub fn outage(&self) -> Option<(Instant, String)> {
        lock(&self.outage).clone().map(|outage| (outage.since, outage.message))
    }

    fn ask(&self, turn: &mut Turn, id: u32) -> Result<Schema, Fault> {
        let client = match &mut turn.client {
            Some(client) => client,
            none => none.insert(Client::new(&self.settings)?),
        };
        client.schema(id)
    }

    fn known(&self, id: u32) -> Option<Found> {
        if let Some(schema) = lock(&self.schemas).get(&id) {
            return Some(Found::Schema(Arc::clone(schema)));
        }
        let mut unknown = lock(&self.unknown);
        unknown.retain(|_, (at, _)| at.elapsed() < UNKNOWN_MAX_AGE);
        unknown.get(&id).map(|(_, message)| Found::Nothing(message.clone()))
    }

    fn degraded(&self, away: &Away) {
        let now = Instant::now();
        let mut outage = lock(&self.outage);
        let outage = outage.get_or_insert_with(|| Outage {
            since: now,
            warned: now - WARNING_INTERVAL,
            message: String::new(),
        });
        outage.message.clone_from(&away.0);
        if now.duration_since(outage.warned) >= WARNING_INTERVAL {
            outage.warned = now;
            tracing::warn!("{}; its records wait", away.0);
        }
    }

    fn recovered(&self) {
        if let Some(outage) = lock(&self.outage).take() {
            let seconds = outage.since.elapsed().as_secs_f64();
            tracing::info!("registry {} is back after {seconds:.1} s", self.settings.name);
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl PartialEq for Registry {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Eq for Registry {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

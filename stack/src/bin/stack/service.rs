//! What an order is for: Postgres, all brokers, or one of them.

use std::{fmt, str::FromStr};

use stack::{Broker, Kafka, Postgres, Result, StopMode};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Postgres,
    Kafka,
    Broker(i32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Start,
    Stop,
    Kill,
    Suspend,
    Resume,
}

impl Service {
    pub(crate) fn act(self, act: Act, kafka: &Kafka, postgres: &Postgres) -> Result<()> {
        match (self, act) {
            (Self::Postgres, Act::Start) => postgres.start_again(),
            (Self::Postgres, Act::Stop) => postgres.stop(StopMode::Fast),
            (Self::Postgres, Act::Kill) => postgres.kill(),
            (Self::Postgres, Act::Suspend) => postgres.suspend(),
            (Self::Postgres, Act::Resume) => postgres.resume(),
            (Self::Kafka, Act::Start) => kafka.start_again(),
            (Self::Kafka, Act::Stop) => kafka.stop(),
            (Self::Kafka, act) => {
                kafka.brokers().iter().try_for_each(|broker| on_broker(act, broker))
            }
            (Self::Broker(id), act) => kafka
                .brokers()
                .iter()
                .filter(|broker| broker.id() == id)
                .try_for_each(|broker| on_broker(act, broker)),
        }
    }

    /// Whether the stack has it; a cluster of one has no `kafka-2`.
    pub(crate) fn is_in(self, kafka: &Kafka) -> bool {
        match self {
            Self::Postgres | Self::Kafka => true,
            Self::Broker(id) => kafka.brokers().iter().any(|broker| broker.id() == id),
        }
    }
}

fn on_broker(act: Act, broker: &Broker) -> Result<()> {
    match act {
        Act::Start => broker.start(),
        Act::Stop => broker.stop(),
        Act::Kill => broker.kill(),
        Act::Suspend => broker.suspend(),
        Act::Resume => broker.resume(),
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres => f.write_str("postgres"),
            Self::Kafka => f.write_str("kafka"),
            Self::Broker(id) => write!(f, "kafka-{id}"),
        }
    }
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let broker = || text.strip_prefix("kafka-")?.parse().ok();
        match text {
            "postgres" => Ok(Self::Postgres),
            "kafka" => Ok(Self::Kafka),
            _ => broker().map(Self::Broker).ok_or_else(|| {
                format!("'{text}' is none of postgres, kafka, kafka-1, kafka-2, kafka-3")
            }),
        }
    }
}

impl FromStr for Act {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "start" => Self::Start,
            "stop" => Self::Stop,
            "kill" => Self::Kill,
            "suspend" => Self::Suspend,
            "resume" => Self::Resume,
            _ => return Err(format!("'{text}' is no order")),
        })
    }
}

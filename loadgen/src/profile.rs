//! What the records look like: everything that, with the seed, decides their bytes.

use crate::fields::Fields;
use crate::partition::HotPartition;

/// What a record's key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Key {
    Customer,
    Order,
    None,
}

/// Where `created_at` comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The first order is created at `start_ms`, each further one `step_us` later.
    Fixed { start_ms: i64, step_us: u64 },
    /// The machine's clock: the only choice that makes the bytes differ from run to run.
    Now,
}

/// The shape of a load.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    pub seed: u64,
    pub partitions: u32,
    /// Id of the first order; new orders count up from here.
    pub start_id: i64,
    pub customers: u64,
    pub key: Key,
    /// Exponent of the power law over customers; 0 is even.
    pub key_skew: f64,
    pub hot_partition: Option<HotPartition>,
    /// Share of records that repeat an earlier order with its next status.
    pub updates: f64,
    /// Share of records that are tombstones.
    pub deletes: f64,
    /// Share of records that cannot become a row.
    pub poison: f64,
    /// How many of the latest orders updates and tombstones choose from.
    pub window: usize,
    /// Share of orders whose `created_at` lies in the past, by up to `late_by_ms`.
    pub late: f64,
    pub late_by_ms: u64,
    /// Record size that `note` is padded to; `None` leaves notes as they are.
    pub size_bytes: Option<usize>,
    pub fields: Fields,
    pub clock: Clock,
}

impl Default for Profile {
    fn default() -> Self {
        Profile {
            seed: 1,
            partitions: 8,
            start_id: 0,
            customers: 200_000,
            key: Key::Customer,
            key_skew: 0.0,
            hot_partition: None,
            updates: 0.0,
            deletes: 0.0,
            poison: 0.0,
            window: 1_000_000,
            late: 0.0,
            late_by_ms: 7_200_000,
            size_bytes: None,
            fields: Fields::Order,
            // 2026-01-01T00:00:00Z, then a thousand orders a second.
            clock: Clock::Fixed { start_ms: 1_767_225_600_000, step_us: 1000 },
        }
    }
}

/// Why a profile makes no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProfileError {
    #[error("--{flag} {value} is not a share: give a number from 0 to 1")]
    Share { flag: &'static str, value: f64 },
    #[error(
        "--updates, --deletes and --poison add up to {sum}: leave some share for new orders, below 1"
    )]
    NoNewOrders { sum: f64 },
    #[error("--key-skew {value} is out of range: give a number from 0 (even) to 10")]
    Skew { value: f64 },
    #[error("--{flag} 0 is too small: give 1 or more")]
    Zero { flag: &'static str },
    #[error("--hot-partition {partition} does not exist: the topic has partitions 0 to {last}")]
    HotPartition { partition: u32, last: u32 },
    #[error("--start-id {value} is negative: those ids mark poison records; give 0 or more")]
    StartId { value: i64 },
    #[error("--size {value} is too large: a broker takes records of up to about {MAX_SIZE_BYTES}")]
    Size { value: usize },
}

/// Kafka's default `message.max.bytes` is 1 MiB; this leaves room for the key and the envelope.
const MAX_SIZE_BYTES: usize = 1_000_000;

impl Profile {
    /// Refuses what cannot be generated.
    pub fn validate(&self) -> Result<(), ProfileError> {
        let hot_share = self.hot_partition.map_or(0.0, |hot| hot.share);
        let shares = [
            ("updates", self.updates),
            ("deletes", self.deletes),
            ("poison", self.poison),
            ("late", self.late),
            ("hot-partition", hot_share),
        ];
        for (flag, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return Err(ProfileError::Share { flag, value });
            }
        }
        let sum = self.updates + self.deletes + self.poison;
        // Poison alone may be all there is; updates and tombstones need orders to refer to.
        if sum > 1.0 || (sum == 1.0 && self.poison < 1.0) {
            return Err(ProfileError::NoNewOrders { sum });
        }
        if !(0.0..=10.0).contains(&self.key_skew) {
            return Err(ProfileError::Skew { value: self.key_skew });
        }
        let counts = [
            ("partitions", u64::from(self.partitions)),
            ("customers", self.customers),
            ("window", self.window as u64),
        ];
        if let Some((flag, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(ProfileError::Zero { flag });
        }
        if let Some(hot) = self.hot_partition.filter(|hot| hot.partition >= self.partitions) {
            let last = self.partitions - 1;
            return Err(ProfileError::HotPartition { partition: hot.partition, last });
        }
        if self.start_id < 0 {
            return Err(ProfileError::StartId { value: self.start_id });
        }
        if let Some(value) = self.size_bytes.filter(|&size| size > MAX_SIZE_BYTES) {
            return Err(ProfileError::Size { value });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_profile_is_valid() {
        assert_eq!(Profile::default().validate(), Ok(()));
    }

    #[test]
    fn a_profile_without_new_orders_is_refused() {
        let profile = Profile { updates: 0.6, deletes: 0.4, ..Profile::default() };
        assert_eq!(profile.validate(), Err(ProfileError::NoNewOrders { sum: 1.0 }));
        let profile = Profile { poison: 1.0, ..Profile::default() };
        assert_eq!(profile.validate(), Ok(()));
    }

    #[test]
    fn an_error_names_the_flag_and_the_value() {
        let profile = Profile { late: -0.5, ..Profile::default() };
        let text = profile.validate().unwrap_err().to_string();
        assert!(text.contains("--late -0.5"), "{text}");
        let hot_partition = Some(HotPartition { partition: 8, share: 0.5 });
        let profile = Profile { hot_partition, ..Profile::default() };
        let text = profile.validate().unwrap_err().to_string();
        assert!(text.contains("--hot-partition 8") && text.contains("0 to 7"), "{text}");
    }
}

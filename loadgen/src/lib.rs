//! Orders of an online shop for Kafka, as many and as fast as asked, and a ledger of them.
//!
//! [`Orders`] plans a stream of events that only seed and [`Profile`] decide, [`Renderer`] turns
//! an event into the bytes of a [`Record`], [`Load`] writes a stream to Kafka, and [`Ledger`] says
//! what each partition got, so that a checker can tell whether all of it arrived somewhere else.
//! [`FindLimit`] runs one load after the other, until it knows the highest rate that is kept up with.

mod cents;
pub mod chart;
pub mod cli;
mod counts;
mod delivery;
mod digits;
pub mod dry_run;
mod error;
mod fields;
mod finish_line;
mod instant;
mod ledger;
mod limit;
mod load;
mod orders;
mod partition;
mod poison;
mod profile;
mod progress;
mod random;
mod record;
mod topic;
mod window;
mod worker;

pub use cents::{Cents, NotCents};
pub use counts::Counts;
pub use digits::grouped;
pub use error::LoadError;
pub use fields::Fields;
pub use ledger::{Ledger, LedgerError, PartitionEntry, Tally};
pub use limit::{Bottleneck, FindLimit, Finding, LimitReport, Step};
pub use load::{Load, Report};
pub use orders::{Event, Orders};
pub use partition::HotPartition;
pub use poison::Poison;
pub use profile::{Clock, Key, Profile, ProfileError};
pub use record::{Record, Renderer};

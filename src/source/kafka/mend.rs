//! Lanes that were lost while their partitions are still this member's: claimed again, or left.
//!
//! - The database went back in time (a fail-over to a standby that lagged, a restore): the rows and the
//!   checkpoint went back together, so what follows the checkpoint is read again.
//! - Another owner claimed the lane, yet the group still counts this member: then that owner was not
//!   there by right (a static member's predecessor that woke up), and the lane is claimed back, once.
//!   If it is lost again, two deployments share a name.
//! - A row was refused whose record was not kept: it is read again, from the checkpoint on, and kept.
//! - Another owner claimed it and is of a later generation of the group: this member has slept, and
//!   the group is about to tell it so.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;

use super::{
    assignment::{Pending, Purpose},
    member,
    poller::Poller,
    position::{PartitionKey, Starts},
};
use crate::{
    error::{Error, ErrorKind},
    lane::Loss,
    metrics,
};

/// How long a partition may be this member's for the group and another's for the sink: longer than
/// the group needs to find out by itself that this member was gone (session.timeout.ms).
const STRAY_MAX: Duration = Duration::from_secs(60);
/// How long the client may take to turn to another offset.
const SEEK_MAX: Duration = Duration::from_secs(5);

impl Poller {
    /// Claims lost lanes again.
    pub(super) fn mend(&mut self) -> Result<(), Error> {
        if let Some((key, since)) = self.assignment.oldest_stray()
            && since.elapsed() >= STRAY_MAX
        {
            return Err(self.contested(key));
        }
        let lost = self.assignment.lost();
        for loss in [Loss::Regressed, Loss::Fenced, Loss::NotKept] {
            let of_kind = lost.iter().filter(|(_, kind)| *kind == loss);
            let keys: Vec<PartitionKey> = of_kind.map(|(key, _)| key.clone()).collect();
            if !keys.is_empty() {
                self.claim_again(keys, loss)?;
            }
        }
        Ok(())
    }

    fn claim_again(&mut self, keys: Vec<PartitionKey>, loss: Loss) -> Result<(), Error> {
        let is_recent = |key: &&PartitionKey| {
            self.reclaimed_at.get(*key).is_some_and(|at| at.elapsed() < STRAY_MAX)
        };
        if loss == Loss::Fenced
            && let Some(key) = keys.iter().find(is_recent)
        {
            return Err(self.contested(key));
        }
        metrics::regressed(self.assignment.lost_lanes(&keys, Loss::Regressed));
        tracing::warn!(partitions = keys.len(), "claiming again the lanes that were lost: {loss}");
        if loss == Loss::NotKept {
            // It is this process that fences the other lanes of these partitions.
            self.assignment.lose(&keys, loss);
        }
        self.assignment.release(&keys, &self.context.status);
        let generation = member::generation(&self.consumer);
        self.find(keys, generation, Purpose::Resume(loss))
    }

    /// The lanes are claimed again: goes on where they stand. The partitions stay assigned; where
    /// the client fetches, a seek outdates what it has fetched already (rd_kafka_toppar_op_version_bump).
    pub(super) fn resume(
        &mut self,
        pending: &Pending,
        starts: Starts,
        loss: Loss,
    ) -> Result<(), Error> {
        let (positions, readers) = self.open(pending, starts)?;
        if !readers.is_empty() {
            if self.fetcher.is_none() {
                // A restart finds the same positions.
                let failed = |error| Error::new(ErrorKind::Temporary, self.broken(&error).message);
                let turned = self.consumer.seek_partitions(positions, SEEK_MAX).map_err(failed)?;
                turned.elements().iter().try_for_each(|element| element.error().map_err(failed))?;
            }
            if loss == Loss::Fenced {
                let now = Instant::now();
                self.reclaimed_at.extend(readers.iter().map(|(key, ..)| (key.clone(), now)));
            }
            self.start(readers)?;
        }
        self.tell_state();
        Ok(())
    }

    fn contested(&self, (topic, partition): &PartitionKey) -> Error {
        let group = &self.group.name;
        Error::new(
            ErrorKind::Temporary,
            format!(
                "{topic}[{partition}]: another process has claimed its lanes, but group {group} still \
                 counts the partition as ours; do two deployments write to the same table in the name \
                 of {group}?"
            ),
        )
    }
}

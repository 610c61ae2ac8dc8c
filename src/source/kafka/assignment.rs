//! The partitions that this member owns: those that are read, and those that wait for positions.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Instant,
};

use rdkafka::{Offset, TopicPartitionList, error::KafkaError};

use super::position::PartitionKey;
use crate::{
    batch::Trigger,
    lane::{Lane, Loss},
    status::Status,
    stop::Stop,
};

/// How long after its deadline a thread may still be on its way out.
const JOIN_MARGIN: std::time::Duration = std::time::Duration::from_secs(1);

/// A partition that is being read.
pub(super) struct Owned {
    pub(super) lanes: Vec<Arc<Lane>>,
    pub(super) stop: Arc<Stop>,
    pub(super) thread: JoinHandle<()>,
}

impl Owned {
    /// The next offset that is durable in every target.
    fn frontier(&self) -> Option<i64> {
        self.lanes.iter().map(|lane| lane.durable()).min()
    }
}

/// Partitions whose positions are being found.
pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) purpose: Purpose,
    pub(super) partitions: BTreeSet<PartitionKey>,
    pub(super) cancelled: Arc<AtomicBool>,
    pub(super) thread: JoinHandle<()>,
}

/// What the positions are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A new assignment: the group waits for the assign call meanwhile.
    Assign,
    /// To go on with partitions that are assigned, after a lane of theirs was lost.
    Resume(Loss),
}

/// What this member owns. One assignment of a partition is one [`Owned`], with lanes of its own: an
/// answer to an earlier one finds its own lanes and moves nothing here.
#[derive(Default)]
pub(super) struct Assignment {
    owned: BTreeMap<PartitionKey, Owned>,
    pub(super) pending: Vec<Pending>,
    /// Assigned, but not read, since then: another member has claimed their lanes.
    strays: BTreeMap<PartitionKey, Instant>,
}

impl Assignment {
    pub(super) fn insert(&mut self, key: PartitionKey, owned: Owned) {
        self.strays.remove(&key);
        self.owned.insert(key, owned);
    }

    pub(super) fn len(&self) -> usize {
        self.owned.len()
    }

    pub(super) fn keys(&self) -> Vec<PartitionKey> {
        let pending = self.pending.iter().flat_map(|pending| pending.partitions.iter());
        self.owned.keys().chain(pending).cloned().collect()
    }

    /// Partitions of which a lane was lost, and whose thread has ended for it.
    pub(super) fn lost(&self) -> Vec<(PartitionKey, Loss)> {
        let loss = |owned: &Owned| owned.lanes.iter().find_map(|lane| lane.loss());
        let ended = self.owned.iter().filter(|(_, owned)| owned.thread.is_finished());
        ended.filter_map(|(key, owned)| Some((key.clone(), loss(owned)?))).collect()
    }

    /// So many lanes of these partitions have been lost in that way.
    pub(super) fn lost_lanes(&self, keys: &[PartitionKey], loss: Loss) -> usize {
        self.lanes_of(keys).filter(|lane| lane.loss() == Some(loss)).count()
    }

    fn lanes_of(&self, keys: &[PartitionKey]) -> impl Iterator<Item = &Arc<Lane>> {
        keys.iter().filter_map(|key| self.owned.get(key)).flat_map(|owned| &owned.lanes)
    }

    /// All lanes of these partitions are lost in that way.
    pub(super) fn lose(&self, keys: &[PartitionKey], loss: Loss) {
        self.lanes_of(keys).for_each(|lane| lane.lose(loss));
    }

    /// Another member has claimed the lanes of this partition.
    pub(super) fn stray(&mut self, key: PartitionKey) {
        self.strays.entry(key).or_insert_with(Instant::now);
    }

    /// The partition that has been assigned, but another's, for the longest time.
    pub(super) fn oldest_stray(&self) -> Option<(&PartitionKey, Instant)> {
        self.strays.iter().map(|(key, since)| (key, *since)).min_by_key(|(_, since)| *since)
    }

    /// A new assignment is to be made: one that is still being prepared is not waited for any more.
    /// In the eager protocol a member that was lost while it prepared joins again without a
    /// revocation (rd_kafka_cgrp_revoke_all_rejoin), and an assignment replaces the one before.
    pub(super) fn supersede(&mut self, is_eager: bool) {
        if is_eager {
            self.strays.clear();
        }
        for pending in self.pending.iter_mut().filter(|p| p.purpose == Purpose::Assign) {
            pending.partitions.clear();
            pending.cancelled.store(true, Relaxed);
        }
    }

    /// The frontiers of all partitions.
    pub(super) fn frontiers(&self) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), owned) in &self.owned {
            if let Some(frontier) = owned.frontier() {
                list.add_partition_offset(topic, *partition, Offset::Offset(frontier))?;
            }
        }
        Ok(list)
    }

    /// Tells the threads of `keys` to drain, and to be gone by `deadline`. Partitions that still
    /// wait for their positions are forgotten.
    pub(super) fn stop(&mut self, keys: &[PartitionKey], trigger: Trigger, deadline: Instant) {
        for key in keys {
            self.strays.remove(key);
            if let Some(owned) = self.owned.get(key) {
                owned.stop.request(trigger, deadline);
            }
            for pending in &mut self.pending {
                pending.partitions.remove(key);
                if pending.partitions.is_empty() {
                    pending.cancelled.store(true, Relaxed);
                }
            }
        }
    }

    /// Waits until the threads of `keys` are gone. They keep to their deadline; one that does not
    /// has its lanes cancelled.
    pub(super) fn join(
        &mut self,
        keys: &[PartitionKey],
        deadline: Instant,
        mut beat: impl FnMut(),
    ) {
        for key in keys {
            if let Some(owned) = self.owned.get_mut(key) {
                while !owned.thread.is_finished() {
                    beat();
                    if Instant::now() >= deadline + JOIN_MARGIN {
                        owned.lanes.iter().for_each(|lane| lane.cancel());
                    }
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            }
        }
    }

    /// Lets go of `keys`. A batch that is still with the writers is not written any more, unless
    /// its transaction is under way: then the checkpoint decides.
    pub(super) fn release(&mut self, keys: &[PartitionKey], status: &Status) {
        for key in keys {
            if let Some(owned) = self.owned.remove(key) {
                for lane in &owned.lanes {
                    lane.cancel();
                    status.remove_lane(lane);
                }
            }
        }
    }

    /// Takes the pending entry `number`, if it was not cancelled.
    pub(super) fn take_pending(&mut self, number: u64) -> Option<Pending> {
        let index = self.pending.iter().position(|pending| pending.number == number)?;
        let pending = self.pending.swap_remove(index);
        (!pending.partitions.is_empty()).then_some(pending)
    }
}

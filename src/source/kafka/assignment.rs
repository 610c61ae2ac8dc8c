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
use crate::{batch::Trigger, lane::Lane, partition::Stop, status::Status};

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

/// Partitions whose positions are being found; the group waits for the assign call meanwhile.
pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) partitions: BTreeSet<PartitionKey>,
    pub(super) cancelled: Arc<AtomicBool>,
    pub(super) thread: JoinHandle<()>,
}

/// What this member owns. One assignment of a partition is one [`Owned`], with lanes of its own: an
/// answer to an earlier one finds its own lanes and moves nothing here.
#[derive(Default)]
pub(super) struct Assignment {
    owned: BTreeMap<PartitionKey, Owned>,
    pub(super) pending: Vec<Pending>,
}

impl Assignment {
    pub(super) fn insert(&mut self, key: PartitionKey, owned: Owned) {
        self.owned.insert(key, owned);
    }

    pub(super) fn len(&self) -> usize {
        self.owned.len()
    }

    pub(super) fn keys(&self) -> Vec<PartitionKey> {
        let pending = self.pending.iter().flat_map(|pending| pending.partitions.iter());
        self.owned.keys().chain(pending).cloned().collect()
    }

    /// Whether a lane was taken over by another owner, since when this member reads it in vain.
    pub(super) fn fenced(&self) -> Option<&Arc<Lane>> {
        self.owned.values().flat_map(|owned| &owned.lanes).find(|lane| lane.is_fenced())
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

//! Compares the lanes with their checkpoints now and then.
//!
//! A lane that writes finds out by itself that it is not the owner any more, or that its database has
//! gone back in time (a fail-over to a standby that lagged, a restore). One that has nothing to write
//! would not, and what the database has lost would be missing until the next record comes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    lane::{Claim, Lane, Loss},
    route::Route,
    sink::{Checkpoints, Standing},
    status::Status,
    watchdog::Heart,
};

const INTERVAL: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Audit {
    pub(super) routes: Vec<Arc<Route>>,
    pub(super) status: Arc<Status>,
    pub(super) ended: Arc<AtomicBool>,
}

impl Audit {
    pub(super) fn run(self, heart: &Heart) {
        while !self.ended.load(Relaxed) {
            let mut waited = Duration::ZERO;
            while waited < INTERVAL && !self.ended.load(Relaxed) {
                heart.beat();
                std::thread::sleep(PAUSE);
                waited += PAUSE;
            }
            let lanes = self.status.lanes();
            for target in self.routes.iter().flat_map(|route| &route.targets) {
                heart.beat();
                let Some(checkpoints) = target.target.checkpoints() else { continue };
                let of_target = lanes.iter().filter(|lane| lane.key.target == target.name);
                look(checkpoints, of_target);
            }
        }
    }
}

fn look<'a>(checkpoints: &dyn Checkpoints, lanes: impl Iterator<Item = &'a Arc<Lane>>) {
    // What is durable is read first: the checkpoint may move on meanwhile, never back.
    let lanes: Vec<(&Lane, Claim, i64)> = lanes
        .filter(|lane| !lane.is_closed())
        .filter_map(|lane| Some((&**lane, lane.claim?, lane.durable())))
        .collect();
    if lanes.is_empty() {
        return;
    }
    let claims: Vec<Claim> = lanes.iter().map(|(_, claim, _)| *claim).collect();
    let standings = match checkpoints.read(&claims) {
        Ok(standings) => standings,
        // Whoever writes reports it.
        Err(error) => return tracing::debug!("checkpoints not compared: {error:?}"),
    };
    for ((lane, claim, durable), standing) in lanes.into_iter().zip(standings) {
        let Some(loss) = standing.and_then(|standing| judge(standing, claim, durable)) else {
            continue;
        };
        tracing::warn!(
            topic = &*lane.key.topic,
            partition = lane.key.partition,
            target = &*lane.key.target,
            "{loss}"
        );
        lane.lose(loss);
    }
}

/// What a checkpoint says of a lane that had written up to `durable`.
fn judge(standing: Standing, claim: Claim, durable: i64) -> Option<Loss> {
    if standing.epoch > claim.epoch {
        return Some(Loss::Fenced);
    }
    let is_back = standing.epoch < claim.epoch || standing.next_offset < durable;
    is_back.then_some(Loss::Regressed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_checkpoint_that_moved_on_belongs_to_a_lane() {
        let claim = Claim { checkpoint_id: 1, epoch: 5 };
        let judged = |next_offset, epoch| judge(Standing { next_offset, epoch }, claim, 100);
        assert_eq!(judged(100, 5), None);
        assert_eq!(judged(120, 5), None);
        assert_eq!(judged(120, 6), Some(Loss::Fenced));
        assert_eq!(judged(99, 5), Some(Loss::Regressed));
        assert_eq!(judged(100, 4), Some(Loss::Regressed));
    }
}

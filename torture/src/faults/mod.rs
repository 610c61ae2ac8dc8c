//! How each fault is injected and cleared.

mod instances;
mod kafka;
mod postgres;

use crate::{
    error::Error, findings::Findings, fleet::Fleet, kind::Place, plan::Planned, servers::Servers,
};

/// What can be struck.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) servers: &'a Servers,
    pub(crate) fleet: &'a Fleet,
    pub(crate) findings: &'a Findings,
}

/// Injects one fault and returns when it is cleared.
pub(crate) fn inject(fault: &mut Planned, scene: Scene<'_>) -> Result<(), Error> {
    // Those of a step do not all begin at the same moment.
    fault.chance.pass(0, 1_000);
    match fault.kind.place() {
        Place::Instances => instances::inject(fault, scene),
        Place::Kafka => kafka::inject(fault, scene),
        Place::Postgres => postgres::inject(fault, scene),
    }
}

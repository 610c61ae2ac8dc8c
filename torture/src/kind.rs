//! The kinds of faults, and where each of them strikes.

use std::fmt;

/// What a fault strikes. Faults of different places may overlap; two of one place would get into
/// each other's way (a stall of a server that is just being stopped).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Instances,
    Kafka,
    Postgres,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Kill,
    Term,
    Zombie,
    Resize,
    Broker,
    Freeze,
    Immediate,
    Backends,
    Stall,
    Cut,
    Commit,
    Throttle,
    Disk,
    Lock,
    Failover,
}

use Kind::*;

impl Kind {
    pub(crate) const ALL: [Self; 15] = [
        Kill, Term, Zombie, Resize, Broker, Freeze, Immediate, Backends, Stall, Cut, Commit,
        Throttle, Disk, Lock, Failover,
    ];

    /// As in `--plan`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kill => "kill",
            Term => "term",
            Zombie => "zombie",
            Resize => "resize",
            Broker => "broker",
            Freeze => "freeze",
            Immediate => "immediate",
            Backends => "backends",
            Stall => "stall",
            Cut => "cut",
            Commit => "commit",
            Throttle => "throttle",
            Disk => "disk",
            Lock => "lock",
            Failover => "failover",
        }
    }

    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Kill => "kill -9 of an instance",
            Term => "SIGTERM to an instance",
            Zombie => "an instance frozen beyond its session",
            Resize => "the group grows and shrinks",
            Broker => "kill -9 of one broker of three",
            Freeze => "a broker frozen",
            Immediate => "Postgres stopped inside a COPY",
            Backends => "backends killed",
            Stall => "connections stalled",
            Cut => "connections cut",
            Commit => "reply to COMMIT dropped",
            Throttle => "connections throttled",
            Disk => "disk full",
            Lock => "table locked",
            Failover => "fail-over to a standby that lags",
        }
    }

    pub(crate) fn place(self) -> Place {
        match self {
            Kill | Term | Zombie | Resize => Place::Instances,
            Broker | Freeze => Place::Kafka,
            Immediate | Backends | Stall | Cut | Commit | Throttle | Disk | Lock | Failover => {
                Place::Postgres
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

//! The run from its first to its last line.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use checker::{Checker, Proof};
use loadgen::{Ledger, Load, Profile, Report as LoadReport};

use crate::{
    arguments::Arguments,
    audit::{Audit, Damage},
    error::Error,
    faults::{self, Scene},
    findings::Findings,
    fleet::Fleet,
    flow::Flow,
    instance::{GROUP, Launch},
    kind::Kind,
    plan::{Plan, Step},
    report::{Ending, Report},
    servers::{OFFSET_COLUMN, PARTITION_COLUMN, Servers, TABLE, TOPIC},
    wait::within,
};

/// Until rows must flow again in every partition. The longest waits of tidegate itself are the
/// watchdog's 50 s, after which the process is started again.
const RECOVER_MAX: Duration = Duration::from_secs(90);
const DRAIN_MAX: Duration = Duration::from_secs(180);
/// What an index entry of a row takes, twice.
const DISK_BYTES_PER_ROW: f64 = 64.0;
const DISK_BYTES_MIN: f64 = 256e6;
/// How long a plan may take, as far as the size of the disk is concerned.
const PLAN_MINUTES_MAX: f64 = 90.0;

/// Runs it all; true if nothing was lost, doubled or otherwise wrong.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    let seed = arguments.seed.unwrap_or_else(new_seed);
    println!("torture: seed {seed}; starting three brokers and two Postgres servers");
    let servers = Servers::start(arguments.partitions, disk_bytes(arguments))?;
    let plan = plan(arguments, seed, &servers);
    let logs = arguments.output.join("torture-logs");
    let launch = Launch::prepare(&logs, servers.kafka.bootstrap_servers(), servers.url())?;
    let fleet = Fleet::start(launch, arguments.instances)?;
    let findings = Findings::default();
    let scene = Scene { servers: &servers, fleet: &fleet, findings: &findings };
    let mut report = Report::new(seed, RECOVER_MAX);

    let started = Instant::now();
    let ledger =
        under_load(arguments, scene, |ends_at| drive(scene, plan, ends_at, arguments, &mut report));
    report.seconds = started.elapsed().as_secs_f64();
    let proof = ledger.and_then(|ledger| settle(scene, &ledger));
    if let Err(error) = &proof {
        findings.add(stack::with_causes(error));
    }
    let (proof, findings, facts) = (proof.ok(), findings.all(), fleet.facts());
    let ending = Ending { facts: &facts, proof: proof.as_ref(), findings: &findings };
    report.write(&arguments.output.join("torture.json"), &ending)?;
    conclude(&report, &ending)
}

fn new_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| u64::from(now.subsec_nanos()))
}

fn disk_bytes(arguments: &Arguments) -> u64 {
    let minutes = if arguments.plan.is_empty() { arguments.minutes } else { PLAN_MINUTES_MAX };
    let rows = minutes * 60.0 * f64::from(arguments.rate);
    (DISK_BYTES_MIN + rows * DISK_BYTES_PER_ROW) as u64
}

fn plan(arguments: &Arguments, seed: u64, servers: &Servers) -> Plan {
    let mut kinds = Kind::ALL.to_vec();
    let mut orders = arguments.plan.clone();
    if let Some(reason) = &servers.no_disk {
        println!("torture: WITHOUT THE FAULT 'disk': {reason}");
        kinds.retain(|kind| *kind != Kind::Disk);
        orders.retain(|order| order.kind != Kind::Disk);
    }
    if arguments.plan.is_empty() {
        Plan::endless(seed, kinds)
    } else {
        Plan::exactly(seed, &orders)
    }
}

/// Runs `drive` while records are produced and the instances are supervised; gives the ledger.
/// `drive` is told when it is to come to an end.
fn under_load(
    arguments: &Arguments,
    scene: Scene<'_>,
    drive: impl FnOnce(Instant) -> Result<(), Error>,
) -> Result<Ledger, Error> {
    let Scene { fleet, findings, .. } = scene;
    let load = load(arguments, scene.servers);
    let (stop_load, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let producer = scope.spawn(|| load.run(&stop_load));
        let supervisor = scope.spawn(|| fleet.supervise(&stop, findings));
        let sampler = scope.spawn(|| fleet.sample(&stop, findings));
        let ends_at = Instant::now() + Duration::from_secs_f64(arguments.minutes * 60.0);
        // Whatever went wrong, what the table holds is to be known.
        let note = |outcome: Result<(), Error>| {
            if let Err(error) = outcome {
                findings.add(stack::with_causes(&error));
            }
        };
        note(drive(ends_at));
        stop_load.store(true, Relaxed);
        let produced = producer.join();
        // What is still to be written may need a restart.
        let ledger = produced.map_err(|_| Error::Panicked).and_then(ledger_of);
        note(ledger.as_ref().map_or(Ok(()), |ledger| await_end(scene, ledger)));
        note(fleet.await_rest(RECOVER_MAX));
        stop.store(true, Relaxed);
        note(supervisor.join().unwrap_or(Err(Error::Panicked)));
        note(sampler.join().map_err(|_| Error::Panicked));
        ledger
    })
}

fn load(arguments: &Arguments, servers: &Servers) -> Load {
    Load {
        brokers: servers.kafka.bootstrap_servers(),
        topic: TOPIC.to_owned(),
        profile: Profile {
            partitions: arguments.partitions,
            updates: 0.2,
            deletes: 0.005,
            poison: 0.005,
            ..Profile::default()
        },
        replication: 3,
        count: None,
        rate: Some(f64::from(arguments.rate)),
        duration: None,
        compression: "none".to_owned(),
        threads: Some(1),
        properties: Vec::new(),
        show_progress: false,
    }
}

fn ledger_of(produced: Result<LoadReport, loadgen::LoadError>) -> Result<Ledger, Error> {
    let report = produced?;
    report.error.map_or(Ok(report.ledger), |error| Err(error.into()))
}

/// One step after the other, until the plan or the time is over or something is found.
fn drive(
    scene: Scene<'_>,
    plan: Plan,
    ends_at: Instant,
    arguments: &Arguments,
    report: &mut Report,
) -> Result<(), Error> {
    let mut flow = Flow::new(scene.servers);
    let started = Instant::now();
    flow.await_all(arguments.partitions, started, RECOVER_MAX)?;
    println!("torture: rows flow in {} partitions; the first fault", arguments.partitions);
    let mut audit = Audit::default();
    for mut step in plan {
        if !scene.findings.is_empty() || (arguments.plan.is_empty() && Instant::now() >= ends_at) {
            return Ok(());
        }
        step.chance.pass(0, 1_500);
        let kinds: Vec<Kind> = step.faults.iter().map(|fault| fault.kind).collect();
        inject_all(&mut step, scene)?;
        let recovered = flow.await_all(arguments.partitions, Instant::now(), RECOVER_MAX);
        let damage = check_books(&mut audit, &kinds, scene)?;
        report.add(&kinds, damage, recovered.as_ref().ok().copied());
        tell(started, &kinds, damage, &recovered, scene);
        if kinds.contains(&Kind::Failover) {
            scene.servers.ensure_standby()?;
        }
    }
    Ok(())
}

/// Returns when all are cleared.
fn inject_all(step: &mut Step, scene: Scene<'_>) -> Result<(), Error> {
    thread::scope(|scope| {
        let threads: Vec<_> = step
            .faults
            .iter_mut()
            .map(|fault| scope.spawn(move || faults::inject(fault, scene)))
            .collect();
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        ends.into_iter().try_for_each(|end| end.map_err(|_| Error::Panicked)?)
    })
}

fn check_books(audit: &mut Audit, kinds: &[Kind], scene: Scene<'_>) -> Result<Damage, Error> {
    if kinds.contains(&Kind::Failover) {
        audit.start_over();
    }
    let damage = audit.check(&scene.servers.primary().client()?)?;
    if damage != Damage::default() {
        scene.findings.add(format!(
            "after {}: {} lost, {} duplicated",
            names(kinds),
            damage.lost,
            damage.duplicated
        ));
    }
    Ok(damage)
}

fn tell(
    started: Instant,
    kinds: &[Kind],
    damage: Damage,
    recovered: &Result<Duration, Error>,
    scene: Scene<'_>,
) {
    let names = names(kinds);
    match recovered {
        Ok(time) => println!(
            "torture: {:>7.1} s  {names}: flows again after {:.1} s, lost {}, duplicated {}",
            started.elapsed().as_secs_f64(),
            time.as_secs_f64(),
            damage.lost,
            damage.duplicated
        ),
        Err(error) => {
            let obstacles = scene.fleet.statuses().into_iter().map(|(number, status)| {
                let (sources, obstacles) = (&status["sources"], &status["obstacles"]);
                format!("\n  tidegate-{number}: {sources} {obstacles}")
            });
            scene.findings.add(format!("after {names}: {error}{}", obstacles.collect::<String>()));
        }
    }
}

fn names(kinds: &[Kind]) -> String {
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" + ")
}

/// Waits until every checkpoint stands behind the last record.
fn await_end(scene: Scene<'_>, ledger: &Ledger) -> Result<(), Error> {
    let mut flow = Flow::new(scene.servers);
    within(DRAIN_MAX, "every checkpoint at the end of its partition", || {
        let positions = flow.positions().map_err(|error| error.to_string())?;
        let is_at_end = |entry: &loadgen::PartitionEntry| {
            positions.get(&entry.partition).is_some_and(|next| *next >= entry.next_offset)
        };
        match ledger.partitions.iter().find(|entry| !is_at_end(entry)) {
            Some(entry) => Err(format!("{entry:?} is not in {positions:?}")),
            None => Ok(()),
        }
    })
}

/// Ends the instances and compares the table with the ledger.
fn settle(scene: Scene<'_>, ledger: &Ledger) -> Result<Proof, Error> {
    scene.fleet.finish(scene.findings)?;
    let checker =
        Checker::new(TABLE).by_partition(PARTITION_COLUMN, OFFSET_COLUMN).consumer_group(GROUP);
    let postgres = scene.servers.primary();
    let proof = checker.check(&postgres.client()?, &[ledger])?;
    if !proof.is_exact() {
        scene.findings.add("the table is not what the ledger says");
    }
    Ok(proof)
}

fn conclude(report: &Report, ending: &Ending<'_>) -> Result<bool, Error> {
    if let Some(proof) = ending.proof {
        println!("torture: the table against the load generator's ledger");
        print!("{proof}");
    }
    report.print(ending);
    if !ending.findings.is_empty() {
        println!("torture: {} findings, see above; logs in torture-logs", ending.findings.len());
    }
    println!("torture: seed {}, {:.0} s", report.seed, report.seconds);
    println!("{}", report.conclusion(ending.proof));
    Ok(ending.findings.is_empty())
}

//! A thread that panics or hangs ends the process, with the code of a defect.

use std::time::{Duration, Instant};

use crate::support::{World, eventually_within, load, orders_profile};

/// A panic is noticed at once; a silence after 50 s.
const PANIC_MAX: Duration = Duration::from_secs(5);
const SILENCE_MAX: Duration = Duration::from_secs(60);

const POINTS: [&str; 4] = ["record.encoded", "batch.gathered", "offsets.stored", "claim.begun"];

/// Runs to each point, all at once, and waits for the end.
fn end_at_each(action: &str, limit: Duration) {
    let worlds = POINTS.map(|point| {
        let world = World::new(&format!("{action}-{}", point.replace(['.', '_'], "-")), 1);
        load(&world, orders_profile(34), 100);
        world
    });
    let mut running: Vec<_> = worlds
        .iter()
        .zip(POINTS)
        .map(|(world, point)| {
            let mut tidegate = world.run_orders_to(&format!("{point}={action}"), &[]);
            tidegate.await_log(&format!("failpoint {point}"));
            (tidegate, Instant::now(), point)
        })
        .collect();
    for (tidegate, since, point) in running.drain(..) {
        let mut tidegate = tidegate;
        eventually_within(limit, &format!("the end after {point}"), || {
            if tidegate.is_running() { Err("it runs".to_owned()) } else { Ok(()) }
        });
        assert!(since.elapsed() < limit + Duration::from_secs(1), "{point}");
        let exit = tidegate.wait();
        assert_eq!(exit.code, Some(70), "{point}:\n{}", exit.log);
    }
}

#[test]
fn a_thread_that_panics_ends_the_process_at_once() {
    end_at_each("panic", PANIC_MAX);
}

#[test]
fn a_thread_that_hangs_ends_the_process_within_a_minute() {
    end_at_each("hang", SILENCE_MAX);
}

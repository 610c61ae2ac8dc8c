//! Orders to stop, and who waits for them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use loom::thread;
use tidegate::batch::Trigger;

use crate::{error::Error, explore, shutdown::Shutdown, stop::Stop};

/// Loom's timed waits never time out: whoever misses the order waits for ever, which is a deadlock.
pub(crate) fn nobody_sleeps_through() {
    explore(|| {
        let shutdown = Shutdown::default();
        let sleepers = [(); 2].map(|()| {
            let shutdown = shutdown.clone();
            thread::spawn(move || assert!(shutdown.sleep(Duration::from_secs(60))))
        });
        shutdown.request();
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
        assert!(!shutdown.has_failed());
    });
}

pub(crate) fn failure_is_seen_whole() {
    explore(|| {
        let shutdown = Shutdown::default();
        let failing = ["first", "second"].map(|message| {
            let shutdown = shutdown.clone();
            thread::spawn(move || shutdown.fail(Error::software(message)))
        });
        if shutdown.is_requested() {
            assert!(shutdown.has_failed(), "a failure was taken for a graceful end");
        }
        if shutdown.has_failed() {
            let first = shutdown.failure().expect("the failure that was told");
            for thread in failing {
                thread.join().unwrap();
            }
            assert_eq!(shutdown.failure().map(|last| last.message), Some(first.message));
        } else {
            assert!(shutdown.sleep(Duration::from_secs(60)));
        }
    });
}

pub(crate) fn order_is_seen_whole() {
    explore(|| {
        let stop = Arc::new(Stop::default());
        let poller = thread::spawn({
            let stop = Arc::clone(&stop);
            move || stop.request(Trigger::Revoke, Instant::now())
        });
        if stop.is_requested() {
            assert!(stop.order().is_some(), "an order without a deadline");
        }
        poller.join().unwrap();
        assert!(stop.is_requested() && stop.order().is_some());
    });
}

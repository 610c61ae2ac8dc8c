use std::{
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use stack::{Program, State};

const LIMIT: Duration = Duration::from_secs(10);

fn shell(script: &str) -> Program {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    Program::start("shell", command).unwrap()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_program_that_ends_by_itself_leaves_its_status_and_its_log() {
    let program = shell("echo too much; exit 3");
    wait_until("it does not end", || program.exit_status().is_some());
    assert_eq!(program.exit_status().unwrap().code(), Some(3));
    assert_eq!(program.state(), State::Stopped);
    assert_eq!(program.log_tail(), "too much");
    assert!(program.terminate(LIMIT).unwrap_err().to_string().contains("not running"));
}

#[test]
fn a_program_may_take_its_leave_when_it_is_asked_to() {
    let program = shell("trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done");
    wait_until("it does not start", || program.log_tail() == "ready");
    assert!(program.exit_status().is_none());
    assert!(program.peak_memory_bytes().unwrap() > 0);
    assert_eq!(program.terminate(LIMIT).unwrap().code(), Some(5));
}

#[test]
fn a_program_goes_with_what_it_started_when_it_is_dropped() {
    let program = shell("sleep 600 & echo $! $$; wait");
    wait_until("it does not start", || !program.log_tail().is_empty());
    let folder = program.folder().to_owned();
    let processes: Vec<PathBuf> = program
        .log_tail()
        .split_whitespace()
        .map(|pid| PathBuf::from(format!("/proc/{pid}/cwd")))
        .collect();
    assert_eq!(processes.len(), 2);
    assert!(processes.iter().all(|cwd| cwd.read_link().unwrap() == folder));

    drop(program);

    // Neither runs there, even if another process got its number meanwhile.
    assert!(processes.iter().all(|cwd| cwd.read_link().ok().is_none_or(|cwd| cwd != folder)));
    assert!(!folder.exists());
}

//! `tidegate top`, in a terminal and without one.

use std::{
    io::Write as _,
    net::TcpListener,
    process::{ChildStdin, Stdio},
    thread,
};

use crate::support::{Exit, Tidegate, World, await_settled, eventually, load, orders_profile};

fn top(world: &World, arguments: &[&str]) -> Exit {
    let arguments = [&["top"], arguments].concat();
    Tidegate::spawn(world.folder.path(), &arguments, Stdio::null()).wait()
}

#[test]
fn top_shows_what_the_status_page_shows() {
    let world = World::new("top", 3);
    let mut tidegate = world.run_orders(&[]);
    load(&world, orders_profile(81), 900);
    await_settled(&mut tidegate, 900);
    let address = tidegate.address();
    // Without a terminal it shows it once.
    let exit = top(&world, &["--url", &address]);
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    for text in ["running", "lag 0 records", "Sink serving", "Source shop", "Bottleneck: "] {
        assert!(exit.stdout.contains(text), "'{text}' is not in {}", exit.stdout);
    }
    let lanes = exit.stdout.lines().filter(|line| line.starts_with("top "));
    assert_eq!(lanes.count(), 3, "{}", exit.stdout);
    assert!(!exit.stdout.contains('\x1b'), "{}", exit.stdout);

    // The configuration names the instance, too.
    let listen = format!("admin.listen={}", address.replace("127.0.0.1", "0.0.0.0"));
    let exit = top(&world, &["--once", "--config", "tidegate.toml", "--set", &listen]);
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert!(exit.stdout.contains(&address), "{}", exit.stdout);

    in_a_terminal(&world, &address);
    tidegate.stop();
    let exit = top(&world, &["--url", &address]);
    assert_eq!(exit.code, Some(69), "{}", exit.log);
    for text in [address.as_str(), "no tidegate answers", "admin.listen", "--url"] {
        assert!(exit.log.contains(text), "'{text}' is not in {}", exit.log);
    }
}

#[test]
fn top_says_so_when_something_else_answers() {
    let world = World::bare("top-other", 1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answers = ["HTTP/1.1 404 Not Found\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n<html>"];
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            std::io::Read::read(&mut stream, &mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    for text in ["HTTP 404; is this the admin address", "does not answer as a tidegate does"] {
        let exit = top(&world, &["--url", &address]);
        assert_eq!(exit.code, Some(69), "{}", exit.log);
        assert!(exit.log.contains(text) && exit.log.contains(&address), "{}", exit.log);
    }
    let exit = top(&world, &["--url", "https://gate"]);
    assert_eq!(exit.code, Some(64), "{}", exit.log);
}

/// It takes the whole screen, keeps itself up to date, and gives the terminal back as it was.
fn in_a_terminal(world: &World, address: &str) {
    type End = fn(&mut ChildStdin, &str);
    let ends: [(&str, End); 3] = [
        ("q", |keys, _| keys.write_all(b"q").unwrap()),
        ("Ctrl-C", |keys, _| keys.write_all(b"\x03").unwrap()),
        ("SIGTERM", |_, pid| {
            let killed = std::process::Command::new("kill").arg(pid).status().unwrap();
            assert!(killed.success());
        }),
    ];
    for (name, end) in ends {
        let folder = world.folder.path();
        let command = format!(
            "stty rows 30 cols 100; sh -c \"echo \\$\\$ >pid; exec {} top --url {address}\"; \
             echo code=$?; stty -a",
            env!("CARGO_BIN_EXE_tidegate")
        );
        let log = folder.join("screen");
        std::fs::write(&log, "").unwrap();
        let mut script = std::process::Command::new("script")
            .args(["--quiet", "--flush", "--command", &command])
            .arg(&log)
            .current_dir(folder)
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut keys = script.stdin.take().unwrap();
        let screen = || String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
        eventually("a second picture", || {
            let pictures = screen().matches("\x1b[Htidegate").count()
                + screen().matches("\x1b[H\x1b[1mtidegate").count();
            if pictures > 2 { Ok(()) } else { Err(screen()) }
        });
        end(&mut keys, std::fs::read_to_string(folder.join("pid")).unwrap().trim());
        assert!(script.wait().unwrap().success(), "{name}: {}", screen());
        let screen = screen();
        assert!(screen.contains("\x1b[?1049h") && screen.contains("q ends"), "{name}: {screen}");
        let (_, after) = screen.split_once("\x1b[?1049l").expect(name);
        assert!(after.contains("code=0"), "{name}: {after}");
        let settings: Vec<&str> = after.split_whitespace().collect();
        for setting in ["icanon", "echo", "isig", "opost"] {
            assert!(settings.contains(&setting), "{name}: {setting} is off: {after}");
        }
    }
}

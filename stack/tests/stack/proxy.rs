use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use stack::Proxy;

const LIMIT: Duration = Duration::from_secs(20);
/// Long enough for bytes that are not held back to arrive.
const SHORT: Duration = Duration::from_millis(200);

/// Sends back whatever it gets.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    address
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn echo(mut stream: &TcpStream, text: &str) -> std::io::Result<String> {
    stream.write_all(text.as_bytes())?;
    let mut reply = vec![0; text.len()];
    stream.read_exact(&mut reply)?;
    Ok(String::from_utf8(reply).unwrap())
}

fn is_reset(mut stream: &TcpStream) -> bool {
    stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[test]
fn passes_then_stalls_then_goes_on_without_losing_a_byte() {
    let proxy = Proxy::start(echo_server()).unwrap();
    let stream = connect(&proxy);
    assert_eq!(echo(&stream, "before").unwrap(), "before");
    assert_eq!(proxy.connections(), 1);

    proxy.stall();
    (&stream).write_all(b"during").unwrap();
    stream.set_read_timeout(Some(SHORT)).unwrap();
    let held = (&stream).read(&mut [0; 6]).unwrap_err();
    assert!(matches!(held.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{held}");

    proxy.pass().unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(echo(&stream, " and after").unwrap(), "during and");
    let mut rest = [0; 6];
    (&stream).read_exact(&mut rest).unwrap();
    assert_eq!(&rest, b" after");
}

#[test]
fn resets_open_connections_and_serves_new_ones() {
    let proxy = Proxy::start(echo_server()).unwrap();
    let streams = [connect(&proxy), connect(&proxy)];
    for stream in &streams {
        assert_eq!(echo(stream, "x").unwrap(), "x");
    }
    proxy.cut();
    assert!(streams.iter().all(is_reset));
    assert_eq!(echo(&connect(&proxy), "y").unwrap(), "y");
}

#[test]
fn resets_connections_that_are_stalled() {
    let proxy = Proxy::start(echo_server()).unwrap();
    let stream = connect(&proxy);
    assert_eq!(echo(&stream, "x").unwrap(), "x");
    proxy.stall();
    (&stream).write_all(b"held").unwrap();
    proxy.cut();
    assert!(is_reset(&stream));
}

#[test]
fn refuses_new_connections_and_keeps_open_ones() {
    let proxy = Proxy::start(echo_server()).unwrap();
    let stream = connect(&proxy);
    assert_eq!(echo(&stream, "x").unwrap(), "x");
    proxy.refuse().unwrap();
    let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(echo(&stream, "y").unwrap(), "y");
    proxy.pass().unwrap();
    assert_eq!(echo(&connect(&proxy), "z").unwrap(), "z");
}

#[test]
fn delays_each_way_but_does_not_add_the_delays_of_messages_under_way_together() {
    let proxy = Proxy::start(echo_server()).unwrap();
    let stream = connect(&proxy);
    assert_eq!(echo(&stream, "x").unwrap(), "x");
    proxy.delay(Duration::from_millis(100));
    let started = Instant::now();
    let reader = thread::spawn({
        let stream = stream.try_clone().unwrap();
        move || (&stream).read_exact(&mut [0; 40]).unwrap()
    });
    for _ in 0..40 {
        (&stream).write_all(b"x").unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    reader.join().unwrap();
    let elapsed = started.elapsed();
    // 200 ms of writing and 200 ms of delay; one after the other it were 8 s.
    assert!(elapsed >= Duration::from_millis(395), "{elapsed:?}");
    assert!(elapsed < Duration::from_secs(4), "{elapsed:?}");
}

#[test]
fn throttles_to_the_given_rate() {
    let proxy = Proxy::start(echo_server()).unwrap();
    let stream = connect(&proxy);
    proxy.throttle(100_000);
    let started = Instant::now();
    let text = "x".repeat(50_000);
    assert_eq!(echo(&stream, &text).unwrap().len(), text.len());
    // All chunks but the last are waited for, and the last is at most 32 KiB.
    assert!(started.elapsed() > Duration::from_millis(150), "{:?}", started.elapsed());
}

#[test]
fn withholds_one_reply_and_cuts_that_connection() {
    let proxy = Proxy::start(echo_server()).unwrap();
    let (doomed, other) = (connect(&proxy), connect(&proxy));
    proxy.cut_at_reply(b"COMMIT");
    assert_eq!(echo(&other, "BEGIN").unwrap(), "BEGIN");
    (&doomed).write_all(b"..COMMIT..").unwrap();
    proxy.wait_until_cut_at_reply(LIMIT).unwrap();
    assert!(is_reset(&doomed));
    assert_eq!(echo(&other, "COMMIT").unwrap(), "COMMIT");
}

#[test]
fn a_target_that_is_down_shows_as_a_closed_connection() {
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let proxy = Proxy::start(target).unwrap();
    let mut stream = connect(&proxy);
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    drop(proxy);
}

//! A registry that wants TLS and a login.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::Arc,
    thread,
};

use rustls::{
    ServerConfig, ServerConnection, Stream,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use stack::Registry;

use super::{FIRST, await_written, config, first, register};
use crate::support::{World, produce};

/// `user:s3cret` in base64, whose letters are looked at in one case only.
const LOGIN: &str = "authorization: basic dxnlcjpzm2nyzxq=";

/// A certificate for 127.0.0.1, and that of the authority that has signed it or of another one.
fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls").join(name)
}

/// Before a registry: whoever knows the login gets through. It ends with the tests.
fn guard(registry: u16) -> u16 {
    let certificate = CertificateDer::from_pem_file(file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            // A client that does not trust the certificate hangs up.
            let _hung_up = client.and_then(|client| serve(client, &config, registry));
        }
    });
    port
}

/// Answers one request.
fn serve(mut client: TcpStream, config: &Arc<ServerConfig>, registry: u16) -> io::Result<()> {
    let mut connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    let mut client = Stream::new(&mut connection, &mut client);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).map_err(io::Error::other)?;
    let mut answer = Vec::new();
    if head.to_lowercase().contains(LOGIN) {
        let mut server = TcpStream::connect(("127.0.0.1", registry))?;
        let request = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        server.write_all(request.as_bytes())?;
        server.read_to_end(&mut answer)?;
    } else {
        let refusal =
            b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        answer.extend_from_slice(refusal);
    }
    client.write_all(&answer)?;
    client.conn.send_close_notify();
    client.flush()
}

#[test]
fn a_registry_gets_the_login_and_only_one_that_is_trusted() {
    let registry = Registry::start().unwrap();
    let id = register(&registry, "orders-value", FIRST, "");
    let port = guard(registry.port());
    let world = World::bare("formats-login", 1);
    world.sql.execute("CREATE TABLE t (id bigint, name text)").unwrap();
    produce(&world, &[first(id, 1)]);
    let config = |ca: &str, password: &str| {
        let head = format!(
            "[registries.main]\nurl = \"https://127.0.0.1:{port}{}\"\nuser = \"user\"\n\
             password = \"{password}\"\nca_file = \"{}\"\n",
            registry.path(),
            file(ca).display()
        );
        config(&world, &head, "\"avro\"")
    };
    for (ca, password, problem) in [
        ("ca.pem", "s3cr", "HTTP 401: the login is missing, wrong"),
        ("other.pem", "s3cret", "UnknownIssuer"),
    ] {
        let mut tidegate = world.run(&config(ca, password), &[]);
        tidegate.await_degraded(problem);
        let exit = tidegate.stop();
        assert!(!exit.log.contains("s3cr"), "{}", exit.log);
    }
    let mut tidegate = world.run(&config("ca.pem", "s3cret"), &[]);
    await_written(&mut tidegate, 1, 0);
    tidegate.stop();
    assert_eq!(world.number("SELECT id FROM t"), 1);
    assert_eq!(world.number("SELECT count(*) FROM tidegate.dead_letters"), 0);
}

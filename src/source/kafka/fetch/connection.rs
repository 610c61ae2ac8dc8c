//! A connection to one broker.

use std::{
    io::{self, BufReader, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    time::{Duration, Instant},
};

use rustls::{ClientConnection, pki_types::ServerName};

use super::{
    security::Login,
    settings::Settings,
    wire::{
        Answer, FetchRequest, Heading, Visitor, api_versions_request, sasl_authenticate_request,
        sasl_handshake_request,
    },
};
use crate::watchdog::Heart;

const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long an answer may take, the wait for records not counted.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How soon a thread that waits for an answer sees that it is not wanted any more.
const LOOK: Duration = Duration::from_millis(100);
/// Large reads go past this buffer, to where they belong.
const BUFFER: usize = 8 << 10;

pub(super) struct Connection<'a> {
    reader: BufReader<Patient<'a>>,
    client_id: &'a str,
    /// Of Fetch.
    version: i16,
    correlation: i32,
}

impl<'a> Connection<'a> {
    /// Connects to a broker, and logs in; `None` where it knows no version of Fetch that we know.
    pub(super) fn open(
        (host, port): (&str, u16),
        settings: &'a Settings,
        ended: &'a AtomicBool,
        heart: &'a Heart,
    ) -> io::Result<Option<Self>> {
        let mut failed = io::Error::other("the name stands for no address");
        let stream = resolve(host, port, ended, heart)?.into_iter().find_map(|address| {
            heart.beat();
            if ended.load(Relaxed) {
                return None;
            }
            TcpStream::connect_timeout(&address, CONNECT_MAX).map_err(|error| failed = error).ok()
        });
        let stream = stream.ok_or(failed)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(LOOK))?;
        let tls = settings.security.tls.as_ref().map(|tls| {
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            let mut session =
                ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
            // A request goes out as a whole: the session keeps it until then.
            session.set_buffer_limit(None);
            Ok::<_, io::Error>(Box::new(session))
        });
        let tls = tls.transpose()?;
        let patient = Patient { stream, tls, ended, heart, until: Instant::now() + ANSWER_MAX };
        let reader = BufReader::with_capacity(BUFFER, patient);
        let client_id = settings.client_id.as_str();
        let mut connection = Self { reader, client_id, version: 0, correlation: 0 };
        connection.send(&api_versions_request(0, client_id), Duration::ZERO)?;
        let version = Answer::begin(&mut connection.reader, 0)?.fetch_version()?;
        if let Some(login) = &settings.security.login {
            connection.log_in(login)?;
        }
        Ok(version.map(|version| Self { version, ..connection }))
    }

    fn log_in(&mut self, login: &Login) -> io::Result<()> {
        let request = sasl_handshake_request(0, self.client_id, login.mechanism());
        self.send(&request, Duration::ZERO)?;
        Answer::begin(&mut self.reader, 0)?.sasl_handshake()?;
        login
            .run(|token| {
                self.send(&sasl_authenticate_request(0, self.client_id, token), Duration::ZERO)?;
                Ok(Answer::begin(&mut self.reader, 0)?.sasl_authenticate()?)
            })
            .map_err(|Refused(error)| error)
    }

    /// Asks, and has the partitions of the answer visited as they come.
    pub(super) fn fetch(
        &mut self,
        request: &FetchRequest<'_>,
        visitor: &mut impl Visitor,
    ) -> io::Result<Heading> {
        self.correlation = self.correlation.wrapping_add(1);
        let bytes = request.encode(self.version, self.correlation, self.client_id);
        self.send(&bytes, Duration::from_millis(request.wait_ms as u64))?;
        Answer::begin(&mut self.reader, self.correlation)?.fetch(self.version, visitor)
    }

    fn send(&mut self, bytes: &[u8], wait: Duration) -> io::Result<()> {
        let patient = self.reader.get_mut();
        patient.until = Instant::now() + ANSWER_MAX + wait;
        patient.write_all(bytes)?;
        patient.flush()
    }
}

/// The addresses of a host. The system waits for name servers as long as it likes, so a thread of its own asks.
fn resolve(
    host: &str,
    port: u16,
    ended: &AtomicBool,
    heart: &Heart,
) -> io::Result<Vec<SocketAddr>> {
    let (sender, found) = mpsc::channel();
    let name = host.to_owned();
    std::thread::Builder::new().name("resolve".to_owned()).spawn(move || {
        let addresses = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Nobody may wait for it any more.
        sender.send(addresses).ok();
    })?;
    let until = Instant::now() + ANSWER_MAX;
    loop {
        heart.beat();
        match found.recv_timeout(LOOK) {
            Ok(addresses) => return addresses,
            Err(_) if ended.load(Relaxed) || Instant::now() >= until => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(_) => {}
        }
    }
}

/// Why a log-in has failed.
struct Refused(io::Error);

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

impl From<&'static str> for Refused {
    fn from(text: &'static str) -> Self {
        Self(io::Error::new(io::ErrorKind::PermissionDenied, text))
    }
}

/// Waits in small steps, and beats meanwhile.
struct Patient<'a> {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    ended: &'a AtomicBool,
    heart: &'a Heart,
    until: Instant,
}

impl Patient<'_> {
    fn patiently<T>(
        &mut self,
        mut step: impl FnMut(&mut TcpStream, Option<&mut ClientConnection>) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            self.heart.beat();
            if self.ended.load(Relaxed) {
                return Err(io::Error::other("not wanted any more"));
            }
            match step(&mut self.stream, self.tls.as_deref_mut()) {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    if Instant::now() >= self.until {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                done => return done,
            }
        }
    }
}

impl Read for Patient<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.patiently(|stream, tls| match tls {
            Some(tls) => rustls::Stream::new(tls, stream).read(bytes),
            None => stream.read(bytes),
        })
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The session encrypts it; `flush` sends it.
        self.patiently(|stream, tls| match tls {
            Some(tls) => {
                if tls.is_handshaking() {
                    tls.complete_io(stream)?;
                }
                tls.writer().write(bytes)
            }
            None => stream.write(bytes),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.patiently(|stream, tls| match tls {
            Some(tls) => {
                while tls.wants_write() {
                    tls.write_tls(stream)?;
                }
                Ok(())
            }
            None => Ok(()),
        })
    }
}

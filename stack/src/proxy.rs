//! A TCP proxy that can be told to misbehave.

mod connection;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

use crate::{Result, port::free_port, runtime};

const RETRY_INTERVAL: Duration = Duration::from_millis(20);
const SWITCH_LIMIT: Duration = Duration::from_secs(10);

/// What the proxy does to connections at the moment.
#[derive(Clone, Debug, Default)]
struct Fault {
    delay: Duration,
    stalled: bool,
    refusing: bool,
    bytes_per_second: Option<u64>,
    cut_at_reply: Option<Arc<[u8]>>,
    /// Grows with each cut: connections made under a smaller number end.
    cuts: u64,
    /// The proxy was dropped.
    ended: bool,
}

/// Listens on a free port of 127.0.0.1 and passes everything on to the target, until told
/// otherwise. Every order takes effect on open connections too. Dropping the proxy cuts them.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    target: SocketAddr,
    fault: Arc<watch::Sender<Fault>>,
    connections: Arc<watch::Sender<usize>>,
    listening: watch::Receiver<bool>,
}

impl Proxy {
    /// The target need not listen yet: a connection is made to it for each one that comes in, and
    /// one that fails is cut.
    pub fn start(target: SocketAddr) -> Result<Self> {
        let port = free_port()?;
        let (fault, _) = watch::channel(Fault::default());
        let (connections, _) = watch::channel(0);
        let (listens, listening) = watch::channel(false);
        let proxy = Self {
            port,
            target,
            fault: Arc::new(fault),
            connections: Arc::new(connections),
            listening,
        };
        let (fault, connections) = (Arc::clone(&proxy.fault), Arc::clone(&proxy.connections));
        runtime::spawn(async move {
            while !fault.borrow().ended {
                let Some(listener) = listen(port, &fault).await else { return };
                listens.send_replace(true);
                accept(listener, target, &fault, &connections).await;
                listens.send_replace(false);
                let resumed = |fault: &Fault| !fault.refusing || fault.ended;
                // The sender is in `fault` itself, so the wait cannot fail.
                fault.subscribe().wait_for(resumed).await.ok();
            }
        })?;
        proxy.wait_until_listening(true)?;
        Ok(proxy)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// Connections open through the proxy now.
    pub fn connections(&self) -> usize {
        *self.connections.borrow()
    }

    /// Ends every fault; what was held back goes on.
    pub fn pass(&self) -> Result<()> {
        self.fault.send_modify(|fault| *fault = Fault { cuts: fault.cuts, ..Fault::default() });
        self.wait_until_listening(true)
    }

    /// Holds back everything, each way, for this long.
    pub fn delay(&self, delay: Duration) {
        self.fault.send_modify(|fault| fault.delay = delay);
    }

    /// Limits each direction of each connection.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.fault.send_modify(|fault| fault.bytes_per_second = Some(bytes_per_second));
    }

    /// Connections stay open, also new ones, and nothing comes through until [`Self::pass`].
    pub fn stall(&self) {
        self.fault.send_modify(|fault| fault.stalled = true);
    }

    /// Resets every open connection, once; new ones pass.
    pub fn cut(&self) {
        self.fault.send_modify(|fault| fault.cuts += 1);
    }

    /// Stops listening, so that new connections are refused until [`Self::pass`]; open ones stay.
    pub fn refuse(&self) -> Result<()> {
        self.fault.send_modify(|fault| fault.refusing = true);
        self.wait_until_listening(false)
    }

    /// Withholds the next bytes of the target that contain `pattern`, once, and cuts that
    /// connection: the target did it, and the client cannot know. The pattern has to come in one
    /// piece, as a short reply does.
    pub fn cut_at_reply(&self, pattern: &[u8]) {
        self.fault.send_modify(|fault| fault.cut_at_reply = Some(pattern.into()));
    }

    /// Waits until [`Self::cut_at_reply`] has found its pattern.
    pub fn wait_until_cut_at_reply(&self, limit: Duration) -> Result<()> {
        let mut fault = self.fault.subscribe();
        runtime::wait_for("the reply to cut at", limit, async move {
            fault.wait_for(|fault| fault.cut_at_reply.is_none()).await.is_ok()
        })
        .map(|_| ())
    }

    fn wait_until_listening(&self, wanted: bool) -> Result<()> {
        let mut listening = self.listening.clone();
        runtime::wait_for("the proxy's listener", SWITCH_LIMIT, async move {
            listening.wait_for(|listening| *listening == wanted).await.is_ok()
        })
        .map(|_| ())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.fault.send_modify(|fault| fault.ended = true);
    }
}

/// Tries until the port can be had: it may be in use for a moment after [`Proxy::refuse`].
async fn listen(port: u16, fault: &watch::Sender<Fault>) -> Option<TcpListener> {
    while !fault.borrow().ended {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            return Some(listener);
        }
        sleep(RETRY_INTERVAL).await;
    }
    None
}

/// Serves what comes in until told to refuse.
async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    fault: &Arc<watch::Sender<Fault>>,
    connections: &Arc<watch::Sender<usize>>,
) {
    let mut orders = fault.subscribe();
    loop {
        let client = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => client,
                // The client has already left.
                Err(_) => continue,
            },
            _ = orders.wait_for(|fault| fault.refusing || fault.ended) => return,
        };
        let (fault, connections) = (Arc::clone(fault), Arc::clone(connections));
        tokio::spawn(async move {
            connections.send_modify(|count| *count += 1);
            if let Ok(server) = TcpStream::connect(target).await {
                connection::run(client, server, &fault).await;
            }
            connections.send_modify(|count| *count -= 1);
        });
    }
}

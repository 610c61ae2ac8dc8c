//! One connection through the proxy: two directions, each a reader and a writer with a queue
//! between them, so that a delay does not limit the throughput.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::Fault;

const CHUNK_BYTES: usize = 32 * 1024;
/// What a direction holds back at most, in chunks; then it stops reading.
const QUEUE_CHUNKS: usize = 128;

/// How smooth a throttle is.
const PORTIONS_PER_SECOND: u64 = 20;

type Chunk = (Instant, Vec<u8>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

pub(super) async fn run(
    mut client: TcpStream,
    mut server: TcpStream,
    fault: &watch::Sender<Fault>,
) {
    // Both ends send small messages and wait for the answer. Best effort: it is about speed only.
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let cuts = fault.borrow().cuts;
    let mut orders = fault.subscribe();

    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let ended_orderly = tokio::select! {
        ends = async {
            tokio::try_join!(
                forward(from_client, to_server, Direction::ToServer, fault),
                forward(from_server, to_client, Direction::ToClient, fault),
            )
        } => ends.is_ok(),
        _ = orders.wait_for(|fault| fault.cuts != cuts || fault.ended) => false,
    };
    if !ended_orderly {
        // Closing with a linger time of zero sends RST in place of FIN, and drops what is unsent.
        client.set_zero_linger().ok();
        server.set_zero_linger().ok();
    }
}

async fn forward(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    direction: Direction,
    fault: &watch::Sender<Fault>,
) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(QUEUE_CHUNKS);
    tokio::try_join!(read(from, sender, direction, fault), write(to, receiver, fault))?;
    Ok(())
}

async fn read(
    mut from: ReadHalf<'_>,
    queue: mpsc::Sender<Chunk>,
    direction: Direction,
    fault: &watch::Sender<Fault>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let chunk = &buffer[..length];
        if direction == Direction::ToClient && is_cut_at(chunk, fault) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let due = Instant::now() + fault.borrow().delay;
        if queue.send((due, chunk.to_vec())).await.is_err() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        wait_while_stalled(fault).await;
    }
}

async fn write(
    mut to: WriteHalf<'_>,
    mut queue: mpsc::Receiver<Chunk>,
    fault: &watch::Sender<Fault>,
) -> io::Result<()> {
    while let Some((due, chunk)) = queue.recv().await {
        sleep_until(due).await;
        wait_while_stalled(fault).await;
        let mut rest = chunk.as_slice();
        while !rest.is_empty() {
            rest = write_some(&mut to, rest, fault).await?;
        }
    }
    wait_while_stalled(fault).await;
    to.shutdown().await
}

/// Writes all of it, or what the throttle lets through at a time; gives the rest. A small portion at
/// a time: a slow peer is one that keeps something coming, and the throttle's end is soon noticed.
async fn write_some<'a>(
    to: &mut WriteHalf<'_>,
    bytes: &'a [u8],
    fault: &watch::Sender<Fault>,
) -> io::Result<&'a [u8]> {
    let bytes_per_second = fault.borrow().bytes_per_second;
    let Some(bytes_per_second) = bytes_per_second else {
        to.write_all(bytes).await?;
        return Ok(&[]);
    };
    let portion = (bytes_per_second / PORTIONS_PER_SECOND).max(1);
    let (now, later) = bytes.split_at(bytes.len().min(portion as usize));
    to.write_all(now).await?;
    sleep(Duration::from_secs_f64(now.len() as f64 / bytes_per_second.max(1) as f64)).await;
    Ok(later)
}

async fn wait_while_stalled(fault: &watch::Sender<Fault>) {
    // Fails only without a sender, and `fault` is one.
    fault.subscribe().wait_for(|fault| !fault.stalled).await.ok();
}

/// Whether this is the reply that was to be withheld; then the order is done.
fn is_cut_at(reply: &[u8], fault: &watch::Sender<Fault>) -> bool {
    fault.send_if_modified(|fault| {
        let found = fault.cut_at_reply.as_deref().is_some_and(|pattern| {
            !pattern.is_empty() && reply.windows(pattern.len()).any(|window| window == pattern)
        });
        if found {
            fault.cut_at_reply = None;
        }
        found
    })
}

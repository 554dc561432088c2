//! The control connection: requests matched with replies, states kept current.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use pintle_shim::layout::Layout;
use pintle_shim::protocol::{
    self, ClientHello, Fault, Message, Op, Request, Role, ServerHello, VERSION,
};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

use super::SandboxError;
use super::events::States;

/// Requests that may wait to be written; more callers than that wait themselves.
const QUEUE: usize = 64;

#[derive(Debug)]
pub(super) struct Connection {
    shim_pid: u32,
    next_id: AtomicU64,
    requests: mpsc::Sender<Outgoing>,
    states: watch::Receiver<States>,
}

struct Outgoing {
    request: Request,
    reply: oneshot::Sender<Result<(), Fault>>,
}

impl Connection {
    pub(super) async fn open(layout: &Layout) -> Result<Self, SandboxError> {
        let hello = ClientHello { version: VERSION, role: Role::Control };
        let (stream, answer) = handshake(layout, &hello).await?;
        let (version, shim_pid, containers) = match answer {
            ServerHello::Control { version, pid, containers } => (version, pid, containers),
            ServerHello::Refused(fault) => return Err(SandboxError::Refused(fault)),
            ServerHello::Session { .. } => (0, 0, Vec::new()),
        };
        if version != VERSION {
            return Err(SandboxError::Version { ours: VERSION, theirs: version });
        }
        let states: States =
            containers.into_iter().map(|state| (state.name.clone(), state)).collect();
        let (sender, receiver) = watch::channel(states);
        let (requests, queue) = mpsc::channel(QUEUE);
        let dir = layout.dir().to_owned();
        tokio::spawn(async move {
            if let Err(error) = serve(stream, queue, sender).await {
                tracing::debug!(dir = %dir.display(), error = %error, "shim connection ended");
            }
        });
        Ok(Connection { shim_pid, next_id: AtomicU64::new(1), requests, states: receiver })
    }

    pub(super) fn shim_pid(&self) -> u32 {
        self.shim_pid
    }

    pub(super) fn states(&self) -> watch::Receiver<States> {
        self.states.clone()
    }

    pub(super) async fn request(&self, op: Op) -> Result<(), SandboxError> {
        let (reply, answer) = oneshot::channel();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let outgoing = Outgoing { request: Request { id, op }, reply };
        self.requests.send(outgoing).await.map_err(|_| SandboxError::ShimLost)?;
        answer.await.map_err(|_| SandboxError::ShimLost)?.map_err(SandboxError::Refused)
    }
}

/// Runs until the shim or every handle on the sandbox is gone.
async fn serve(
    stream: UnixStream,
    mut queue: mpsc::Receiver<Outgoing>,
    states: watch::Sender<States>,
) -> io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let mut waiting: HashMap<u64, oneshot::Sender<Result<(), Fault>>> = HashMap::new();
    let mut buffer = Vec::new();
    loop {
        tokio::select! {
            read = reader.read_buf(&mut buffer) => {
                if read? == 0 {
                    return Ok(());
                }
                while let Some(message) = protocol::decode::<Message>(&mut buffer)? {
                    match message {
                        Message::Reply { id, result } => {
                            if let Some(reply) = waiting.remove(&id) {
                                let _ = reply.send(result);
                            }
                        }
                        Message::State(state) => states.send_modify(|states| {
                            states.insert(state.name.clone(), state);
                        }),
                        Message::Removed { name } => states.send_modify(|states| {
                            states.remove(&name);
                        }),
                    }
                }
            }
            outgoing = queue.recv() => {
                let Some(outgoing) = outgoing else {
                    return Ok(());
                };
                waiting.insert(outgoing.request.id, outgoing.reply);
                writer.write_all(&protocol::encode(&outgoing.request)?).await?;
            }
        }
    }
}

/// Connects and exchanges the hellos.
pub(super) async fn handshake(
    layout: &Layout,
    hello: &ClientHello,
) -> Result<(UnixStream, ServerHello), SandboxError> {
    let failed = |source: io::Error| SandboxError::Connect { dir: layout.dir().to_owned(), source };
    let frame = protocol::encode(hello).map_err(SandboxError::Frame)?;
    let mut stream = connect(layout).await.map_err(failed)?;
    stream.write_all(&frame).await.map_err(failed)?;
    let answer = read_frame(&mut stream).await.map_err(failed)?;
    Ok((stream, answer))
}

async fn connect(layout: &Layout) -> io::Result<UnixStream> {
    // A unix socket's address holds 107 bytes and state directories are often longer; through the
    // directory's descriptor any length works.
    let dir = std::fs::File::open(layout.dir())?;
    UnixStream::connect(format!("/proc/self/fd/{}/shim.sock", dir.as_raw_fd())).await
}

/// Reads exactly one frame and nothing of what follows it.
async fn read_frame<T: DeserializeOwned>(stream: &mut UnixStream) -> io::Result<T> {
    let mut buffer = vec![0; 4];
    stream.read_exact(&mut buffer).await?;
    let length = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]) as usize;
    if length > protocol::MAX_FRAME {
        return Err(protocol::FrameError::TooLarge { length }.into());
    }
    buffer.resize(4 + length, 0);
    stream.read_exact(&mut buffer[4..]).await?;
    protocol::decode(&mut buffer)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

//! Sessions: a process beside the container's own, or the container's own streams.

use pintle_shim::layout::Layout;
use pintle_shim::protocol::{
    self, ClientHello, ExecRequest, Exit, Resize, Role, STREAM_HEADER, ServerHello, VERSION,
    channel,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::{SandboxError, connection};
use crate::spec::ExecSpec;

/// Bytes that may wait on each stream before the process is made to wait.
const BUFFER: usize = 64 << 10;

/// A session with a process. Read stdout and stderr together: one that is left unread holds up
/// the other. Dropping the stream ends an exec'd process; an attached container lives on.
#[derive(Debug)]
pub struct ExecStream {
    pub pid: u32,
    /// Closing it (shutdown or drop) closes the process's input.
    pub stdin: DuplexStream,
    pub stdout: DuplexStream,
    /// Ends at once when the process has a terminal.
    pub stderr: DuplexStream,
    pub resize: ExecResize,
    pub exit: ExecExit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

/// Changes the size of the session's terminal.
#[derive(Debug, Clone)]
pub struct ExecResize(mpsc::Sender<TerminalSize>);

impl ExecResize {
    /// Returns when the change is queued; does nothing once the session has ended.
    pub async fn set(&self, size: TerminalSize) {
        let _ = self.0.send(size).await;
    }
}

/// How the process ended, known only after all of its output was delivered.
#[derive(Debug)]
pub struct ExecExit {
    exit: oneshot::Receiver<Exit>,
    _alive: mpsc::Sender<()>,
}

impl ExecExit {
    pub async fn wait(self) -> Result<Exit, SandboxError> {
        self.exit.await.map_err(|_| SandboxError::ShimLost)
    }
}

pub(super) async fn exec(
    layout: &Layout,
    name: &str,
    process: String,
    spec: ExecSpec,
) -> Result<ExecStream, SandboxError> {
    open(
        layout,
        Role::Exec(ExecRequest {
            name: name.into(),
            process,
            tty: spec.tty,
            stdin: spec.stdin,
            size: spec.size,
        }),
    )
    .await
}

pub(super) async fn attach(layout: &Layout, name: &str) -> Result<ExecStream, SandboxError> {
    open(layout, Role::Attach { name: name.into() }).await
}

async fn open(layout: &Layout, role: Role) -> Result<ExecStream, SandboxError> {
    let hello = ClientHello { version: VERSION, role };
    let (stream, answer) = connection::handshake(layout, &hello).await?;
    let pid = match answer {
        ServerHello::Session { pid } => pid,
        ServerHello::Refused(fault) => return Err(SandboxError::Refused(fault)),
        ServerHello::Control { version, .. } => {
            return Err(SandboxError::Version { ours: VERSION, theirs: version });
        }
    };
    let (stdin, input) = duplex(BUFFER);
    let (stdout, out) = duplex(BUFFER);
    let (stderr, err) = duplex(BUFFER);
    let (resize, sizes) = mpsc::channel(4);
    let (exit, ended) = oneshot::channel();
    let (alive, dropped) = mpsc::channel(1);
    tokio::spawn(relay(stream, input, sizes, out, err, exit, dropped));
    Ok(ExecStream {
        pid,
        stdin,
        stdout,
        stderr,
        resize: ExecResize(resize),
        exit: ExecExit { exit: ended, _alive: alive },
    })
}

/// Carries one session until the process has ended or the caller let go of it.
async fn relay(
    stream: UnixStream,
    input: DuplexStream,
    sizes: mpsc::Receiver<TerminalSize>,
    out: DuplexStream,
    err: DuplexStream,
    exit: oneshot::Sender<Exit>,
    mut dropped: mpsc::Receiver<()>,
) {
    let (reader, writer) = stream.into_split();
    let inward = tokio::spawn(send(writer, input, sizes));
    tokio::select! {
        ended = receive(reader, out, err) => {
            if let Some(ended) = ended {
                let _ = exit.send(ended);
            }
        }
        // Nothing is ever sent: this resolves when `ExecExit` is dropped.
        _ = dropped.recv() => {}
    }
    inward.abort();
}

async fn send(
    mut writer: OwnedWriteHalf,
    mut input: DuplexStream,
    mut sizes: mpsc::Receiver<TerminalSize>,
) {
    let mut chunk = vec![0; protocol::MAX_STREAM_PAYLOAD];
    let mut frame = Vec::new();
    let (mut reading, mut sizing) = (true, true);
    while reading || sizing {
        frame.clear();
        tokio::select! {
            read = input.read(&mut chunk), if reading => match read {
                Ok(count) if count > 0 => {
                    protocol::put_stream_frame(&mut frame, channel::STDIN, &chunk[..count]);
                }
                _ => {
                    reading = false;
                    protocol::put_stream_frame(&mut frame, channel::CLOSE, &[channel::STDIN]);
                }
            },
            size = sizes.recv(), if sizing => match size {
                Some(TerminalSize { width, height }) => {
                    let Ok(json) = serde_json::to_vec(&Resize { width, height }) else { continue };
                    protocol::put_stream_frame(&mut frame, channel::RESIZE, &json);
                }
                None => sizing = false,
            },
        }
        if writer.write_all(&frame).await.is_err() {
            return;
        }
    }
    // Half-closing now would look like the caller going away; the connection closes with the
    // relay, which aborts this task.
    std::future::pending::<()>().await;
}

async fn receive(
    mut reader: OwnedReadHalf,
    mut out: DuplexStream,
    mut err: DuplexStream,
) -> Option<Exit> {
    let mut payload = Vec::new();
    loop {
        let mut header = [0; STREAM_HEADER];
        reader.read_exact(&mut header).await.ok()?;
        let (channel, length) = protocol::stream_header(header).ok()?;
        payload.resize(length, 0);
        reader.read_exact(&mut payload).await.ok()?;
        match channel {
            // A caller that dropped one of the streams does not want it; the process goes on.
            channel::STDOUT => drop(out.write_all(&payload).await),
            channel::STDERR => drop(err.write_all(&payload).await),
            channel::CLOSE => match payload.first() {
                Some(&channel::STDOUT) => drop(out.shutdown().await),
                Some(&channel::STDERR) => drop(err.shutdown().await),
                _ => {}
            },
            channel::EXIT => return serde_json::from_slice(&payload).ok(),
            _ => {}
        }
    }
}

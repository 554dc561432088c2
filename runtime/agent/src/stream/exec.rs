//! A process in a container, or the container's own process, on a stream.

use pintle_api::status::StatusError;
use pintle_containers::sandbox::ExecResize;
use pintle_containers::{ExecSpec, ExecStream, TerminalSize};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use super::{Found, exit_status, frame};
use crate::client::chain;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Options {
    command: Vec<String>,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

const CHUNK: usize = 32 << 10;
/// Frames from the process that wait for the other side.
const QUEUE: usize = 8;
pub(super) async fn serve<R, W>(
    found: Found,
    options: Options,
    attach: bool,
    reader: R,
    writer: &mut W,
) -> Result<(), StatusError>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin,
{
    let name = found.container.as_str();
    let sandbox = found.view.sandbox.read().clone();
    let running = found.view.runtime.borrow().container(name).is_some_and(|c| c.is_running());
    let sandbox = sandbox.filter(|_| running).ok_or_else(|| {
        StatusError::bad_request(format!(
            "container {name} of pod {} is not running",
            found.pod.metadata.name
        ))
    })?;
    let opened = match attach {
        true => sandbox.attach(name).await,
        false => {
            let spec = ExecSpec {
                args: options.command.clone(),
                tty: options.tty,
                stdin: options.stdin,
                ..ExecSpec::default()
            };
            sandbox.exec(name, spec).await
        }
    };
    let session = opened.map_err(|error| {
        StatusError::internal(format!("error executing command in container: {}", chain(&error)))
    })?;
    relay(session, &options, reader, writer).await;
    Ok(())
}

/// Until the process has ended and all it said was passed on, or the other side
/// is gone; dropping the session then ends an exec'd process.
async fn relay<R, W>(session: ExecStream, options: &Options, reader: R, writer: &mut W)
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin,
{
    let ExecStream { stdin, stdout, stderr, resize, exit, .. } = session;
    let (frames, mut outgoing) = mpsc::channel(QUEUE);
    let stdin = options.stdin.then_some(stdin);
    let mut inward = tokio::spawn(receive(reader, stdin, resize));
    let out = tokio::spawn(pump(stdout, frame::STDOUT, options.stdout, frames.clone()));
    let err = tokio::spawn(pump(stderr, frame::STDERR, options.stderr, frames));
    let deliver = async {
        while let Some((channel, payload)) = outgoing.recv().await {
            if frame::write(writer, channel, &payload).await.is_err() {
                return;
            }
        }
        let status = match exit.wait().await {
            Ok(exit) => exit_status(exit.code),
            Err(error) => StatusError::internal(chain(&error)).status().to_json(),
        };
        // Nobody waits for it if this fails.
        let _ = frame::write(writer, frame::STATUS, &status).await;
    };
    tokio::select! {
        () = deliver => {}
        // The other side is gone.
        _ = &mut inward => {}
    }
    inward.abort();
    out.abort();
    err.abort();
}

/// Reads to the end even what nobody wants, so that the process never waits.
async fn pump(
    mut from: DuplexStream,
    channel: u8,
    wanted: bool,
    frames: mpsc::Sender<(u8, Vec<u8>)>,
) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(count) = from.read(&mut chunk).await {
        if count == 0 {
            return;
        }
        if wanted && frames.send((channel, chunk[..count].to_vec())).await.is_err() {
            return;
        }
    }
}

/// Ends when the other side does.
async fn receive<R: AsyncRead + Unpin>(
    mut reader: R,
    mut stdin: Option<DuplexStream>,
    resize: ExecResize,
) {
    while let Ok(Some((channel, payload))) = frame::read(&mut reader).await {
        match channel {
            frame::STDIN => {
                let write = match &mut stdin {
                    Some(stdin) => stdin.write_all(&payload).await,
                    None => Ok(()),
                };
                if write.is_err() {
                    // The process closed its input; the rest is of no use.
                    stdin = None;
                }
            }
            frame::CLOSE if payload.first() == Some(&frame::STDIN) => stdin = None,
            frame::RESIZE => {
                if let Ok(size) = serde_json::from_slice::<Size>(&payload) {
                    resize.set(TerminalSize { width: size.width, height: size.height }).await;
                }
            }
            _ => {}
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

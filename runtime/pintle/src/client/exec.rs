//! `pintle exec`: the WebSocket channels of `v5.channel.k8s.io`.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::{SinkExt, StreamExt};
use nix::sys::termios::{self, SetArg, Termios};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Error, Message, client::IntoClientRequest};

use super::http::{Client, error_of};
use super::pods::choose;
use super::target::query_escape;
use crate::cli::Exec;

const PROTOCOL: &str = "v5.channel.k8s.io";
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

pub async fn run(exec: Exec) -> Result<ExitCode> {
    let client = Client::connect(&exec.connection)?;
    let namespace =
        exec.namespace.namespace.as_deref().unwrap_or_else(|| client.default_namespace());
    let chosen = choose(&client, namespace, &exec.pod, exec.container.as_deref()).await?;
    let tty = exec.tty && std::io::stdin().is_terminal();
    if exec.tty && !tty {
        eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
    }
    let mut query: Vec<String> =
        exec.command.iter().map(|word| format!("command={}", query_escape(word))).collect();
    if let Some(container) = &chosen.container {
        query.push(format!("container={}", query_escape(container)));
    }
    for (name, on) in [("stdin", exec.stdin), ("stdout", true), ("stderr", !tty), ("tty", tty)] {
        query.push(format!("{name}={on}"));
    }
    let url = format!(
        "wss://server/api/v1/namespaces/{namespace}/pods/{}/exec?{}",
        query_escape(&chosen.pod),
        query.join("&")
    );
    let mut request = url.into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", PROTOCOL.parse()?);
    let socket = match tokio_tungstenite::client_async(request, client.stream().await?).await {
        Ok((socket, _)) => socket,
        Err(Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            return Err(error_of(response.status(), &body));
        }
        Err(error) => return Err(error).context("the server does not open the stream"),
    };
    let (mut write, mut read) = socket.split();

    let _raw = if tty { Some(RawMode::enter()?) } else { None };
    let (send, mut outgoing) = mpsc::channel::<Message>(16);
    if exec.stdin {
        tokio::spawn(stdin(send.clone()));
    }
    if tty {
        tokio::spawn(resizes(send.clone()));
    }
    drop(send);
    tokio::spawn(async move {
        while let Some(message) = outgoing.recv().await {
            if write.send(message).await.is_err() {
                return;
            }
        }
        // Nothing more to say: the other half keeps the socket open.
        std::future::pending::<()>().await;
    });

    while let Some(message) = read.next().await {
        let data = match message {
            Ok(Message::Binary(data)) => data,
            Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => break,
            Ok(_) => continue,
            Err(error) => return Err(error).context("the stream broke"),
        };
        let Some((channel, payload)) = data.split_first() else { continue };
        match *channel {
            STDOUT => print(&mut std::io::stdout(), payload)?,
            STDERR => print(&mut std::io::stderr(), payload)?,
            STATUS => return exit_of(payload),
            _ => {}
        }
    }
    bail!("the stream ended before the command did")
}

fn print(out: &mut impl Write, bytes: &[u8]) -> Result<()> {
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

fn exit_of(status: &[u8]) -> Result<ExitCode> {
    let status: Value = serde_json::from_slice(status).context("the exit status is no JSON")?;
    if status["status"] == "Success" {
        return Ok(ExitCode::SUCCESS);
    }
    let code = status["details"]["causes"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|cause| cause["reason"] == "ExitCode")
        .and_then(|cause| cause["message"].as_str()?.parse::<u8>().ok());
    let message = status["message"].as_str().unwrap_or("the command failed").to_owned();
    match code {
        Some(code) => {
            eprintln!("command terminated with exit code {code}");
            Ok(ExitCode::from(code))
        }
        None => Err(anyhow!(message)),
    }
}

async fn stdin(send: mpsc::Sender<Message>) {
    let mut input = tokio::io::stdin();
    let mut buffer = vec![0u8; 32 << 10];
    loop {
        let message = match input.read(&mut buffer[1..]).await {
            Ok(0) | Err(_) => vec![CLOSE, STDIN],
            Ok(length) => {
                buffer[0] = STDIN;
                buffer[..=length].to_vec()
            }
        };
        let last = message[0] == CLOSE;
        if send.send(Message::Binary(message.into())).await.is_err() || last {
            return;
        }
    }
}

/// The terminal's size now, and whenever it changes.
async fn resizes(send: mpsc::Sender<Message>) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
    loop {
        if let Some((width, height)) = terminal_size() {
            let mut message = vec![RESIZE];
            message.extend(json!({"Width": width, "Height": height}).to_string().into_bytes());
            if send.send(Message::Binary(message.into())).await.is_err() {
                return;
            }
        }
        if changes.recv().await.is_none() {
            return;
        }
    }
}

#[allow(unsafe_code)] // TIOCGWINSZ has no safe wrapper in the crates used here.
pub fn terminal_size() -> Option<(u16, u16)> {
    use std::os::fd::AsRawFd;
    nix::ioctl_read_bad!(winsize, nix::libc::TIOCGWINSZ, nix::libc::winsize);
    let mut size = nix::libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open and `size` is a winsize, as the request demands.
    unsafe { winsize(std::io::stdin().as_raw_fd(), &raw mut size) }.ok()?;
    (size.ws_col > 0).then_some((size.ws_col, size.ws_row))
}

/// Raw mode until dropped.
struct RawMode(Termios);

impl RawMode {
    fn enter() -> Result<Self> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(stdin.as_fd()).context("the terminal cannot be read")?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(std::io::stdin().as_fd(), SetArg::TCSANOW, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_exit_code_becomes_ours() {
        let check = |status: &str, expect: ExitCode| {
            assert_eq!(format!("{:?}", exit_of(status.as_bytes()).unwrap()), format!("{expect:?}"));
        };
        check(r#"{"status":"Success"}"#, ExitCode::SUCCESS);
        check(
            r#"{"status":"Failure","reason":"NonZeroExitCode",
                "details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#,
            ExitCode::from(3),
        );
        let error = exit_of(br#"{"status":"Failure","message":"no such container"}"#).unwrap_err();
        assert_eq!(error.to_string(), "no such container");
    }
}

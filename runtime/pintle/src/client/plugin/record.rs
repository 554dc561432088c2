//! `pintle plugin record`: a trace on its way from the server into a file.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use pintle_plugin_host::trace::{self, TraceError};

use super::PLUGINS;
use crate::cli::RecordArgs;
use crate::client::http::{Client, error_of};

/// How often a terminal is told how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

enum Ended {
    /// The server has written the footer.
    Complete,
    /// Somebody pressed Ctrl-C.
    Stopped,
    /// The connection broke.
    Broken(String),
}

pub async fn run(client: &Client, args: &RecordArgs) -> Result<ExitCode> {
    let mut query = vec![format!("secrets={}", args.secrets)];
    query.push(format!("component={}", !args.without_component));
    query.extend(args.duration.map(|seconds| format!("seconds={seconds}")));
    let path = format!("{PLUGINS}/{}/trace?{}", args.name, query.join("&"));
    let response = client.open(Method::GET, &path, &[], Bytes::new()).await?;
    let status = response.status();
    if !status.is_success() {
        return Err(error_of(status, &response.into_body().collect().await?.to_bytes()));
    }
    let mut file = create(&args.output)?;
    let (ended, bytes) = copy(response.into_body(), &mut file, &args.name).await?;
    let output = args.output.display();
    match ended {
        Ended::Broken(error) => {
            let whole = whole_calls(&args.output);
            eprintln!(
                "pintle: the connection to the server broke ({error}); {output} is cut after {whole} whole calls, \
                 which `pintle plugin replay --partial {output}` replays"
            );
            Ok(ExitCode::FAILURE)
        }
        Ended::Complete | Ended::Stopped => {
            let footer = trace::seal(&mut file, "the recording was ended")
                .with_context(|| format!("{output} is no whole trace"))?;
            eprintln!(
                "{} calls of plugin {} recorded ({} bytes){}, in {output}; {}",
                footer.calls,
                args.name,
                bytes,
                missed(footer.lost),
                footer.ended,
            );
            if footer.live_differs > 0 && !args.secrets {
                eprintln!(
                    "{} answers were others than those that counted, because the plugin looks at values of Secrets, which are not in the trace",
                    footer.live_differs
                );
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn missed(lost: u64) -> String {
    match lost {
        0 => String::new(),
        lost => format!(", {lost} missed because the machine is busy"),
    }
}

/// Others need not read what a plugin was given.
fn create(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))
}

async fn copy(mut body: Incoming, file: &mut File, plugin: &str) -> Result<(Ended, u64)> {
    let began = Instant::now();
    let mut progress = Progress::new(plugin);
    let mut bytes = 0;
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    let ended = loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            // Without a handler the signal ends the program, as it would anyway.
            _ = &mut stop => break Ended::Stopped,
            () = progress.due() => {
                progress.show(began.elapsed(), bytes);
                continue;
            }
        };
        match frame {
            None => break Ended::Complete,
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    file.write_all(&data).context("the trace cannot be written")?;
                    bytes += data.len() as u64;
                }
            }
            Some(Err(error)) => break Ended::Broken(error.to_string()),
        }
    };
    progress.clear();
    file.sync_all().context("the trace cannot be written")?;
    Ok((ended, bytes))
}

fn whole_calls(path: &Path) -> u64 {
    let count = || -> Result<u64, TraceError> {
        let file = File::open(path)?;
        let mut reader = trace::TraceReader::open(std::io::BufReader::new(file))?;
        while let Ok(Some(_)) = reader.read() {}
        Ok(reader.calls())
    };
    count().unwrap_or(0)
}

/// One line on standard error that overwrites itself, on a terminal only.
struct Progress {
    plugin: String,
    ticks: Option<tokio::time::Interval>,
}

impl Progress {
    fn new(plugin: &str) -> Self {
        let ticks = std::io::stderr().is_terminal().then(|| tokio::time::interval(PROGRESS_EVERY));
        Self { plugin: plugin.to_owned(), ticks }
    }

    async fn due(&mut self) {
        match &mut self.ticks {
            Some(ticks) => {
                ticks.tick().await;
            }
            None => std::future::pending().await,
        }
    }

    fn show(&self, elapsed: Duration, bytes: u64) {
        let (seconds, kib) = (elapsed.as_secs(), bytes >> 10);
        eprint!("\r\x1b[Krecording {}: {seconds} s, {kib} KiB; Ctrl-C ends it", self.plugin);
    }

    fn clear(&self) {
        if self.ticks.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

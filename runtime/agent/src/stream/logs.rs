//! Reading a container's log: the current file and the rotated ones before it,
//! from a point in the past and, if asked, on into the future.

use std::io;
use std::path::{Path, PathBuf};

use pintle_api::status::StatusError;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::frame;
use super::log_files::Source;
use super::log_text::Text;
use crate::inotify::DirWatch;
use crate::pod::model::Pod;
use crate::pod::runtime::{Phase, PodRuntime};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Options {
    pub(super) follow: bool,
    pub(super) previous: bool,
    pub(super) timestamps: bool,
    pub(super) tail_lines: Option<u64>,
    pub(super) since_seconds: Option<i64>,
    pub(super) since_time: Option<String>,
    pub(super) limit_bytes: Option<u64>,
}

/// One attempt's log.
pub struct Log {
    pub path: PathBuf,
    pub container: String,
    pub attempt: u32,
    pub runtime: watch::Receiver<PodRuntime>,
}

/// Which attempt is meant, or why there is nothing to show.
pub fn choose(
    pod: &Pod,
    name: &str,
    runtime: &PodRuntime,
    options: &Options,
) -> Result<u32, StatusError> {
    let of = &pod.metadata.name;
    let known = runtime.container(name);
    if options.previous {
        return match known.filter(|c| c.last.is_some() && c.attempt > 0) {
            Some(container) => Ok(container.attempt - 1),
            None => Err(StatusError::bad_request(format!(
                "previous terminated container {name:?} in pod {of:?} not found"
            ))),
        };
    }
    let waiting = |reason: &str| {
        StatusError::bad_request(format!(
            "container {name:?} in pod {of:?} is waiting to start: {reason}"
        ))
    };
    let Some(container) = known else {
        return Err(waiting("ContainerCreating"));
    };
    match (&container.phase, &container.failure) {
        (Phase::Running { .. } | Phase::Exited(_), _) => Ok(container.attempt),
        // The attempt before still has its log while the next one is made.
        (_, _) if container.last.is_some() && container.attempt > 0 => Ok(container.attempt - 1),
        (_, Some(failure)) => Err(waiting(&failure.reason)),
        (_, None) => Err(waiting(if pod.spec.init_containers.is_empty() {
            "ContainerCreating"
        } else {
            "PodInitializing"
        })),
    }
}

/// Bytes of text that one frame carries at most, about.
const BATCH: usize = 32 << 10;

pub async fn serve<R, W>(
    log: Log,
    options: Options,
    now: i64,
    mut reader: R,
    writer: &mut W,
) -> io::Result<()>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin,
{
    let follow = options.follow;
    let send = send(log, options, now, writer);
    if !follow {
        return send.await;
    }
    tokio::select! {
        result = send => result,
        // The reader is gone when its side of the stream ends.
        () = async { while let Ok(Some(_)) = frame::read(&mut reader).await {} } => Ok(()),
    }
}

async fn send<W: AsyncWrite + Send + Unpin>(
    mut log: Log,
    options: Options,
    now: i64,
    writer: &mut W,
) -> io::Result<()> {
    // Before the first read: what is written in between is told.
    let mut changes = match (options.follow, log.path.parent()) {
        (true, Some(dir)) if dir.is_dir() => Some(DirWatch::new(dir)?),
        _ => None,
    };
    let mut text = Text::new(&options, now);
    let (path, tail) = (log.path.clone(), options.tail_lines);
    let mut source = match read_blocking(move || Source::open(&path, tail)).await {
        Ok(source) => source,
        // A container that never ran said nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    loop {
        let ended = log
            .runtime
            .borrow_and_update()
            .container(&log.container)
            .is_none_or(|c| c.attempt != log.attempt || matches!(c.phase, Phase::Exited(_)));
        loop {
            let (back, chunk) = read_blocking(move || {
                let chunk = source.read()?;
                Ok((source, chunk))
            })
            .await?;
            source = back;
            let Some(chunk) = chunk else { break };
            let more = text.take(&chunk);
            let ready = std::mem::take(&mut text.out);
            for piece in ready.chunks(BATCH) {
                frame::write(writer, frame::STDOUT, piece).await?;
            }
            if !more {
                return Ok(());
            }
        }
        let Some(changes) = changes.as_mut() else {
            return Ok(());
        };
        // The shim writes a container's last words before it reports the exit.
        if ended {
            return Ok(());
        }
        tokio::select! {
            changed = changes.changed() => { changed?; }
            changed = log.runtime.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

async fn read_blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::other("interrupted: the agent is stopping")),
    }
}

/// The end of a log as text, for a termination message.
pub fn tail(path: &Path, lines: usize, bytes: u64) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut source = Source::open(path, Some(lines as u64))?;
        let mut text = Text::new(&Options::default(), 0);
        while let Some(chunk) = source.read()? {
            text.take(&chunk);
        }
        Ok(text.out)
    };
    let text = read().unwrap_or_default();
    let from = text.len().saturating_sub(bytes as usize);
    String::from_utf8_lossy(&text[from..]).into_owned()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Write as _;

    use super::super::log_files::numbered;
    use super::*;

    fn lines(range: std::ops::Range<u32>) -> String {
        range.fold(String::new(), |mut text, n| {
            let _ = writeln!(text, "2026-01-02T03:04:{:02}.000000000Z stdout F line {n}", n % 60);
            text
        })
    }

    /// Three files: lines 0 to 9, 10 to 19, 20 to 29.
    fn files() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(numbered(&path, 2), lines(0..10)).unwrap();
        std::fs::write(numbered(&path, 1), lines(10..20)).unwrap();
        std::fs::write(&path, lines(20..30)).unwrap();
        (dir, path)
    }

    async fn shown(path: &Path, options: serde_json::Value) -> String {
        let (_keep, runtime) = watch::channel(PodRuntime::default());
        let log = Log { path: path.to_owned(), container: "c".into(), attempt: 0, runtime };
        let options: Options = serde_json::from_value(options).unwrap();
        let now = pintle_api::time::parse("2026-01-02T03:04:30Z").unwrap();
        let mut wire = Vec::new();
        serve(log, options, now, tokio::io::empty(), &mut wire).await.unwrap();
        let mut text = Vec::new();
        let mut reader = wire.as_slice();
        while let Some((_, payload)) = frame::read(&mut reader).await.unwrap() {
            text.extend(payload);
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn a_log_is_read_across_rotations() {
        let (_dir, path) = files();
        let check = async |options: serde_json::Value, first: u32, count: usize| {
            let text = shown(&path, options.clone()).await;
            assert_eq!(text.lines().count(), count, "{options}");
            if count > 0 {
                assert_eq!(
                    text.lines().next(),
                    Some(format!("line {first}").as_str()),
                    "{options}"
                );
            }
        };
        check(serde_json::json!({}), 0, 30).await;
        check(serde_json::json!({"tailLines": 0}), 0, 0).await;
        check(serde_json::json!({"tailLines": 1}), 29, 1).await;
        check(serde_json::json!({"tailLines": 10}), 20, 10).await;
        check(serde_json::json!({"tailLines": 13}), 17, 13).await;
        check(serde_json::json!({"tailLines": 500}), 0, 30).await;
        check(serde_json::json!({"sinceSeconds": 5}), 25, 5).await;
        check(serde_json::json!({"sinceTime": "2026-01-02T03:04:28Z"}), 28, 2).await;
        assert_eq!(shown(&path, serde_json::json!({"limitBytes": 9})).await, "line 0\nli");
        let stamped = shown(&path, serde_json::json!({"timestamps": true, "tailLines": 1})).await;
        assert_eq!(stamped, "2026-01-02T03:04:29.000000000Z line 29\n");
        assert_eq!(tail(&path, 2, 100), "line 28\nline 29\n");
    }

    #[tokio::test]
    async fn following_survives_rotation_and_ends_with_the_container() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, lines(0..1)).unwrap();
        let mut running = PodRuntime::default();
        running.running("c", 0, true, true);
        let (state, runtime) = watch::channel(running);
        let log = Log { path: path.clone(), container: "c".into(), attempt: 0, runtime };
        let options: Options = serde_json::from_value(serde_json::json!({"follow": true})).unwrap();
        let (_client, far) = tokio::io::duplex(16);
        let (mut near, mut wire) = tokio::io::duplex(1 << 16);
        let task = tokio::spawn(async move {
            serve(log, options, 0, far, &mut wire).await.unwrap();
        });
        assert_eq!(frame::read(&mut near).await.unwrap().unwrap().1, b"line 0\n");
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(lines(1..2).as_bytes())
            .unwrap();
        assert_eq!(frame::read(&mut near).await.unwrap().unwrap().1, b"line 1\n");
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(lines(2..3).as_bytes())
            .unwrap();
        std::fs::rename(&path, numbered(&path, 1)).unwrap();
        std::fs::write(&path, lines(3..4)).unwrap();
        let mut text = Vec::new();
        while text.len() < 14 {
            text.extend(frame::read(&mut near).await.unwrap().unwrap().1);
        }
        assert_eq!(text, b"line 2\nline 3\n");
        state.send_modify(|runtime| {
            runtime.exited(
                "c",
                crate::pod::runtime::Termination {
                    exit_code: 0,
                    signal: None,
                    reason: "Completed".into(),
                    message: String::new(),
                    started_at: 0,
                    finished_at: 0,
                    container_id: String::new(),
                },
            );
        });
        task.await.unwrap();
    }
}

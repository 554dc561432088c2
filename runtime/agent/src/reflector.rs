//! List, then watch from there, for ever: every change of a collection arrives
//! at least once, through lost connections and expired histories.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::client::{Api, ApiError, WatchBody, chain};

/// Largest line of a watch: one object and its envelope.
const MAX_LINE_BYTES: usize = 8 << 20;
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

#[derive(Debug)]
pub enum Change {
    /// The object is now so.
    Applied(Value),
    Deleted(Identity),
    /// All that existed at the time of a list has been told.
    Synced,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl Identity {
    pub fn of(object: &Value) -> Identity {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        Identity { namespace: text("namespace"), name: text("name"), uid: text("uid") }
    }
}

/// Follows one collection. `path` has no query; `selector` is one (`fieldSelector=...`) or empty.
/// Ends when nobody listens any more.
pub async fn reflect(api: Api, path: String, selector: String, changes: mpsc::Sender<Change>) {
    let mut reflector =
        Reflector { api, path, selector, changes, known: HashMap::new(), revision: None };
    let mut wait = BACKOFF.0;
    loop {
        match reflector.run().await {
            // A quiet end of a watch is ordinary, as is an expired history.
            Ok(()) => wait = BACKOFF.0,
            Err(End::Unheard) => return,
            Err(End::Expired) => {
                debug!(path = reflector.path, "the history has expired, listing again");
                reflector.revision = None;
                wait = BACKOFF.0;
            }
            Err(End::Failed(error)) => {
                warn!(path = reflector.path, error = chain(&error), "watch interrupted");
                // A server that refuses sends no event when it would accept again.
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(BACKOFF.1);
            }
        }
    }
}

enum End {
    /// The receiver is gone.
    Unheard,
    Expired,
    Failed(ApiError),
}

impl From<ApiError> for End {
    fn from(error: ApiError) -> End {
        match error.code() {
            Some(410) => End::Expired,
            _ => End::Failed(error),
        }
    }
}

struct Reflector {
    api: Api,
    path: String,
    selector: String,
    changes: mpsc::Sender<Change>,
    /// By namespace and name: the uid that was told.
    known: HashMap<(String, String), String>,
    revision: Option<String>,
}

impl Reflector {
    async fn run(&mut self) -> Result<(), End> {
        let revision = match &self.revision {
            Some(revision) => revision.clone(),
            None => self.list().await?,
        };
        let path = format!(
            "{}?watch=1&allowWatchBookmarks=true&resourceVersion={revision}{}",
            self.path,
            self.and_selector()
        );
        let mut body = self.api.watch(&path).await?;
        let mut lines = Lines::default();
        while let Some(line) = lines.next(body.as_mut()).await? {
            let event: Value = serde_json::from_slice(&line).map_err(ApiError::Json)?;
            self.event(event).await?;
        }
        Ok(())
    }

    fn and_selector(&self) -> String {
        match self.selector.as_str() {
            "" => String::new(),
            selector => format!("&{selector}"),
        }
    }

    async fn list(&mut self) -> Result<String, End> {
        let path = match self.selector.as_str() {
            "" => self.path.clone(),
            selector => format!("{}?{selector}", self.path),
        };
        let mut list = self.api.get(&path).await?;
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
        let items = match list["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        let mut present = HashSet::new();
        for item in items {
            let id = Identity::of(&item);
            present.insert((id.namespace, id.name));
            self.applied(item).await?;
        }
        let gone: Vec<_> =
            self.known.keys().filter(|key| !present.contains(*key)).cloned().collect();
        for (namespace, name) in gone {
            self.deleted(namespace, name).await?;
        }
        self.send(Change::Synced).await?;
        self.revision = Some(revision.clone());
        Ok(revision)
    }

    async fn event(&mut self, mut event: Value) -> Result<(), End> {
        let object = event["object"].take();
        let revision = object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        match event["type"].as_str() {
            Some("ADDED" | "MODIFIED") => self.applied(object).await?,
            Some("DELETED") => {
                let id = Identity::of(&object);
                self.deleted(id.namespace, id.name).await?;
            }
            Some("BOOKMARK") => {}
            _ => {
                let code = object["code"].as_u64().unwrap_or(500) as u16;
                return Err(ApiError::from_answer(code, object.to_string().as_bytes()).into());
            }
        }
        if revision.is_some() {
            self.revision = revision;
        }
        Ok(())
    }

    async fn applied(&mut self, object: Value) -> Result<(), End> {
        let id = Identity::of(&object);
        let key = (id.namespace.clone(), id.name.clone());
        // The same name with another uid is another object.
        if self.known.get(&key).is_some_and(|uid| *uid != id.uid) {
            self.deleted(key.0.clone(), key.1.clone()).await?;
        }
        self.known.insert(key, id.uid);
        self.send(Change::Applied(object)).await
    }

    async fn deleted(&mut self, namespace: String, name: String) -> Result<(), End> {
        let Some(uid) = self.known.remove(&(namespace.clone(), name.clone())) else {
            return Ok(());
        };
        self.send(Change::Deleted(Identity { namespace, name, uid })).await
    }

    async fn send(&self, change: Change) -> Result<(), End> {
        self.changes.send(change).await.map_err(|_| End::Unheard)
    }
}

/// Cuts the body of a watch into lines, none of them larger than the largest object.
#[derive(Default)]
pub struct Lines {
    buffer: BytesMut,
}

impl Lines {
    /// The next line; `None` when the body has ended.
    pub async fn next(&mut self, body: &mut dyn WatchBody) -> Result<Option<BytesMut>, ApiError> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(searched + at);
                self.buffer.advance(1);
                if line.is_empty() {
                    searched = 0;
                    continue;
                }
                return Ok(Some(line));
            }
            searched = self.buffer.len();
            if searched > MAX_LINE_BYTES {
                return Err(ApiError::TooLarge);
            }
            match body.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use bytes::Bytes;
    use parking_lot::Mutex;
    use serde_json::json;

    use super::*;
    use crate::client::{ApiClient, ApiResponse};

    /// Answers lists and watches from a script, and records the paths.
    struct Script {
        answers: Mutex<Vec<Result<String, u16>>>,
        paths: Mutex<Vec<String>>,
    }

    impl Script {
        fn next(&self, path: &str) -> Option<Result<String, u16>> {
            self.paths.lock().push(path.to_owned());
            let mut answers = self.answers.lock();
            (!answers.is_empty()).then(|| answers.remove(0))
        }
    }

    #[async_trait]
    impl ApiClient for Script {
        async fn request(
            &self,
            _: &str,
            path: &str,
            _: &str,
            _: Bytes,
        ) -> Result<ApiResponse, ApiError> {
            match self.next(path) {
                Some(Ok(body)) => Ok(ApiResponse { status: 200, body: body.into() }),
                Some(Err(status)) => Ok(ApiResponse { status, body: Bytes::new() }),
                None => std::future::pending().await,
            }
        }

        async fn watch(&self, path: &str) -> Result<Box<dyn WatchBody>, ApiError> {
            match self.next(path) {
                // In pieces of 7 bytes, so that lines are cut everywhere.
                Some(Ok(body)) => Ok(Box::new(Pieces(
                    body.as_bytes().chunks(7).map(Bytes::copy_from_slice).rev().collect(),
                ))),
                Some(Err(status)) => Err(ApiError::from_answer(status, b"")),
                None => std::future::pending().await,
            }
        }
    }

    struct Pieces(Vec<Bytes>);

    #[async_trait]
    impl WatchBody for Pieces {
        async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
            Ok(self.0.pop())
        }
    }

    fn object(name: &str, uid: &str, revision: &str) -> Value {
        json!({"metadata": {"namespace": "n", "name": name, "uid": uid, "resourceVersion": revision}})
    }

    fn list(revision: &str, items: &[Value]) -> Result<String, u16> {
        Ok(json!({"metadata": {"resourceVersion": revision}, "items": items}).to_string())
    }

    fn events(events: &[(&str, Value)]) -> Result<String, u16> {
        Ok(events
            .iter()
            .map(|(kind, object)| json!({"type": kind, "object": object}).to_string() + "\n")
            .collect())
    }

    async fn check(answers: Vec<Result<String, u16>>, expect: &[&str], paths: &[&str]) {
        let script = Arc::new(Script { answers: Mutex::new(answers), paths: Mutex::default() });
        let (send, mut receive) = mpsc::channel(16);
        let task = tokio::spawn(reflect(Api::new(script.clone()), "/p".into(), "f=1".into(), send));
        let mut got = Vec::new();
        while got.len() < expect.len() {
            got.push(match receive.recv().await.unwrap() {
                Change::Applied(object) => format!("+{}", Identity::of(&object).uid),
                Change::Deleted(id) => format!("-{}", id.uid),
                Change::Synced => "synced".to_owned(),
            });
        }
        task.abort();
        assert_eq!(got, expect);
        let seen = script.paths.lock().clone();
        assert!(
            seen.len() >= paths.len() && seen.iter().zip(paths).all(|(a, b)| a.contains(b)),
            "{seen:?}"
        );
    }

    #[tokio::test]
    async fn a_watch_resumes_where_it_ended() {
        check(
            vec![
                list("5", &[object("a", "1", "4")]),
                events(&[
                    ("MODIFIED", object("a", "1", "6")),
                    ("BOOKMARK", json!({"metadata": {"resourceVersion": "9"}})),
                ]),
                Err(503),
                events(&[("ADDED", object("b", "2", "10")), ("DELETED", object("a", "1", "11"))]),
            ],
            &["+1", "synced", "+1", "+2", "-1"],
            &["/p?f=1", "resourceVersion=5&f=1", "resourceVersion=9", "resourceVersion=9"],
        )
        .await;
    }

    #[tokio::test]
    async fn an_expired_history_is_made_up_for_by_a_list() {
        check(
            vec![
                list("5", &[object("a", "1", "4"), object("b", "2", "4"), object("c", "3", "4")]),
                events(&[("ERROR", json!({"kind": "Status", "code": 410, "message": "expired"}))]),
                list("20", &[object("a", "1", "4"), object("b", "9", "15")]),
            ],
            &["+1", "+2", "+3", "synced", "+1", "-2", "+9", "-3", "synced"],
            &["/p?f=1", "resourceVersion=5", "/p?f=1"],
        )
        .await;
    }
}

//! Watches: one task per watch, which turns events of the bus into frames of a
//! response. Frames are bounded in size and number; a client that does not
//! read is dropped, and resumes with the revision that it saw last.

mod frame;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use pintle_api::kinds::Resource;
use pintle_api::status::{FieldError, StatusError};
use pintle_watch::{Event, EventKind, From as WatchFrom, Gone, Object, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use super::negotiate::{Encoding, JSON, Shape};
use super::options::{self, ListOptions, Match, Selectors};
use super::select::Selection;
use super::shape::View;
use super::{Call, respond};
use crate::body::Body;
use crate::{ApiServer, raised};

use frame::{Frame, error_event, event_line};

/// Frames on their way to one client.
const FRAMES_IN_FLIGHT: usize = 4;
/// A client that takes no frame for this long is gone or hopeless.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// Watches end after 30 to 60 minutes, not all at once.
const MIN_LIFETIME_SECONDS: u64 = 30 * 60;
const MAX_TIMEOUT_SECONDS: u64 = 24 * 3600;
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// How a watch is to be run.
struct Params {
    selection: Selection,
    view: View,
    bookmarks: bool,
    /// Ends the initial events with an annotated bookmark.
    mark_initial: bool,
    lifetime: Duration,
}

pub async fn watch(
    call: &Call<'_>,
    resource: &'static Resource,
    mut selectors: Selectors,
) -> Result<Response<Body>, StatusError> {
    resource.check_field_selector(&selectors.fields)?;
    let view = View::of(call, resource)?;
    if view.encoding != Encoding::Json {
        return Err(StatusError::not_acceptable(&[
            "application/json",
            "application/json;stream=watch",
        ]));
    }
    // `/watch/namespaces/x/pods/p` watches one object.
    if let Some(name) = call.path.name.as_deref() {
        let only = pintle_api::selector::FieldSelector::parse(&format!("metadata.name={name}"))
            .map_err(|error| StatusError::bad_request(error.to_string()))?;
        selectors.fields.requirements.extend(only.requirements);
    }
    let list = ListOptions::parse(call.query)?;
    let bookmarks = call.query.is_set("allowWatchBookmarks")?;
    let initial = call.query.flag("sendInitialEvents")?;
    check_initial(&list, initial, bookmarks)?;
    let from = start(&list, initial);
    if let WatchFrom::After(revision) = from {
        call.server.wait_for(revision).await?;
    } else if let Some(revision) = list.resource_version {
        call.server.wait_for(revision).await?;
    }
    let selection = Selection::new(
        resource,
        call.server.storage_row(resource),
        call.path.namespace.as_deref(),
        selectors,
    );
    let params = Params {
        view,
        bookmarks,
        mark_initial: initial == Some(true) && bookmarks,
        lifetime: lifetime(call.query.integer("timeoutSeconds")?),
        selection,
    };
    let (sender, receiver) = mpsc::channel(FRAMES_IN_FLIGHT);
    match call.server.bus.watch(resource.storage_id, params.selection.topic.clone(), from) {
        Ok(watcher) => {
            let run = Run { server: call.server.clone(), params, sender, sent_header: false };
            tokio::spawn(run.run(watcher));
        }
        Err(Gone) => {
            let requested = list.resource_version.unwrap_or(0);
            let error = StatusError::too_old(requested, call.server.store.compacted());
            // The channel is new and empty.
            let _ = sender.try_send(error_event(&error));
        }
    }
    Ok(respond::with_body(StatusCode::OK, JSON, Body::channel(receiver)))
}

fn check_initial(
    list: &ListOptions,
    initial: Option<bool>,
    bookmarks: bool,
) -> Result<(), StatusError> {
    let fail = |error| Err(options::invalid("ListOptions", error));
    match (initial, list.version_match) {
        (None, None) => Ok(()),
        (None, Some(_)) => fail(FieldError::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        )),
        (Some(_), Some(Match::NotOlderThan)) if initial == Some(true) && !bookmarks => {
            fail(FieldError::forbidden(
                "sendInitialEvents",
                "sendInitialEvents requires setting allowWatchBookmarks to true",
            ))
        }
        (Some(_), Some(Match::NotOlderThan)) => Ok(()),
        (Some(_), _) => fail(FieldError::forbidden(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )),
    }
}

fn start(list: &ListOptions, initial: Option<bool>) -> WatchFrom {
    match (initial, list.resource_version) {
        (Some(true), _) => WatchFrom::Initial,
        (_, Some(revision)) if revision > 0 => WatchFrom::After(revision),
        (Some(false), _) => WatchFrom::Now,
        // "Any state, and what follows": the newest state is one.
        (None, _) => WatchFrom::Initial,
    }
}

fn lifetime(asked_seconds: Option<i64>) -> Duration {
    let seconds = match asked_seconds.and_then(|seconds| u64::try_from(seconds).ok()) {
        Some(seconds) if seconds > 0 => seconds.min(MAX_TIMEOUT_SECONDS),
        _ => {
            let spread = uuid::Uuid::new_v4().as_u128() % u128::from(MIN_LIFETIME_SECONDS);
            MIN_LIFETIME_SECONDS + spread as u64
        }
    };
    Duration::from_secs(seconds)
}

/// Why a watch ended before its time.
enum Ended {
    /// The client is gone, or too slow.
    Client,
    Failed(StatusError),
}

struct Run {
    server: Arc<ApiServer>,
    params: Params,
    sender: mpsc::Sender<Bytes>,
    /// Column definitions are sent with the first table only.
    sent_header: bool,
}

impl Run {
    async fn run(mut self, mut watcher: Watcher) {
        let server = self.server.clone();
        let _counted = server.metrics.watches.count();
        match self.relay(&mut watcher).await {
            // Everything taken from the watcher has been sent.
            Ok(()) if self.params.bookmarks => {
                let _ = self.send(self.bookmark(watcher.revision(), false)).await;
            }
            Ok(()) | Err(Ended::Client) => {}
            Err(Ended::Failed(error)) => {
                let _ = self.send(error_event(&error)).await;
            }
        }
    }

    /// Runs until the watch's time is over (or the server's). It ends between
    /// batches only, never with events taken but not sent.
    async fn relay(&mut self, watcher: &mut Watcher) -> Result<(), Ended> {
        let deadline = Instant::now() + self.params.lifetime;
        self.initial(watcher).await?;
        let first = Instant::now() + BOOKMARK_INTERVAL;
        let mut ticks = interval_at(first, BOOKMARK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let sender = self.sender.clone();
        let mut closing = self.server.closing();
        loop {
            tokio::select! {
                events = watcher.next() => {
                    let events = events.map_err(|Gone| {
                        Ended::Failed(StatusError::too_old(watcher.revision(), self.server.store.compacted()))
                    })?;
                    self.events(&events).await?;
                }
                _ = ticks.tick(), if self.params.bookmarks => {
                    let bookmark = self.bookmark(watcher.revision(), false);
                    self.send(bookmark).await?;
                }
                () = sender.closed() => return Err(Ended::Client),
                () = sleep_until(deadline) => return Ok(()),
                () = raised(&mut closing) => return Ok(()),
            }
        }
    }

    async fn initial(&mut self, watcher: &mut Watcher) -> Result<(), Ended> {
        let revision = watcher.revision();
        let mut frame = Frame::default();
        for object in std::mem::take(&mut watcher.initial) {
            if !self.params.selection.exact && !self.params.selection.matches(&object) {
                continue;
            }
            let line = self.line(EventKind::Added, &object)?;
            if let Some(full) = frame.push(line) {
                self.send(full).await?;
            }
        }
        if self.params.mark_initial {
            frame.push_last(self.bookmark(revision, true));
        }
        self.flush(frame).await
    }

    async fn events(&mut self, events: &[Arc<Event>]) -> Result<(), Ended> {
        let mut frame = Frame::default();
        for event in events {
            let line = if self.params.selection.exact {
                if self.params.view.is_plain() {
                    event.json()
                } else {
                    self.line(event.kind, &event.object)?
                }
            } else {
                let selection = &self.params.selection;
                let Some((kind, object)) = event.for_selector(|object| selection.matches(object))
                else {
                    continue;
                };
                if self.params.view.is_plain()
                    && kind == event.kind
                    && Arc::ptr_eq(object, &event.object)
                {
                    event.json()
                } else {
                    self.line(kind, object)?
                }
            };
            if let Some(full) = frame.push(line) {
                self.send(full).await?;
            }
        }
        self.flush(frame).await
    }

    fn line(&mut self, kind: EventKind, object: &Object) -> Result<Bytes, Ended> {
        if self.params.view.is_plain() {
            return Ok(kind.encode(object));
        }
        let headers = !self.sent_header;
        self.sent_header = true;
        let shown = self
            .params
            .view
            .object(&object.bytes, object.revision, self.server.now_ms(), headers)
            .map_err(Ended::Failed)?;
        Ok(event_line(kind.as_str(), &shown))
    }

    fn bookmark(&self, revision: u64, initial_end: bool) -> Bytes {
        let view = &self.params.view;
        let annotations = match initial_end {
            true => format!(r#","annotations":{{"{INITIAL_EVENTS_END}":"true"}}"#),
            false => String::new(),
        };
        let metadata =
            format!(r#"{{"resourceVersion":"{revision}","creationTimestamp":null{annotations}}}"#);
        let (kind, api_version) = match view.shape {
            Shape::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1"),
            _ => (view.resource.kind, view.resource.group_version()),
        };
        let object =
            format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{metadata}}}"#);
        let object = match view.shape {
            Shape::Table => format!(
                r#"{{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{{"resourceVersion":"{revision}"}},"columnDefinitions":null,"rows":[{{"cells":[],"object":{object}}}]}}"#
            ),
            _ => object,
        };
        event_line("BOOKMARK", object.as_bytes())
    }

    async fn flush(&self, frame: Frame) -> Result<(), Ended> {
        match frame.finish() {
            Some(rest) => self.send(rest).await,
            None => Ok(()),
        }
    }

    async fn send(&self, bytes: Bytes) -> Result<(), Ended> {
        match timeout(WRITE_TIMEOUT, self.sender.send(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::Client),
            Err(_) => {
                tracing::debug!(resource = %self.params.view.resource, "slow watcher dropped");
                Err(Ended::Client)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::query::Query;

    #[test]
    fn where_a_watch_begins() {
        let check = |text: &str, expect: Result<WatchFrom, &str>| {
            let query = Query::parse(Some(text)).unwrap();
            let list = ListOptions::parse(&query).unwrap();
            let initial = query.flag("sendInitialEvents").unwrap();
            let bookmarks = query.is_set("allowWatchBookmarks").unwrap();
            let found = check_initial(&list, initial, bookmarks).map(|()| start(&list, initial));
            match (found, expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found, expect, "{text}"),
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{text}: {error}")
                }
                (found, _) => panic!("{text}: {found:?}"),
            }
        };
        check("watch=1", Ok(WatchFrom::Initial));
        check("watch=1&resourceVersion=0", Ok(WatchFrom::Initial));
        check("watch=1&resourceVersion=7", Ok(WatchFrom::After(7)));
        check("watch=1&sendInitialEvents=true", Err("requires setting resourceVersionMatch"));
        check(
            "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
            Err("requires setting allowWatchBookmarks"),
        );
        check(
            "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=7",
            Ok(WatchFrom::Initial),
        );
        check(
            "watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan",
            Ok(WatchFrom::Now),
        );
        check(
            "watch=1&resourceVersionMatch=NotOlderThan",
            Err("forbidden for watch unless sendInitialEvents"),
        );
    }
}

//! A pod as the rest of the agent holds it: what is wanted of it goes in, what
//! streams need to know comes out. Does not know how a pod is driven.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use pintle_containers::Sandbox;
use tokio::sync::{mpsc, watch};

use super::super::hooks::ProbeKind;
use super::super::model::Pod;
use super::super::record::Record;
use super::super::runtime::PodRuntime;
use super::{Driver, Shared, report};

/// From the tasks beside a pod's own.
#[derive(Debug)]
pub enum Message {
    Probe {
        container: String,
        attempt: u32,
        kind: ProbeKind,
        /// Set when the thresholds were crossed.
        verdict: Option<bool>,
        failure: Option<String>,
    },
    Hook {
        container: String,
        attempt: u32,
        hook: HookKind,
        result: Result<(), String>,
    },
    /// Something that a failed step waits for may be there now.
    Retry,
    /// An image was imported or removed.
    ImagesChanged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookKind {
    PostStart,
    PreStop,
}

/// What the API wants of this pod, the latest only.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub pod: Arc<Pod>,
    pub gone: bool,
}

/// A pod as the agent holds it.
pub struct PodHandle {
    wanted: watch::Sender<Wanted>,
    inbox: mpsc::Sender<Message>,
    pub view: Arc<View>,
}

/// What log and exec streams need to know of a pod.
pub struct View {
    pub sandbox: RwLock<Option<Sandbox>>,
    pub runtime: watch::Sender<PodRuntime>,
}

const INBOX: usize = 64;

impl PodHandle {
    /// Starts the pod's task. `known` is the record of an earlier life. The
    /// task reports the uid to `ended` when nothing of the pod is left.
    pub fn start(
        shared: Arc<Shared>,
        pod: Arc<Pod>,
        known: Option<PodRuntime>,
        ended: mpsc::UnboundedSender<String>,
    ) -> PodHandle {
        let (wanted, desired) = watch::channel(Wanted { pod: pod.clone(), gone: false });
        let (inbox, messages) = mpsc::channel(INBOX);
        let view = Arc::new(View {
            sandbox: RwLock::new(None),
            runtime: watch::Sender::new(PodRuntime::default()),
        });
        let driver = Driver {
            record: Record::new(&shared.data_dir, &pod),
            runtime: PodRuntime::default(),
            wanted: Wanted { pod, gone: false },
            desired,
            messages,
            inbox: inbox.clone(),
            view: view.clone(),
            sandbox: None,
            events: None,
            ask_again_at: None,
            probes: HashMap::new(),
            reporter: report::Reporter::default(),
            shared,
        };
        tokio::spawn(async move {
            let uid = driver.wanted.pod.metadata.uid.clone();
            driver.run(known).await;
            // The agent itself may be gone already.
            let _ = ended.send(uid);
        });
        PodHandle { wanted, inbox, view }
    }

    pub fn want(&self, pod: Arc<Pod>) {
        self.wanted.send_replace(Wanted { pod, gone: false });
    }

    pub fn gone(&self) {
        self.wanted.send_modify(|wanted| wanted.gone = true);
    }

    pub fn pod(&self) -> Arc<Pod> {
        self.wanted.borrow().pod.clone()
    }

    /// What failed for want of a network may be tried again at once.
    pub fn retry(&self) {
        // A full inbox wakes the pod anyway.
        let _ = self.inbox.try_send(Message::Retry);
    }

    pub fn images_changed(&self) {
        let _ = self.inbox.try_send(Message::ImagesChanged);
    }
}

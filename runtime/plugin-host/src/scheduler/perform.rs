//! What follows from a scheduler's decisions: bindings, conditions, evictions
//! and Events, performed while the next batch is decided.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::decisions;
use super::live::{node_kind, pod_kind};
use super::pod::PodView;
use super::unit::Shared;
use crate::action::Action;
use crate::cluster::{ApplyError, ListQuery, ObjectHandle};
use crate::extension::{Heard, Postponed};
use crate::metrics::Metrics;
use crate::program::scheduler_interface::{Decision, Preemption, Unschedulable, Wake};

/// A pod waits so long for an extension that has to catch up with the cluster.
const EXTENSION_LAG: Duration = Duration::from_millis(10);

impl Shared {
    /// In the order of the pods.
    pub fn perform(
        self: &Arc<Self>,
        metrics: &Arc<Metrics>,
        pods: &[ObjectHandle],
        decisions: Vec<Decision>,
        heard: &Heard,
    ) {
        for (pod, decision) in pods.iter().zip(decisions) {
            if let Some(postponed) = heard.postponed.get(pod.uid()) {
                self.postpone(pod, &decision, *postponed);
                continue;
            }
            if heard.rejects(pod.uid()) {
                self.inbox.lock().pending.rejected_by_extension(pod.uid());
            }
            match decision {
                Decision::Bind(binding) => self.bind(metrics, pod, binding.node),
                Decision::Unschedulable(unschedulable) => self.park(pod, &unschedulable),
                Decision::Preempt(preemption) => self.preempt(pod, preemption),
                Decision::Ignore(reason) => {
                    tracing::debug!(
                        plugin = self.identity.name(),
                        pod = pod.name(),
                        reason,
                        "a pod is ignored"
                    );
                    self.inbox.lock().pending.remove(pod.uid());
                }
            }
        }
    }

    /// Extensions could not be asked about it yet, so nothing is decided.
    fn postpone(&self, pod: &ObjectHandle, decision: &Decision, why: Postponed) {
        let wait = match why {
            Postponed::NoTime => Duration::ZERO,
            Postponed::NotUpToDate => EXTENSION_LAG,
        };
        let mut inbox = self.inbox.lock();
        if matches!(decision, Decision::Bind(_) | Decision::Preempt(_)) {
            inbox.forget.push(pod.uid().to_owned());
        }
        inbox.pending.postpone(pod.uid(), wait, Instant::now());
    }

    fn bind(self: &Arc<Self>, metrics: &Arc<Metrics>, pod: &ObjectHandle, node: String) {
        if self.cluster.get(&node_kind(), "", &node).is_none() {
            // Gone since the last delta, or invented: either way this is no binding.
            let mut inbox = self.inbox.lock();
            inbox.forget.push(pod.uid().to_owned());
            inbox.pending.failed(pod.uid(), Instant::now());
            drop(inbox);
            return self.health.trouble(
                "UnknownNode",
                format!("pod {} was given to node {node}, which does not exist", pod.name()),
            );
        }
        {
            let mut inbox = self.inbox.lock();
            inbox.pending.binding(pod.uid());
            inbox.assumed.insert(pod.uid().to_owned(), (pod.clone(), node.clone()));
            inbox.in_flight += 1;
        }
        self.extensions.assume(pod, &node);
        let (shared, pod, metrics) = (self.clone(), pod.clone(), metrics.clone());
        self.runtime.spawn(async move {
            let result =
                shared.cluster.apply(&shared.identity, decisions::bind(&*pod, &node)).await;
            {
                let mut inbox = shared.inbox.lock();
                inbox.in_flight -= 1;
                match &result {
                    Ok(_) => {}
                    Err(error) => {
                        inbox.assumed.remove(pod.uid());
                        inbox.forget.push(pod.uid().to_owned());
                        match error {
                            ApplyError::NotFound(_) => inbox.pending.remove(pod.uid()),
                            _ => inbox.pending.failed(pod.uid(), Instant::now()),
                        }
                    }
                }
            }
            if result.is_err() {
                shared.extensions.unassume(&pod);
            }
            shared.wake.notify_one();
            match result {
                Ok(_) => {
                    metrics.actions(1);
                    let (namespace, name) = (pod.namespace(), pod.name());
                    let note = format!("Successfully assigned {namespace}/{name} to {node}");
                    shared.announce(decisions::event(&*pod, false, "Scheduled", "Binding", note));
                }
                Err(ApplyError::Conflict(_) | ApplyError::NotFound(_)) => metrics.conflict(),
                Err(error) => {
                    shared.health.trouble(
                        "BindRejected",
                        format!("pod {}/{}: {error}", pod.namespace(), pod.name()),
                    );
                }
            }
        });
    }

    fn park(self: &Arc<Self>, pod: &ObjectHandle, unschedulable: &Unschedulable) {
        let message = &unschedulable.message;
        let news = self.inbox.lock().pending.park(
            pod.uid(),
            unschedulable.wake_on,
            message,
            Instant::now(),
        );
        if !news || PodView::of(&**pod).is_unschedulable_with(message) {
            return;
        }
        let now = self.cluster.now_unix_ms();
        self.report(vec![
            decisions::unschedulable(&**pod, message, None, now),
            decisions::event(&**pod, true, "FailedScheduling", "Scheduling", message.clone()),
        ]);
    }

    fn preempt(self: &Arc<Self>, pod: &ObjectHandle, preemption: Preemption) {
        self.inbox.lock().pending.park(
            pod.uid(),
            Wake::POD_REMOVED | Wake::NODE_CHANGED,
            &preemption.message,
            Instant::now(),
        );
        let on_node = self.cluster.list(&ListQuery {
            kind: Some(pod_kind()),
            field: Some(("spec.nodeName".to_owned(), preemption.node.clone())),
            ..ListQuery::default()
        });
        let now = self.cluster.now_unix_ms();
        let mut actions = vec![decisions::unschedulable(
            &**pod,
            &preemption.message,
            Some(preemption.node.as_str()),
            now,
        )];
        let message = preemption.message.clone();
        actions.push(decisions::event(&**pod, true, "FailedScheduling", "Scheduling", message));
        actions.extend(decisions::evict(&**pod, &preemption, &on_node.objects, now));
        self.report(actions);
    }

    /// Performs actions that no further decision waits for.
    fn report(self: &Arc<Self>, actions: Vec<Action>) {
        let shared = self.clone();
        self.runtime.spawn(async move {
            let Ok(_permit) = shared.reports.acquire().await else { return };
            for action in actions {
                match shared.cluster.apply(&shared.identity, action).await {
                    // The pod is another one by now, or gone: so is the report.
                    Ok(_) | Err(ApplyError::NotFound(_) | ApplyError::Conflict(_)) => {}
                    Err(error) => shared.health.trouble("ReportRejected", error.to_string()),
                }
            }
        });
    }
}

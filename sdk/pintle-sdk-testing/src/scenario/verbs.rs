//! What may happen: the words of `when`.
//!
//! | Word | Argument |
//! |---|---|
//! | `create` | as in `given`, one or a list |
//! | `change`, `status` | `{Kind/name: fields}` |
//! | `image`, `scale` | `{Kind/name: value}` |
//! | `delete` | `Kind/name`, with `, foreground` or `, orphan` behind it; `*` in names |
//! | `ready` | `all` (until none waits), `once` (those that wait now), a number or names |
//! | `unready`, `ended` | names of pods; `ended` takes away those that are to be deleted |
//! | `fail`, `succeed` | names of pods or a number; `fail` may be `{pods, exit, reason}` |
//! | `renew` | a node: its lease |
//! | `measure` | what each running pod uses of CPU |
//! | `pass`, `until` | `90s`, `5m`, `2h`, `3d`; a time |
//! | `restart` | `host`: as after a crash |

use pintle_sdk::action::{Create, Delete, Patch, Propagation};
use pintle_sdk::api::time;
use pintle_sdk::types::{LEASE, POD};
use pintle_sdk::{KindRef, ObjectRef};
use serde_json::{Value, json};
use serde_yaml_ng::Value as Yaml;

use super::Stage;
use super::patterns::fits;
use crate::fields::{at, text};

type Done = Result<(), String>;

impl Stage<'_> {
    pub(super) fn act(&mut self, verb: &str, argument: &Yaml) -> Done {
        let argument: Value =
            serde_yaml_ng::from_value(argument.clone()).map_err(|error| error.to_string())?;
        self.refused = None;
        match verb {
            "create" => {
                for entry in list(&argument) {
                    let object = self.object(entry)?;
                    self.put(object)?;
                }
            }
            "change" => self.each(&argument, |stage, reference, change| {
                stage.patch(&reference, change.clone())
            })?,
            "status" => self.each(&argument, |stage, reference, status| {
                stage.cluster.patch_status(&reference, status.clone());
                Ok(())
            })?,
            "image" => self.each(&argument, |stage, reference, image| {
                let known = stage.cluster.object(&reference).ok_or("is gone")?;
                let mut containers = known["spec"]["template"]["spec"]["containers"].clone();
                containers[0]["image"] = image.clone();
                let spec = json!({"template": {"spec": {"containers": containers}}});
                stage.patch(&reference, json!({"spec": spec}))
            })?,
            "scale" => self.each(&argument, |stage, reference, replicas| {
                stage.patch(&reference, json!({"spec": {"replicas": replicas}}))
            })?,
            "delete" => self.delete(word(&argument)?)?,
            "ready" => return self.make_ready(&argument),
            "unready" => {
                self.for_pods(&argument, is_live, |stage, pod| stage.set_ready(pod, false))?
            }
            "ended" => {
                if !self.end_pods(word(&argument)?) {
                    return Err("no such pod is to be deleted".to_owned());
                }
            }
            "fail" => {
                let exit = argument["exit"].as_i64().unwrap_or(1);
                let reason = argument["reason"].as_str().unwrap_or("Error").to_owned();
                let pods = argument.get("pods").unwrap_or(&argument).clone();
                self.for_pods(&pods, is_live, |stage, pod| {
                    stage.end(pod, "Failed", exit, &reason)
                })?;
            }
            "succeed" => self.for_pods(&argument, is_live, |stage, pod| {
                stage.end(pod, "Succeeded", 0, "Completed");
            })?,
            "renew" => self.renew(word(&argument)?),
            "measure" => self.measure(word(&argument)?),
            "pass" => {
                let run = self.cluster.advance(milliseconds(word(&argument)?)?);
                self.note(run);
            }
            "until" => {
                let until = time::parse(word(&argument)?).ok_or("is no time")?;
                let run = self.cluster.advance((until - self.cluster.now_unix_ms).max(0));
                self.note(run);
            }
            "restart" => self.cluster.crash(),
            _ => return Err("there is no such word; see verbs.rs".to_owned()),
        }
        self.rest();
        Ok(())
    }

    /// As a person asks for it, past admission; a refusal is kept for `refused`.
    pub(super) fn put(&mut self, object: Value) -> Done {
        let kind = KindRef::parse(text(&object, "apiVersion"), text(&object, "kind"));
        let cluster_wide = [
            "Node",
            "Namespace",
            "PersistentVolume",
            "StorageClass",
            "PriorityClass",
            "CustomResourceDefinition",
        ];
        let namespace = match text(&object, "metadata.namespace") {
            "" if !cluster_wide.contains(&&*kind.kind) => "default",
            other => other,
        };
        let (mut object, namespace) = (object.clone(), namespace.to_owned());
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        self.refused = self.cluster.submit(Create::new(kind, namespace, &object)).err();
        Ok(())
    }

    fn patch(&mut self, reference: &ObjectRef, change: Value) -> Done {
        self.refused = self.cluster.submit(Patch::merge(reference, &change)).err();
        Ok(())
    }

    fn each(
        &mut self,
        argument: &Value,
        act: impl Fn(&mut Self, ObjectRef, &Value) -> Done,
    ) -> Done {
        for (name, value) in argument.as_object().ok_or("wants {Kind/name: value}")? {
            let found = self.find(name);
            if found.is_empty() {
                return Err(format!("there is no {name}"));
            }
            for reference in found {
                act(self, reference, value)?;
            }
        }
        Ok(())
    }

    /// `Kind/name` or `Kind/namespace/name`, with `*` in names.
    pub(super) fn find(&self, name: &str) -> Vec<ObjectRef> {
        let parts: Vec<&str> = name.split('/').collect();
        let (kind, namespace, name) = match parts.as_slice() {
            [kind, name] => (*kind, None, *name),
            [kind, namespace, name] => (*kind, Some(*namespace), *name),
            _ => return Vec::new(),
        };
        let mut found = self.cluster.references();
        found.retain(|reference| {
            reference.kind.kind == kind
                && fits(name, &reference.name)
                && namespace.is_none_or(|namespace| fits(namespace, &reference.namespace))
        });
        found
    }

    fn delete(&mut self, what: &str) -> Done {
        let (name, how) = what.split_once(", ").unwrap_or((what, "background"));
        let propagation = match how {
            "background" => Propagation::Background,
            "foreground" => Propagation::Foreground,
            "orphan" => Propagation::Orphan,
            _ => return Err(format!("{how} is no way to delete")),
        };
        let found = self.find(name);
        if found.is_empty() {
            return Err(format!("there is no {name}"));
        }
        for reference in found {
            let delete = match reference.kind == POD {
                true => Delete::new(&reference),
                false => Delete::new(&reference).propagation(propagation),
            };
            self.refused = self.cluster.submit(delete).err();
        }
        Ok(())
    }

    /// Takes away pods that are to be deleted; false when there are none.
    pub(super) fn end_pods(&mut self, names: &str) -> bool {
        let ending = self.pods(|pod| at(pod, "metadata.deletionTimestamp").is_some());
        let mut any = false;
        for pod in ending.iter().filter(|pod| fits(names, &pod.name)) {
            let Some(before) = self.cluster.object(pod).cloned() else { continue };
            // One that somebody else holds ends before it goes.
            if is_live(&before) && at(&before, "metadata.finalizers").is_some() {
                self.end(pod, "Failed", 137, "Killed");
            }
            let gone = self.cluster.apply(&Delete::new(pod).grace(0).into());
            any |= gone.is_ok() && self.cluster.object(pod) != Some(&before);
        }
        any
    }

    /// In the order they were made.
    pub(super) fn pods(&self, which: impl Fn(&Value) -> bool) -> Vec<ObjectRef> {
        let mut pods: Vec<(u64, ObjectRef)> = self
            .cluster
            .all(&POD)
            .into_iter()
            .filter(|pod| which(pod))
            .map(|pod| {
                let place = POD.named(text(pod, "metadata.namespace"), text(pod, "metadata.name"));
                let uid = text(pod, "metadata.uid").trim_start_matches("uid-").parse();
                (uid.unwrap_or(0), place)
            })
            .collect();
        pods.sort();
        pods.into_iter().map(|(_, pod)| pod).collect()
    }

    fn for_pods(
        &mut self,
        names: &Value,
        which: impl Fn(&Value) -> bool,
        act: impl Fn(&mut Self, &ObjectRef),
    ) -> Done {
        let mut pods = self.pods(which);
        match names {
            Value::Number(count) => pods.truncate(count.as_u64().unwrap_or(0) as usize),
            Value::String(all) if all == "all" => {}
            Value::String(names) => pods.retain(|pod| fits(names, &pod.name)),
            other => return Err(format!("{other} are no pods")),
        }
        if pods.is_empty() {
            return Err("there is no such pod".to_owned());
        }
        pods.iter().for_each(|pod| act(self, pod));
        Ok(())
    }

    /// Images called `broken` never start.
    fn make_ready(&mut self, names: &Value) -> Done {
        let waits = |pod: &Value| {
            is_live(pod)
                && at(pod, "metadata.deletionTimestamp").is_none()
                && !is_ready(pod)
                && !text(&pod["spec"]["containers"][0], "image").starts_with("broken")
        };
        let until_none = names == "all";
        let names = if names == "once" { json!("all") } else { names.clone() };
        for _ in 0..1000 {
            if until_none && self.pods(waits).is_empty() {
                return Ok(());
            }
            self.for_pods(&names, waits, |stage, pod| stage.set_ready(pod, true))?;
            self.rest();
            if !until_none {
                return Ok(());
            }
        }
        Err("pods to be made ready come for ever".to_owned())
    }

    fn set_ready(&mut self, pod: &ObjectRef, ready: bool) {
        let Some(known) = self.cluster.object(pod).cloned() else { return };
        if text(&known, "spec.nodeName").is_empty() {
            // A daemon pod says where it wants to be.
            let terms = &known["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
            let wanted = &terms["nodeSelectorTerms"][0]["matchFields"][0]["values"][0];
            let node = wanted.as_str().unwrap_or("n1");
            self.cluster.patch(pod, json!({"spec": {"nodeName": node}}));
        }
        let now = time::format_seconds(self.cluster.now_unix_ms);
        let status = if ready { "True" } else { "False" };
        let condition = json!([{"type": "Ready", "status": status, "lastTransitionTime": now}]);
        self.cluster.patch_status(
            pod,
            json!({"phase": "Running", "startTime": now, "conditions": condition}),
        );
    }

    fn end(&mut self, pod: &ObjectRef, phase: &str, exit: i64, reason: &str) {
        let now = time::format_seconds(self.cluster.now_unix_ms);
        let name = self
            .cluster
            .object(pod)
            .and_then(|pod| pod["spec"]["containers"][0]["name"].as_str().map(str::to_owned));
        let terminated = json!({"exitCode": exit, "reason": reason, "finishedAt": now});
        let ready = json!([{"type": "Ready", "status": "False", "lastTransitionTime": now}]);
        self.cluster.patch_status(
            pod,
            json!({"phase": phase, "conditions": ready,
                "containerStatuses": [{"name": name.unwrap_or_default(), "state": {"terminated": terminated}}]}),
        );
    }

    fn renew(&mut self, node: &str) {
        let now = time::format_micros(self.cluster.now_unix_ms * 1000);
        let lease = LEASE.named("kube-node-lease", node);
        if self.cluster.object(&lease).is_none() {
            self.cluster.create(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": node, "namespace": "kube-node-lease"}, "spec": {}}));
        }
        self.cluster.patch(&lease, json!({"spec": {"renewTime": now}}));
    }

    fn measure(&mut self, cpu: &str) {
        let now = time::format_seconds(self.cluster.now_unix_ms);
        for pod in self.pods(is_live) {
            let labels = self.cluster.object(&pod).map(|pod| pod["metadata"]["labels"].clone());
            self.cluster.insert(
                json!({"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
                "metadata": {"name": pod.name, "namespace": pod.namespace, "labels": labels},
                "timestamp": now, "window": "30s",
                "containers": [{"name": "c", "usage": {"cpu": cpu}}]}),
            );
        }
    }
}

pub(super) fn is_live(pod: &Value) -> bool {
    !matches!(text(pod, "status.phase"), "Succeeded" | "Failed")
}

pub(super) fn is_ready(pod: &Value) -> bool {
    let conditions = at(pod, "status.conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|found| found["type"] == "Ready" && found["status"] == "True")
}

pub(super) fn list(argument: &Value) -> &[Value] {
    match argument {
        Value::Array(list) => list,
        one => std::slice::from_ref(one),
    }
}

fn word(argument: &Value) -> Result<&str, String> {
    argument.as_str().ok_or_else(|| format!("{argument} is no text"))
}

fn milliseconds(text: &str) -> Result<i64, String> {
    let unit = text.len().saturating_sub(1);
    let (number, unit) = text.split_at_checked(unit).unwrap_or_default();
    let factor = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("{text:?} is no duration")),
    };
    number.parse::<i64>().map(|number| number * factor).map_err(|error| error.to_string())
}

//! The decision: an autoscaler, its workload and the measures in, actions out.

use pintle_sdk::conditions;
use pintle_sdk::prelude::*;
use serde_json::{Value, json};

use crate::Config;
use crate::behavior::{self, Behavior, Rules};
use crate::history::History;
use crate::measure;
use crate::replicas::{Groups, Reading, Tolerance, by_pods, by_total};
use crate::target::{self, Target};

struct Work<'a> {
    context: &'a Context,
    config: &'a Config,
    lister: &'a dyn Lister,
    hpa: &'a Typed<HorizontalPodAutoscaler>,
    conditions: Vec<Condition>,
    current_metrics: Vec<Value>,
    outcome: Outcome,
}

/// What one metric asks for.
struct Proposal {
    replicas: i64,
    /// `cpu resource utilization (percentage of request)`.
    metric: String,
}

pub fn plan(
    context: &Context,
    config: &Config,
    lister: &dyn Lister,
    hpa: &Typed<HorizontalPodAutoscaler>,
) -> Result<Outcome, Error> {
    let mut work = Work {
        context,
        config,
        lister,
        hpa,
        conditions: hpa.status.conditions.clone(),
        current_metrics: Vec::new(),
        outcome: Outcome::done(),
    };
    match target::read(lister, hpa) {
        Ok(target) => work.scale(&target)?,
        Err(why) => {
            let what = "the HPA controller was unable to get the target's current scale";
            work.complain("AbleToScale", "FailedGetScale", what, &why);
            work.write_status(hpa.status.current_replicas, hpa.status.desired_replicas, None);
        }
    }
    Ok(work.outcome)
}

impl Work<'_> {
    fn set(&mut self, kind: &str, is_true: bool, reason: &str, message: impl Into<String>) {
        let status = if is_true { "True" } else { "False" };
        let next = Condition::new(kind, status, reason, message);
        conditions::set(&mut self.conditions, next, &self.context.now());
    }

    /// A condition that is false says what cannot be done and why; the Event, for
    /// what is new, only why. True: it is new.
    fn complain(&mut self, kind: &str, reason: &str, what: &str, why: &str) -> bool {
        let known = self.hpa.status.conditions.condition(kind);
        let is_new = known.is_none_or(|known| known.reason() != reason);
        if is_new {
            self.outcome.push(Event::warning(self.hpa, reason, why));
        }
        let message = if what.is_empty() { why.to_owned() } else { format!("{what}: {why}") };
        self.set(kind, false, reason, message);
        is_new
    }

    fn scale(&mut self, target: &Target) -> Result<(), Error> {
        let got = "the HPA controller was able to get the target's current scale";
        self.set("AbleToScale", true, "SucceededGetScale", got);
        let spec = &self.hpa.spec;
        let minimum = spec.min_replicas.unwrap_or(1);
        let current = target.wanted;
        let now = self.context.now_unix_ms;
        if current == 0 && minimum != 0 {
            let why = "scaling is disabled since the replica count of the target is zero";
            self.set("ScalingActive", false, "ScalingDisabled", why);
            self.write_status(target.current, 0, None);
            return Ok(());
        }
        let behavior = self.behavior();
        let mut history = History::read(self.hpa);
        let (wanted, why) = if current > spec.max_replicas {
            (spec.max_replicas, "Current number of replicas above Spec.MaxReplicas".to_owned())
        } else if current < minimum {
            (minimum, "Current number of replicas below Spec.MinReplicas".to_owned())
        } else {
            let Some(proposal) = self.measure(target)? else {
                self.write_status(target.current, current, None);
                return Ok(());
            };
            let wanted =
                self.normalize(&behavior, &mut history, current, minimum, proposal.replicas);
            let why = match wanted {
                wanted if wanted > current => format!("{} above target", proposal.metric),
                _ => "All metrics below target".to_owned(),
            };
            (wanted, why)
        };
        let mut scaled_at = None;
        if wanted != current {
            let scale = json!({"spec": {"replicas": wanted}});
            self.outcome.push(Patch::merge(&target.reference, &scale).subresource("scale"));
            let note = format!("New size: {wanted}; reason: {why}");
            self.outcome.push(Event::normal(self.hpa, "SuccessfulRescale", note));
            let done =
                format!("the HPA controller was able to update the target scale to {wanted}");
            self.set("AbleToScale", true, "SucceededRescale", done);
            history.scaled(now, current, wanted);
            scaled_at = Some(self.context.now());
        }
        history.prune(now, behavior.longest_window_ms(), behavior.longest_period_ms(), wanted);
        self.outcome.extend(history.write(self.hpa));
        self.write_status(target.current, wanted, scaled_at);
        Ok(())
    }

    fn behavior(&self) -> Behavior {
        Behavior::of(self.config, self.hpa.spec.behavior.as_ref())
    }

    fn tolerance(&self) -> Tolerance {
        let Behavior { up, down } = self.behavior();
        let of = |rules: Rules| rules.tolerance.unwrap_or(self.config.tolerance);
        Tolerance { up: of(up), down: of(down) }
    }

    /// The metric that asks for most decides.
    fn measure(&mut self, target: &Target) -> Result<Option<Proposal>, Error> {
        let namespace = &self.hpa.reference.namespace;
        let pods: Vec<Typed<Pod>> = self.lister.selected(namespace, &target.selector)?;
        let rivals = target::rivals(self.lister, self.hpa, &pods)?;
        if !rivals.is_empty() {
            let note = format!(
                "pods by selector {} are controlled by multiple HPAs: [{}]",
                target.selector_text(),
                rivals.join(" ")
            );
            self.complain("ScalingActive", "AmbiguousSelector", "", &note);
            return Ok(None);
        }
        let mut best: Option<Proposal> = None;
        let mut failure: Option<(&'static str, String)> = None;
        let mut invalid = 0;
        for metric in &self.hpa.spec.metrics {
            match self.of_metric(metric, target, &pods) {
                Ok((proposal, status)) => {
                    self.current_metrics.push(status);
                    if best.as_ref().is_none_or(|best| proposal.replicas > best.replicas) {
                        best = Some(proposal);
                    }
                }
                Err(error) => {
                    invalid += 1;
                    failure.get_or_insert(error);
                }
            }
        }
        // What cannot be measured might ask for more: then nothing is taken away.
        let blocks = best.as_ref().is_none_or(|best| best.replicas < target.wanted);
        if let Some((reason, why)) = failure.filter(|_| blocks) {
            let what = "the HPA was unable to compute the replica count";
            if self.complain("ScalingActive", reason, what, &why) {
                let all = self.hpa.spec.metrics.len();
                let note = format!(
                    "invalid metrics ({invalid} invalid out of {all}), first error is: {why}"
                );
                let event = Event::warning(self.hpa, "FailedComputeMetricsReplicas", note);
                self.outcome.push(event);
            }
            return Ok(None);
        }
        if let Some(best) = &best {
            let found = format!(
                "the HPA was able to successfully calculate a replica count from {}",
                best.metric
            );
            self.set("ScalingActive", true, "ValidMetricFound", found);
        }
        Ok(best)
    }

    fn of_metric(
        &self,
        metric: &Value,
        target: &Target,
        pods: &[Typed<Pod>],
    ) -> Result<(Proposal, Value), (&'static str, String)> {
        let namespace = &self.hpa.reference.namespace;
        let kind = metric["type"].as_str().unwrap_or_default();
        let amount = |value: &Value| {
            let text =
                value.as_str().map(str::to_owned).or_else(|| value.as_i64().map(|n| n.to_string()));
            text.and_then(|text| Quantity::parse(&text).ok()).map(|quantity| quantity.milli())
        };
        let milli = |value: i64| Quantity::from_milli(value).to_string();
        let ready = pods.iter().filter(|pod| pod.is_ready() && pod.is_active()).count() as i64;
        match kind {
            "Resource" | "ContainerResource" => {
                let field = if kind == "Resource" { "resource" } else { "containerResource" };
                let source = &metric[field];
                let (mut proposal, current) =
                    self.of_resource(source, target, pods).map_err(|(reason, why)| match kind {
                        "Resource" => (reason, why),
                        _ => ("FailedGetContainerResourceMetric", why),
                    })?;
                let mut status = json!({"name": source["name"], "current": current});
                if kind == "ContainerResource" {
                    status["container"] = source["container"].clone();
                    proposal.metric = proposal.metric.replace(" resource", " container resource");
                }
                Ok((proposal, json!({"type": kind, field: status})))
            }
            "Pods" => {
                let source = &metric["pods"];
                let fail = |why: String| ("FailedGetPodsMetric", why);
                let wanted = amount(&source["target"]["averageValue"])
                    .filter(|wanted| *wanted > 0)
                    .ok_or_else(|| fail("the target is no positive quantity".to_owned()))?;
                let samples = measure::of_pods(self.lister, namespace, &source["metric"], pods);
                let groups = Groups::of(self.context, self.config, pods, &samples, false);
                let name = source["metric"]["name"].as_str().unwrap_or_default();
                let (replicas, reading) = by_pods(
                    self.tolerance(),
                    target.wanted,
                    &groups,
                    |values| average(values, wanted),
                    |pod| samples.get(&pod.reference.name).map(|sample| sample.milli),
                    |_| wanted,
                    pods,
                )
                .ok_or_else(|| {
                    fail(format!(
                        "unable to get metric {name}: no metrics returned from custom metrics API"
                    ))
                })?;
                let proposal = Proposal { replicas, metric: format!("pods metric {name}") };
                let status = json!({"metric": source["metric"], "current": {"averageValue": milli(reading.average)}});
                Ok((proposal, json!({"type": kind, "pods": status})))
            }
            "Object" | "External" => {
                let field = if kind == "Object" { "object" } else { "external" };
                let reason = if kind == "Object" {
                    "FailedGetObjectMetric"
                } else {
                    "FailedGetExternalMetric"
                };
                let source = &metric[field];
                let name = source["metric"]["name"].as_str().unwrap_or_default();
                let value = if kind == "Object" {
                    measure::of_object(self.lister, namespace, source)
                } else {
                    measure::external(self.lister, namespace, &source["metric"])
                };
                let value = value.ok_or_else(|| {
                    (
                        reason,
                        format!(
                            "unable to get {field} metric {namespace}/{name}: no metrics returned"
                        ),
                    )
                })?;
                let per_pod = !source["target"]["averageValue"].is_null();
                let wanted = if per_pod {
                    &source["target"]["averageValue"]
                } else {
                    &source["target"]["value"]
                };
                let replicas = amount(wanted)
                    .and_then(|wanted| {
                        by_total(self.tolerance(), target.wanted, ready, value, wanted, per_pod)
                    })
                    .ok_or_else(|| (reason, "the target is no positive quantity".to_owned()))?;
                let current = if per_pod {
                    json!({"averageValue": milli(value / target.current.max(1))})
                } else {
                    json!({"value": milli(value)})
                };
                let mut status = json!({"metric": source["metric"], "current": current});
                if kind == "Object" {
                    status["describedObject"] = source["describedObject"].clone();
                }
                let proposal = Proposal { replicas, metric: format!("{field} metric {name}") };
                Ok((proposal, json!({"type": kind, field: status})))
            }
            other => {
                Err(("InvalidMetricSourceType", format!("unknown metric source type {other:?}")))
            }
        }
    }

    fn of_resource(
        &self,
        source: &Value,
        target: &Target,
        pods: &[Typed<Pod>],
    ) -> Result<(Proposal, Value), (&'static str, String)> {
        let fail = |why: String| ("FailedGetResourceMetric", why);
        let name = source["name"].as_str().unwrap_or_default();
        let container = source["container"].as_str();
        let namespace = &self.hpa.reference.namespace;
        let samples = measure::resource(self.lister, namespace, &target.selector, name, container);
        if samples.is_empty() {
            return Err(fail(format!(
                "failed to get {name} utilization: unable to get metrics for resource {name}: no metrics returned from resource metrics API"
            )));
        }
        let groups = Groups::of(self.context, self.config, pods, &samples, name == "cpu");
        let measured =
            |pod: &Typed<Pod>| samples.get(&pod.reference.name).map(|sample| sample.milli);
        let wanted = &source["target"];
        if let Some(percent) = wanted["averageUtilization"].as_i64() {
            let request = |pod: &Pod| requested(pod, name, container);
            for pod in &groups.ready {
                if request(pod) == 0 {
                    return Err(fail(format!(
                        "failed to get {name} utilization: missing request for {name} in container of Pod {}",
                        pod.reference.name
                    )));
                }
            }
            let ratio = |values: &[(&Typed<Pod>, Option<i64>)]| {
                let used: i64 = values.iter().filter_map(|(_, value)| *value).sum();
                let asked: i64 = values.iter().map(|(pod, _)| request(pod)).sum();
                if asked == 0 || values.is_empty() {
                    return None;
                }
                let utilization = used * 100 / asked;
                Some(Reading {
                    ratio: utilization as f64 / percent as f64,
                    utilization: Some(utilization),
                    average: used / values.len() as i64,
                })
            };
            let at_target = |pod: &Typed<Pod>| request(pod) * percent.max(100) / 100;
            let (replicas, reading) =
                by_pods(self.tolerance(), target.wanted, &groups, ratio, measured, at_target, pods)
                    .ok_or_else(|| {
                        fail(
                            "did not receive metrics for targeted pods (pods might be unready)"
                                .to_owned(),
                        )
                    })?;
            let proposal = Proposal {
                replicas,
                metric: format!("{name} resource utilization (percentage of request)"),
            };
            let current = json!({"averageUtilization": reading.utilization,
                "averageValue": Quantity::from_milli(reading.average).to_string()});
            return Ok((proposal, current));
        }
        let target_milli = wanted["averageValue"]
            .as_str()
            .and_then(|text| Quantity::parse(text).ok())
            .map(|quantity| quantity.milli())
            .filter(|milli| *milli > 0)
            .ok_or_else(|| fail("the target is no positive quantity".to_owned()))?;
        let (replicas, reading) = by_pods(
            self.tolerance(),
            target.wanted,
            &groups,
            |values| average(values, target_milli),
            measured,
            |_| target_milli,
            pods,
        )
        .ok_or_else(|| {
            fail("did not receive metrics for targeted pods (pods might be unready)".to_owned())
        })?;
        let current = json!({"averageValue": Quantity::from_milli(reading.average).to_string()});
        Ok((Proposal { replicas, metric: format!("{name} resource") }, current))
    }

    /// From what is asked for to what may be done now.
    fn normalize(
        &mut self,
        behavior: &Behavior,
        history: &mut History,
        current: i64,
        minimum: i64,
        asked: i64,
    ) -> i64 {
        let now = self.context.now_unix_ms;
        if history.recommended.is_empty() {
            // Nothing is remembered while the present number is the right one.
            let before = now - i64::from(self.config.sync_period_seconds) * 1000;
            history.recommend(before, current);
        }
        let stable = behavior::stabilize(behavior, history, now, current, asked);
        let maximum = self.hpa.spec.max_replicas;
        // Beyond the bounds it is no advice: at the bound there is nothing to remember.
        history.recommend(now, asked.max(minimum).min(maximum));
        if stable == asked {
            let fine = "recommended size matches current size";
            self.set("AbleToScale", true, "ReadyForNewScale", fine);
        } else if asked < stable {
            let why = "recent recommendations were higher than current one, applying the highest recent recommendation";
            self.set("AbleToScale", true, "ScaleDownStabilized", why);
        } else {
            let why = "recent recommendations were lower than current one, applying the lowest recent recommendation";
            self.set("AbleToScale", true, "ScaleUpStabilized", why);
        }
        let most = behavior::most(&behavior.up, history, now, current).max(current).min(maximum);
        let least =
            behavior::least(&behavior.down, history, now, current).min(current).max(minimum);
        if stable > most {
            if most == maximum {
                let why = "the desired replica count is more than the maximum replica count";
                self.set("ScalingLimited", true, "TooManyReplicas", why);
            } else {
                let why =
                    "the desired replica count is increasing faster than the maximum scale rate";
                self.set("ScalingLimited", true, "ScaleUpLimit", why);
            }
            return most;
        }
        if stable < least {
            if least == minimum {
                let why = "the desired replica count is less than the minimum replica count";
                self.set("ScalingLimited", true, "TooFewReplicas", why);
            } else {
                let why =
                    "the desired replica count is decreasing faster than the maximum scale rate";
                self.set("ScalingLimited", true, "ScaleDownLimit", why);
            }
            return least;
        }
        let fine = "the desired count is within the acceptable range";
        self.set("ScalingLimited", false, "DesiredWithinRange", fine);
        stable
    }

    fn write_status(&mut self, current: i64, desired: i64, scaled_at: Option<String>) {
        let known = &self.hpa.status;
        let next = HorizontalPodAutoscalerStatus {
            observed_generation: Some(self.hpa.metadata.generation).filter(|number| *number > 0),
            last_scale_time: scaled_at.or_else(|| known.last_scale_time.clone()),
            current_replicas: current,
            desired_replicas: desired,
            current_metrics: std::mem::take(&mut self.current_metrics),
            conditions: self.conditions.clone(),
        };
        if next == *known {
            return;
        }
        let metrics = (!next.current_metrics.is_empty()).then_some(&next.current_metrics);
        self.outcome.push(Patch::status_of(
            self.hpa,
            &json!({
                "observedGeneration": next.observed_generation,
                "lastScaleTime": next.last_scale_time,
                "currentReplicas": next.current_replicas,
                "desiredReplicas": next.desired_replicas,
                "currentMetrics": metrics,
                "conditions": next.conditions,
            }),
        ));
    }
}

fn average(values: &[(&Typed<Pod>, Option<i64>)], wanted: i64) -> Option<Reading> {
    if values.is_empty() {
        return None;
    }
    let sum: i64 = values.iter().filter_map(|(_, value)| *value).sum();
    let average = sum / values.len() as i64;
    Some(Reading { ratio: average as f64 / wanted as f64, utilization: None, average })
}

/// What the pod's containers ask for, in thousandths.
fn requested(pod: &Pod, resource: &str, container: Option<&str>) -> i64 {
    let of = |found: &&Container| container.is_none_or(|wanted| wanted == found.name);
    let sidecars = pod
        .spec
        .init_containers
        .iter()
        .filter(|init| init.restart_policy.as_deref() == Some("Always"));
    pod.spec
        .containers
        .iter()
        .chain(sidecars)
        .filter(of)
        .filter_map(|found| found.resources.requests.get(resource))
        .map(Quantity::milli)
        .sum()
}

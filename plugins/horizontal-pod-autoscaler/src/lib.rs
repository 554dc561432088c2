//! Changes the replicas of workloads as measures demand (autoscaling/v2).
//!
//! Watches HorizontalPodAutoscalers and looks at each of them again every
//! [`Config::sync_period_seconds`]. Measures are read as objects: `PodMetrics`
//! (metrics.k8s.io), `MetricValue` (custom.metrics.k8s.io) and
//! `ExternalMetricValue` (external.metrics.k8s.io); where nothing serves them the
//! condition `ScalingActive` says so and nothing is scaled.
//!
//! What a controller must remember here (recent recommendations and scale
//! events) lies in an annotation of the object, and only as long as it matters.
//!
//! Config (all optional): `syncPeriodSeconds` (15), `tolerance` (0.1),
//! `cpuInitializationPeriodSeconds` (300), `initialReadinessDelaySeconds` (30),
//! `downscaleStabilizationSeconds` (300).
//!
//! Does not know: how pods are measured, or who owns the workload. Read first:
//! [`plan::plan`], then [`replicas::Reading`].

pub mod behavior;
pub mod history;
pub mod measure;
pub mod plan;
pub mod replicas;
pub mod target;

use pintle_sdk::prelude::*;

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    pub sync_period_seconds: u32,
    /// A ratio this near to 1 changes nothing.
    pub tolerance: f64,
    /// A young pod's use of processors is not believed for so long.
    pub cpu_initialization_period_seconds: u32,
    pub initial_readiness_delay_seconds: u32,
    pub downscale_stabilization_seconds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            sync_period_seconds: 15,
            tolerance: 0.1,
            cpu_initialization_period_seconds: 300,
            initial_readiness_delay_seconds: 30,
            downscale_stabilization_seconds: 300,
        }
    }
}

pub struct Plugin {
    config: Config,
}

impl Controller for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        if config.sync_period_seconds == 0 {
            return Err("spec.config.syncPeriodSeconds: must be at least 1".to_owned());
        }
        if !(0.0..1.0).contains(&config.tolerance) {
            return Err("spec.config.tolerance: must lie between 0 and 1".to_owned());
        }
        Ok(Plugin { config })
    }

    fn describe(&self) -> Description {
        let scales = &["get", "patch/scale"];
        let why = "the workload that is scaled";
        let measures = "what is measured";
        Description::new(
            Manifest::new("horizontal-pod-autoscaler", env!("CARGO_PKG_VERSION"))
                .needs(
                    HORIZONTAL_POD_AUTOSCALER,
                    &["get", "list", "watch", "patch", "patch/status"],
                    "reads what is wanted, reports what was measured and decided",
                )
                .needs(DEPLOYMENT, scales, why)
                .needs(REPLICA_SET, scales, why)
                .needs(STATEFUL_SET, scales, why)
                .needs(target::REPLICATION_CONTROLLER, scales, why)
                .needs(POD, &["get", "list"], "requests and readiness of its pods")
                .needs(measure::POD_METRICS, &["get", "list"], measures)
                .needs(measure::METRIC_VALUE, &["get", "list"], measures)
                .needs(measure::EXTERNAL_METRIC_VALUE, &["get", "list"], measures)
                .needs(EVENT, &["create"], "says what was scaled, and why not"),
        )
        .watch(Watch::of(HORIZONTAL_POD_AUTOSCALER).when_changed(&["spec"]))
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let Some(hpa) = request.read::<HorizontalPodAutoscaler>(lister)? else {
            return Ok(Outcome::done());
        };
        if hpa.metadata.is_being_deleted() {
            return Ok(Outcome::done());
        }
        let mut outcome = plan::plan(context, &self.config, lister, &hpa)?;
        outcome.requeue_after(u64::from(self.config.sync_period_seconds) * 1000);
        Ok(outcome)
    }
}

pintle_sdk::export_controller!(Plugin);

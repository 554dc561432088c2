//! Defaults and bounds of what containers, pods and volume claims ask for
//! (Kubernetes' `LimitRanger`).
//!
//! Mutating, on the creation of Pods: requests and limits that a container
//! leaves open come from the namespace's LimitRanges; the annotation
//! `kubernetes.io/limit-ranger` says which. Validating, on Pods and
//! PersistentVolumeClaims: minimum, maximum and the ratio of limit to request,
//! per container, pod and claim.
//!
//! No configuration.
//!
//! Does not know: quotas. Read first: [`bounds::check`], [`defaults::fill`].

pub mod bounds;
pub mod defaults;

use std::collections::BTreeMap;

use pintle_sdk::admission::{Admission, Description, Operations, Phase, Request, Response, Rule};
use pintle_sdk::prelude::{
    Container, Error, KindRef, Lister, Manifest, NoConfig, ObjectMeta, PERSISTENT_VOLUME_CLAIM,
    POD, PersistentVolumeClaim, Quantity, Query,
};
use pintle_sdk::types::null_default;
use pintle_sdk::{Context, log};
use serde::Deserialize;
use serde::de::IgnoredAny;

const LIMIT_RANGE: KindRef = KindRef::new("", "v1", "LimitRange");

pub type Amounts = BTreeMap<String, Quantity>;

/// The bounds of one namespace.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LimitRange {
    pub metadata: ObjectMeta,
    pub spec: LimitRangeSpec,
}
pintle_sdk::resource!(LimitRange, LIMIT_RANGE);

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LimitRangeSpec {
    #[serde(deserialize_with = "null_default")]
    pub limits: Vec<Limit>,
}

/// What holds for one type: `Container`, `Pod` or `PersistentVolumeClaim`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limit {
    pub r#type: String,
    #[serde(deserialize_with = "null_default")]
    pub min: Amounts,
    #[serde(deserialize_with = "null_default")]
    pub max: Amounts,
    #[serde(deserialize_with = "null_default")]
    pub default: Amounts,
    #[serde(deserialize_with = "null_default")]
    pub default_request: Amounts,
    #[serde(deserialize_with = "null_default")]
    pub max_limit_request_ratio: Amounts,
}

/// What of a pod can be bounded.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PodFields {
    pub metadata: Annotated,
    pub spec: PodSpec,
    #[serde(skip)]
    shape: Shape,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Annotated {
    pub annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    #[serde(deserialize_with = "null_default")]
    pub containers: Vec<Container>,
    #[serde(deserialize_with = "null_default")]
    pub init_containers: Vec<Container>,
}

impl PodFields {
    /// From a pod's JSON.
    pub fn read(json: &[u8]) -> Result<Self, pintle_sdk::serde_json::Error> {
        let shape: Shape = pintle_sdk::reading::parse(json)?;
        let pod: PodFields = pintle_sdk::reading::parse(json)?;
        Ok(PodFields { shape, ..pod })
    }

    /// Does the container have a field `resources`, empty or not?
    fn has_resources(&self, list: &str, index: usize) -> bool {
        let spec = &self.shape.spec;
        let list = if list == "containers" { &spec.containers } else { &spec.init_containers };
        list.iter().flatten().nth(index).is_some_and(|one| one.resources.is_some())
    }
}

/// Which fields there are, which the typed form does not tell.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Shape {
    spec: SpecShape,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpecShape {
    containers: Option<Vec<ContainerShape>>,
    init_containers: Option<Vec<ContainerShape>>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct ContainerShape {
    resources: Option<IgnoredAny>,
}

pub struct Plugin;

impl Admission for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin)
    }

    fn describe(&self) -> Description {
        let on_write = Operations::CREATE.or(Operations::UPDATE);
        Description::new(Manifest::new("limit-ranger", env!("CARGO_PKG_VERSION")).needs(
            LIMIT_RANGE,
            &["list"],
            "the bounds of the namespace",
        ))
        .mutating(Rule::on(POD, Operations::CREATE))
        .validating(Rule::on(POD, Operations::CREATE))
        .validating(Rule::on(POD, Operations::UPDATE).subresource("resize"))
        .validating(Rule::on(PERSISTENT_VOLUME_CLAIM, on_write))
    }

    fn review(&self, _: &Context, lister: &dyn Lister, request: &Request) -> Response {
        let namespace = &request.reference.namespace;
        let found = lister.read_all::<LimitRange>(Query::any_kind().namespace(namespace));
        let ranges: Vec<LimitRange> = match found {
            Ok(ranges) => ranges.into_iter().map(|range| (*range.object).clone()).collect(),
            // Bounds that cannot be read cannot be kept.
            Err(error) => return Response::forbid(error.to_string()),
        };
        if ranges.is_empty() {
            return Response::allow();
        }
        decide(&ranges, request).unwrap_or_else(|error| {
            // The server has parsed it before; its shape is the server's to refuse.
            log::warn!("{error}");
            Response::allow()
        })
    }
}

fn decide(ranges: &[LimitRange], request: &Request) -> Result<Response, Error> {
    let is_pod = request.reference.kind.kind == "Pod";
    if request.phase == Phase::Mutating {
        let pod = PodFields::read(&request.json).map_err(|source| Error::Parse {
            reference: Box::new(request.reference.clone()),
            source,
        })?;
        let operations = defaults::fill(ranges, &pod);
        return Ok(match operations.is_empty() {
            true => Response::allow(),
            false => Response::patch_with(&operations),
        });
    }
    for range in ranges {
        let broken = if is_pod {
            bounds::check(&range.spec, &request.object()?)
        } else {
            let claim: PersistentVolumeClaim = request.object()?;
            bounds::check_claim(&range.spec, &claim.spec.resources.requests)
        };
        match broken.as_slice() {
            [] => {}
            [one] => return Ok(Response::forbid(one)),
            several => return Ok(Response::forbid(format!("[{}]", several.join(", ")))),
        }
    }
    Ok(Response::allow())
}

pintle_sdk::export_admission!(Plugin);

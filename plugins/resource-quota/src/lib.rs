//! Refuses requests that would exceed a namespace's quota (Kubernetes'
//! `ResourceQuota`): `exceeded quota: NAME, requested: pods=1, used: pods=2,
//! limited: pods=2`.
//!
//! Validating: all that is created, of custom kinds too, and changes of Services,
//! PersistentVolumeClaims and of pods' resources. What is used is added up from
//! the objects themselves, not read from `status.used`, which is always a little late. What was let through and is not to be seen yet counts
//! too: the plugin remembers it ([`reservations`]), for which it has to be a
//! single instance (`budgets.maxInstances: 1`).
//!
//! No configuration.
//!
//! Does not know: `status` of quotas. Read first: [`check`].

pub mod reservations;

use std::cell::RefCell;

use pintle_sdk::admission::{Admission, Description, Operations, Request, Response, Rule};
use pintle_sdk::ledger::Ledger;
use pintle_sdk::prelude::{
    EVERY_KIND, Error, Lister, Manifest, NoConfig, PERSISTENT_VOLUME_CLAIM, POD, Query,
    ResourceList, SERVICE,
};
use pintle_sdk::quota::custom::{CUSTOM_RESOURCE_DEFINITION, customs, may_be_custom};
use pintle_sdk::quota::{self, ResourceQuota, Tracked, counted_as};
use pintle_sdk::{Context, log};

use crate::reservations::{Reservation, Reservations};

#[derive(Default)]
pub struct Plugin {
    reservations: RefCell<Reservations>,
    ledger: Ledger,
}

impl Admission for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin::default())
    }

    fn describe(&self) -> Description {
        let manifest = Manifest::new("resource-quota", env!("CARGO_PKG_VERSION"))
            .needs(CUSTOM_RESOURCE_DEFINITION, &["get"], "which kinds quotas name")
            .needs(EVERY_KIND, &["list"], "counts what quotas limit, of any kind");
        Description::new(manifest)
            .validating(Rule::on(SERVICE, Operations::UPDATE))
            .validating(Rule::on(PERSISTENT_VOLUME_CLAIM, Operations::UPDATE))
            .validating(Rule::on(POD, Operations::UPDATE).subresource("resize"))
            .validating(Rule::on_every_kind(Operations::CREATE))
    }

    fn review(&self, context: &Context, lister: &dyn Lister, request: &Request) -> Response {
        let namespace = &request.reference.namespace;
        let kind = &request.reference.kind;
        if namespace.is_empty() || (counted_as(kind).is_none() && !may_be_custom(kind)) {
            return Response::allow();
        }
        let mut quotas: Vec<(String, ResourceQuota)> =
            match lister.read_all::<ResourceQuota>(Query::any_kind().namespace(namespace)) {
                Ok(quotas) => quotas
                    .into_iter()
                    .map(|quota| (quota.reference.name.clone(), (*quota.object).clone()))
                    .collect(),
                // Limits that cannot be read cannot be kept.
                Err(error) => return Response::forbid(error.to_string()),
            };
        if quotas.is_empty() {
            return Response::allow();
        }
        quotas.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.decide(context, lister, request, &quotas).unwrap_or_else(|error| {
            log::warn!("{error}");
            Response::forbid(error.to_string())
        })
    }
}

impl Plugin {
    fn decide(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
        quotas: &[(String, ResourceQuota)],
    ) -> Result<Response, Error> {
        let now = context.now_unix_ms;
        let read = |json: &[u8]| {
            Tracked::read(&request.reference.kind, json).map_err(|source| Error::Parse {
                reference: Box::new(request.reference.clone()),
                source,
            })
        };
        let custom = || {
            let all = quotas.iter().flat_map(|(_, quota)| customs(lister, &quota.spec.hard));
            let mut of_kind = all.filter(|custom| custom.is(&request.reference.kind));
            of_kind.next().map(|custom| Tracked::Object(custom.name.into()))
        };
        let Some(new) = read(&request.json)?.or_else(custom) else {
            return Ok(Response::allow());
        };
        let old = if request.operation.update { read(&request.old_json)? } else { None };
        let mut reservations = self.reservations.borrow_mut();
        reservations.forget_seen(lister, &request.reference, now);
        for (name, quota) in quotas {
            if let Tracked::Pod(pod) = &new
                && old.is_none()
                && new.is_in(&quota.spec)
                && let Some(missing) = quota::unsaid(pod, &quota.spec.hard)
            {
                return Ok(Response::forbid(format!(
                    "failed quota: {name}: must specify {missing}"
                )));
            }
            let requested = requested(&new, old.as_ref(), quota, now);
            if requested.is_empty() {
                continue;
            }
            let mut used =
                quota::used(&self.ledger, lister, &request.reference.namespace, &quota.spec, now)?;
            reservations.add_to(&mut used, &request.reference, &quota.spec, now);
            if let Err(message) = check(name, &requested, &used, &quota.spec.hard) {
                return Ok(Response::forbid(message));
            }
        }
        if !request.dry_run {
            reservations.note(Reservation::of(request, new, old, now));
        }
        Ok(Response::allow())
    }
}

/// What a request adds to what is used of a quota; nothing if it adds nothing.
fn requested(
    new: &Tracked,
    old: Option<&Tracked>,
    quota: &ResourceQuota,
    now: i64,
) -> ResourceList {
    if !new.is_in(&quota.spec) {
        return ResourceList::new();
    }
    let mut usage = quota::masked(new.usage(now), &quota.spec.hard);
    if let Some(old) = old.filter(|old| old.is_in(&quota.spec)) {
        for (name, before) in old.usage(now) {
            if let Some(amount) = usage.get_mut(&name) {
                *amount = *amount - before;
            }
        }
    }
    usage.retain(|_, amount| !amount.is_zero() && !amount.is_negative());
    usage
}

/// Whether what is requested fits beside what is used.
pub fn check(
    name: &str,
    requested: &ResourceList,
    used: &ResourceList,
    hard: &ResourceList,
) -> Result<(), String> {
    let exceeds = |resource: &String| {
        let amount = |list: &ResourceList| list.get(resource).copied().unwrap_or_default();
        amount(requested) + amount(used) > amount(hard)
    };
    let exceeded: ResourceList = requested
        .iter()
        .filter(|(resource, _)| exceeds(resource))
        .map(|(resource, amount)| (resource.clone(), *amount))
        .collect();
    if exceeded.is_empty() {
        return Ok(());
    }
    let of = |list: &ResourceList| quota::printed(&quota::masked(list.clone(), &exceeded));
    Err(format!(
        "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
        of(requested),
        of(used),
        of(hard)
    ))
}

pintle_sdk::export_admission!(Plugin);

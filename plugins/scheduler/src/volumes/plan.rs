//! What one pod's claims ask of the nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::promised::Promised;
use super::{Claim, NO_PROVISIONER, Volume, Volumes};
use crate::config::Rule;
use crate::filter::Reason;
use crate::labels::LabelMap;
use crate::shape::Shape;
use crate::view::{Slot, View};

/// Labels that say where a volume lies; several values are joined by `__`.
const ZONES: [&str; 4] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];

pub struct Plan<'a> {
    volumes: &'a Volumes,
    shape: &'a Shape,
    /// Claims for one pod at a time that other pods use now.
    taken: Vec<&'a str>,
    bound: Vec<&'a Volume>,
    /// A claim is bound to a volume that is not there.
    gone: bool,
    waiting: Vec<(&'a str, &'a Claim)>,
    promised: Promised<'a>,
    /// By driver: what would be attached.
    attached: BTreeMap<String, BTreeSet<String>>,
}

impl<'a> Plan<'a> {
    /// `None` for a pod without claims; an error text when no node could do.
    pub fn of(view: &'a View, shape: &'a Shape) -> Result<Option<Self>, String> {
        if shape.claims.is_empty() {
            return Ok(None);
        }
        let volumes = &view.volumes;
        let binds = shape.settings.has(Rule::VolumeBinding);
        let mut plan = Plan {
            volumes,
            shape,
            taken: Vec::new(),
            bound: Vec::new(),
            gone: false,
            waiting: Vec::new(),
            promised: Promised::default(),
            attached: BTreeMap::new(),
        };
        let mut immediate = false;
        for wanted in &shape.claims {
            let key: &str = &wanted.key;
            let name = key.split_once('/').map_or(key, |(_, name)| name);
            let Some(claim) = volumes.claims.get(key) else {
                return Err(match wanted.ephemeral {
                    true => format!(
                        "waiting for ephemeral volume controller to create the persistentvolumeclaim \"{name}\""
                    ),
                    false => format!("persistentvolumeclaim \"{name}\" not found"),
                });
            };
            if claim.lost {
                return Err(format!(
                    "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{}\"",
                    claim.volume
                ));
            }
            if claim.deleting {
                return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
            }
            let alone = claim.modes.iter().any(|mode| mode == "ReadWriteOncePod");
            if alone && volumes.users.contains_key(key) {
                plan.taken.push(key);
            }
            if claim.bound {
                match volumes.volumes.get(&claim.volume) {
                    Some(volume) => plan.bound.push(volume),
                    None => plan.gone = true,
                }
            } else {
                let waits = volumes.classes.get(&claim.class).is_some_and(|class| class.waits);
                immediate |= !waits || !claim.volume.is_empty();
                plan.waiting.push((key, claim));
            }
            if let Some((driver, handle)) = volumes.attachment(key) {
                plan.attached.entry(driver).or_default().insert(handle);
            }
        }
        if immediate && binds {
            return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
        }
        if !plan.waiting.is_empty() {
            plan.promised = Promised::of(volumes, view);
        }
        Ok(Some(plan))
    }

    /// Why the claims keep the pod from a node, if the pods in `without` were gone.
    pub fn failure(&self, view: &View, slot: Slot, without: &[Rc<str>]) -> Option<Reason> {
        self.passing_failure(view, slot, without).or_else(|| self.lasting_failure(view, slot))
    }

    /// What the departure of pods may change.
    fn passing_failure(&self, view: &View, slot: Slot, without: &[Rc<str>]) -> Option<Reason> {
        let settings = &self.shape.settings;
        let in_use = |key: &&str| {
            let users = self.volumes.users.get(*key);
            users.is_some_and(|users| users.iter().any(|uid| !without.contains(uid)))
        };
        if settings.has(Rule::VolumeRestrictions) && self.taken.iter().any(in_use) {
            return Some(Reason::ClaimInUse);
        }
        (settings.has(Rule::NodeVolumeLimits) && self.exceeds_limits(view, slot, without))
            .then_some(Reason::VolumeLimit)
    }

    fn exceeds_limits(&self, view: &View, slot: Slot, without: &[Rc<str>]) -> bool {
        let Some(limits) = self.volumes.limits.get(&view.names[slot]) else { return false };
        self.attached.iter().any(|(driver, own)| {
            let Some(limit) = limits.get(driver) else { return false };
            let pods = self.volumes.with_claims.get(&slot).into_iter().flatten();
            let mut handles: BTreeSet<String> = pods
                .filter(|(uid, _)| !without.contains(uid))
                .flat_map(|(_, shape)| &shape.claims)
                .filter_map(|claim| self.volumes.attachment(&claim.key))
                .filter(|(other, _)| other == driver)
                .map(|(_, handle)| handle)
                .collect();
            let before = handles.len();
            handles.extend(own.iter().cloned());
            handles.len() > before && handles.len() > *limit
        })
    }

    /// What depends on the node itself.
    fn lasting_failure(&self, view: &View, slot: Slot) -> Option<Reason> {
        let (name, labels) = (&view.names[slot], view.labels(slot));
        if self.shape.settings.has(Rule::VolumeBinding) {
            if self.gone {
                return Some(Reason::VolumeGone);
            }
            let elsewhere = |volume: &&Volume| !volume.is_near(name, labels);
            if self.bound.iter().any(elsewhere) {
                return Some(Reason::VolumeAffinity);
            }
            let mut chosen = BTreeSet::new();
            for (key, claim) in &self.waiting {
                if !self.can_be_bound(view, slot, (*key, *claim), &mut chosen) {
                    return Some(Reason::NoVolumeToBind);
                }
            }
        }
        (self.shape.settings.has(Rule::VolumeZone) && self.is_in_other_zone(labels))
            .then_some(Reason::VolumeZone)
    }

    /// Is there a volume near this node for the claim, or could one be made?
    fn can_be_bound(
        &self,
        view: &View,
        slot: Slot,
        (key, claim): (&str, &Claim),
        chosen: &mut BTreeSet<&'a str>,
    ) -> bool {
        let (node, labels) = (&view.names[slot], view.labels(slot));
        let promise = self.promised.to(key);
        if let Some(name) = promise.and_then(|promise| promise.volume) {
            // Another pod uses the claim already.
            return self.volumes.volumes.get(name).is_some_and(|it| it.is_near(node, labels));
        }
        // Where one is to be made for the claim, no other will do.
        let elsewhere = claim.selected_node.as_ref().is_some_and(|selected| selected != node)
            || promise.is_some_and(|promise| promise.slot != slot);
        if elsewhere {
            return false;
        }
        if promise.is_none() {
            let is_free = |name: &str| !chosen.contains(name) && self.promised.is_free(name);
            if let Some(name) = self.volumes.choice(key, claim, node, labels, is_free) {
                chosen.insert(name);
                return true;
            }
        }
        let Some(class) = self.volumes.classes.get(&claim.class) else { return false };
        class.provisioner != NO_PROVISIONER
            && (class.topologies.is_empty()
                || class.topologies.iter().any(|topology| {
                    topology.iter().all(|(key, values)| {
                        labels.get(key).is_some_and(|value| values.contains(value))
                    })
                }))
    }

    fn is_in_other_zone(&self, labels: &LabelMap) -> bool {
        if !ZONES.iter().any(|zone| labels.contains_key(*zone)) {
            return false;
        }
        self.bound.iter().any(|volume| {
            ZONES.iter().any(|zone| {
                let Some(wanted) = volume.labels.get(*zone) else { return false };
                let value = labels.get(*zone).map(String::as_str);
                !wanted.split("__").any(|wanted| Some(wanted) == value)
            })
        })
    }
}

impl Volume {
    fn is_near(&self, node: &str, labels: &LabelMap) -> bool {
        self.affinity.as_ref().is_none_or(|affinity| affinity.matches(node, labels))
    }

    pub(super) fn suits(&self, key: &str, claim: &Claim, node: &str, labels: &LabelMap) -> bool {
        let free = match &self.claim {
            Some(claim) => claim == key,
            None => self.available,
        };
        free && self.class == claim.class
            && self.mode == claim.mode
            && self.bytes >= claim.bytes
            && claim.modes.iter().all(|mode| self.modes.contains(mode))
            && claim.selector.as_ref().is_none_or(|selector| selector.matches(&self.labels))
            && self.is_near(node, labels)
    }
}

//! Which pods make way for the present template, and when.

use pintle_sdk::prelude::*;
use pintle_sdk::workload::Availability;

use crate::identity::revision_of;

/// How far a rolling update goes, and how many pods it may take at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Numbers below this keep their template.
    pub partition: i64,
    /// So many may be unavailable at a time.
    pub most_unavailable: i64,
}

impl Bounds {
    /// None when pods follow only when somebody deletes them.
    pub fn of(set: &StatefulSet) -> Option<Self> {
        if set.spec.update_strategy.r#type == "OnDelete" {
            return None;
        }
        let rolling = set.spec.update_strategy.rolling_update.as_ref();
        let replicas = set.spec.replicas.unwrap_or(1);
        let most = rolling
            .and_then(|rolling| rolling.max_unavailable.as_ref())
            .and_then(|most| most.scaled(replicas, true))
            .unwrap_or(1);
        Some(Bounds {
            partition: rolling.and_then(|rolling| rolling.partition).unwrap_or(0),
            most_unavailable: most.max(1),
        })
    }
}

/// One pod of the set, as the update sees it.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    pub ordinal: i64,
    pub pod: &'a Typed<Pod>,
    pub availability: Availability,
}

impl Member<'_> {
    fn is_healthy(&self) -> bool {
        self.pod.status.phase == "Running"
            && self.availability == Availability::Available
            && !self.pod.metadata.is_being_deleted()
    }
}

/// The pods to delete now: from the highest number down, of another template
/// than the present one, while not too many are unavailable. A pod that is of
/// the present template and not yet healthy is waited for.
pub fn victims<'a>(
    members: &[Member<'a>],
    first_ordinal: i64,
    bounds: Bounds,
    update_revision: &str,
) -> Vec<&'a Typed<Pod>> {
    let lowest = first_ordinal.saturating_add(bounds.partition);
    let unavailable = members.iter().filter(|member| !member.is_healthy()).count() as i64;
    let mut room = bounds.most_unavailable - unavailable;
    let mut victims = Vec::new();
    let mut descending: Vec<&Member<'a>> =
        members.iter().filter(|member| member.ordinal >= lowest).collect();
    descending.sort_by_key(|member| std::cmp::Reverse(member.ordinal));
    for member in descending {
        let outdated = revision_of(member.pod) != update_revision;
        if outdated && !member.pod.metadata.is_being_deleted() {
            // A pod that does not work costs nothing to replace.
            if member.is_healthy() {
                if room <= 0 {
                    return victims;
                }
                room -= 1;
            }
            victims.push(member.pod);
            if bounds.most_unavailable <= victims.len() as i64 {
                return victims;
            }
        } else if !member.is_healthy() && bounds.most_unavailable == 1 {
            return victims;
        }
    }
    victims
}

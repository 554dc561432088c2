//! Which pods make way for the present template, and when.

use pintle_sdk::prelude::*;

/// Of the nodes that should have a pod, how many may be without a working one,
/// and how many may have two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub most_unavailable: i64,
    pub most_surge: i64,
}

impl Bounds {
    /// None when pods follow only when somebody deletes them.
    pub fn of(set: &DaemonSet, wanted_nodes: i64) -> Option<Self> {
        if set.spec.update_strategy.r#type == "OnDelete" {
            return None;
        }
        let rolling = set.spec.update_strategy.rolling_update.as_ref();
        let of = |value: Option<&IntOrString>, default: i64| {
            value.and_then(|value| value.scaled(wanted_nodes, true)).unwrap_or(default)
        };
        let most_surge = of(rolling.and_then(|rolling| rolling.max_surge.as_ref()), 0);
        let mut most_unavailable =
            of(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), 1);
        // With neither nothing would ever move.
        if most_surge == 0 && most_unavailable == 0 {
            most_unavailable = 1;
        }
        Some(Bounds { most_unavailable, most_surge })
    }
}

/// What is on one node that should have a pod.
#[derive(Debug, Clone, Copy, Default)]
pub struct OnNode<'a> {
    /// The pod of the present template.
    pub new: Option<Seen<'a>>,
    /// The oldest pod of another one.
    pub old: Option<Seen<'a>>,
}

#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    pub pod: &'a Typed<Pod>,
    pub available: bool,
    pub going: bool,
}

/// What to do about the nodes: pods to delete, and nodes that get a second pod.
#[derive(Debug, Default)]
pub struct Update<'a> {
    pub delete: Vec<&'a Typed<Pod>>,
    pub surge: Vec<&'a str>,
}

pub fn update<'a>(nodes: &[(&'a str, OnNode<'a>)], bounds: Bounds) -> Update<'a> {
    if bounds.most_surge > 0 { surge(nodes, bounds) } else { replace(nodes, bounds) }
}

/// The old pod goes, the new one comes in its place.
fn replace<'a>(nodes: &[(&'a str, OnNode<'a>)], bounds: Bounds) -> Update<'a> {
    let mut unavailable = 0;
    let mut update = Update::default();
    let mut candidates = Vec::new();
    for (_, on) in nodes {
        match (on.new, on.old) {
            (Some(new), _) if new.available && !new.going => {}
            // Works and is of the old template: one of those to replace.
            (None, Some(old)) if old.available && !old.going => candidates.push(old.pod),
            (None, Some(old)) => {
                unavailable += 1;
                // It does not work anyway.
                if !old.going {
                    update.delete.push(old.pod);
                }
            }
            _ => unavailable += 1,
        }
    }
    let room = usize::try_from(bounds.most_unavailable - unavailable).unwrap_or(0);
    update.delete.extend(candidates.into_iter().take(room));
    update
}

/// The new pod comes beside the old one, which goes when the new one works.
fn surge<'a>(nodes: &[(&'a str, OnNode<'a>)], bounds: Bounds) -> Update<'a> {
    let mut update = Update::default();
    let mut surging = 0;
    let mut candidates = Vec::new();
    for (node, on) in nodes {
        match (on.new, on.old) {
            (Some(new), Some(old)) => {
                if new.available && !old.going {
                    update.delete.push(old.pod);
                } else {
                    surging += 1;
                }
            }
            // A new one may come at once where the old one does not work.
            (None, Some(old)) if !old.available || old.going => update.surge.push(node),
            (None, Some(_)) => candidates.push(*node),
            _ => {}
        }
    }
    let room =
        usize::try_from(bounds.most_surge - surging - update.surge.len() as i64).unwrap_or(0);
    update.surge.extend(candidates.into_iter().take(room));
    update
}

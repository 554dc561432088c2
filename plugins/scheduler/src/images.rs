//! Which images are on which nodes, so that a pod rather goes where they are.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::view::Slot;

/// Below this a pull costs next to nothing, above it every container counts alike.
const LEAST_BYTES: i64 = 23 << 20;
const MOST_BYTES_PER_CONTAINER: i64 = 1000 << 20;

#[derive(Debug, Default)]
pub struct Images {
    /// By name: the size that each node reports.
    nodes_with: BTreeMap<Box<str>, BTreeMap<Slot, i64>>,
    /// Per slot: a hash of the report, and the names in it.
    reports: Vec<(u64, Box<[Box<str>]>)>,
    /// Grows whenever an image came to a node or left one.
    epoch: u64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Reported<'a> {
    #[serde(borrow)]
    names: Option<Vec<std::borrow::Cow<'a, str>>>,
    size_bytes: Option<i64>,
}

impl Images {
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What a node has now; `text` is its `status.images`. True if that changed.
    pub fn report(&mut self, slot: Slot, text: &[u8]) -> bool {
        if self.reports.len() <= slot {
            self.reports.resize_with(slot + 1, Default::default);
        }
        let hash = pintle_sdk::names::fnv1a(text);
        if self.reports[slot].0 == hash {
            return false;
        }
        // A report that cannot be read is none.
        let reported: Option<Vec<Reported<'_>>> = pintle_sdk::reading::parse(text).ok().flatten();
        for name in std::mem::take(&mut self.reports[slot].1) {
            if let Some(nodes) = self.nodes_with.get_mut(&name) {
                nodes.remove(&slot);
                if nodes.is_empty() {
                    self.nodes_with.remove(&name);
                }
            }
        }
        let mut names = Vec::new();
        for image in reported.iter().flatten() {
            let size = image.size_bytes.unwrap_or(0).max(0);
            for name in image.names.iter().flatten() {
                let name: Box<str> = name.as_ref().into();
                self.nodes_with.entry(name.clone()).or_default().insert(slot, size);
                names.push(name);
            }
        }
        self.reports[slot] = (hash, names.into_boxed_slice());
        self.epoch += 1;
        true
    }

    /// The score of every slot for a pod with these images (one per container),
    /// 0 to 100; empty when no node has any.
    pub fn scores(&self, images: &[String], slots: usize, nodes: usize) -> Vec<f32> {
        let known = || images.iter().filter_map(|image| self.nodes_with.get(image.as_str()));
        if nodes == 0 || known().next().is_none() {
            return Vec::new();
        }
        let mut bytes = vec![0i64; slots];
        for having in known() {
            // An image that few nodes have counts for less, so that these are not overrun.
            let share = having.len() as f64 / nodes as f64;
            for (&slot, &size) in having {
                bytes[slot] = bytes[slot].saturating_add((size as f64 * share) as i64);
            }
        }
        let most = MOST_BYTES_PER_CONTAINER * images.len() as i64;
        let score = |bytes: i64| {
            (bytes.clamp(LEAST_BYTES, most) - LEAST_BYTES) as f64 / (most - LEAST_BYTES) as f64
        };
        bytes.into_iter().map(|bytes| (100.0 * score(bytes)) as f32).collect()
    }
}

/// The name as nodes report it: with a tag.
pub fn normalized(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or_default();
    match last.contains(':') {
        true => image.to_owned(),
        false => format!("{image}:latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_a_tag() {
        fn check(image: &str, expect: &str) {
            assert_eq!(normalized(image), expect);
        }
        check("web", "web:latest");
        check("host:5000/web", "host:5000/web:latest");
        check("host:5000/web:1", "host:5000/web:1");
        check("web@sha256:ab", "web@sha256:ab");
    }

    #[test]
    fn an_image_counts_by_size_and_by_how_many_nodes_have_it() {
        let mut images = Images::default();
        let mega = 1i64 << 20;
        let report = |size: i64| format!(r#"[{{"names":["web:1"],"sizeBytes":{size}}}]"#);
        let pod = ["web:1".to_owned()];
        assert!(images.scores(&pod, 2, 2).is_empty());
        assert!(images.report(0, report(1000 * mega).as_bytes()));
        assert!(!images.report(0, report(1000 * mega).as_bytes()), "a heartbeat");
        // Half of the nodes have it: 500 of 1000 MB count, the first 23 do not.
        let half = (100.0 * (500.0 - 23.0) / (1000.0 - 23.0)) as f32;
        assert_eq!(images.scores(&pod, 2, 2), [half, 0.0]);
        images.report(1, report(40 * mega).as_bytes());
        assert_eq!(images.scores(&pod, 2, 2)[0], 100.0);
        images.report(0, b"[]");
        images.report(1, b"null");
        assert!(images.scores(&pod, 2, 2).is_empty());
    }
}

//! What one instance of an extension has still to be told.
//!
//! Of each object only the latest state matters, so the feed is bounded by the
//! number of objects. Nodes go by their number, other objects by their uid.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use pintle_api::meta::GroupVersionKind;

use crate::cluster::{Change, ClusterEvent, ObjectHandle};

/// What became of a number since the instance was told about it.
#[derive(Clone)]
pub(crate) struct NodeNews {
    pub number: u32,
    /// The node it stood for is gone.
    pub gone: bool,
    /// The node it stands for now.
    pub node: Option<ObjectHandle>,
}

#[derive(Clone)]
pub(crate) enum News {
    Upsert(ObjectHandle),
    /// A pod that was given this node; the event stream has not shown it yet.
    Assumed(ObjectHandle, String),
    Remove(ObjectHandle),
}

#[derive(Default)]
pub(crate) struct Feed(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    nodes: BTreeMap<u32, NodeNews>,
    objects: BTreeMap<u64, (String, News)>,
    by_uid: HashMap<String, u64>,
    sequence: u64,
    /// Per kind, the revision at which the instance has had a full list.
    floors: Vec<(GroupVersionKind, u64)>,
}

impl Feed {
    pub fn node(&self, number: u32, node: ObjectHandle) {
        let mut inner = self.0.lock();
        let news =
            inner.nodes.entry(number).or_insert(NodeNews { number, gone: false, node: None });
        news.node = Some(node);
    }

    pub fn node_gone(&self, number: u32) {
        let news = NodeNews { number, gone: true, node: None };
        self.0.lock().nodes.insert(number, news);
    }

    pub fn push(&self, event: &ClusterEvent) {
        let mut inner = self.0.lock();
        let listed = inner.floors.iter().find(|(kind, _)| kind == &**event.object.kind());
        if listed.is_some_and(|(_, revision)| event.revision <= *revision) {
            return;
        }
        let object = event.object.clone();
        inner.put(match event.change {
            Change::Added | Change::Modified => News::Upsert(object),
            Change::Deleted => News::Remove(object),
        });
    }

    pub fn assume(&self, pod: ObjectHandle, node: String) {
        self.0.lock().put(News::Assumed(pod, node));
    }

    /// The pod was not given its node after all.
    pub fn unassume(&self, pod: ObjectHandle) {
        self.0.lock().put(News::Remove(pod));
    }

    /// The instance gets a list of `kind` at `revision`: what is older is void.
    pub fn listed(&self, kind: &GroupVersionKind, revision: u64) {
        let mut inner = self.0.lock();
        inner.floors.retain(|(listed, _)| listed != kind);
        inner.floors.push((kind.clone(), revision));
        let stale: Vec<(u64, String)> = inner
            .objects
            .iter()
            .filter(|(_, (_, news))| news.is_covered(kind, revision))
            .map(|(place, (uid, _))| (*place, uid.clone()))
            .collect();
        for (place, uid) in stale {
            inner.objects.remove(&place);
            inner.by_uid.remove(&uid);
        }
    }

    /// So many of the nodes that changed, and no more bytes than one call should carry.
    pub fn take_nodes(&self, max: usize) -> Vec<NodeNews> {
        let mut inner = self.0.lock();
        let mut load = Load::new(max);
        let mut taken = Vec::with_capacity(max.min(inner.nodes.len()));
        while let Some(first) = inner.nodes.first_entry()
            && load.takes(first.get().node.as_ref())
        {
            taken.push(first.remove());
        }
        taken
    }

    /// The same of other objects.
    pub fn take_objects(&self, max: usize) -> Vec<News> {
        let mut inner = self.0.lock();
        let mut load = Load::new(max);
        let mut taken = Vec::with_capacity(max.min(inner.objects.len()));
        while let Some(first) = inner.objects.first_entry()
            && load.takes(Some(first.get().1.object()))
        {
            let (uid, news) = first.remove();
            inner.by_uid.remove(&uid);
            taken.push(news);
        }
        taken
    }

    /// Per kind, the revision at which the instance has had a full list.
    pub fn floors(&self) -> Vec<(GroupVersionKind, u64)> {
        self.0.lock().floors.clone()
    }

    pub fn len(&self) -> usize {
        let inner = self.0.lock();
        inner.nodes.len() + inner.objects.len()
    }
}

/// What one call carries. Languages differ by a factor of fifty in what it costs
/// them to read an object, and objects differ as much in size; a call costs so
/// little that small loads are no loss to anybody.
pub(crate) struct Load {
    objects: usize,
    bytes: usize,
    most: usize,
}

/// 800 units of fuel for a byte, which is what the slowest takes, are half of what
/// an extension has for a call.
const MOST_BYTES: usize = 32 << 10;

impl Load {
    pub fn new(most: usize) -> Self {
        Self { objects: 0, bytes: 0, most }
    }

    /// Whether it may go on with this one; the first may always.
    pub fn takes(&mut self, object: Option<&ObjectHandle>) -> bool {
        let bytes = object.map_or(0, |object| object.json().len());
        if self.objects > 0 && (self.objects == self.most || self.bytes + bytes > MOST_BYTES) {
            return false;
        }
        self.objects += 1;
        self.bytes += bytes;
        true
    }
}

impl Inner {
    fn put(&mut self, news: News) {
        self.sequence += 1;
        let uid = news.object().uid().to_owned();
        if let Some(before) = self.by_uid.insert(uid.clone(), self.sequence) {
            self.objects.remove(&before);
        }
        self.objects.insert(self.sequence, (uid, news));
    }
}

impl News {
    pub fn object(&self) -> &ObjectHandle {
        match self {
            Self::Upsert(object) | Self::Assumed(object, _) | Self::Remove(object) => object,
        }
    }

    /// Whether a list says as much. What was assumed is in no list before its
    /// event, which takes this one's place.
    fn is_covered(&self, kind: &GroupVersionKind, revision: u64) -> bool {
        match self {
            Self::Upsert(object) | Self::Remove(object) => {
                object.revision() <= revision && **object.kind() == *kind
            }
            Self::Assumed(..) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{event, object};
    use serde_json::json;

    fn thing(revision: u64, kind: &str, name: &str) -> ObjectHandle {
        object(revision, json!({ "kind": kind, "metadata": { "name": name } }))
    }

    fn nodes(feed: &Feed, max: usize) -> Vec<String> {
        let show = |news: NodeNews| {
            let gone = if news.gone { "-" } else { "" };
            let node = news.node.map_or_else(String::new, |node| node.name().to_owned());
            format!("{}{gone}{node}", news.number)
        };
        feed.take_nodes(max).into_iter().map(show).collect()
    }

    fn objects(feed: &Feed) -> Vec<String> {
        let show = |news: &News| match news {
            News::Upsert(object) => format!("+{}", object.name()),
            News::Assumed(object, node) => format!("{}>{node}", object.name()),
            News::Remove(object) => format!("-{}", object.name()),
        };
        feed.take_objects(usize::MAX).iter().map(show).collect()
    }

    #[test]
    fn of_a_number_the_latest_is_told_and_that_its_node_changed() {
        let feed = Feed::default();
        feed.node(0, thing(1, "Node", "a"));
        feed.node(0, thing(2, "Node", "a"));
        feed.node_gone(1);
        feed.node(2, thing(3, "Node", "c"));
        feed.node_gone(2);
        feed.node(2, thing(4, "Node", "d"));
        assert_eq!(feed.len(), 3);
        assert_eq!(nodes(&feed, 2), ["0a", "1-"]);
        assert_eq!(nodes(&feed, 9), ["2-d"]);
    }

    #[test]
    fn what_was_assumed_stands_until_its_event_or_its_refusal() {
        let feed = Feed::default();
        feed.assume(thing(1, "Pod", "a"), "n".to_owned());
        feed.assume(thing(2, "Pod", "b"), "n".to_owned());
        feed.assume(thing(3, "Pod", "c"), "n".to_owned());
        feed.listed(&GroupVersionKind::new("", "v1", "Pod"), 9);
        feed.push(&event(Change::Modified, &thing(9, "Pod", "c"), None));
        feed.push(&event(Change::Modified, &thing(10, "Pod", "a"), None));
        feed.unassume(thing(2, "Pod", "b"));
        assert_eq!(objects(&feed), ["c>n", "+a", "-b"]);
    }

    #[test]
    fn what_a_list_covers_is_void() {
        let feed = Feed::default();
        for (revision, kind, name) in [(3, "Pod", "a"), (9, "Pod", "b"), (3, "Secret", "c")] {
            feed.push(&event(Change::Added, &thing(revision, kind, name), None));
        }
        feed.listed(&GroupVersionKind::new("", "v1", "Pod"), 5);
        assert_eq!(objects(&feed), ["+b", "+c"]);
    }
}

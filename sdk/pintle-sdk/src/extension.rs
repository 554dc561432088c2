//! What scheduler extensions say, as a scheduler hears it.

/// What all active extensions say together about the pods of the running
/// [`schedule`](crate::Scheduler::schedule) call. The host asks them and adds
/// their answers up; a scheduler is free not to ask.
pub trait Extensions {
    /// Changes whenever a node got or lost its number.
    fn numbering(&self) -> u64;

    /// The names of the nodes by number; empty for a number not in use.
    fn nodes(&self) -> Vec<String>;

    /// What the extensions say about a pod of this call, as a version: equal
    /// versions are equal evaluations. 0: no extension has a say.
    fn evaluate(&self, pod_uid: &str) -> u64;

    /// The evaluation of a version that `evaluate` returned in this call.
    fn read(&self, version: u64) -> Evaluation;
}

/// What all extensions say about one pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// Where it must not run.
    pub rejections: Vec<Rejection>,
    /// By node number, 0 to 10000: the average of the extensions' scores by
    /// weight, times 100. Empty when no extension scores.
    pub scores: Vec<u16>,
}

/// Nodes, by number, on which a pod must not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Shown in `0/3 nodes are available: 2 <reason>.`
    pub reason: String,
    /// Numbers of nodes.
    pub nodes: Vec<u32>,
}

/// There are none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoExtensions;

impl Extensions for NoExtensions {
    fn numbering(&self) -> u64 {
        0
    }

    fn nodes(&self) -> Vec<String> {
        Vec::new()
    }

    fn evaluate(&self, _: &str) -> u64 {
        0
    }

    fn read(&self, _: u64) -> Evaluation {
        Evaluation::default()
    }
}

//! A client that writes all the time and remembers what was acknowledged.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{Client, Cluster, items, name};

/// Objects of one file, so that one start of the client makes several writes.
const BATCH: usize = 8;

pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Acknowledged>,
}

/// What the API has said to be done.
#[derive(Debug, Default)]
pub struct Acknowledged {
    pub created: BTreeSet<String>,
    /// The last value of the object that is changed with every batch.
    pub counter: u64,
}

impl Writer {
    pub fn start(cluster: &Cluster) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (client, file) = (cluster.client(), cluster.path().join("writes.yaml"));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || write_until(&stopped, &client, file));
        Self { stop, thread }
    }

    pub fn finish(self) -> Acknowledged {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer does not panic")
    }
}

fn write_until(stop: &AtomicBool, client: &Client, file: PathBuf) -> Acknowledged {
    let mut done = Acknowledged::default();
    for batch in 1u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut text = object("counter", batch);
        (0..BATCH).for_each(|n| text += &object(&format!("write-{batch}-{n}"), batch));
        std::fs::write(&file, text).expect("the temp dir is writable");
        // One line per object, also when the server dies on the way.
        let output = client.pintle(&["apply", "-f", &file.to_string_lossy()]);
        for line in output.stdout.lines() {
            match line.strip_prefix("configmap/").and_then(|rest| rest.split_once(' ')) {
                Some(("counter", _)) => done.counter = batch,
                Some((name, _)) => {
                    done.created.insert(name.to_owned());
                }
                None => panic!("unexpected output of apply: {line}"),
            }
        }
        if !output.success {
            // Nothing listens while the server is down.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    done
}

fn object(name: &str, value: u64) -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: \"{value}\"}}\n"
    )
}

impl Acknowledged {
    /// Nothing of it is missing.
    pub fn check(&self, cluster: &Cluster) {
        assert!(!self.created.is_empty(), "nothing was written at all");
        let list = cluster.get("configmaps");
        let there: BTreeSet<String> = items(&list).iter().map(|o| name(o).to_owned()).collect();
        let lost: Vec<&String> = self.created.difference(&there).collect();
        assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), self.created.len());
        let counter = cluster.get("configmap counter");
        let value: u64 = counter["data"]["value"].as_str().unwrap_or("0").parse().unwrap_or(0);
        assert!(value >= self.counter, "{value} after {} was acknowledged", self.counter);
    }
}

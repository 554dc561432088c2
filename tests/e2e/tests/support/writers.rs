//! Clients that make Services all the time, whatever happens meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pintle_e2e::{Client, Cluster};

const CLIENTS: usize = 4;

/// How many Services have to be made before something happens, and after it.
const AROUND: usize = 40;

/// So much longer is the pause after each batch: there are only so many node
/// ports, and what happens meanwhile may take long.
const SLOWING: Duration = Duration::from_millis(10);

/// They make one after the other until they are told to stop.
pub struct Writers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    made: AtomicUsize,
}

impl Writers {
    pub fn start(cluster: &Cluster) -> Self {
        let shared = Arc::new(Shared::default());
        let write = |writer: usize| {
            let (client, shared) = (cluster.client(), shared.clone());
            let file = cluster.path().join(format!("writer-{writer}.yaml"));
            std::thread::spawn(move || write(writer, &client, &file, &shared))
        };
        let threads = (0..CLIENTS).map(write).collect();
        Self { shared, threads }
    }

    /// Until so many more are made: how fast that is, is the machine's business.
    pub fn go_on(&self, cluster: &Cluster) {
        let made = || self.shared.made.load(Ordering::SeqCst);
        let before = made();
        cluster.wait("Services to be made", |_| made() >= before + AROUND);
    }

    /// The names of all that the API has acknowledged.
    pub fn finish(mut self) -> Vec<String> {
        self.shared.stop.store(true, Ordering::SeqCst);
        std::mem::take(&mut self.threads).into_iter().flat_map(|t| t.join().unwrap()).collect()
    }
}

/// Also when the test fails they have to end.
impl Drop for Writers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

fn write(writer: usize, client: &Client, file: &Path, shared: &Shared) -> Vec<String> {
    let mut made = Vec::new();
    for batch in 0.. {
        if shared.stop.load(Ordering::SeqCst) {
            break;
        }
        std::fs::write(file, manifests(&format!("w{writer}-{batch}"))).unwrap();
        let output = client.pintle(&["apply", "-f", &file.to_string_lossy()]);
        let named = output.stdout.lines().filter_map(|line| line.strip_prefix("service/"));
        let known = made.len();
        made.extend(named.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())));
        shared.made.fetch_add(made.len() - known, Ordering::SeqCst);
        // Also while the server is down, when nothing listens.
        std::thread::sleep(SLOWING * (batch + 1));
    }
    made
}

fn manifests(prefix: &str) -> String {
    let service = |(number, kind): (usize, &&str)| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {prefix}-{number}}}\n\
             spec: {{type: {kind}, ports: [{{port: 80}}]}}\n"
        )
    };
    ["NodePort", "NodePort", "ClusterIP", "ClusterIP", "ClusterIP"]
        .iter()
        .enumerate()
        .map(service)
        .collect()
}

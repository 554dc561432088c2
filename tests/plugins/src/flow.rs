//! The engine: work flows at a steady pace, the plugin is swapped in the middle
//! of it, and afterwards every unit of work was done once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pintle_e2e::{PATIENCE, bin_dir, hermetic};
use serde_json::{Value, json};

use crate::api::{Access, Api};
use crate::components::{digest, variant};
use crate::ledger::{Ledger, Sees};
use crate::recording::{Recording, replayed};
use crate::server::Server;

/// Between two units of work of one client, at first.
const PACE: Duration = Duration::from_millis(10);

/// So much longer after each unit: where a swap takes long, because the machine is
/// busy, what flows meanwhile stays a hundred or two.
const SLOWING: Duration = Duration::from_millis(1);

/// So many units are done before the swap, and so many that began after it.
const BESIDE: usize = 10;

pub const PLUGINS: &str = "/apis/plugins.pintle.dev/v1alpha1/plugins";

/// One plugin and its work.
pub struct Row {
    pub plugin: &'static str,
    /// Laid over the Plugin's spec before anything else.
    pub spec: fn() -> Value,
    /// What the work needs around it.
    pub prepare: fn(&mut Stage),
    pub work: Work,
}

pub enum Work {
    /// Of what is begun, something comes.
    Made(Made),
    /// A request whose answer is the plugin's.
    Answered(Answered),
}

pub struct Answered {
    /// At the same time.
    pub clients: usize,
    /// Makes the request of that number, and tells what is wrong with the answer.
    pub ask: fn(&mut Stage, usize) -> Result<(), String>,
}

pub struct Made {
    /// Begins the unit of that name.
    pub begin: fn(&mut Stage, &str),
    /// The collection in which its products show.
    pub look_at: fn(&Stage) -> String,
    pub sees: Sees,
    /// Products of one unit.
    pub each: u64,
    /// Reason and number of Events on each unit.
    pub told: Option<(&'static str, u64)>,
}

/// Where a row's work takes place.
pub struct Stage {
    pub api: Api,
    pub plugin: &'static str,
    pub namespace: String,
}

impl Stage {
    fn of(access: &Access, plugin: &'static str) -> Self {
        Self { api: access.connect(), plugin, namespace: format!("swap-{plugin}") }
    }

    /// Of a resource in the stage's namespace: `apps/v1/deployments`.
    pub fn path(&self, resource: &str) -> String {
        let (version, resource) = resource.rsplit_once('/').expect("a version and a resource");
        let root = if version == "v1" { "/api" } else { "/apis" };
        format!("{root}/{version}/namespaces/{}/{resource}", self.namespace)
    }

    /// Creates in the stage's namespace, which must work.
    pub fn create(&mut self, resource: &str, object: Value) -> Value {
        let path = self.path(resource);
        self.api.create(&path, &object).ok()
    }

    /// Replaces fields of an object's status, which must work.
    pub fn set_status(&mut self, resource: &str, name: &str, status: Value) {
        let path = format!("{}/{name}/status", self.path(resource));
        self.api.merge(&path, &json!({ "status": status })).ok();
    }
}

/// A row whose work is done and whose plugin was swapped. What it made is watched
/// until [`Swapped::judge`].
pub struct Swapped {
    row: &'static Row,
    before: Value,
    digest: String,
    begun: usize,
    /// Units that were begun while the swap went on.
    pub meanwhile: usize,
    pub took: Duration,
    ledger: Option<Ledger>,
    /// Of the version before.
    trace: Vec<u8>,
}

impl Row {
    fn clients(&self) -> usize {
        match &self.work {
            Work::Made(_) => 1,
            Work::Answered(answered) => answered.clients,
        }
    }

    /// The unit of that number.
    fn unit(&self, number: usize) -> String {
        format!("{}-{number}", self.plugin)
    }

    /// Lets the work flow, swaps in the middle, waits until all of it is done.
    pub fn run(&'static self, server: &Server, component: &Path) -> Swapped {
        let mut stage = Stage::of(&server.access, self.plugin);
        let namespace = json!({"metadata": {"name": stage.namespace}});
        stage.api.create("/api/v1/namespaces", &namespace).ok();
        let bytes = std::fs::read(component).expect("the component can be read");
        let before = self.load(server, component, &mut stage);
        (self.prepare)(&mut stage);
        let ledger = match &self.work {
            Work::Made(made) => {
                Some(Ledger::follow(stage.api.another(), (made.look_at)(&stage), made.sees))
            }
            Work::Answered(_) => None,
        };
        let recording = Recording::start(stage.api.another(), self.plugin);
        let next = variant(&bytes, 1);
        let file = server.path(&format!("{}.wasm", self.plugin));
        std::fs::write(&file, &next).expect("the temp dir is writable");

        let flow = Flow { go_on: AtomicBool::new(true), ..Flow::default() };
        let (meanwhile, took) = std::thread::scope(|scope| {
            for _ in 1..self.clients() {
                scope.spawn(|| flow.run(self, Stage::of(&server.access, self.plugin)));
            }
            scope.spawn(|| flow.run(self, stage));
            // Also when it panics the flow has to end.
            let _end = EndOf(&flow.go_on);
            let mut api = server.connect();
            flow.wait(self, ledger.as_ref(), BESIDE, server);
            let (at, started) = (flow.begun(), Instant::now());
            let source = json!({"embedded": null, "inline": null, "file": {"path": file}});
            let patch = json!({"spec": {"source": source, "digest": digest(&next),
                "grants": before["status"]["needs"]}});
            api.merge(&format!("{PLUGINS}/{}", self.plugin), &patch).ok();
            settled(&mut api, self.plugin);
            let (after, took) = (flow.begun(), started.elapsed());
            flow.wait(self, ledger.as_ref(), after + BESIDE, server);
            (after - at, took)
        });
        let begun = flow.begun();
        if let Some(ledger) = &ledger
            && !ledger.wait(PATIENCE, |products| self.undone(begun, products).is_empty())
        {
            let undone = self.undone(begun, &ledger.products());
            panic!(
                "{} of {begun} units of work are lost: {undone:?}\n{}",
                undone.len(),
                self.shown(server)
            );
        }
        let wrong = flow.wrong.into_inner().expect("nobody panicked");
        assert!(wrong.is_empty(), "{} of {begun} answers: {:#?}", wrong.len(), wrong.first());
        let (digest, trace) = (digest(&next), recording.finish(PATIENCE));
        let swapped = Swapped { row: self, before, digest, begun, meanwhile, took, ledger, trace };
        let status = swapped.check_status(&mut server.connect());
        // Kept warm to go back to, for a while.
        let previous = swapped.before["status"]["activeDigest"].as_str();
        assert_eq!(status["previousDigest"].as_str(), previous, "{status}");
        assert_ne!(status["previousDigest"], status["activeDigest"], "{status}");
        swapped
    }

    /// The Plugin as it is before the swap; one that the server does not bring is loaded.
    fn load(&self, server: &Server, component: &Path, stage: &mut Stage) -> Value {
        let path = format!("{PLUGINS}/{}", self.plugin);
        if stage.api.get(&path).status == 404 {
            let config = (self.spec)()["config"].to_string();
            let mut command = Command::new(bin_dir().join("pintle"));
            hermetic(&mut command, &server.path(""));
            command.args(["plugin", "load", self.plugin, "--grant", "--config", &config]);
            command.arg(component);
            command.env("PINTLE_KUBECONFIG", server.path("data/admin.kubeconfig"));
            let output = command.output().expect("the binary starts");
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{} is not loaded: {told}", self.plugin);
        }
        let spec = (self.spec)();
        if !spec.is_null() {
            stage.api.merge(&path, &json!({ "spec": spec })).ok();
        }
        settled(&mut stage.api, self.plugin)
    }

    /// What is there where products were expected.
    fn shown(&self, server: &Server) -> String {
        let Work::Made(made) = &self.work else { return String::new() };
        let mut stage = Stage::of(&server.access, self.plugin);
        let path = (made.look_at)(&stage);
        let there = stage.api.get(&path).body;
        let shown = there["items"].as_array().into_iter().flatten();
        shown.map(|object| format!("{object}\n")).collect()
    }

    /// Units of which not everything has come.
    fn undone(&self, begun: usize, products: &crate::ledger::Products) -> Vec<String> {
        let Work::Made(made) = &self.work else { return Vec::new() };
        let units = (0..begun).map(|number| self.unit(number));
        let count = |unit: &str| products.get(unit).map_or(0, BTreeSet::len) as u64;
        units.filter(|unit| count(unit) < made.each).collect()
    }
}

/// Stops a flow when it goes out of scope.
struct EndOf<'a>(&'a AtomicBool);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Units of work, one after the other.
#[derive(Default)]
struct Flow {
    go_on: AtomicBool,
    /// Given to a client, which may still be at it.
    given: AtomicUsize,
    begun: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

impl Flow {
    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    fn run(&self, row: &Row, mut stage: Stage) {
        let mut due = Instant::now();
        loop {
            let number = self.given.fetch_add(1, Ordering::SeqCst);
            match &row.work {
                Work::Made(made) => (made.begin)(&mut stage, &row.unit(number)),
                Work::Answered(answered) => {
                    if let Err(wrong) = (answered.ask)(&mut stage, number) {
                        self.wrong.lock().expect("nobody panicked").push(wrong);
                    }
                }
            }
            self.begun.fetch_add(1, Ordering::SeqCst);
            if !self.go_on.load(Ordering::SeqCst) {
                return;
            }
            // How fast work arrives is what is given here.
            let slowing = SLOWING * u32::try_from(number).unwrap_or(u32::MAX);
            due = Instant::now().max(due + PACE + slowing);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }

    /// Until the first `count` units are done.
    fn wait(&self, row: &Row, ledger: Option<&Ledger>, count: usize, server: &Server) {
        if let Some(ledger) = ledger {
            if ledger.wait(PATIENCE, |products| row.undone(count, products).is_empty()) {
                return;
            }
            let undone = row.undone(count, &ledger.products());
            let shown = row.shown(server);
            panic!("of {count} units of work these are not done: {undone:?}\n{shown}");
        }
        let deadline = Instant::now() + PATIENCE;
        while self.begun() < count {
            assert!(Instant::now() < deadline, "no answer since {} were given", self.begun());
            // A unit is an answer, and nobody tells when one came.
            std::thread::sleep(PACE);
        }
    }
}

/// The Plugin object once the host has decided about its present spec.
fn settled(api: &mut Api, plugin: &str) -> Value {
    let (mut last, mut decided) = (Value::Null, false);
    let seconds = PATIENCE.as_secs();
    let path = format!("{PLUGINS}?fieldSelector=metadata.name%3D{plugin}&timeoutSeconds={seconds}");
    api.another().watch(&path, |_, object| {
        last = object.clone();
        let status = &object["status"];
        let present = object["metadata"]["generation"] == status["observedGeneration"];
        decided =
            present && !matches!(status["phase"].as_str(), None | Some("Pending" | "Loading"));
        decided
    });
    assert!(decided && last["status"]["phase"] == "Active", "{plugin}: {}", last["status"]);
    last
}

impl Swapped {
    /// What the object says of the swap.
    fn check_status(&self, api: &mut Api) -> Value {
        let plugin = self.row.plugin;
        let status = api.get(&format!("{PLUGINS}/{plugin}")).ok()["status"].clone();
        let before = &self.before["status"];
        assert_eq!(status["phase"], "Active", "{status}");
        assert_eq!(status["activeDigest"], self.digest, "{status}");
        let count = |status: &Value, field: &str| status[field].as_u64().unwrap_or(0);
        assert_eq!(count(&status, "swaps"), count(before, "swaps") + 1, "{status}");
        for field in ["strikes", "rollbacks"] {
            assert_eq!(count(&status, field), 0, "{field}: {status}");
        }
        for field in ["traps", "strikesTotal"] {
            assert_eq!(count(&status, field), count(before, field), "{field}: {status}");
        }
        assert!(status["parked"].is_null(), "{status}");
        status
    }

    /// After everything else: nothing was done twice, also not since then, and what
    /// was recorded is decided again in the same way. `cache` has what is compiled.
    pub fn judge(self, access: &Access, cache: &Path) -> String {
        let (row, mut stage) = (self.row, Stage::of(access, self.row.plugin));
        let report = replayed(&self.trace, cache);
        assert!(report.is_identical(), "{}: {report:#?}", row.plugin);
        assert!(report.calls + report.lost > 0, "{}: nothing was recorded", row.plugin);
        self.check_status(&mut stage.api);
        if let (Work::Made(made), Some(ledger)) = (&row.work, &self.ledger) {
            assert!(ledger.is_complete(), "the watch of what is made has ended");
            let products = ledger.products();
            let mut all = BTreeSet::new();
            for unit in (0..self.begun).map(|number| row.unit(number)) {
                let of_unit = products.get(&unit).cloned().unwrap_or_default();
                assert_eq!(of_unit.len() as u64, made.each, "{unit}: {of_unit:?}");
                for product in of_unit {
                    assert!(all.insert(product.clone()), "{product} was made of {unit} too");
                }
            }
            if let Some((reason, times)) = made.told {
                check_events(&mut stage, row, reason, times, self.begun);
            }
        }
        format!(
            "{}: {} units of work, {} of them during a swap of {} ms; {} calls replayed",
            row.plugin,
            self.begun,
            self.meanwhile,
            self.took.as_millis(),
            report.calls,
        )
    }
}

/// Each unit was spoken of so many times.
fn check_events(stage: &mut Stage, row: &Row, reason: &str, times: u64, begun: usize) {
    let units: Vec<String> = (0..begun).map(|number| row.unit(number)).collect();
    let path = stage.path("v1/events");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // Unit -> Event -> how often.
    let mut told = BTreeMap::<String, BTreeMap<String, u64>>::new();
    let mut hear = |event: &Value| {
        if event["reason"] == reason {
            let count = event["count"].as_u64().unwrap_or(1).max(1);
            let unit = told.entry(text(&event["involvedObject"]["name"])).or_default();
            unit.insert(text(&event["metadata"]["name"]), count);
        }
        let times_of =
            |unit: &String| told.get(unit).map_or(0, |events| events.values().sum::<u64>());
        units.iter().map(|unit| (unit.clone(), times_of(unit))).collect::<Vec<_>>()
    };
    // They come after what they tell of: until all of them are there.
    let watched = format!("{path}?timeoutSeconds={}", PATIENCE.as_secs());
    stage.api.another().watch(&watched, |_, event| hear(event).iter().all(|told| told.1 >= times));
    // And no more.
    let events = stage.api.get(&path).ok();
    let heard = events["items"].as_array().into_iter().flatten().map(hear).last();
    for (unit, told) in heard.unwrap_or_default() {
        assert_eq!(told, times, "Events {reason} about {unit}");
    }
}

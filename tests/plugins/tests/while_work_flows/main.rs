//! Every plugin of `plugins/` is swapped once while its work flows, in one real
//! server, several of them at the same time: nothing is lost, nothing is done
//! twice, nobody slips through, and the object says so. What the version before
//! has decided is recorded meanwhile, and replayed afterwards.
//!
//! A row is a plugin, how to make one unit of its work, and how to see it done.
//! A new plugin without a row fails the first test.

mod access;
mod admission;
mod certificates;
mod machines;
mod network;
mod objects;
mod storage;
mod upkeep;
mod workloads;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use pintle_plugins::components;
use pintle_plugins::flow::{Row, Swapped};
use pintle_plugins::server::Server;

/// Swapped on nodes, by `on_nodes.rs`.
const ON_NODES: [&str; 1] = ["cni-routed"];

/// Rows at the same time: each waits more than it works. Of each a recording is
/// made, and a server makes four at once.
const AT_ONCE: usize = 3;

fn rows() -> impl Iterator<Item = &'static Row> {
    let tables: [&'static [Row]; 8] = [
        workloads::ROWS,
        network::ROWS,
        machines::ROWS,
        storage::ROWS,
        upkeep::ROWS,
        admission::ROWS,
        access::ROWS,
        certificates::ROWS,
    ];
    tables.into_iter().flatten()
}

#[test]
fn every_plugin_has_a_row() {
    let rows = rows().map(|row| row.plugin).chain(ON_NODES);
    components::assert_complete("swapped while work flows", rows);
}

#[test]
fn every_plugin_is_swapped_while_its_work_flows() {
    // For people who look for what one of them does wrong.
    let only = std::env::var("PINTLE_ONLY").ok();
    let wanted = |row: &&Row| {
        only.as_deref().is_none_or(|only| only.split(',').any(|one| one == row.plugin))
    };
    let built = components::built();
    let server = Server::start();
    objects::prepare(&mut server.connect());
    let started = Instant::now();
    let queue: Mutex<Vec<&Row>> = Mutex::new(rows().filter(wanted).collect());
    let done: Mutex<Vec<Swapped>> = Mutex::default();
    let failed: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| work_off(&queue, &server, &built, &done, &failed));
        }
    });
    server.keep_compiled();
    let directory = tempfile::tempdir().unwrap();
    pintle_e2e::compiled::provide(directory.path());
    let cache = directory.path().join("plugin-cache");
    for swapped in done.into_inner().unwrap() {
        match attempt(|| swapped.judge(&server.access, &cache)) {
            Ok(told) => eprintln!("{told}"),
            Err(wrong) => failed.lock().unwrap().push(wrong),
        }
    }
    eprintln!("all in {:?}", started.elapsed());
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}\n{}", failed.join("\n"), server.log());
}

fn work_off(
    queue: &Mutex<Vec<&'static Row>>,
    server: &Server,
    built: &BTreeMap<String, PathBuf>,
    done: &Mutex<Vec<Swapped>>,
    failed: &Mutex<Vec<String>>,
) {
    loop {
        let Some(row) = queue.lock().unwrap().pop() else { return };
        match attempt(|| row.run(server, &built[row.plugin])) {
            Ok(swapped) => done.lock().unwrap().push(swapped),
            Err(wrong) => failed.lock().unwrap().push(format!("{}: {wrong}", row.plugin)),
        }
    }
}

/// One that fails keeps no other from being tried.
fn attempt<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(what)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        text.unwrap_or_default()
    })
}

//! How fast a component becomes an instance.

use std::path::Path;
use std::time::{Duration, Instant};

use pintle_plugin_host::artifact::Artifacts;
use pintle_plugin_host::cni::{Node, Sandbox};
use pintle_plugin_host::engine::Wasm;
use pintle_plugin_host::plugin::{BudgetSpec, Role};
use pintle_plugin_host::{CniPlugin, Compiler};
use serde_json::Value;

use super::median;
use crate::support::guests;

pub struct Loading {
    pub compile: Duration,
    /// Digest, checks, and the code mapped from the cache.
    pub from_cache: Duration,
}

pub fn loading(cache: &Path, component: &[u8], role: Role) -> Loading {
    let artifacts = Artifacts::open(Wasm::new().expect("an engine"), cache, Compiler::InProcess)
        .expect("a cache");
    let started = Instant::now();
    artifacts.load(component, None, role).expect("the component loads");
    let compile = started.elapsed();
    let from_cache = median(200, || {
        artifacts.load(component, None, role).expect("the component loads");
    });
    Loading { compile, from_cache }
}

pub struct Calls {
    /// With nine strings, most of them empty.
    pub call: Duration,
    /// Instantiate, describe, and one call.
    pub fresh: Duration,
}

pub fn calls(cache: &Path) -> Calls {
    let plugin = CniPlugin::load(
        cache,
        &Compiler::InProcess,
        "bench",
        &guests::cni(),
        None,
        &Value::Null,
        &BudgetSpec::default(),
    )
    .expect("the guest loads");
    let node = Node {
        name: String::new(),
        internal_ip: String::new(),
        pod_cidrs: Vec::new(),
        interface_prefix: String::new(),
    };
    let sandbox = Sandbox {
        id: String::new(),
        namespace: String::new(),
        name: String::new(),
        netns: String::new(),
        mtu: 0,
    };
    let call = median(100_000, || {
        plugin.check(0, &node, &sandbox, &[]).expect("it answers");
    });
    let fresh = median(2000, || {
        plugin.reset();
        plugin.check(0, &node, &sandbox, &[]).expect("it answers");
    });
    Calls { call, fresh }
}

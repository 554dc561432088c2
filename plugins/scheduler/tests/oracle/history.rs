//! After any history the plugin decides as a fresh one that was told the present.

use pintle_sdk::NoExtensions;
use pintle_sdk::scheduler::{Decision, Delta, Scheduler};

use crate::generate::{Draw, NODES};
use crate::model::Cluster;
use crate::{check, decide, each, plugin_of};

/// One change of the cluster, told to the plugin.
fn step(draw: &mut Draw, cluster: &mut Cluster, plugin: &mut impl Scheduler, index: u64) {
    let name = draw.of(&NODES);
    let some_pod = |draw: &mut Draw, cluster: &Cluster| {
        let names: Vec<String> = cluster.pods.keys().cloned().collect();
        (!names.is_empty()).then(|| names[draw.below(names.len() as u64) as usize].clone())
    };
    match draw.below(10) {
        0 | 1 => {
            let node = draw.node(name);
            plugin.sync(vec![Delta::Upsert(node.object())]);
            cluster.nodes.insert(name, node);
            plugin.sync(cluster.others());
        }
        2 => {
            if let Some(node) = cluster.nodes.remove(name) {
                plugin.sync(vec![Delta::Remove(node.object())]);
            }
        }
        3 => {
            if let Some(pod) = some_pod(draw, cluster) {
                let pod = cluster.pods.remove(&pod).unwrap();
                plugin.sync(vec![Delta::Remove(pod.object())]);
            }
        }
        4 => {
            if let Some(pod) = some_pod(draw, cluster) {
                let pod = cluster.pods.get_mut(&pod).unwrap();
                pod.terminating = true;
                plugin.sync(vec![Delta::Upsert(pod.object())]);
            }
        }
        5 => {
            let mut labels = crate::model::Labels::new();
            labels.insert("team", draw.of(&["a", "b"]));
            cluster.namespaces.insert(draw.of(&["default", "team-a"]), labels);
            plugin.sync(cluster.others());
        }
        6 => {
            let mut pod = draw.pod(format!("extra{index}"));
            pod.node = Some(name);
            cluster.drop_strays(&mut pod);
            plugin.sync(vec![Delta::Upsert(pod.object())]);
            cluster.pods.insert(pod.name.clone(), pod);
        }
        _ => {
            let mut pod = draw.pod(format!("new{index}"));
            let pods = vec![pod.object()];
            let decision = plugin.schedule(&crate::context(index), &NoExtensions, pods).remove(0);
            if matches!(decision, Decision::Preempt { .. }) {
                // The host may drop it; what was assumed for it is taken back.
                plugin.forget(vec![pod.name.clone()]);
                let on_node = cluster.pods.values().map(|pod| Delta::Upsert(pod.object()));
                plugin.sync(on_node.collect());
                return;
            }
            pod.node = check(cluster, &pod, &decision);
            pod.start = crate::NOT_STARTED;
            if pod.node.is_none() {
                return;
            }
            match draw.below(4) {
                0 => plugin.forget(vec![pod.name]),
                1 => {
                    cluster.pods.insert(pod.name.clone(), pod);
                }
                _ => {
                    plugin.sync(vec![Delta::Upsert(pod.object())]);
                    cluster.pods.insert(pod.name.clone(), pod);
                }
            }
        }
    }
}

fn replay(seed: u64) {
    if seed % 400 > 3 {
        return; // a history costs as much as many single decisions
    }
    let mut draw = Draw::new(seed ^ 0x5eed);
    let mut cluster = draw.cluster();
    let mut plugin = plugin_of(&cluster);
    for index in 0..40 {
        step(&mut draw, &mut cluster, &mut plugin, index);
    }
    let mut fresh = plugin_of(&cluster);
    for index in 0..10 {
        let pod = draw.pod(format!("probe{index}"));
        let (old, new) = (decide(&mut plugin, index, &pod), decide(&mut fresh, index, &pod));
        assert_eq!(old, new, "the fresh one decides otherwise");
        check(&cluster, &pod, &old);
        for instance in [&mut plugin, &mut fresh] {
            instance.forget(vec![pod.name.clone()]);
            instance.sync(cluster.pods.values().map(|pod| Delta::Upsert(pod.object())).collect());
        }
    }
}

#[test]
fn any_history_equals_a_fresh_replay_0() {
    each(0, replay);
    each(2, replay);
}

#[test]
fn any_history_equals_a_fresh_replay_1() {
    each(1, replay);
    each(3, replay);
}

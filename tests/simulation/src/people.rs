//! What people do to a cluster, drawn at random.

use pintle_sdk::names::Random;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use serde_json::{Value, json};

use crate::objects::*;
use crate::site::Site;

const SCALABLE: [KindRef; 4] = [DEPLOYMENT, STATEFUL_SET, REPLICA_SET, REPLICATION_CONTROLLER];
const NAMES: [&str; 3] = ["web", "db", "api"];
/// Often, seldom, never.
const SCHEDULES: [&str; 3] = ["* * * * *", "*/7 3-5 * * *", "0 0 30 2 *"];

pub struct Person<'a> {
    pub cluster: &'a mut Cluster,
    pub site: &'a mut Site,
}

impl Person<'_> {
    pub fn act(mut self, random: &mut Random) {
        let mut below = |n: usize| (random.next_u64() % n as u64) as usize;
        let name = NAMES[below(NAMES.len())];
        let namespace = if below(4) == 0 { SHOP } else { HOME };
        match below(30) {
            0 | 1 => self.make(namespace, deployment(name, below(5), below(4) == 0)),
            2 | 3 => self.make(namespace, stateful_set(name, below(4), below(2) == 0)),
            4 => self.make(namespace, daemon_set(name, below(2) == 0)),
            5 | 6 => {
                let (completions, parallelism) = (1 + below(4), 1 + below(3));
                let object = job(name, completions, parallelism, below(2) == 0, below(4) == 0);
                self.make(namespace, object);
            }
            7 => self.make(namespace, replication_controller(name, below(4))),
            8 => {
                self.make(namespace, service(name, true));
                self.make(namespace, budget(name));
            }
            9..=11 => self.scale(namespace, below(SCALABLE.len()), name, below(6)),
            12 | 13 => self.change_template(namespace, below(3), name, below(1000)),
            14 | 15 => self.delete_workload(namespace, below(8), name, below(8)),
            16 | 17 => self.delete_pod(below(50)),
            18 if self.cluster.all(&NODE).len() > 1 && below(2) == 0 => {
                self.site.remove_node(self.cluster, below(10));
            }
            18 => self.site.add_node(self.cluster, below(6)),
            19 => self.site.fall_silent(self.cluster, below(10)),
            20 => {
                self.cluster.note("the server is killed");
                self.cluster.crash();
            }
            21 | 22 => {
                let policy = ["Allow", "Forbid", "Replace"][below(3)];
                self.make(namespace, cron_job(name, SCHEDULES[below(SCHEDULES.len())], policy));
                self.pass(below(200_000));
            }
            23 => self.make(HOME, autoscaler(name, 2 + below(5))),
            24 => self.site.load(name, below(400)),
            25 => match below(3) {
                0 => self.make(SHOP, quota(name, below(8))),
                1 => self.make(SHOP, limits(name)),
                _ => self.change(
                    &RESOURCE_QUOTA.named(SHOP, name),
                    json!({"spec": {"hard": {"pods": below(6).to_string()}}}),
                ),
            },
            26 => self.come_and_go(),
            27 => {
                self.make(namespace, service("by-hand", false));
                self.make(namespace, endpoints("by-hand", below(250)));
            }
            28 => self.make(namespace, stranger(name, below(10))),
            _ => {
                let on = below(2) == 0;
                self.change(&DEPLOYMENT.named(namespace, name), json!({"spec": {"paused": on}}));
                self.change(&JOB.named(namespace, name), json!({"spec": {"suspend": on}}));
            }
        }
    }

    fn pass(&mut self, milliseconds: usize) {
        // Nodes report while time passes; longer waits come with the rest.
        self.site.report(self.cluster);
        self.cluster.advance(milliseconds.min(35_000) as i64);
    }

    /// What is refused is refused; people shrug.
    fn make(&mut self, namespace: &str, object: Value) {
        let kind = KindRef::parse(
            object["apiVersion"].as_str().unwrap_or_default(),
            object["kind"].as_str().unwrap_or_default(),
        );
        let _ = self.cluster.submit(Create::new(kind, namespace, &object));
    }

    fn change(&mut self, reference: &ObjectRef, patch: Value) {
        let _ = self.cluster.submit(Patch::merge(reference, &patch));
    }

    fn scale(&mut self, namespace: &str, kind: usize, name: &str, replicas: usize) {
        let reference = SCALABLE[kind].named(namespace, name);
        self.change(&reference, json!({"spec": {"replicas": replicas}}));
    }

    fn change_template(&mut self, namespace: &str, kind: usize, name: &str, version: usize) {
        let reference = [DEPLOYMENT, STATEFUL_SET, DAEMON_SET][kind].named(namespace, name);
        let Some(object) = self.cluster.object(&reference) else { return };
        let mut containers = object["spec"]["template"]["spec"]["containers"].clone();
        containers[0]["image"] = json!(format!("i:{version}"));
        let template = json!({"spec": {"containers": containers}});
        self.change(&reference, json!({"spec": {"template": template}}));
    }

    fn delete_workload(&mut self, namespace: &str, kind: usize, name: &str, how: usize) {
        let kinds = [
            DEPLOYMENT,
            STATEFUL_SET,
            DAEMON_SET,
            JOB,
            REPLICATION_CONTROLLER,
            SERVICE,
            CRON_JOB,
            HORIZONTAL_POD_AUTOSCALER,
        ];
        let propagation = match how {
            0 | 1 => Propagation::Foreground,
            2 => Propagation::Orphan,
            _ => Propagation::Background,
        };
        let reference = kinds[kind].named(namespace, name);
        let _ = self.cluster.submit(Delete::new(&reference).propagation(propagation));
    }

    fn delete_pod(&mut self, number: usize) {
        let all = self.cluster.all(&POD);
        let Some(pod) = all.get(number % all.len().max(1)) else { return };
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
        let reference = POD.named(text("namespace"), text("name"));
        let _ = self.cluster.submit(Delete::new(&reference));
    }

    fn come_and_go(&mut self) {
        let reference = NAMESPACE.named("", SHOP);
        if self.cluster.object(&reference).is_some() {
            let _ = self.cluster.submit(Delete::new(&reference));
        } else {
            let _ = self.cluster.submit(Create::new(NAMESPACE, "", &namespace(SHOP)));
        }
    }
}

/// Nobody holds anything back any more, and every machine works again.
pub fn calm_down(cluster: &mut Cluster, site: &mut Site) {
    site.recover(cluster);
    let resume = [
        (DEPLOYMENT, json!({"spec": {"paused": false}})),
        (JOB, json!({"spec": {"suspend": false}})),
        (CRON_JOB, json!({"spec": {"suspend": true}})),
    ];
    for (kind, patch) in resume {
        let references: Vec<ObjectRef> = cluster
            .all(&kind)
            .iter()
            .map(|object| {
                let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
                kind.named(text("namespace"), text("name"))
            })
            .collect();
        for reference in references {
            let _ = cluster.submit(Patch::merge(&reference, &patch));
        }
    }
}

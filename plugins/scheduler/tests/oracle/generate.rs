//! Random small clusters and pods, drawn so that every rule matters often.

use pintle_sdk::names::Random;

use crate::model::*;

pub struct Draw(Random);

pub const NODES: [&str; 6] = ["n0", "n1", "n2", "n3", "n4", "n5"];
const ZONES: [&str; 3] = ["za", "zb", "zc"];
const TOPOLOGIES: [&str; 3] = [HOST, ZONE, "rack"];
const APPS: [&str; 3] = ["a", "b", "c"];
const CLAIMS: [&str; 7] = ["c0", "c1", "c2", "c3", "c4", "c5", "absent"];
const NAMESPACES: [&str; 3] = ["default", "team-a", "team-b"];

impl Draw {
    pub fn new(seed: u64) -> Self {
        Draw(Random::new(seed))
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end
    }

    /// One time in so many.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    fn some<T: Copy>(&mut self, all: &[T]) -> Vec<T> {
        all.iter().copied().filter(|_| self.one_in(2)).collect()
    }

    fn expression(&mut self, keys: &[(&'static str, &[&'static str])]) -> Expression {
        let (key, values) = self.of(keys);
        let operator = self.of(&["In", "In", "NotIn", "Exists", "DoesNotExist"]);
        let values = match operator {
            "In" | "NotIn" => vec![self.of(values)],
            _ => Vec::new(),
        };
        Expression { key, operator, values }
    }

    fn pod_selector(&mut self) -> Selector {
        let count = self.of(&[0, 1, 1, 1, 2]);
        let keys: [(&str, &[&str]); 2] = [("app", &APPS), ("hash", &["1", "2"])];
        (0..count).map(|_| self.expression(&keys)).collect()
    }

    fn node_selector(&mut self) -> Selector {
        if self.one_in(4) {
            let operator = self.of(&["In", "NotIn"]);
            let values = vec![self.of(&NODES)];
            return vec![Expression { key: "metadata.name", operator, values }];
        }
        if self.one_in(4) {
            let operator = self.of(&["Gt", "Lt"]);
            let values = vec![self.of(&["1", "2", "3"])];
            return vec![Expression { key: "cores", operator, values }];
        }
        let count = self.of(&[0, 1, 1, 2]);
        let keys: [(&str, &[&str]); 2] = [(ZONE, &ZONES), ("disk", &["ssd", "hdd"])];
        (0..count).map(|_| self.expression(&keys)).collect()
    }

    fn term(&mut self) -> Term {
        Term {
            selector: (!self.one_in(10)).then(|| self.pod_selector()),
            topology: self.of(&TOPOLOGIES),
            namespaces: if self.one_in(4) { self.some(&NAMESPACES) } else { Vec::new() },
            namespace_selector: self.one_in(5).then(|| {
                let keys: [(&str, &[&str]); 1] = [("team", &["a", "b"])];
                let count = self.below(2);
                (0..count).map(|_| self.expression(&keys)).collect()
            }),
            same: if self.one_in(5) { vec!["hash"] } else { Vec::new() },
            other: if self.one_in(5) { vec!["hash"] } else { Vec::new() },
        }
    }

    fn spread(&mut self) -> Spread {
        let hard = self.one_in(2);
        Spread {
            skew: self.of(&[1, 1, 2, 3]),
            topology: self.of(&TOPOLOGIES),
            hard,
            selector: self.pod_selector(),
            min_domains: (hard && self.one_in(3)).then(|| self.of(&[1, 2, 3, 4])),
            honor_affinity: !self.one_in(4),
            honor_taints: self.one_in(3),
            same: if self.one_in(4) { vec!["hash"] } else { Vec::new() },
        }
    }

    pub fn node(&mut self, name: &'static str) -> NodeModel {
        let mut labels = Labels::new();
        if !self.one_in(10) {
            labels.insert(HOST, name);
        }
        if !self.one_in(5) {
            labels.insert(ZONE, self.of(&ZONES));
        }
        if self.one_in(2) {
            labels.insert("rack", self.of(&["r1", "r2"]));
        }
        if self.one_in(2) {
            labels.insert("disk", self.of(&["ssd", "hdd"]));
        }
        labels.insert("cores", self.of(&["1", "2", "3", "x"]));
        let effects = ["NoSchedule", "NoExecute", "PreferNoSchedule", "PreferNoSchedule"];
        let taints = match self.one_in(3) {
            true => (0..self.of(&[1, 2]))
                .map(|_| (self.of(&["dedicated", "special"]), self.of(&effects)))
                .collect(),
            false => Vec::new(),
        };
        NodeModel {
            name,
            labels,
            unschedulable: self.one_in(12),
            taints,
            milli_cpu: self.of(&[1000, 2000, 4000]),
            mebibytes: self.of(&[1024, 2048, 8192]),
            pods: self.of(&[2, 4, 10]),
            gpus: self.of(&[0, 0, 1, 2]),
            images: match self.one_in(2) {
                true => vec![("web:1", self.of(&[10, 100, 700, 3000]))],
                false => Vec::new(),
            },
            volume_limit: self.one_in(3).then(|| self.of(&[0, 1, 2])),
        }
    }

    pub fn pod(&mut self, name: String) -> PodModel {
        let namespace = self.of(&["default", "default", "default", "team-a", "team-b"]);
        let mut labels = Labels::new();
        if !self.one_in(6) {
            labels.insert("app", self.of(&APPS));
        }
        if self.one_in(2) {
            labels.insert("hash", self.of(&["1", "2"]));
        }
        let containers = (0..self.of(&[1, 1, 2]))
            .map(|_| {
                (!self.one_in(5)).then(|| (self.of(&[0, 100, 400, 1000]), self.of(&[0, 128, 700])))
            })
            .collect();
        // Only some pods are choosy in each way, or nothing would ever fit.
        let mut pod = PodModel {
            namespace,
            name,
            labels,
            containers,
            image: self.of(&["web:1", "other:1"]),
            overhead_milli_cpu: self.of(&[0, 0, 0, 50]),
            priority: self.of(&[0, 0, 0, 5, 10]),
            start: self.below(60) as u8,
            ..PodModel::default()
        };
        if self.one_in(10) {
            pod.containers[0] = Some((100, 64));
            pod.gpus = self.of(&[1, 2]);
        }
        if self.one_in(8) {
            pod.port = Some((self.of(&["0.0.0.0", "127.0.0.1", "10.0.0.1"]), self.of(&[80, 443])));
        }
        if self.one_in(10) {
            pod.node_selector = Some(("disk", self.of(&["ssd", "hdd"])));
        }
        if self.one_in(5) {
            let terms = self.of(&[0, 1, 1, 2]);
            pod.node_affinity = Some((0..terms).map(|_| self.node_selector()).collect());
        }
        if self.one_in(4) {
            let count = self.of(&[1, 2]);
            pod.node_preferences =
                (0..count).map(|_| (self.of(&[1, 5, 20]), self.node_selector())).collect();
        }
        if self.one_in(3) {
            let key = self.of(&["", "dedicated", "special"]);
            let effect = self.of(&["", "NoSchedule", "PreferNoSchedule"]);
            pod.tolerations = vec![(key, effect)];
        }
        if self.one_in(5) {
            pod.near = (0..self.of(&[1, 1, 2])).map(|_| self.term()).collect();
        }
        if self.one_in(4) {
            pod.away = (0..self.of(&[1, 1, 2])).map(|_| self.term()).collect();
        }
        if self.one_in(4) {
            let count = self.of(&[1, 2]);
            pod.prefer = (0..count).map(|_| (self.of(&[-50, -3, 3, 50]), self.term())).collect();
        }
        if self.one_in(3) {
            pod.spread = (0..self.of(&[1, 1, 2, 3])).map(|_| self.spread()).collect();
        }
        if namespace == "default" && self.one_in(6) {
            pod.claims = vec![self.of(&CLAIMS)];
        }
        if self.one_in(2) {
            pod.owner = Some(self.of(&["rs-1", "rs-2"]));
        }
        pod
    }

    pub fn claim(&mut self) -> ClaimModel {
        match self.below(8) {
            0 => ClaimModel::VolumeGone,
            1 => ClaimModel::Immediate,
            2 | 3 => ClaimModel::Waiting { zones: self.some(&ZONES) },
            _ => ClaimModel::Bound {
                zone: self.one_in(2).then(|| self.of(&ZONES)),
                handle: self.of(&["h1", "h2", "h3"]),
                alone: self.one_in(3),
            },
        }
    }

    pub fn cluster(&mut self) -> Cluster {
        let mut cluster = Cluster::default();
        for name in &NODES[..self.below(7) as usize] {
            cluster.nodes.insert(name, self.node(name));
        }
        for name in NAMESPACES {
            let labels = match name {
                "team-a" => Labels::from([("team", "a")]),
                "team-b" => Labels::from([("team", "b")]),
                _ => Labels::new(),
            };
            if !self.one_in(8) {
                cluster.namespaces.insert(name, labels);
            }
        }
        for name in &CLAIMS[..6] {
            cluster.claims.insert(name, self.claim());
        }
        if self.one_in(2) {
            let count = self.of(&[1, 2]);
            for _ in 0..count {
                let keys: [(&str, &[&str]); 1] = [("app", &APPS)];
                let selector = vec![self.expression(&keys)];
                cluster.budgets.push((selector, self.of(&[0, 1, 2])));
            }
        }
        let count = self.below(10);
        let some_leave = self.one_in(3);
        for index in 0..count {
            let mut pod = self.pod(format!("p{index}"));
            // Some on nodes that are not there (any more).
            pod.node = Some(self.of(&NODES));
            pod.terminating = some_leave && self.one_in(4);
            pod.claims.retain(|claim| *claim != "absent");
            cluster.drop_strays(&mut pod);
            cluster.pods.insert(pod.name.clone(), pod);
        }
        cluster
    }
}

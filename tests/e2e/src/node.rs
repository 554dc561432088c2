//! A node of a cluster: its agent, and what else may happen to a machine.

use std::path::{Path, PathBuf};

use crate::{Cluster, LINK, Output, Process, compiled, kill_9, run, run_ok};

pub struct Node {
    pub name: String,
    pub data_dir: PathBuf,
    pub(crate) namespace: String,
    pub agent: Option<Process>,
}

impl Cluster {
    pub(crate) fn add_node(&mut self, number: usize, image: &Path) {
        let name = format!("node-{number}");
        let namespace = self.add_network(number);
        let data_dir = self.path().join(&name);
        compiled::provide(&data_dir);
        let pintle = self.program();
        let data = data_dir.to_string_lossy().into_owned();
        let image = image.to_string_lossy();
        run_ok(&pintle.to_string_lossy(), &["image", "--data-dir", &data, "import", &image]);
        self.nodes.push(Node { name, data_dir, namespace, agent: None });
        let token = self.pintle(&["token", "create"]);
        self.start_agent(number, Some(token.trim()));
    }

    /// Without a token for a node that has joined before.
    pub fn start_agent(&mut self, number: usize, token: Option<&str>) {
        let log = self.path().join(format!("node-{number}.log"));
        let (pintle, home) = (self.program(), self.home());
        let node = &mut self.nodes[number];
        let data_dir = node.data_dir.to_string_lossy().into_owned();
        let mut arguments =
            vec!["agent", "--data-dir", &data_dir, "--node-name", &node.name, "--server", LINK];
        if let Some(token) = token {
            arguments.extend(["--join", token]);
        }
        node.agent = Some(Process::start(&node.namespace, &pintle, &arguments, &log, &home));
    }

    /// What another machine with the name of that node gets when it joins.
    pub fn join_under_the_name_of(&self, number: usize, token: &str) -> Output {
        let node = &self.nodes[number];
        let namespace = format!("--net=/run/netns/{}", node.namespace);
        let (pintle, data_dir) = (self.program(), self.path().join("elsewhere"));
        let (pintle, data_dir) = (pintle.to_string_lossy(), data_dir.to_string_lossy());
        let mut arguments = vec![&*namespace, &*pintle, "agent", "--data-dir", &*data_dir];
        arguments.extend(["--node-name", &node.name, "--server", LINK, "--join", token]);
        run("nsenter", &arguments)
    }

    /// What a power cut leaves of a node: its disk. The image of a later start
    /// finds neither processes nor mounts, namespaces, links or cgroups.
    pub fn cut_power(&mut self, number: usize) {
        if let Some(agent) = self.nodes[number].agent.take() {
            agent.kill_9();
        }
        let dir = self.nodes[number].data_dir.clone();
        let of_node = |uid: &String| dir.join("node/pods").join(uid).is_dir();
        self.shims_of(&dir).into_iter().for_each(kill_9);
        let containers = self.containers();
        containers.iter().filter(|(uid, _)| of_node(uid)).for_each(|(_, pids)| {
            pids.iter().copied().for_each(kill_9);
        });
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let below = |path: &&str| Path::new(path).starts_with(&dir);
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        points.filter(below).for_each(|point| {
            run("umount", &["-l", point]);
        });
        let namespace = self.nodes[number].namespace.clone();
        let links = run_ok("ip", &["-n", &namespace, "-o", "link"]);
        for line in links.lines() {
            let link = line.split([':', '@']).nth(1).unwrap_or_default().trim();
            if !matches!(link, "lo" | "eth0") {
                run("ip", &["-n", &namespace, "link", "del", link]);
            }
        }
    }
}

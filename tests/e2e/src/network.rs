//! The network of a cluster: a bridge in the server's namespace, and one
//! namespace per node with a link to it.

use crate::{Cluster, run_ok};

/// The server's address on the bridge; nodes count up from .11.
const SERVER: &str = "10.99.0.1";
pub const API: &str = "10.99.0.1:6443";
/// The server's address for nodes.
pub const LINK: &str = "10.99.0.1:6444";

impl Cluster {
    pub(crate) fn server_namespace(&self) -> String {
        format!("pte-{}-s", self.id)
    }

    pub(crate) fn make_network(&self) {
        let ns = self.server_namespace();
        run_ok("ip", &["netns", "add", &ns]);
        run_ok("ip", &["-n", &ns, "link", "set", "lo", "up"]);
        run_ok("ip", &["-n", &ns, "link", "add", "br0", "type", "bridge"]);
        run_ok("ip", &["-n", &ns, "addr", "add", &format!("{SERVER}/24"), "dev", "br0"]);
        run_ok("ip", &["-n", &ns, "link", "set", "br0", "up"]);
    }

    /// A namespace with an address of the bridge's network; its name.
    pub(crate) fn add_network(&self, number: usize) -> String {
        let namespace = format!("pte-{}-{number}", self.id);
        let server = self.server_namespace();
        run_ok("ip", &["netns", "add", &namespace]);
        let link = format!("n{number}");
        run_ok(
            "ip",
            &[
                "-n", &server, "link", "add", &link, "type", "veth", "peer", "name", "eth0",
                "netns", &namespace,
            ],
        );
        run_ok("ip", &["-n", &server, "link", "set", &link, "master", "br0", "up"]);
        let address = format!("10.99.0.{}/24", 11 + number);
        run_ok("ip", &["-n", &namespace, "addr", "add", &address, "dev", "eth0"]);
        run_ok("ip", &["-n", &namespace, "link", "set", "lo", "up"]);
        run_ok("ip", &["-n", &namespace, "link", "set", "eth0", "up"]);
        run_ok("ip", &["-n", &namespace, "route", "add", "default", "via", SERVER]);
        namespace
    }

    /// Does `work` on a thread that is in the node's network namespace.
    pub fn in_network_of<T: Send>(&self, number: usize, work: impl FnOnce() -> T + Send) -> T {
        Self::in_network(&self.nodes[number].namespace, work)
    }

    /// Does `work` on a thread that is in the server's network namespace.
    pub fn beside_the_server<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        Self::in_network(&self.server_namespace(), work)
    }

    fn in_network<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{namespace}");
        let namespace = std::fs::File::open(path).expect("the namespace is there");
        let inside = move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).expect("as root");
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join().expect("the work is done"))
    }

    /// Cuts a node off from the server, or joins it again.
    pub fn set_link(&self, number: usize, up: bool) {
        let state = if up { "up" } else { "down" };
        let (server, link) = (self.server_namespace(), format!("n{number}"));
        run_ok("ip", &["-n", &server, "link", "set", &link, state]);
    }

    /// The routes of a node, one per line.
    pub fn routes(&self, number: usize) -> String {
        run_ok("ip", &["-n", &self.nodes[number].namespace, "route"])
    }
}

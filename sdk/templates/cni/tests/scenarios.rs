//! Plans of a node on which pods come and go.

use {{crate}}::{Config, GATEWAY, Plugin};
use pintle_sdk::Context;
use pintle_sdk::cni::{Cni, NetOp, Node, Reservation, Sandbox};

fn plugin() -> Plugin {
    Plugin::new(Config::default()).unwrap()
}

fn node() -> Node {
    Node {
        name: "n1".to_owned(),
        internal_ip: "192.168.7.1".to_owned(),
        pod_cidrs: vec!["10.244.3.0/29".to_owned()],
        interface_prefix: "pt".to_owned(),
    }
}

fn sandbox(id: &str) -> Sandbox {
    Sandbox {
        id: id.to_owned(),
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        netns: format!("/run/pintle/netns/{id}"),
        mtu: 1500,
    }
}

fn reserved(pairs: &[(&str, &str)]) -> Vec<Reservation> {
    let one = |(sandbox, address): &(&str, &str)| Reservation {
        sandbox: sandbox.to_string(),
        address: address.to_string(),
    };
    pairs.iter().map(one).collect()
}

#[test]
fn a_pod_gets_the_lowest_free_address() {
    fn check(taken: &[(&str, &str)], expect: Result<&str, &str>) {
        let added = plugin().add(&Context::default(), &node(), &sandbox("abc"), &reserved(taken));
        match (added, expect) {
            (Ok(added), Ok(address)) => {
                assert_eq!(added.reserve, [address]);
                assert_eq!(added.interfaces[0].addresses, [format!("{address}/32")]);
                assert_eq!(added.interfaces[0].gateway.as_deref(), Some(GATEWAY));
            }
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (added, _) => panic!("{added:?}"),
        }
    }
    check(&[], Ok("10.244.3.2"));
    check(&[("other", "10.244.3.2")], Ok("10.244.3.3"));
    check(&[("abc", "10.244.3.5"), ("other", "10.244.3.2")], Ok("10.244.3.5"));
    let full = ["10.244.3.2", "10.244.3.3", "10.244.3.4", "10.244.3.5", "10.244.3.6"];
    check(&full.map(|address| ("other", address)), Err("no free IPv4 address"));
}

#[test]
fn a_repair_is_the_plan_again() {
    let added = plugin().add(&Context::default(), &node(), &sandbox("abc"), &[]).unwrap();
    let repair = plugin().check(&Context::default(), &node(), &sandbox("abc"), &added.reserve);
    assert_eq!(repair, Ok(added.plan));
    assert!(plugin().check(&Context::default(), &node(), &sandbox("abc"), &[]).is_err());
}

#[test]
fn links_carry_the_prefix_and_fit_the_kernel() {
    for id in ["a", "another-sandbox-with-a-long-name"] {
        let plan = plugin().del(&Context::default(), &node(), &sandbox(id)).unwrap();
        let NetOp::LinkDelete(link) = &plan[0] else { panic!("{plan:?}") };
        assert!(link.link.starts_with("pt") && link.link.len() <= 15, "{}", link.link);
    }
}

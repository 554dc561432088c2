//! The files that a pod gets from its node: `/etc/hosts`, `/etc/hostname`,
//! `/etc/resolv.conf`. Their text is pure; [`write`] puts it on disk.

use std::io;
use std::path::Path;

use super::model::Pod;
use super::record::write_atomic;

/// What the node lends to its pods' name resolution.
#[derive(Debug, Clone, Default)]
pub struct Dns {
    /// Address of the cluster's own DNS service, if it has one.
    pub cluster_dns: Vec<String>,
    pub cluster_domain: String,
    /// The node's own `/etc/resolv.conf`.
    pub node_resolv_conf: String,
}

/// Linux gives a host name 64 bytes; a pod's name may have 253.
const MAX_HOSTNAME: usize = 63;

pub fn hostname(pod: &Pod, node_name: &str) -> String {
    if pod.spec.host_network {
        return node_name.to_owned();
    }
    let name = match pod.spec.hostname.as_str() {
        "" => pod.metadata.name.as_str(),
        name => name,
    };
    let cut =
        name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= MAX_HOSTNAME);
    name[..cut.last().unwrap_or(0)].trim_end_matches(['-', '.']).to_owned()
}

pub fn hosts(pod: &Pod, node_name: &str, ips: &[String], domain: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    let hostname = hostname(pod, node_name);
    for ip in ips {
        match pod.spec.subdomain.as_str() {
            "" => text.push_str(&format!("{ip}\t{hostname}\n")),
            subdomain => text.push_str(&format!(
                "{ip}\t{hostname}.{subdomain}.{}.svc.{domain}\t{hostname}\n",
                pod.metadata.namespace
            )),
        }
    }
    if !pod.spec.host_aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in &pod.spec.host_aliases {
            text.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.join("\t")));
        }
    }
    text
}

/// At most what resolvers read.
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;

pub fn resolv_conf(pod: &Pod, dns: &Dns) -> String {
    let policy = match pod.spec.dns_policy.as_str() {
        // Without a cluster DNS, or on the node's network, the node's is used.
        "ClusterFirst" | "" if pod.spec.host_network => "Default",
        "ClusterFirst" | "ClusterFirstWithHostNet" | "" if dns.cluster_dns.is_empty() => "Default",
        policy => policy,
    };
    let (mut servers, mut searches, mut options) = match policy {
        "None" => Default::default(),
        "Default" => parse(&dns.node_resolv_conf),
        _ => {
            let (_, mut node_searches, _) = parse(&dns.node_resolv_conf);
            let domain = &dns.cluster_domain;
            let mut searches = vec![
                format!("{}.svc.{domain}", pod.metadata.namespace),
                format!("svc.{domain}"),
                domain.clone(),
            ];
            searches.append(&mut node_searches);
            (dns.cluster_dns.clone(), searches, vec!["ndots:5".to_owned()])
        }
    };
    let config = &pod.spec.dns_config;
    extend(&mut servers, &config.nameservers);
    extend(&mut searches, &config.searches);
    for option in &config.options {
        let text = match &option.value {
            Some(value) => format!("{}:{value}", option.name),
            None => option.name.clone(),
        };
        options.retain(|old| old.split(':').next() != Some(option.name.as_str()));
        options.push(text);
    }
    servers.truncate(MAX_NAMESERVERS);
    searches.truncate(MAX_SEARCHES);
    let mut text = String::new();
    if !searches.is_empty() {
        text.push_str(&format!("search {}\n", searches.join(" ")));
    }
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

fn extend(list: &mut Vec<String>, more: &[String]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

fn parse(text: &str) -> (Vec<String>, Vec<String>, Vec<String>) {
    let (mut servers, mut searches, mut options) = (Vec::new(), Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => servers.extend(words.next()),
            // The last one counts.
            Some("search" | "domain") => searches = words.collect(),
            Some("options") => options.extend(words),
            _ => {}
        }
    }
    (servers, searches, options)
}

/// Writes the three files into the pod's directory.
pub fn write(dir: &Path, pod: &Pod, node_name: &str, ips: &[String], dns: &Dns) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    write_atomic(&dir.join("hosts"), hosts(pod, node_name, ips, &dns.cluster_domain).as_bytes())?;
    let hostname = hostname(pod, node_name) + "\n";
    write_atomic(&dir.join("hostname"), hostname.as_bytes())?;
    write_atomic(&dir.join("resolv.conf"), resolv_conf(pod, dns).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"name": "web-0", "namespace": "n"}, "spec": spec}),
        )
        .unwrap()
    }

    #[test]
    fn host_names_fit() {
        let check = |name: &str, expect: &str| {
            let pod: Pod = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            assert_eq!(hostname(&pod, "node"), expect);
        };
        check("web-0", "web-0");
        check(&format!("{}-b", "a".repeat(62)), &"a".repeat(62));
        assert_eq!(hostname(&pod(json!({"hostNetwork": true})), "node"), "node");
    }

    #[test]
    fn hosts_name_the_pod() {
        let text =
            hosts(&pod(json!({"subdomain": "db"})), "node", &["10.0.0.2".into()], "cluster.local");
        assert!(text.contains("10.0.0.2\tweb-0.db.n.svc.cluster.local\tweb-0\n"), "{text}");
        let aliased = pod(json!({"hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}));
        assert!(hosts(&aliased, "node", &[], "x").ends_with("1.2.3.4\ta\tb\n"));
    }

    #[test]
    fn resolution_follows_the_dns_policy() {
        let dns = Dns {
            cluster_dns: vec!["10.96.0.10".into()],
            cluster_domain: "cluster.local".into(),
            node_resolv_conf: "nameserver 192.0.2.53\nsearch example.org\noptions edns0\n".into(),
        };
        let check = |spec, expect: &str| assert_eq!(resolv_conf(&pod(spec), &dns), expect);
        check(
            json!({}),
            "search n.svc.cluster.local svc.cluster.local cluster.local example.org\nnameserver 10.96.0.10\noptions ndots:5\n",
        );
        check(
            json!({"hostNetwork": true}),
            "search example.org\nnameserver 192.0.2.53\noptions edns0\n",
        );
        check(
            json!({"dnsPolicy": "Default"}),
            "search example.org\nnameserver 192.0.2.53\noptions edns0\n",
        );
        check(
            json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "options": [{"name": "ndots", "value": "2"}]}}),
            "nameserver 1.1.1.1\noptions ndots:2\n",
        );
    }
}

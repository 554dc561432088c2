//! Who is asking.

use std::collections::BTreeMap;

use x509_parser::prelude::{FromDer, X509Certificate};

pub const ANONYMOUS: &str = "system:anonymous";
pub const GROUP_UNAUTHENTICATED: &str = "system:unauthenticated";
pub const GROUP_AUTHENTICATED: &str = "system:authenticated";
pub const GROUP_MASTERS: &str = "system:masters";
pub const GROUP_NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

/// An authenticated (or anonymous) user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    pub fn new<N, G>(name: N, groups: G) -> User
    where
        N: Into<String>,
        G: IntoIterator,
        G::Item: Into<String>,
    {
        let mut groups: Vec<String> = groups.into_iter().map(Into::into).collect();
        if !groups.iter().any(|group| group == GROUP_AUTHENTICATED) {
            groups.push(GROUP_AUTHENTICATED.to_string());
        }
        User { name: name.into(), uid: String::new(), groups, extra: BTreeMap::new() }
    }

    pub fn anonymous() -> User {
        User {
            name: ANONYMOUS.to_string(),
            uid: String::new(),
            groups: vec![GROUP_UNAUTHENTICATED.to_string()],
            extra: BTreeMap::new(),
        }
    }

    /// The server's own components.
    pub fn system(name: &str) -> User {
        User::new(name, [GROUP_MASTERS])
    }

    pub fn is_anonymous(&self) -> bool {
        self.name == ANONYMOUS
    }

    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The node this user speaks for: CN `system:node:NAME` in `system:nodes`.
    pub fn node_name(&self) -> Option<&str> {
        let name = self.name.strip_prefix(NODE_PREFIX)?;
        (!name.is_empty() && self.in_group(GROUP_NODES)).then_some(name)
    }

    /// CN becomes the user's name, every O a group. The chain was verified by
    /// the TLS stack before. `None` when there is no usable common name.
    pub fn from_certificate(der: &[u8]) -> Option<User> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?;
        if name.is_empty() {
            return None;
        }
        let groups =
            subject.iter_organization().filter_map(|organization| organization.as_str().ok());
        Some(User::new(name, groups))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_members_of_the_node_group_speak_for_a_node() {
        let check = |name: &str, groups: &[&str], expect: Option<&str>| {
            let user = User::new(name, groups.iter().copied());
            assert_eq!(user.node_name(), expect, "{name} {groups:?}");
        };
        check("system:node:a", &["system:nodes"], Some("a"));
        check("system:node:a", &["dev"], None);
        check("system:node:", &["system:nodes"], None);
        check("jane", &["system:nodes"], None);
    }

    #[test]
    fn garbage_is_no_certificate() {
        assert_eq!(User::from_certificate(b"garbage"), None);
    }
}

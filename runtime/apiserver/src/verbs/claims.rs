//! Claims: what an object holds for itself alone, taken and given back in the
//! transaction that writes the object.
//!
//! A claim is a key of the store that must be absent to be taken. Two writes that
//! want the same one meet in the committer, and one of them loses. If the loser's
//! author asked for it, that is an answer; if admission chose it, admission chooses
//! again.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use pintle_api::kinds::{Claim, Registry, Resource};
use pintle_api::status::StatusError;
use pintle_storage::{Expect, Guard, Op, Txn, Value as Stored};
use serde_json::Value;

use super::Verbs;
use super::commit::Attempt;
use super::update::parse;

/// Which kinds' claims the store has in full: names of rows as JSON.
const ADOPTED: &str = "/claims";
/// Claims written in one transaction when a store is taken over.
const ADOPT_AT_ONCE: usize = 500;

/// The change of what one object holds.
#[derive(Debug, Default)]
pub(super) struct Holding {
    taken: Vec<Bytes>,
    released: Vec<Bytes>,
}

impl Holding {
    /// `old` and `new` are absent when the object is created or removed.
    pub fn change(row: &Resource, old: Option<&Value>, new: Option<&Value>) -> Holding {
        let keys = |object: Option<&Value>| object.map(|object| keys(row, object));
        Holding::between(keys(old).unwrap_or_default(), keys(new).unwrap_or_default())
    }

    /// From what it held to what it is to hold.
    pub fn between(old: Vec<Bytes>, new: Vec<Bytes>) -> Holding {
        let without = |all: &[Bytes], other: &[Bytes]| {
            all.iter().filter(|key| !other.contains(key)).cloned().collect()
        };
        Holding { taken: without(&new, &old), released: without(&old, &new) }
    }

    pub fn guards(&self) -> impl Iterator<Item = Guard> {
        self.taken.iter().map(|key| Guard { key: key.clone(), expect: Expect::Absent })
    }

    /// The claims name who holds them.
    pub fn ops(&self, holder: &Bytes) -> Vec<Op> {
        let put = |key: &Bytes| Op::Put {
            key: key.clone(),
            value: Stored::plain(holder.clone()),
            expires_at_unix_seconds: None,
        };
        let taken = self.taken.iter().map(put);
        taken.chain(self.released.iter().map(|key| Op::Delete { key: key.clone() })).collect()
    }
}

/// The keys of all that the object holds.
pub(super) fn keys(row: &Resource, object: &Value) -> Vec<Bytes> {
    row.claims_of(object).iter().map(|claim| Bytes::from(row.claim_key(claim))).collect()
}

/// What a request asks for by itself, before admission fills anything in.
pub(super) struct Asked(Vec<Claim>);

impl Asked {
    pub fn of(row: &Resource, object: &Value) -> Asked {
        Asked(row.claims_of(object))
    }

    /// A lost claim that the request named is refused; `Ok` when admission chose it.
    pub fn lost(&self, row: &Resource, name: &str, lost: &Bytes) -> Result<(), StatusError> {
        let is_it = |claim: &&Claim| row.claim_key(claim).as_bytes() == &lost[..];
        match self.0.iter().find(is_it) {
            Some(claim) => {
                Err(StatusError::invalid(row.group_kind(), name, vec![claim.taken.clone()]))
            }
            None => Ok(()),
        }
    }
}

/// Whether a guard that did not hold was that of a claim.
pub(super) fn is_claim(row: &Resource, lost: &Bytes) -> bool {
    row.claims.is_some() && lost.starts_with(row.claims_prefix().as_bytes())
}

impl Verbs {
    /// Namespace and name of the object that holds what a claim of this kind stands for,
    /// such as `clusterIP/10.96.0.7`. As of now, which may be newer than a pinned read.
    pub fn claim_holder(&self, row: &Resource, claim: &str) -> Option<(String, String)> {
        row.claims?;
        let key = format!("{}{claim}", row.claims_prefix());
        let mut read = std::pin::pin!(self.store.get(key.as_bytes(), None));
        // The embedded store answers at once. One that does not gives no answer here, and
        // whoever then tries what is taken loses when it is written.
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(Some(record))) = read.as_mut().poll(&mut context) else { return None };
        let (_, namespace, name) =
            self.registry.by_key(std::str::from_utf8(&record.value).ok()?)?;
        Some((namespace.to_owned(), name.to_owned()))
    }

    /// Records the claims of objects that were stored before their kind made any.
    /// Once per store and kind: afterwards objects and claims change together.
    pub(crate) async fn adopt_claims(&self, registry: &Registry) -> Result<(), StatusError> {
        let rows: Vec<&Resource> =
            registry.iter_stored().filter(|row| row.claims.is_some()).collect();
        let names: Vec<String> = rows.iter().map(|row| row.to_string()).collect();
        let known = self.store.get(ADOPTED.as_bytes(), None).await;
        let known = known.map_err(StatusError::internal)?;
        let known: Vec<String> =
            known.and_then(|record| serde_json::from_slice(&record.value).ok()).unwrap_or_default();
        if names.iter().all(|name| known.contains(name)) {
            return Ok(());
        }
        for row in rows {
            if !known.contains(&row.to_string()) {
                self.adopt_row(row).await?;
            }
        }
        let names = serde_json::to_vec(&names).map_err(StatusError::internal)?;
        match self.commit(Txn::put(ADOPTED, Stored::plain(names))).await? {
            Attempt::Done(_) => Ok(()),
            Attempt::Lost(_) => Err(StatusError::internal("an unguarded write lost a race")),
        }
    }

    async fn adopt_row(&self, row: &Resource) -> Result<(), StatusError> {
        let mut objects = self.bus.list(row.id, None).objects;
        // Who came first keeps what two objects have.
        objects.sort_by_key(|object| object.create_revision);
        let mut seen = std::collections::HashSet::new();
        let mut ops = Vec::new();
        for object in objects {
            let holder = Bytes::from(row.key(object.namespace(), object.name()));
            for key in keys(row, &parse(&object)?) {
                if seen.insert(key.clone()) {
                    let value = Stored::plain(holder.clone());
                    ops.push(Op::Put { key, value, expires_at_unix_seconds: None });
                } else {
                    let (claim, resource) = (String::from_utf8_lossy(&key), row.plural);
                    tracing::warn!(resource, namespace = object.namespace(), name = object.name(), %claim,
                        "two objects hold the same; the older one keeps it");
                }
            }
        }
        for chunk in ops.chunks(ADOPT_AT_ONCE) {
            self.commit(Txn { guards: Vec::new(), ops: chunk.to_vec() }).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_taken_and_released() {
        let row = Registry::builtin().by_plural("", "v1", "services").unwrap();
        let service = |ip: &str, port: i64| json!({"spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"nodePort": port}]}});
        let check = |old: Option<Value>, new: Option<Value>, taken: &[&str], released: &[&str]| {
            let holding = Holding::change(row, old.as_ref(), new.as_ref());
            let short = |keys: &[Bytes]| -> Vec<String> {
                let text = keys.iter().map(|key| String::from_utf8_lossy(key).into_owned());
                text.map(|key| key.replace("/claims/services/", "")).collect()
            };
            assert_eq!(
                (short(&holding.taken), short(&holding.released)),
                (
                    taken.iter().map(|key| key.to_string()).collect(),
                    released.iter().map(|key| key.to_string()).collect(),
                )
            );
        };
        let (ip, port) = ("clusterIP/10.0.0.1", "nodePort/30001");
        check(None, Some(service("10.0.0.1", 30001)), &[ip, port], &[]);
        check(Some(service("10.0.0.1", 30001)), None, &[], &[ip, port]);
        check(Some(service("10.0.0.1", 30001)), Some(service("10.0.0.1", 30001)), &[], &[]);
        check(
            Some(service("10.0.0.1", 30001)),
            Some(service("10.0.0.1", 30002)),
            &["nodePort/30002"],
            &[port],
        );
    }
}

//! What quotas use, kept from call to call: an object that comes, changes or goes
//! is added or taken off, so that a call costs what has changed. What a fresh
//! ledger says is the same.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use pintle_api::quantity::Quantity;

use crate::error::Error;
use crate::lister::{Lister, Query};
use crate::object::Object;
use crate::quota::{self, QuotaSpec, Tracked, masked};
use crate::types::ResourceList;

/// Objects that are remembered in all; less than 200 bytes each.
const MOST_OBJECTS: usize = 50_000;

type Key = (String, String);

/// Sums over the objects that a quota looks at, by question.
#[derive(Default)]
pub struct Ledger(RefCell<Accounts>);

#[derive(Default)]
struct Accounts {
    of: BTreeMap<(Place, QuotaText), Account>,
    clock: u64,
}

/// Kind and namespace.
type Place = (String, String);
/// The quota as JSON: its scopes and resources decide what is added up.
type QuotaText = String;

#[derive(Default)]
struct Account {
    revision: u64,
    asked: u64,
    sum: ResourceList,
    entries: BTreeMap<Key, Entry>,
    /// On their way out: for how long they count depends on the time.
    leaving: BTreeMap<Key, Tracked>,
    /// The latest entry made; most are alike.
    latest: Option<Arc<ResourceList>>,
}

type Entry = Arc<ResourceList>;

impl Ledger {
    /// What the objects that the query lists use of the quota.
    pub(crate) fn sum(
        &self,
        lister: &dyn Lister,
        query: &Query,
        quota: &QuotaSpec,
        now_unix_ms: i64,
    ) -> Result<ResourceList, Error> {
        let mut accounts = self.0.borrow_mut();
        accounts.clock += 1;
        let clock = accounts.clock;
        let kind = query.kind.as_ref().map(ToString::to_string).unwrap_or_default();
        let text = serde_json::to_string(quota).unwrap_or_default();
        let key = ((kind, query.namespace.clone().unwrap_or_default()), text);
        // Taken out: what cannot be brought up to date is not kept.
        let mut account = accounts.of.remove(&key).unwrap_or_default();
        let told = lister.list_changes(query, account.revision);
        if told.whole {
            account = Account::default();
        }
        for gone in told.gone {
            account.remove(&(gone.namespace, gone.name));
        }
        for object in told.objects {
            account.put(object, quota)?;
        }
        account.revision = told.revision;
        account.asked = clock;
        let mut sum = account.sum.clone();
        for tracked in account.leaving.values() {
            add(&mut sum, &masked(tracked.usage(now_unix_ms), &quota.hard));
        }
        accounts.of.insert(key, account);
        accounts.forget_beyond(MOST_OBJECTS);
        Ok(sum)
    }
}

impl Accounts {
    fn forget_beyond(&mut self, most: usize) {
        let size = |account: &Account| account.entries.len().max(8);
        let mut sum: usize = self.of.values().map(size).sum();
        while sum > most {
            let oldest = self.of.iter().min_by_key(|(_, account)| account.asked);
            let Some((key, account)) = oldest.map(|(key, a)| (key.clone(), size(a))) else {
                return;
            };
            self.of.remove(&key);
            sum -= account;
        }
    }
}

impl Account {
    fn remove(&mut self, key: &Key) {
        self.leaving.remove(key);
        if let Some(entry) = self.entries.remove(key) {
            for (name, amount) in &*entry {
                if let Some(sum) = self.sum.get_mut(name) {
                    *sum = *sum - *amount;
                }
            }
        }
    }

    fn put(&mut self, object: Object, quota: &QuotaSpec) -> Result<(), Error> {
        let tracked = quota::read(&object)?;
        let key = (object.reference.namespace, object.reference.name);
        self.remove(&key);
        let Some(tracked) = tracked.filter(|tracked| tracked.is_in(quota)) else { return Ok(()) };
        if tracked.depends_on_time() {
            self.leaving.insert(key, tracked);
            return Ok(());
        }
        let usage = masked(tracked.usage(0), &quota.hard);
        add(&mut self.sum, &usage);
        let entry = match &self.latest {
            Some(latest) if **latest == usage => latest.clone(),
            _ => Arc::new(usage),
        };
        self.latest = Some(entry.clone());
        self.entries.insert(key, entry);
        Ok(())
    }
}

fn add(sum: &mut ResourceList, more: &ResourceList) {
    for (name, amount) in more {
        let total = sum.entry(name.clone()).or_insert(Quantity::ZERO);
        *total = *total + *amount;
    }
}

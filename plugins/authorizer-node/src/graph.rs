//! Which node uses which object, by way of the pods that are bound to it.

use std::collections::{BTreeMap, BTreeSet};

use pintle_sdk::prelude::*;
use pintle_sdk::scheduler::Delta;

/// A resource and a name; the namespace is that of the pod.
type Used = (&'static str, String);

/// Objects by namespace and name.
type Key = (String, String);

#[derive(Debug, Default)]
pub struct Graph {
    /// There are many: the node, and no more than what it uses.
    pods: BTreeMap<Key, (Box<str>, Box<[Used]>)>,
    /// How many pods of a node use an object: node, resource, namespace, name.
    edges: BTreeMap<(String, &'static str, String, String), usize>,
    /// Secrets that a service account brings to its pods.
    accounts: BTreeMap<Key, BTreeSet<String>>,
    /// The claims that a volume is bound to.
    volumes: BTreeMap<String, BTreeSet<Key>>,
    claims: BTreeMap<Key, String>,
}

const SECRETS: &str = "secrets";
const CONFIG_MAPS: &str = "configmaps";
const CLAIMS: &str = "persistentvolumeclaims";
const ACCOUNTS: &str = "serviceaccounts";

impl Graph {
    pub fn take(&mut self, delta: Delta) {
        let (object, gone) = match delta {
            Delta::Upsert(object) => (object, false),
            Delta::Remove(object) => (object, true),
        };
        let key = (object.reference.namespace.clone(), object.reference.name.clone());
        // What cannot be read is used by nobody.
        match &*object.reference.kind.kind {
            "Pod" => {
                self.remove_pod(&key);
                if let (false, Ok(pod)) = (gone, object.parse::<PodFields>()) {
                    self.add_pod(key, &pod.spec);
                }
            }
            "ServiceAccount" => match (gone, object.parse::<AccountFields>()) {
                (false, Ok(account)) => {
                    let names = account.image_pull_secrets.into_iter().chain(account.secrets);
                    let names = names.map(|reference| reference.name);
                    self.accounts.insert(key, names.collect());
                }
                _ => drop(self.accounts.remove(&key)),
            },
            "PersistentVolumeClaim" => {
                if let Some(volume) = self.claims.remove(&key)
                    && let Some(claims) = self.volumes.get_mut(&volume)
                {
                    claims.remove(&key);
                    if claims.is_empty() {
                        self.volumes.remove(&volume);
                    }
                }
                if let (false, Ok(claim)) = (gone, object.parse::<ClaimFields>())
                    && !claim.spec.volume_name.is_empty()
                {
                    let volume = claim.spec.volume_name;
                    self.volumes.entry(volume.clone()).or_default().insert(key.clone());
                    self.claims.insert(key, volume);
                }
            }
            _ => {}
        }
    }

    /// Whether a pod that is bound to the node uses the object.
    pub fn uses(&self, node: &str, resource: &str, namespace: &str, name: &str) -> bool {
        match resource {
            "persistentvolumes" => self.volumes.get(name).is_some_and(|claims| {
                claims.iter().any(|(namespace, name)| self.has(node, CLAIMS, namespace, name))
            }),
            SECRETS => {
                self.has(node, SECRETS, namespace, name)
                    || self
                        .accounts
                        .range((namespace.to_owned(), String::new())..)
                        .take_while(|((within, _), _)| within == namespace)
                        .any(|((_, account), secrets)| {
                            secrets.contains(name) && self.has(node, ACCOUNTS, namespace, account)
                        })
            }
            CONFIG_MAPS => self.has(node, CONFIG_MAPS, namespace, name),
            CLAIMS => self.has(node, CLAIMS, namespace, name),
            ACCOUNTS => self.has(node, ACCOUNTS, namespace, name),
            _ => false,
        }
    }

    fn has(&self, node: &str, resource: &'static str, namespace: &str, name: &str) -> bool {
        let edge = (node.to_owned(), resource, namespace.to_owned(), name.to_owned());
        self.edges.contains_key(&edge)
    }

    fn add_pod(&mut self, key: Key, spec: &PodSpecFields) {
        if spec.node_name.is_empty() {
            return;
        }
        let used = used(spec, &key.1);
        for (resource, name) in &used {
            let edge = (spec.node_name.clone(), *resource, key.0.clone(), name.clone());
            *self.edges.entry(edge).or_default() += 1;
        }
        let used = used.into_iter().collect();
        self.pods.insert(key, (spec.node_name.as_str().into(), used));
    }

    fn remove_pod(&mut self, key: &Key) {
        let Some((node, used)) = self.pods.remove(key) else { return };
        for (resource, name) in used {
            let edge = (node.to_string(), resource, key.0.clone(), name);
            if let Some(count) = self.edges.get_mut(&edge) {
                *count -= 1;
                if *count == 0 {
                    self.edges.remove(&edge);
                }
            }
        }
    }
}

/// Everything a pod refers to by name.
fn used(spec: &PodSpecFields, pod: &str) -> BTreeSet<Used> {
    let mut used = BTreeSet::new();
    let mut add = |resource: &'static str, name: &str| {
        if !name.is_empty() {
            used.insert((resource, name.to_owned()));
        }
    };
    add(ACCOUNTS, &spec.service_account_name);
    for secret in &spec.image_pull_secrets {
        add(SECRETS, &secret.name);
    }
    let containers = spec.init_containers.iter().chain(&spec.containers);
    for container in containers.chain(&spec.ephemeral_containers) {
        for source in &container.env_from {
            add(SECRETS, &source.secret_ref.name);
            add(CONFIG_MAPS, &source.config_map_ref.name);
        }
        for variable in &container.env {
            add(SECRETS, &variable.value_from.secret_key_ref.name);
            add(CONFIG_MAPS, &variable.value_from.config_map_key_ref.name);
        }
    }
    for volume in &spec.volumes {
        add(SECRETS, &volume.secret.secret_name);
        add(CONFIG_MAPS, &volume.config_map.name);
        add(CLAIMS, &volume.persistent_volume_claim.claim_name);
        if volume.ephemeral.is_some() {
            add(CLAIMS, &format!("{pod}-{}", volume.name));
        }
        for source in &volume.projected.sources {
            add(SECRETS, &source.secret.name);
            add(CONFIG_MAPS, &source.config_map.name);
        }
        add(SECRETS, &volume.csi.node_publish_secret_ref.name);
    }
    used
}

/// Structs of which every field may be absent or null.
macro_rules! fields {
    ($($name:ident { $($field:ident: $type:ty),* $(,)? })*) => {$(
        #[derive(Default, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct $name {
            $(#[serde(deserialize_with = "null_default")] $field: $type,)*
        }
    )*};
}

fields! {
    PodFields { spec: PodSpecFields }
    PodSpecFields {
        node_name: String,
        service_account_name: String,
        image_pull_secrets: Vec<Named>,
        init_containers: Vec<ContainerFields>,
        containers: Vec<ContainerFields>,
        ephemeral_containers: Vec<ContainerFields>,
        volumes: Vec<VolumeFields>,
    }
    Named { name: String }
    ContainerFields { env: Vec<Variable>, env_from: Vec<FromSource> }
    Variable { value_from: ValueFrom }
    ValueFrom { secret_key_ref: Named, config_map_key_ref: Named }
    FromSource { secret_ref: Named, config_map_ref: Named }
    VolumeFields {
        name: String,
        secret: SecretVolume,
        config_map: Named,
        persistent_volume_claim: ClaimVolume,
        projected: Projected,
        csi: CsiVolume,
        ephemeral: Option<serde::de::IgnoredAny>,
    }
    SecretVolume { secret_name: String }
    ClaimVolume { claim_name: String }
    CsiVolume { node_publish_secret_ref: Named }
    Projected { sources: Vec<ProjectedSource> }
    ProjectedSource { secret: Named, config_map: Named }
    AccountFields { image_pull_secrets: Vec<Named>, secrets: Vec<Named> }
    ClaimFields { spec: ClaimSpec }
    ClaimSpec { volume_name: String }
}

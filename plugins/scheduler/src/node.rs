//! A node as the scheduler reads it: what is the same for many nodes stays raw
//! text until somebody asks.

use std::collections::BTreeMap;

use pintle_sdk::prelude::Taint;
use pintle_sdk::reading::{self, Raw};
use serde::Deserialize;

use crate::requests::Amounts;

#[derive(Deserialize)]
pub struct RawNode<'a> {
    #[serde(borrow, default)]
    metadata: Meta<'a>,
    #[serde(borrow, default)]
    spec: Spec<'a>,
    #[serde(borrow, default)]
    status: Status<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Meta<'a> {
    #[serde(borrow)]
    labels: Option<Raw<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Spec<'a> {
    unschedulable: Option<bool>,
    #[serde(borrow)]
    taints: Option<Raw<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status<'a> {
    #[serde(borrow)]
    allocatable: Option<Raw<'a>>,
    #[serde(borrow)]
    capacity: Option<Raw<'a>>,
    #[serde(borrow)]
    images: Option<Raw<'a>>,
}

/// What nodes have in common with many others; filtered once per shape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeClass {
    pub unschedulable: bool,
    pub taints: Vec<Taint>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capacity {
    pub milli_cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    pub pods: i64,
    pub extended: BTreeMap<String, i64>,
}

impl RawNode<'_> {
    pub fn class(&self) -> Result<NodeClass, serde_json::Error> {
        let taints: Option<Vec<Taint>> = match self.spec.taints {
            Some(taints) => taints.parse()?,
            None => None,
        };
        let untimed = |taint| Taint { time_added: None, ..taint };
        Ok(NodeClass {
            unschedulable: self.spec.unschedulable.unwrap_or(false),
            taints: taints.into_iter().flatten().map(untimed).collect(),
        })
    }

    pub fn labels(&self) -> &[u8] {
        self.metadata.labels.map_or(b"null", Raw::json)
    }

    pub fn capacity(&self) -> Option<&[u8]> {
        self.status.allocatable.or(self.status.capacity).map(Raw::json)
    }

    pub fn images(&self) -> &[u8] {
        self.status.images.map_or(b"null", Raw::json)
    }
}

impl Capacity {
    pub fn read(text: &[u8]) -> Result<Self, serde_json::Error> {
        let mut amounts = Amounts::from_json(Some(&reading::parse(text)?));
        let mut take = |name: &str| amounts.0.remove(name).unwrap_or(0);
        Ok(Capacity {
            milli_cpu: take("cpu"),
            memory: take("memory"),
            ephemeral_storage: take("ephemeral-storage"),
            pods: take("pods"),
            extended: amounts.0,
        })
    }

    pub fn of(&self, resource: &str) -> i64 {
        match resource {
            "cpu" => self.milli_cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.ephemeral_storage,
            "pods" => self.pods,
            other => self.extended.get(other).copied().unwrap_or(0),
        }
    }
}

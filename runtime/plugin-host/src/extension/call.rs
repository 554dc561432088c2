//! What extensions say during one `schedule` call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::answers::{AnswerError, Evaluation, ExtensionAnswers};
use super::group::Extensions;
use super::numbering::{Began, Names};
use super::opinion::{Part, Verdict};
use super::unit::{ExtensionUnit, Outcome, Question};
use crate::bindings::types::Context;
use crate::cluster::ObjectHandle;
use crate::seed::mix;

/// What all extensions together may take of one `schedule` call. Pods that are
/// left when it is used up are put back: however slow an extension is, those
/// that were decided get their bindings now.
const SHARE: Duration = Duration::from_millis(10);

/// Everything a scheduler was told by extensions during one call.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub names: Arc<Names>,
    /// The version of the evaluation by pod uid.
    pub asked: BTreeMap<String, u64>,
    pub verdicts: BTreeMap<u64, Arc<Verdict>>,
    /// Pods whose turn will come, and whether they have to wait for that.
    pub postponed: BTreeMap<String, Postponed>,
}

/// Why a pod was not asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Postponed {
    /// The share of this call was used up.
    NoTime,
    /// An extension has to be told first what happened in the cluster.
    NotUpToDate,
}

impl Heard {
    /// Whether some extension rejected some node for the pod.
    pub fn rejects(&self, pod_uid: &str) -> bool {
        let version = self.asked.get(pod_uid);
        version
            .and_then(|version| self.verdicts.get(version))
            .is_some_and(|verdict| verdict.rejects())
    }

    fn read(&self, version: u64) -> Result<Arc<Evaluation>, AnswerError> {
        match self.verdicts.get(&version) {
            Some(verdict) => Ok(verdict.evaluation()),
            None if version == 0 => {
                Ok(Arc::new(Evaluation { rejections: Vec::new(), scores: Vec::new() }))
            }
            None => Err(AnswerError::UnknownVersion(version)),
        }
    }
}

/// Asks the extensions that are active.
pub(super) struct Asking {
    pub group: Arc<Extensions>,
    pub units: Arc<Vec<Arc<ExtensionUnit>>>,
    pub context: Context,
    pub pods: Vec<ObjectHandle>,
    pub began: Began,
    pub heard: Arc<Mutex<Heard>>,
    /// Where in `pods` the next one is likely to be.
    pub next: usize,
    pub spent: Duration,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.group.end(&self.began);
    }
}

impl Asking {
    /// Schedulers ask about pods in the order they got them.
    fn pod(&mut self, uid: &str) -> Option<(usize, ObjectHandle)> {
        let is_it = |index: &usize| self.pods.get(*index).is_some_and(|pod| pod.uid() == uid);
        let index = Some(self.next).filter(is_it).or_else(|| (0..self.pods.len()).find(is_it))?;
        self.next = index + 1;
        Some((index, self.pods[index].clone()))
    }

    fn ask(&self, index: usize, pod: &ObjectHandle, heard: &mut Heard) -> u64 {
        let index = index as u64;
        let question = Question {
            call: &self.began,
            // Each pod has a seed of its own, whoever is asked first.
            context: Context { seed: mix(self.context.seed.wrapping_add(index)), ..self.context },
            pod,
            names: &heard.names,
            // The first is always asked, so that there is progress.
            until: (!self.spent.is_zero()).then(|| SHARE.saturating_sub(self.spent)),
        };
        let mut parts = Vec::new();
        for unit in self.units.iter() {
            match unit.ask(&question) {
                Outcome::Silent => {}
                Outcome::Says(part) => parts.push(part),
                Outcome::Later(postponed) => {
                    heard.postponed.insert(pod.uid().to_owned(), postponed);
                    let reason = format!("waiting for extension {}", unit.name);
                    let stated = self.group.all_rejected(reason, &heard.names);
                    parts = vec![Part { stated, weight: 0 }];
                    break;
                }
            }
        }
        if parts.is_empty() {
            return 0;
        }
        let (version, verdict) = self.group.verdict(parts);
        heard.verdicts.insert(version, verdict);
        version
    }
}

impl ExtensionAnswers for Asking {
    fn numbering(&mut self) -> u64 {
        self.heard.lock().names.version
    }

    fn nodes(&mut self) -> Arc<Vec<String>> {
        self.heard.lock().names.names.clone()
    }

    fn evaluate(&mut self, pod_uid: &str) -> Result<u64, AnswerError> {
        let Some((index, pod)) = self.pod(pod_uid) else {
            return Err(AnswerError::ForeignPod(pod_uid.to_owned()));
        };
        let heard = self.heard.clone();
        let mut heard = heard.lock();
        if let Some(version) = heard.asked.get(pod_uid) {
            return Ok(*version);
        }
        let started = Instant::now();
        let version = self.ask(index, &pod, &mut heard);
        self.spent += started.elapsed();
        heard.asked.insert(pod_uid.to_owned(), version);
        Ok(version)
    }

    fn read(&mut self, version: u64) -> Result<Arc<Evaluation>, AnswerError> {
        self.heard.lock().read(version)
    }
}

/// Answers as another instance was answered: beside it, or long after.
pub(crate) struct Replayed(Arc<Heard>);

impl Replayed {
    /// None: there were no extensions.
    pub fn of(heard: Option<&Arc<Heard>>) -> Option<Box<dyn ExtensionAnswers>> {
        heard.map(|heard| -> Box<dyn ExtensionAnswers> { Box::new(Self(heard.clone())) })
    }
}

impl ExtensionAnswers for Replayed {
    fn numbering(&mut self) -> u64 {
        self.0.names.version
    }

    fn nodes(&mut self) -> Arc<Vec<String>> {
        self.0.names.names.clone()
    }

    /// About a pod that the other one did not ask about nothing is known.
    fn evaluate(&mut self, pod_uid: &str) -> Result<u64, AnswerError> {
        Ok(self.0.asked.get(pod_uid).copied().unwrap_or(0))
    }

    fn read(&mut self, version: u64) -> Result<Arc<Evaluation>, AnswerError> {
        self.0.read(version)
    }
}

//! What extensions say about a pod: checked, and added up by weight.

use std::sync::{Arc, OnceLock};

use super::answers::Evaluation;
use crate::bindings::scheduler::pintle::plugin::extensions;
use crate::sandbox::Fault;

/// Beyond one for each node.
const MORE_REASONS: usize = 64;
/// An answer may name each node so often.
const MENTIONS: usize = 4;
const LONGEST_REASON_BYTES: usize = 1024;
const BEST_SCORE: u8 = 100;

/// Nodes, by number, on which a pod must not run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub reason: String,
    pub nodes: Vec<u32>,
}

/// What one extension says about a pod.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Opinion {
    pub rejections: Vec<Rejection>,
    /// By node number; None: it does not score.
    pub scores: Option<Vec<u8>>,
}

/// An opinion with a number of its own: the same number is the same opinion.
#[derive(Debug)]
pub(crate) struct Stated {
    pub id: u64,
    pub opinion: Opinion,
}

impl Opinion {
    /// Refuses what makes no sense. `numbers` is how many numbers there are.
    pub fn check(&self, numbers: usize) -> Result<(), Fault> {
        let bad = |message: String| Err(Fault::BadReply(message));
        let most = numbers + MORE_REASONS;
        if self.rejections.len() > most {
            return bad(format!(
                "it gave {} reasons to reject {numbers} nodes, more than the {most} allowed",
                self.rejections.len()
            ));
        }
        let named: usize = self.rejections.iter().map(|rejection| rejection.nodes.len()).sum();
        if named > most * MENTIONS {
            return bad(format!("it rejected {named} times a node where there are {numbers}"));
        }
        for rejection in &self.rejections {
            if rejection.reason.len() > LONGEST_REASON_BYTES {
                return bad(format!(
                    "it gave a reason of {} bytes, more than the {LONGEST_REASON_BYTES} allowed",
                    rejection.reason.len()
                ));
            }
            if let Some(number) = rejection.nodes.iter().find(|n| **n as usize >= numbers) {
                return bad(format!(
                    "it rejected node number {number} where numbers end before {numbers}"
                ));
            }
        }
        let scores = self.scores.as_deref().unwrap_or_default();
        // To look for the place at once would be no pass in vectors.
        let highest = scores.iter().fold(0, |highest, score| highest.max(*score));
        if highest > BEST_SCORE
            && let Some(number) = scores.iter().position(|score| *score > BEST_SCORE)
        {
            return bad(format!(
                "it scored node number {number} with {}; scores go from 0 to {BEST_SCORE}",
                scores[number]
            ));
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.rejections.is_empty() && self.scores.is_none()
    }
}

/// One extension's share in an evaluation.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub stated: Arc<Stated>,
    pub weight: u32,
}

/// What all extensions say about a pod; added up when somebody reads it.
#[derive(Debug)]
pub(crate) struct Verdict {
    parts: Vec<Part>,
    sum: OnceLock<Arc<Evaluation>>,
}

impl Verdict {
    pub fn new(parts: Vec<Part>) -> Self {
        Self { parts, sum: OnceLock::new() }
    }

    pub fn rejects(&self) -> bool {
        self.parts.iter().any(|part| !part.stated.opinion.rejections.is_empty())
    }

    pub fn evaluation(&self) -> Arc<Evaluation> {
        self.sum.get_or_init(|| Arc::new(add_up(&self.parts))).clone()
    }
}

fn add_up(parts: &[Part]) -> Evaluation {
    let opinions = || parts.iter().map(|part| (&part.stated.opinion, u64::from(part.weight)));
    let rejection = |rejection: &Rejection| extensions::Rejection {
        reason: rejection.reason.clone(),
        nodes: rejection.nodes.clone(),
    };
    let rejections =
        opinions().flat_map(|(opinion, _)| opinion.rejections.iter().map(rejection)).collect();
    let scored: Vec<(&[u8], u64)> = opinions()
        .filter_map(|(opinion, weight)| Some((&**opinion.scores.as_ref()?, weight)))
        .collect();
    let total: u64 = scored.iter().map(|(_, weight)| weight).sum();
    let length = scored.iter().map(|(scores, _)| scores.len()).max().unwrap_or(0);
    if total == 0 {
        return Evaluation { rejections, scores: Vec::new() };
    }
    if let [(scores, _)] = &scored[..] {
        let scores = scores.iter().map(|score| u16::from(*score) * 100).collect();
        return Evaluation { rejections, scores };
    }
    let mut sums = vec![0_u64; length];
    for (scores, weight) in &scored {
        for (sum, score) in sums.iter_mut().zip(*scores) {
            *sum += u64::from(*score) * weight;
        }
    }
    // At most 100 × total × 100 / total.
    let scores = sums.into_iter().map(|sum| (sum * 100 / total) as u16).collect();
    Evaluation { rejections, scores }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(weight: u32, rejections: &[(&str, &[u32])], scores: Option<&[u8]>) -> Part {
        let rejections = rejections
            .iter()
            .map(|(reason, nodes)| Rejection {
                reason: (*reason).to_owned(),
                nodes: nodes.to_vec(),
            })
            .collect();
        let opinion = Opinion { rejections, scores: scores.map(<[u8]>::to_vec) };
        Part { stated: Arc::new(Stated { id: 0, opinion }), weight }
    }

    #[test]
    fn scores_are_averaged_by_weight_and_rejections_add_up() {
        fn check(parts: Vec<Part>, reasons: &[&str], scores: &[u16]) {
            let verdict = Verdict::new(parts);
            let sum = verdict.evaluation();
            assert_eq!(sum.scores, scores);
            let found: Vec<&str> = sum.rejections.iter().map(|r| r.reason.as_str()).collect();
            assert_eq!(found, reasons);
            assert_eq!(verdict.rejects(), !reasons.is_empty());
        }
        check(vec![], &[], &[]);
        check(vec![part(7, &[], Some(&[0, 50, 100]))], &[], &[0, 5000, 10_000]);
        let both =
            vec![part(1, &[("a", &[0])], Some(&[100])), part(3, &[("b", &[1])], Some(&[0, 80]))];
        check(both, &["a", "b"], &[2500, 6000]);
        check(vec![part(0, &[], Some(&[9]))], &[], &[]);
        check(vec![part(0, &[], Some(&[9])), part(1, &[], Some(&[7]))], &[], &[700]);
        check(vec![part(1, &[("a", &[0])], None)], &["a"], &[]);
    }

    #[test]
    fn answers_that_make_no_sense_are_faults() {
        fn check(opinion: Opinion, expect: &str) {
            let fault = opinion.check(3).unwrap_err();
            assert!(fault.to_string().contains(expect), "{fault}");
        }
        let rejects = |reason: &str, nodes: Vec<u32>| Opinion {
            rejections: vec![Rejection { reason: reason.to_owned(), nodes }],
            scores: None,
        };
        let scores = |scores: Vec<u8>| Opinion { rejections: Vec::new(), scores: Some(scores) };
        assert!(rejects("full", vec![0, 2]).check(3).is_ok());
        assert!(scores(vec![100, 0, 100, 1]).check(3).is_ok());
        check(rejects("full", vec![3]), "node number 3");
        check(rejects(&"x".repeat(2000), vec![]), "2000 bytes");
        check(scores(vec![0, 101]), "node number 1 with 101");
        let many = vec![Rejection { reason: String::new(), nodes: Vec::new() }; 68];
        check(Opinion { rejections: many, scores: None }, "68 reasons");
        check(rejects("full", vec![0; 1000]), "1000 times");
    }

    proptest! {
        #[test]
        fn sums_stay_between_the_least_and_the_best(
            parts in proptest::collection::vec((1u32.., proptest::collection::vec(0u8..=100, 4)), 1..5)
        ) {
            let verdict = Verdict::new(parts.iter().map(|(w, s)| part(*w, &[], Some(s))).collect());
            for (number, sum) in verdict.evaluation().scores.iter().enumerate() {
                let scores = || parts.iter().map(|(_, scores)| u16::from(scores[number]) * 100);
                prop_assert!(*sum <= scores().max().unwrap_or(0));
                prop_assert!(*sum + 1 > scores().min().unwrap_or(0));
            }
        }
    }
}

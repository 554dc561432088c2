//! Where two answers to one call part.

use serde_json::{Value, json};

use super::model::{Answer, Input};
use super::report::Difference;
use super::show;

/// Where a call is in the trace.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub call: u64,
    pub frame: u64,
}

/// The first difference between two answers. Texts of faults are those of one
/// build (they name lines of its source); other builds are compared by reason.
pub(super) fn answers(
    place: Place,
    input: &Input,
    recorded: &Answer,
    now: &Answer,
    same_build: bool,
) -> Option<Difference> {
    let (item, what, before, after) = match (recorded, now) {
        (Answer::Fault(before), Answer::Fault(after)) => {
            if before == after || (!same_build && before.reason == after.reason) {
                return None;
            }
            (0, "it faults otherwise".to_owned(), show::answer(recorded), show::answer(now))
        }
        (before, after) if before == after => return None,
        (Answer::Decisions(before), Answer::Decisions(after)) => {
            let at = first(before, after);
            let what = format!("decision {} of {} differs", at + 1, before.len());
            (at, what, shown(before, at, show::decision), shown(after, at, show::decision))
        }
        (
            Answer::Outcome { actions: before, requeue_after_ms: wait_before },
            Answer::Outcome { actions: after, requeue_after_ms: wait_after },
        ) => {
            let at = first(before, after);
            if at == before.len() && at == after.len() {
                let wait = |wait: &Option<u64>| json!({ "requeueAfterMilliseconds": wait });
                let what = "it wants to look again at another time".to_owned();
                (0, what, wait(wait_before), wait(wait_after))
            } else {
                let what = format!(
                    "action {} differs ({} actions recorded, {} now)",
                    at + 1,
                    before.len(),
                    after.len()
                );
                (at, what, shown(before, at, show::action), shown(after, at, show::action))
            }
        }
        (Answer::Scores(before), Answer::Scores(after)) => {
            let at = first(before, after);
            let what = format!("the score of node number {at} differs");
            let show = |score: &u8| json!({ "score": score });
            (0, what, shown(before, at, show), shown(after, at, show))
        }
        (Answer::Rejections(before), Answer::Rejections(after)) => {
            let at = first(before, after);
            let what = format!("rejection {} of {} differs", at + 1, before.len());
            (0, what, shown(before, at, show::rejection), shown(after, at, show::rejection))
        }
        (_, Answer::Fault(_)) => {
            (0, "it faults now".to_owned(), show::answer(recorded), show::answer(now))
        }
        (Answer::Fault(_), _) => {
            (0, "it faulted when recorded".to_owned(), show::answer(recorded), show::answer(now))
        }
        _ => (0, "the answer differs".to_owned(), show::answer(recorded), show::answer(now)),
    };
    Some(difference(place, input, item, what, before, after))
}

pub(super) fn difference(
    place: Place,
    input: &Input,
    item: usize,
    what: String,
    recorded: Value,
    now: Value,
) -> Difference {
    let subject = show::subject(input, item);
    Difference {
        call: place.call,
        frame: place.frame,
        export: input.export().to_owned(),
        kind: subject.kind,
        namespace: subject.namespace,
        name: subject.name,
        revision: subject.revision,
        what,
        recorded,
        now,
    }
}

/// The place of the first item that differs, or that only one of them has.
fn first<T: PartialEq>(before: &[T], after: &[T]) -> usize {
    before.iter().zip(after).take_while(|(before, after)| before == after).count()
}

fn shown<T>(items: &[T], at: usize, show: impl Fn(&T) -> Value) -> Value {
    items.get(at).map_or_else(|| json!("nothing"), show)
}

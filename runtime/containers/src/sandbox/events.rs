//! Container events, derived from states.

use std::collections::{BTreeMap, VecDeque};

use pintle_shim::protocol::{ContainerState, Exit, Phase};
use tokio::sync::watch;

pub(super) type States = BTreeMap<String, ContainerState>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerEvent {
    Started {
        name: String,
        attempt: u32,
        pid: Option<u32>,
        /// Unix milliseconds.
        at: i64,
    },
    Exited {
        name: String,
        attempt: u32,
        exit: Exit,
    },
}

/// A stream of events that cannot lag: it compares the states it has told of with those that are.
/// A state passed between two calls is told of when the state after it shows that it was.
#[derive(Debug)]
pub struct Events {
    states: watch::Receiver<States>,
    told: BTreeMap<String, Told>,
    ready: VecDeque<ContainerEvent>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Told {
    attempt: u32,
    started: bool,
    exited: bool,
}

impl Events {
    pub(super) fn new(mut states: watch::Receiver<States>) -> Self {
        states.mark_changed();
        Events { states, told: BTreeMap::new(), ready: VecDeque::new() }
    }

    /// The next event; `None` once the shim is gone and everything was told.
    pub async fn next(&mut self) -> Option<ContainerEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            self.states.changed().await.ok()?;
            let states = self.states.borrow_and_update();
            compare(&mut self.told, &states, &mut self.ready);
        }
    }
}

fn compare(told: &mut BTreeMap<String, Told>, states: &States, out: &mut VecDeque<ContainerEvent>) {
    told.retain(|name, _| states.contains_key(name));
    for state in states.values() {
        let told = told.entry(state.name.clone()).or_default();
        if told.attempt != state.attempt {
            *told = Told { attempt: state.attempt, ..Told::default() };
        }
        let ran = matches!(state.phase, Phase::Running | Phase::Exited);
        if ran && !told.started {
            told.started = true;
            out.push_back(ContainerEvent::Started {
                name: state.name.clone(),
                attempt: state.attempt,
                pid: state.pid,
                at: state.started_at.unwrap_or(state.created_at),
            });
        }
        if let Some(exit) = &state.exit
            && !told.exited
        {
            told.exited = true;
            out.push_back(ContainerEvent::Exited {
                name: state.name.clone(),
                attempt: state.attempt,
                exit: exit.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(attempt: u32, phase: Phase) -> ContainerState {
        let exit = (phase == Phase::Exited).then_some(Exit {
            code: 3,
            signal: None,
            oom_killed: false,
            started_at: 1,
            finished_at: 2,
            reason: None,
        });
        ContainerState {
            name: "c".into(),
            attempt,
            phase,
            pid: None,
            created_at: 0,
            started_at: Some(1),
            exit,
        }
    }

    fn check(steps: &[(u32, Phase)], expect: &str) {
        let (mut told, mut out) = (BTreeMap::new(), VecDeque::new());
        for (attempt, phase) in steps {
            let states = [("c".to_owned(), state(*attempt, *phase))].into();
            compare(&mut told, &states, &mut out);
        }
        let text: Vec<_> = out
            .iter()
            .map(|event| match event {
                ContainerEvent::Started { attempt, .. } => format!("started {attempt}"),
                ContainerEvent::Exited { attempt, .. } => format!("exited {attempt}"),
            })
            .collect();
        assert_eq!(text.join(", "), expect);
    }

    #[test]
    fn events_follow_from_states() {
        use Phase::*;
        check(&[(0, Created), (0, Starting)], "");
        check(&[(0, Running), (0, Running), (0, Exited)], "started 0, exited 0");
        check(&[(0, Created), (0, Exited)], "started 0, exited 0");
        check(&[(0, Exited), (1, Created), (1, Running)], "started 0, exited 0, started 1");
    }
}

//! The recorder: an instance of the active version's program that is given what
//! the active one was given, and whose every call is written down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::model::{Answer, BudgetRecord, Call, Header, Input, Live, Note, Start, Why};
use super::redact::Redactor;
use super::sink::TraceSink;
use super::subject::{Subject, fault_record};
use super::tape::{RecordingReads, Tape};
use super::writer::{TraceWriter, WriteError};
use crate::extension::ExtensionAnswers;
use crate::follow::FollowerHandle;
use crate::host::FollowError;
use crate::lister::Reads;
use crate::logging::PluginLog;
use crate::plugin::GrantRule;
use crate::program::Program;
use crate::sandbox::Sandbox;

/// The recorder has the lowest priority and may be kept from the processor for
/// long; fuel bounds its calls.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// By the clock, so many times that.
pub(super) const PATIENCE: u32 = 60;

/// No fault of the plugin: the recorder came too late for what the call reads.
const REVISION_GONE: &str = "RevisionGone";

/// How to record.
#[derive(Debug, Clone)]
pub struct RecordOptions {
    /// Write the values of Secrets as they are.
    pub secrets: bool,
    /// Random; what the values of Secrets are replaced by is derived from it.
    pub key: [u8; 32],
    /// Write the component as well, if the host still has it.
    pub component: bool,
    pub now_unix_ms: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error(
        "plugin {0} plays role CNI, which the nodes run, each its own instance; there is nothing to record on the server"
    )]
    OnNodes(String),
}

/// How far a recording has come.
#[derive(Debug, Default)]
pub struct Progress {
    pub calls: AtomicU64,
    pub lost: AtomicU64,
    pub live_differs: AtomicU64,
    pub bytes: AtomicU64,
}

/// A recording that runs; dropping it ends it.
pub struct Recording {
    pub(crate) handle: FollowerHandle,
    pub(crate) progress: Arc<Progress>,
}

impl Recording {
    /// Ends it and waits until the footer has been given to the sink.
    pub fn stop(self) {
        self.handle.end();
    }

    /// Whether it has ended by itself: another version decides, or nobody reads.
    pub fn is_over(&self) -> bool {
        self.handle.is_over()
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }
}

/// Whether the recorded version is the one that decides.
pub(crate) type StillActive = Box<dyn Fn() -> bool + Send>;

struct Opening {
    sink: Box<dyn TraceSink>,
    header: Header,
    component: Option<Bytes>,
}

pub(crate) struct Recorder<W: Subject> {
    pub(super) program: Arc<Program<W>>,
    /// None before the start, and after a fault.
    sandbox: Option<Sandbox<W>>,
    redactor: Option<Arc<Redactor>>,
    tape: Arc<Tape>,
    reads: Option<Arc<dyn Reads>>,
    /// What the first frames are made of, until they are written.
    opening: Option<Opening>,
    writer: Option<TraceWriter>,
    /// Why the next instance is a fresh one.
    why: Why,
    calls: u64,
    differed: bool,
    ended: String,
    progress: Arc<Progress>,
    still_active: StillActive,
}

impl<W: Subject> Recorder<W> {
    pub fn new(
        program: Arc<Program<W>>,
        component: Option<Bytes>,
        options: &RecordOptions,
        still_active: StillActive,
        sink: Box<dyn TraceSink>,
    ) -> Self {
        let redactor = (!options.secrets).then(|| {
            let hide_seed = writes_secrets(program.grants.rules());
            Arc::new(Redactor::new(&options.key, hide_seed))
        });
        let header = header(&program, redactor.as_deref(), options.now_unix_ms);
        let tape = Arc::new(Tape::default());
        let reads = program.surroundings().reader.clone().map(|inner| -> Arc<dyn Reads> {
            Arc::new(RecordingReads { inner, redactor: redactor.clone(), tape: tape.clone() })
        });
        Self {
            program,
            sandbox: None,
            redactor,
            tape,
            reads,
            opening: Some(Opening { sink, header, component }),
            writer: None,
            why: Why::First,
            calls: 0,
            differed: false,
            ended: "the recording was ended".to_owned(),
            progress: Arc::default(),
            still_active,
        }
    }

    /// Writes the header and the component, which may take as long as its
    /// reader does. Nothing on a second call.
    pub fn open(&mut self) -> Result<(), WriteError> {
        if let Some(Opening { sink, header, component }) = self.opening.take() {
            self.writer = Some(TraceWriter::start(sink, &header, component.as_deref())?);
        }
        Ok(())
    }

    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// The next call goes to a fresh instance.
    pub fn renew(&mut self, why: Why) -> Result<(), WriteError> {
        let (reads, log) =
            (self.reads.clone(), Arc::new(PluginLog::silent(self.program.name.clone())));
        let started = self.program.start_with(|surroundings| {
            surroundings.reader = reads;
            surroundings.log = log;
            // What recording costs is not the plugin's.
            surroundings.cpu = None;
            surroundings.budgets.deadline = DEADLINE;
            surroundings.budgets.max_starvation = PATIENCE;
        });
        self.tape.take();
        let (sandbox, fault) = match started {
            Ok(sandbox) => (Some(sandbox), None),
            Err(fault) => (None, Some(fault_record(&fault))),
        };
        self.sandbox = sandbox;
        self.why = Why::Fault;
        self.write(|writer| writer.started(&Start { why, fault }))
    }

    pub fn has_instance(&self) -> bool {
        self.sandbox.is_some()
    }

    /// Gives a role without memory an instance, if the one before has faulted.
    pub fn ensure_instance(&mut self) -> Result<(), WriteError> {
        if self.sandbox.is_some() { Ok(()) } else { self.renew(self.why) }
    }

    /// Makes one call and writes it down. `live` tells how the answer compares
    /// with the one that counted.
    pub fn call(
        &mut self,
        mut input: Input,
        answers: Option<Box<dyn ExtensionAnswers>>,
        live: impl FnOnce(&Answer) -> Live,
    ) -> Result<(), WriteError> {
        let Some(sandbox) = &mut self.sandbox else { return self.lost(1) };
        if let Some(redactor) = &self.redactor {
            redactor.input(&mut input);
        }
        if let Some(inner) = answers {
            let tape = self.tape.clone();
            sandbox.set_answers(Some(Box::new(super::tape::RecordingAnswers { inner, tape })));
        }
        let Some((answer, usage)) = W::ask(sandbox, &self.program.grants, &input) else {
            return Ok(());
        };
        sandbox.set_answers(None);
        let reads = self.tape.take();
        if let Answer::Fault(fault) = &answer {
            self.sandbox = None;
            if fault.reason == REVISION_GONE {
                let revision = input.context().map_or(0, |context| context.revision);
                return self.write(|writer| writer.note(&Note::RevisionGone(revision)));
            }
        }
        let live = live(&answer);
        self.differed = live == Live::Differs;
        self.calls += 1;
        let call = Call { number: self.calls, input, reads, answer, fuel: usage.fuel, live };
        self.write(|writer| writer.call(&call))
    }

    /// So many calls are missing from here on.
    pub fn lost(&mut self, count: u64) -> Result<(), WriteError> {
        self.write(|writer| writer.note(&Note::Lost(count)))
    }

    /// Whether the version that is recorded is the one that decides.
    pub fn is_active(&self) -> bool {
        (self.still_active)()
    }

    /// Whether the last call came out as the one that counted.
    pub fn differed(&self) -> bool {
        self.differed
    }

    /// The footer will say why.
    pub fn end(&mut self, why: String) {
        self.ended = why;
    }

    fn write(
        &mut self,
        write: impl FnOnce(&mut TraceWriter) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        self.open()?;
        let Some(writer) = &mut self.writer else { return Err(WriteError::Gone) };
        if let Err(error) = write(writer) {
            self.writer = None;
            return Err(error);
        }
        let (counts, progress) = (writer.counts(), &self.progress);
        progress.calls.store(counts.calls, Ordering::Relaxed);
        progress.lost.store(counts.lost, Ordering::Relaxed);
        progress.live_differs.store(counts.live_differs, Ordering::Relaxed);
        progress.bytes.store(writer.written(), Ordering::Relaxed);
        Ok(())
    }
}

impl<W: Subject> Drop for Recorder<W> {
    fn drop(&mut self) {
        let opened = self.open();
        if let Some(writer) = self.writer.take() {
            match opened.and_then(|()| writer.finish(&self.ended)) {
                Ok(_) | Err(WriteError::Gone) => {}
                Err(error) => {
                    tracing::warn!(plugin = %self.program.name, %error, "a trace has no footer");
                }
            }
        }
    }
}

fn header<W: Subject>(
    program: &Program<W>,
    redactor: Option<&Redactor>,
    now_unix_ms: i64,
) -> Header {
    let budgets = &program.surroundings().budgets;
    Header {
        plugin: program.name.to_string(),
        role: W::ROLE.as_str().to_owned(),
        contract: "pintle:plugin@0.1.0".to_owned(),
        digest: program.digest.to_string(),
        version: program.manifest().version.clone(),
        component_bytes: 0,
        config: serde_json::from_slice(program.config()).unwrap_or(Value::Null),
        budgets: BudgetRecord {
            fuel_per_call: budgets.fuel_per_call,
            memory_bytes: budgets.memory_bytes as u64,
            deadline_milliseconds: u64::try_from(budgets.deadline.as_millis()).unwrap_or(u64::MAX),
        },
        grants: serde_json::to_value(program.grants.rules()).unwrap_or(Value::Null),
        redaction: redactor.map(Redactor::key_id),
        created_unix_ms: now_unix_ms,
        host_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Whether the plugin may make or change a Secret.
fn writes_secrets(rules: &[GrantRule]) -> bool {
    let has = |list: &[String], wanted: &str| list.iter().any(|item| item == wanted || item == "*");
    rules.iter().any(|rule| {
        has(&rule.api_groups, "")
            && has(&rule.kinds, "Secret")
            && ["create", "update", "patch"].iter().any(|verb| has(&rule.verbs, verb))
    })
}

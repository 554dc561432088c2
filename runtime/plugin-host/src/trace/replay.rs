//! Makes the calls of a trace again, offline, and compares.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::compare::{self, Place};
use super::format::TraceError;
use super::model::{Answer, Call, Header, Note, Start, Why};
use super::reader::{Entry, TraceReader};
use super::record::{DEADLINE, PATIENCE};
use super::report::{Difference, MAX_KEPT, Report};
use super::show;
use super::subject::{Subject, fault_record};
use super::tape::{Deviation, Script, ScriptedAnswers};
use crate::artifact::{Artifact, ArtifactError, Artifacts, CacheError};
use crate::bindings::admission::AdmissionPlugin;
use crate::bindings::authorizer::AuthorizerPlugin;
use crate::bindings::controller::ControllerPlugin;
use crate::bindings::scheduler::SchedulerPlugin;
use crate::bindings::scheduler_extension::SchedulerExtensionPlugin;
use crate::budget::Budgets;
use crate::compile::Compiler;
use crate::engine::{EngineError, Wasm};
use crate::grants::Grants;
use crate::lister::Reads;
use crate::logging::PluginLog;
use crate::metrics::Metrics;
use crate::plugin::{GrantRule, Role};
use crate::program::{GrantPolicy, Ingredients, LoadError, Program};
use crate::sandbox::Sandbox;

/// A memory of 32-bit addresses is never larger.
const MAX_MEMORY_BYTES: u64 = 4 << 30;

/// How to replay.
#[derive(Debug, Clone)]
pub struct Replay {
    /// Another component than the recorded one.
    pub with: Option<Bytes>,
    /// Laid over the recorded configuration.
    pub config: Option<Value>,
    /// A cut trace is replayed as far as it goes.
    pub partial: bool,
    /// Keeps the compiled component; created if missing, for this user alone.
    pub cache_directory: PathBuf,
    pub compiler: Compiler,
}

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("after {calls} whole calls")]
    Trace {
        calls: u64,
        #[source]
        source: TraceError,
    },
    #[error(
        "the trace does not hold the component ({digest}); name the file that does with --with"
    )]
    NoComponent { digest: String },
    #[error("the trace is of role {role:?}, which cannot be replayed")]
    UnknownRole { role: String },
    #[error("the trace's header cannot be used: its {field} does not make sense")]
    Header {
        field: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("frame {frame} has a call of {export}, which role {role} does not have")]
    ForeignCall { frame: u64, export: &'static str, role: Role },
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("the component cannot be used")]
    Artifact(#[from] ArtifactError),
    #[error("the component cannot be started")]
    Load(#[from] LoadError),
}

/// Replays a trace. Blocks for as long as that takes.
pub fn replay(trace: impl Read, options: &Replay) -> Result<Report, ReplayError> {
    let reader =
        TraceReader::open(trace).map_err(|source| ReplayError::Trace { calls: 0, source })?;
    let role: Role = serde_json::from_value(Value::String(reader.header().role.clone()))
        .map_err(|_| ReplayError::UnknownRole { role: reader.header().role.clone() })?;
    match role {
        Role::Controller => Run::<ControllerPlugin>::of(reader, options),
        Role::Scheduler => Run::<SchedulerPlugin>::of(reader, options),
        Role::Admission => Run::<AdmissionPlugin>::of(reader, options),
        Role::SchedulerExtension => Run::<SchedulerExtensionPlugin>::of(reader, options),
        Role::Authorizer => Run::<AuthorizerPlugin>::of(reader, options),
        Role::Cni => Err(ReplayError::UnknownRole { role: role.to_string() }),
    }
}

struct Run<W: Subject> {
    program: Program<W>,
    script: Arc<Script>,
    sandbox: Option<Sandbox<W>>,
    same_build: bool,
    report: Report,
}

impl<W: Subject> Run<W> {
    fn of<R: Read>(mut reader: TraceReader<R>, options: &Replay) -> Result<Report, ReplayError> {
        let mut run = Self::prepare(&reader, options)?;
        loop {
            match reader.read() {
                Ok(None) => return Ok(run.report),
                Ok(Some(entry)) => run.step(entry, reader.frame())?,
                Err(source) if source.is_cut() && options.partial => {
                    run.report.cut = Some(source.to_string());
                    return Ok(run.report);
                }
                Err(source) => {
                    return Err(ReplayError::Trace { calls: reader.calls(), source });
                }
            }
        }
    }

    fn prepare<R: Read>(reader: &TraceReader<R>, options: &Replay) -> Result<Self, ReplayError> {
        let header = reader.header();
        let component = match (&options.with, reader.component()) {
            (Some(component), _) => component,
            (None, Some(component)) => component,
            (None, None) => return Err(ReplayError::NoComponent { digest: header.digest.clone() }),
        };
        let artifacts =
            Artifacts::open(Wasm::new()?, &options.cache_directory, options.compiler.clone())?;
        let artifact = artifacts.load(component, None, W::ROLE)?;
        let program = load::<W>(&artifacts, &artifact, header, options.config.as_ref())?;
        let report = Report {
            plugin: header.plugin.clone(),
            role: header.role.clone(),
            recorded_digest: header.digest.clone(),
            replayed_digest: artifact.digest.to_string(),
            redacted: header.redaction.is_some(),
            ..Report::default()
        };
        Ok(Self {
            same_build: report.recorded_digest == report.replayed_digest,
            program,
            script: Arc::default(),
            sandbox: None,
            report,
        })
    }

    fn step(&mut self, entry: Entry, frame: u64) -> Result<(), ReplayError> {
        match entry {
            Entry::Start(start) => self.start(&start, frame),
            Entry::Call(call) => return self.call(&call, frame),
            Entry::Note(note) => {
                self.report.lost += match note {
                    Note::Lost(lost) => lost,
                    Note::TooLarge(_) | Note::RevisionGone(_) => 1,
                };
            }
            Entry::Footer(footer) => self.report.ended = Some(footer.ended),
        }
        Ok(())
    }

    fn start(&mut self, start: &Start, frame: u64) {
        if let Why::Lost(lost) = start.why {
            self.report.lost += lost;
        }
        let fault = self.renew();
        if fault.as_ref().map(|fault| &fault.reason)
            != start.fault.as_ref().map(|fault| &fault.reason)
        {
            let shown = |fault: &Option<super::model::FaultRecord>| {
                fault
                    .clone()
                    .map_or(Value::from("started"), |fault| show::answer(&Answer::Fault(fault)))
            };
            self.differs(Difference {
                call: self.report.calls + 1,
                frame,
                export: "describe".to_owned(),
                kind: "Plugin".to_owned(),
                namespace: String::new(),
                name: self.report.plugin.clone(),
                revision: 0,
                what: "a fresh instance starts otherwise".to_owned(),
                recorded: shown(&start.fault),
                now: shown(&fault),
            });
        }
    }

    fn renew(&mut self) -> Option<super::model::FaultRecord> {
        self.script.load(&[]);
        let reads: Arc<dyn Reads> = self.script.clone();
        let log = Arc::new(PluginLog::silent(self.program.name.clone()));
        let started = self.program.start_with(|surroundings| {
            surroundings.reader = Some(reads);
            surroundings.log = log;
        });
        match started {
            Ok(sandbox) => {
                self.sandbox = Some(sandbox);
                None
            }
            Err(fault) => {
                self.sandbox = None;
                Some(fault_record(&fault))
            }
        }
    }

    fn call(&mut self, call: &Call, frame: u64) -> Result<(), ReplayError> {
        self.report.live_differing += u64::from(call.live == super::model::Live::Differs);
        if self.sandbox.is_none() && !W::STATEFUL {
            self.renew();
        }
        let Some(sandbox) = &mut self.sandbox else {
            self.report.skipped += 1;
            return Ok(());
        };
        self.script.load(&call.reads);
        sandbox.set_answers(Some(Box::new(ScriptedAnswers(self.script.clone()))));
        let export = call.input.export();
        let Some((now, _)) = W::ask(sandbox, &self.program.grants, &call.input) else {
            return Err(ReplayError::ForeignCall { frame, export, role: W::ROLE });
        };
        if matches!(now, Answer::Fault(_)) {
            self.sandbox = None;
        }
        self.report.calls += 1;
        self.report.reads += call.reads.len() as u64;
        self.judge(call, &now, Place { call: call.number, frame });
        Ok(())
    }

    fn judge(&mut self, call: &Call, now: &Answer, place: Place) {
        if matches!(&call.answer, Answer::Fault(fault) if fault.reason == "DeadlineExceeded") {
            self.report.ended_by_clock += 1;
            self.sandbox = None;
            return;
        }
        let deviation = self.script.deviation();
        if let Some(Deviation::NotRecorded(question)) = &deviation {
            let what = format!("it reads what was not recorded: {}", show::question(question));
            let shown = (show::answer(&call.answer), show::answer(now));
            let difference = compare::difference(place, &call.input, 0, what, shown.0, shown.1);
            return self.differs(difference);
        }
        match compare::answers(place, &call.input, &call.answer, now, self.same_build) {
            Some(difference) => self.differs(difference),
            None => {
                self.report.faults_equal += u64::from(matches!(now, Answer::Fault(_)));
                if let Some(deviation) = deviation {
                    self.reads_differ(call, place, &deviation);
                }
            }
        }
    }

    /// The answer is the same, the way to it is not.
    fn reads_differ(&mut self, call: &Call, place: Place, deviation: &Deviation) {
        self.report.reads_differing += 1;
        let (what, recorded, now) = match deviation {
            Deviation::OtherOrder { expected, asked } => (
                "it reads in another order",
                expected.as_deref().map_or_else(|| "nothing more".to_owned(), show::question),
                show::question(asked),
            ),
            Deviation::NotAsked(question) => {
                ("it reads less", show::question(question), "nothing".to_owned())
            }
            Deviation::NotRecorded(question) => {
                ("it reads what was not recorded", "nothing".to_owned(), show::question(question))
            }
        };
        let difference = compare::difference(
            place,
            &call.input,
            0,
            what.to_owned(),
            recorded.into(),
            now.into(),
        );
        self.keep(difference);
    }

    fn differs(&mut self, difference: Difference) {
        self.report.differing += 1;
        self.keep(difference);
    }

    fn keep(&mut self, difference: Difference) {
        if self.report.differences.len() < MAX_KEPT {
            self.report.differences.push(difference);
        }
    }
}

fn load<W: Subject>(
    artifacts: &Artifacts,
    artifact: &Artifact,
    header: &Header,
    config: Option<&Value>,
) -> Result<Program<W>, ReplayError> {
    let rules: Vec<GrantRule> = serde_json::from_value(header.grants.clone())
        .map_err(|source| ReplayError::Header { field: "grants", source })?;
    let mut configuration = header.config.clone();
    if let Some(config) = config {
        json_patch::merge(&mut configuration, config);
    }
    let memory = header.budgets.memory_bytes.min(MAX_MEMORY_BYTES);
    let budgets = Budgets {
        fuel_per_call: header.budgets.fuel_per_call,
        memory_bytes: usize::try_from(memory).unwrap_or(usize::MAX),
        // What the clock ended is no answer; fuel bounds a call.
        deadline: DEADLINE,
        max_starvation: PATIENCE,
        ..Budgets::of_role(W::ROLE)
    };
    let ingredients = Ingredients {
        name: header.plugin.as_str().into(),
        config: Bytes::from(configuration.to_string()),
        budgets,
        grants: GrantPolicy::Given(Grants::new(rules)),
        cluster: None,
        metrics: Arc::new(Metrics::default()),
    };
    Ok(Program::load(artifacts.wasm(), artifact, ingredients)?)
}

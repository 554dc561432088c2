//! The reads of a call: answered by the cluster and taken down, or answered
//! from what was taken down.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::model::{ObjectRecord, Question, Read, Told};
use super::redact::Redactor;
use super::wire;
use crate::bindings::{lister, types};
use crate::extension::{AnswerError, Evaluation, ExtensionAnswers};
use crate::lister::{ReadError, Reads};

/// The reads of the running call of a recorder's instance.
#[derive(Default)]
pub(super) struct Tape(Mutex<Vec<Read>>);

impl Tape {
    pub fn take(&self) -> Vec<Read> {
        std::mem::take(&mut *self.0.lock())
    }

    fn note(&self, question: Question, told: Told) {
        self.0.lock().push(Read { question, told });
    }
}

/// Reads the cluster, hides what has to be hidden, and takes down the rest.
pub(super) struct RecordingReads {
    pub inner: Arc<dyn Reads>,
    pub redactor: Option<Arc<Redactor>>,
    pub tape: Arc<Tape>,
}

impl RecordingReads {
    fn object(&self, object: types::Object) -> ObjectRecord {
        let mut record = wire::object(object);
        if let Some(redactor) = &self.redactor {
            redactor.object(&mut record);
        }
        record
    }

    fn objects(
        &self,
        question: Question,
        found: Result<Vec<types::Object>, ReadError>,
    ) -> Result<Vec<types::Object>, ReadError> {
        match found {
            Ok(objects) => {
                let records: Vec<_> =
                    objects.into_iter().map(|object| self.object(object)).collect();
                let objects = records.iter().map(wire::to_object).collect();
                self.tape.note(question, Told::Objects(records));
                Ok(objects)
            }
            Err(error) => Err(self.refused(question, error)),
        }
    }

    fn refused(&self, question: Question, error: ReadError) -> ReadError {
        self.tape.note(question, Told::Refused(error.to_string()));
        error
    }
}

impl Reads for RecordingReads {
    fn get(
        &self,
        at: u64,
        reference: types::ObjectRef,
    ) -> Result<Option<types::Object>, ReadError> {
        let question = Question::Get(wire::reference(&reference));
        match self.inner.get(at, reference) {
            Ok(found) => {
                let record = found.map(|object| self.object(object));
                let object = record.as_ref().map(wire::to_object);
                self.tape.note(question, Told::Object(record));
                Ok(object)
            }
            Err(error) => Err(self.refused(question, error)),
        }
    }

    fn list(&self, at: u64, query: lister::Query) -> Result<Vec<types::Object>, ReadError> {
        let question = Question::List(wire::query(&query));
        self.objects(question, self.inner.list(at, query))
    }

    fn list_fields(
        &self,
        at: u64,
        query: lister::Query,
        fields: &[String],
    ) -> Result<Vec<types::Object>, ReadError> {
        let question = Question::ListFields(wire::query(&query), fields.to_vec());
        self.objects(question, self.inner.list_fields(at, query, fields))
    }

    fn count(&self, at: u64, query: lister::Query) -> Result<u32, ReadError> {
        let question = Question::Count(wire::query(&query));
        match self.inner.count(at, query) {
            Ok(count) => {
                self.tape.note(question, Told::Count(count));
                Ok(count)
            }
            Err(error) => Err(self.refused(question, error)),
        }
    }
}

/// What a scheduler is told where there are no extensions.
pub(super) struct NoAnswers;

impl ExtensionAnswers for NoAnswers {
    fn numbering(&mut self) -> u64 {
        0
    }

    fn nodes(&mut self) -> Arc<Vec<String>> {
        Arc::default()
    }

    fn evaluate(&mut self, _pod_uid: &str) -> Result<u64, AnswerError> {
        Ok(0)
    }

    fn read(&mut self, _version: u64) -> Result<Arc<Evaluation>, AnswerError> {
        Ok(Arc::new(Evaluation { rejections: Vec::new(), scores: Vec::new() }))
    }
}

/// Takes down what a scheduler is told by extensions.
pub(super) struct RecordingAnswers {
    pub inner: Box<dyn ExtensionAnswers>,
    pub tape: Arc<Tape>,
}

impl ExtensionAnswers for RecordingAnswers {
    fn numbering(&mut self) -> u64 {
        let number = self.inner.numbering();
        self.tape.note(Question::Numbering, Told::Number(number));
        number
    }

    fn nodes(&mut self) -> Arc<Vec<String>> {
        let nodes = self.inner.nodes();
        self.tape.note(Question::Nodes, Told::Names(nodes.to_vec()));
        nodes
    }

    fn evaluate(&mut self, pod_uid: &str) -> Result<u64, AnswerError> {
        let answer = self.inner.evaluate(pod_uid);
        let told = match &answer {
            Ok(version) => Told::Number(*version),
            Err(error) => Told::Refused(error.to_string()),
        };
        self.tape.note(Question::Evaluate(pod_uid.to_owned()), told);
        answer
    }

    fn read(&mut self, version: u64) -> Result<Arc<Evaluation>, AnswerError> {
        let answer = self.inner.read(version);
        let told = match &answer {
            Ok(evaluation) => wire::evaluation(evaluation),
            Err(error) => Told::Refused(error.to_string()),
        };
        self.tape.note(Question::Evaluation(version), told);
        answer
    }
}

/// The reads of a recorded call, while it is replayed.
#[derive(Default)]
pub(super) struct Script(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    left: VecDeque<Read>,
    /// Everything of this call, for questions in another order.
    all: Vec<Read>,
    deviation: Option<Deviation>,
}

/// How the reads of a call differ from the recorded ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deviation {
    /// Nobody knows the answer; the call ended there.
    NotRecorded(Question),
    /// It was asked at another place of the call; the answer is the same.
    OtherOrder { expected: Option<Box<Question>>, asked: Box<Question> },
    /// It was asked when recorded, and not now.
    NotAsked(Question),
}

impl Script {
    /// The reads of the next call.
    pub fn load(&self, reads: &[Read]) {
        *self.0.lock() =
            Lines { left: reads.to_vec().into(), all: reads.to_vec(), deviation: None };
    }

    /// The first deviation of the call that just ended.
    pub fn deviation(&self) -> Option<Deviation> {
        let mut lines = self.0.lock();
        let left = lines.left.pop_front();
        lines.deviation.take().or(left.map(|read| Deviation::NotAsked(read.question)))
    }

    fn ask(&self, question: Question) -> Result<Told, ReadError> {
        let mut lines = self.0.lock();
        if let Some(read) = lines.left.pop_front_if(|next| next.question == question) {
            return Ok(read.told);
        }
        let expected = lines.left.front().map(|next| Box::new(next.question.clone()));
        // A call sees one revision, so a question has one answer wherever it is asked.
        let known = lines.all.iter().find(|read| read.question == question);
        let Some(told) = known.map(|read| read.told.clone()) else {
            let text = super::show::question(&question);
            lines.deviation = Some(Deviation::NotRecorded(question));
            return Err(ReadError::NotRecorded(text));
        };
        if let Some(place) = lines.left.iter().position(|read| read.question == question) {
            lines.left.remove(place);
        }
        if lines.deviation.is_none() {
            lines.deviation = Some(Deviation::OtherOrder { expected, asked: Box::new(question) });
        }
        Ok(told)
    }

    fn objects(&self, question: Question) -> Result<Vec<types::Object>, ReadError> {
        match self.ask(question.clone())? {
            Told::Objects(objects) => Ok(objects.iter().map(wire::to_object).collect()),
            told => Err(unfit(&question, told)),
        }
    }
}

/// The recorded answer is a refusal, or of another type than its question.
fn unfit(question: &Question, told: Told) -> ReadError {
    match told {
        Told::Refused(message) => ReadError::Recorded(message),
        _ => ReadError::NotRecorded(super::show::question(question)),
    }
}

impl Reads for Script {
    fn get(&self, _: u64, reference: types::ObjectRef) -> Result<Option<types::Object>, ReadError> {
        let question = Question::Get(wire::reference(&reference));
        match self.ask(question.clone())? {
            Told::Object(object) => Ok(object.as_ref().map(wire::to_object)),
            told => Err(unfit(&question, told)),
        }
    }

    fn list(&self, _: u64, query: lister::Query) -> Result<Vec<types::Object>, ReadError> {
        self.objects(Question::List(wire::query(&query)))
    }

    fn list_fields(
        &self,
        _at: u64,
        query: lister::Query,
        fields: &[String],
    ) -> Result<Vec<types::Object>, ReadError> {
        self.objects(Question::ListFields(wire::query(&query), fields.to_vec()))
    }

    fn count(&self, _: u64, query: lister::Query) -> Result<u32, ReadError> {
        let question = Question::Count(wire::query(&query));
        match self.ask(question.clone())? {
            Told::Count(count) => Ok(count),
            told => Err(unfit(&question, told)),
        }
    }
}

/// What extensions said when the trace was recorded.
pub(super) struct ScriptedAnswers(pub Arc<Script>);

impl ExtensionAnswers for ScriptedAnswers {
    fn numbering(&mut self) -> u64 {
        match self.0.ask(Question::Numbering) {
            Ok(Told::Number(number)) => number,
            // Without extensions nothing is recorded but this number stays what it is.
            _ => 0,
        }
    }

    fn nodes(&mut self) -> Arc<Vec<String>> {
        match self.0.ask(Question::Nodes) {
            Ok(Told::Names(names)) => Arc::new(names),
            _ => Arc::default(),
        }
    }

    fn evaluate(&mut self, pod_uid: &str) -> Result<u64, AnswerError> {
        match self.0.ask(Question::Evaluate(pod_uid.to_owned())) {
            Ok(Told::Number(version)) => Ok(version),
            _ => Err(AnswerError::ForeignPod(pod_uid.to_owned())),
        }
    }

    fn read(&mut self, version: u64) -> Result<Arc<Evaluation>, AnswerError> {
        match self.0.ask(Question::Evaluation(version)) {
            Ok(Told::Evaluation { rejections, scores }) => {
                Ok(Arc::new(wire::to_evaluation(&rejections, &scores)))
            }
            _ => Err(AnswerError::UnknownVersion(version)),
        }
    }
}

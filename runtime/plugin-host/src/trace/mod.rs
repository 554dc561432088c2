//! Record and replay: what a plugin was given and what it answered, in one file.
//!
//! A recorder runs beside the active version, in an instance of its own that is
//! fed the same inputs (with the values of Secrets replaced, unless asked not
//! to), and writes down every input, every read and every answer of *that*
//! instance. So a trace is consistent in itself, and a plugin being a function
//! of its inputs, a replay of it gives the same answers bit by bit, anywhere.
//!
//! Does not know: HTTP, files, or where the bytes go ([`TraceSink`]).
//!
//! Read first: [`model`] (what is written), then [`format`] (how), then
//! [`replay()`].

mod authorizer;
mod compare;
mod extension;
mod feed;
pub mod format;
pub mod model;
pub mod offline;
mod reader;
mod record;
mod redact;
mod replay;
mod report;
mod seal;
mod show;
mod sink;
mod subject;
mod tape;
#[cfg(test)]
mod tests;
mod wire;
mod writer;

pub(crate) use authorizer::AuthorizerRecorder;
pub(crate) use extension::ExtensionRecorder;
pub(crate) use feed::SchedulerRecorder;
pub use format::TraceError;
pub use reader::{Entry, TraceReader};
pub(crate) use record::Recorder;
pub use record::{Progress, RecordError, RecordOptions, Recording};
pub use replay::{Replay, ReplayError, replay};
pub use report::{Difference, Report};
pub use seal::seal;
pub use sink::{TraceSink, channel};
pub(crate) use subject::Subject;
pub use writer::TraceWriter;

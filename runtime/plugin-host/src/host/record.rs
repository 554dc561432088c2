//! Recording a plugin by its name.

use std::sync::Arc;

use bytes::Bytes;

use super::Host;
use super::embedded;
use super::follow::{Active, Attach, FollowError};
use super::manager::Manager;
use crate::artifact::Digest;
use crate::plugin::PluginSpec;
use crate::program::Program;
use crate::trace::{
    AuthorizerRecorder, ExtensionRecorder, RecordError, RecordOptions, Recorder, Recording,
    SchedulerRecorder, Subject, TraceSink,
};

impl Host {
    /// Writes what the plugin is given and answers from now on into `sink`, until
    /// the recording is stopped or dropped.
    pub fn record(
        &self,
        plugin: &str,
        options: &RecordOptions,
        sink: Box<dyn TraceSink>,
    ) -> Result<Recording, RecordError> {
        let active = self.active(plugin).map_err(|error| match error {
            FollowError::OnNodes(plugin, _) => RecordError::OnNodes(plugin),
            error => error.into(),
        })?;
        match active {
            Active::Controller(program) => {
                let recorder = self.recorder(plugin, program, options, sink);
                let progress = recorder.progress();
                let handle = self.follow(plugin, Attach::Controller(Box::new(recorder)))?;
                Ok(Recording { handle, progress })
            }
            Active::Scheduler(program) => {
                let recorder = self.recorder(plugin, program, options, sink);
                let progress = recorder.progress();
                let follower = Box::new(SchedulerRecorder::new(recorder));
                let handle = self.follow(plugin, Attach::Scheduler(follower))?;
                Ok(Recording { handle, progress })
            }
            Active::Admission(program) => {
                let recorder = self.recorder(plugin, program, options, sink);
                let progress = recorder.progress();
                let handle = self.follow(plugin, Attach::Admission(Box::new(recorder)))?;
                Ok(Recording { handle, progress })
            }
            Active::Extension(program) => {
                let recorder = self.recorder(plugin, program, options, sink);
                let progress = recorder.progress();
                let follower = Box::new(ExtensionRecorder::new(recorder));
                let handle = self.follow(plugin, Attach::Extension(follower))?;
                Ok(Recording { handle, progress })
            }
            Active::Authorizer(program) => {
                let recorder = self.recorder(plugin, program, options, sink);
                let progress = recorder.progress();
                let follower = Box::new(AuthorizerRecorder::new(recorder));
                let handle = self.follow(plugin, Attach::Authorizer(follower))?;
                Ok(Recording { handle, progress })
            }
        }
    }

    fn recorder<W: Subject>(
        &self,
        plugin: &str,
        program: Arc<Program<W>>,
        options: &RecordOptions,
        sink: Box<dyn TraceSink>,
    ) -> Recorder<W> {
        let component =
            if options.component { self.manager.component(plugin, &program.digest) } else { None };
        let still_active = {
            let (manager, plugin) = (self.manager.clone(), plugin.to_owned());
            let program = Arc::downgrade(&program);
            Box::new(move || {
                let active = manager.unit(&plugin).and_then(|unit| super::follow::active(&unit));
                active.is_some_and(|active| active.is(&program))
            })
        };
        Recorder::new(program, component, options, still_active, sink)
    }
}

impl Manager {
    /// The bytes of a component that decides, whatever the spec names by now;
    /// None if nobody has them any more (it decided before the server started,
    /// and did not come from a registry).
    fn component(&self, plugin: &str, digest: &Digest) -> Option<Bytes> {
        let embedded = self.embedded.values().map(|embedded| embedded.wasm.clone());
        let known = embedded.into_iter().find(|wasm| Digest::of(wasm) == *digest);
        if known.is_some() {
            return known;
        }
        let slot = self.slots.lock().get(plugin).cloned()?;
        let specs: Vec<PluginSpec> = slot.state.lock().specs().cloned().collect();
        let sourced = specs.iter().filter_map(|spec| embedded::source(spec, &self.embedded).ok());
        let found = sourced.map(|sourced| sourced.component).find(|it| Digest::of(it) == *digest);
        found.or_else(|| self.supply.components().remembered(digest))
    }
}

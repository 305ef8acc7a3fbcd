//! The record of a run while it runs: every event is written, folded into the state, and shown, in this order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    event::{Durable, Event, Line, Observer, Progress, Recorder},
    failure::Failure,
    replay::RunState,
};

/// The recorder, the state of the run, and those who watch.
pub struct Log {
    recorder: Arc<dyn Recorder>,
    state: Mutex<RunState>,
    observers: Vec<Arc<dyn Observer>>,
}

impl Log {
    /// Begins a new run with its first event.
    pub fn begin(
        recorder: Arc<dyn Recorder>,
        observers: Vec<Arc<dyn Observer>>,
        first: Event,
    ) -> Result<Self, Failure> {
        let written = recorder.record("", &first, Durable::Yes)?;
        let line = Line { event: first, masked: Vec::new(), ..written.clone() };
        let state = RunState::begin(&line).map_err(|e| Failure::Journal(e.to_string()))?;
        let log = Self { recorder, state: Mutex::new(state), observers };
        log.show(&written);
        Ok(log)
    }

    /// Goes on with a run whose journal was read.
    pub fn go_on(recorder: Arc<dyn Recorder>, observers: Vec<Arc<dyn Observer>>, state: RunState) -> Self {
        Self { recorder, state: Mutex::new(state), observers }
    }

    /// Writes an event. Fails when the journal cannot be written, and then nothing may be changed.
    pub fn record(&self, path: &str, event: Event, durable: Durable) -> Result<(), Failure> {
        let mut state = self.lock();
        let written = self.recorder.record(path, &event, durable)?;
        // What steps see is never masked; only what is written is.
        let line = Line { event, masked: Vec::new(), ..written.clone() };
        state.apply(&line).map_err(|e| Failure::Journal(e.to_string()))?;
        drop(state);
        self.show(&written);
        Ok(())
    }

    /// Shows progress without writing it.
    pub fn progress(&self, path: &str, progress: &Progress) {
        for observer in &self.observers {
            observer.progress(path, progress);
        }
    }

    /// Looks at the state.
    pub fn state<T>(&self, look: impl FnOnce(&RunState) -> T) -> T {
        look(&self.lock())
    }

    pub fn recorder(&self) -> &Arc<dyn Recorder> {
        &self.recorder
    }

    fn show(&self, line: &Line) {
        for observer in &self.observers {
            observer.line(line);
        }
    }

    fn lock(&self) -> MutexGuard<'_, RunState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

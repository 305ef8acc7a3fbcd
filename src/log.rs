//! The record of a run while it runs: every event is folded into the state, written, and shown, in this order.

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
        let line = recorder.next("", &first)?;
        let state = RunState::begin(&unmasked(&line, first)).map_err(|e| Failure::Defect(e.to_string()))?;
        recorder.write(&line, Durable::Yes)?;
        let log = Self { recorder, state: Mutex::new(state), observers };
        log.show(&line);
        Ok(log)
    }

    /// Goes on with a run whose journal was read.
    pub fn go_on(recorder: Arc<dyn Recorder>, observers: Vec<Arc<dyn Observer>>, state: RunState) -> Self {
        Self { recorder, state: Mutex::new(state), observers }
    }

    /// Writes an event. Fails when the journal cannot be written, and then nothing may be changed. An event that no
    /// run can have here is never written.
    pub fn record(&self, path: &str, event: Event, durable: Durable) -> Result<(), Failure> {
        let mut state = self.lock();
        let line = self.recorder.next(path, &event)?;
        state.apply(&unmasked(&line, event)).map_err(|e| Failure::Defect(e.to_string()))?;
        self.recorder.write(&line, durable)?;
        drop(state);
        self.show(&line);
        Ok(())
    }

    /// Shows progress without writing it.
    pub fn progress(&self, path: &str, progress: &Progress) {
        let progress = &self.recorder.masked(progress);
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

/// The line as the state takes it in: what steps see is never masked, only what is written is.
fn unmasked(line: &Line, event: Event) -> Line {
    Line { event, masked: Vec::new(), prev: line.prev.clone(), path: line.path.clone(), ..*line }
}

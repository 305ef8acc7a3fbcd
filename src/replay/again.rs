//! What a resume does to the state: which steps stand, and which are done again.

use std::collections::BTreeMap;

use super::{Phase, RunState, StepPhase};
use crate::event::{Edited, Effect, SiteRecord, StepVerdict};

impl RunState {
    /// A later process goes on: what must be done again is.
    pub(super) fn resume(&mut self, sites: &BTreeMap<String, SiteRecord>) {
        self.resumes += 1;
        self.started.sites.clone_from(sites);
        let reopened = match self.phase {
            Phase::Ended(_) => true,
            Phase::Running => false,
            // Stopped while finishing: `finally` goes on where it was.
            Phase::Finishing => return,
            Phase::Interrupted(_) if self.stop.is_some() => {
                self.phase = Phase::Finishing;
                return;
            }
            Phase::Interrupted(_) => false,
        };
        self.phase = Phase::Running;
        self.stop = None;
        let fresh = !self.any_intent;
        for (id, step) in &mut self.steps {
            let reads = step.begun.as_ref().is_some_and(|b| b.effect == Effect::Reads);
            if matches!(step.phase, StepPhase::Running) {
                // Its process is gone. An earlier step that is done again may end the run before it begins again.
                step.phase = StepPhase::Pending;
            }
            let again = match &step.phase {
                StepPhase::Pending | StepPhase::Running => false,
                StepPhase::Skipped(_) => fresh || reopened,
                StepPhase::Ended(end) => {
                    let failed = end.verdict != StepVerdict::Held;
                    let warned = self.started.warn_only.contains(id);
                    let lost = end.verdict == StepVerdict::Held && end.output.is_none();
                    step.lost_output = lost && !reads;
                    let finally = self.started.finally.contains(id);
                    // Friday's preconditions do not license Monday's change.
                    (fresh && reads) || (reopened && failed && !warned) || lost || (reopened && finally)
                }
            };
            if again {
                step.reopen();
            }
        }
    }

    /// Another runbook takes over, which has every step that began where it was.
    pub(super) fn edit(&mut self, edited: &Edited) -> Result<(), String> {
        let (before, after) =
            (self.started.steps.iter().chain(&self.started.finally), [&edited.steps, &edited.finally]);
        let kept: Vec<&String> = after.into_iter().flatten().collect();
        if let Some(id) = before.clone().find(|id| self.begun(id) && !kept.contains(id)) {
            return Err(format!("the edited runbook lacks `{id}`, which has begun"));
        }
        let mut steps = std::mem::take(&mut self.steps);
        self.steps = kept.iter().map(|id| ((*id).clone(), steps.remove(*id).unwrap_or_default())).collect();
        self.started.steps.clone_from(&edited.steps);
        self.started.finally.clone_from(&edited.finally);
        self.started.warn_only.clone_from(&edited.warn_only);
        self.artifacts.insert(edited.file.clone(), edited.sha256.clone());
        self.edited = Some(edited.clone());
        Ok(())
    }

    /// Whether anything is recorded of a step.
    pub fn begun(&self, id: &str) -> bool {
        self.steps.get(id).is_some_and(|step| step.begun.is_some() || !matches!(step.phase, StepPhase::Pending))
    }

    /// Whether the steps are over and only `finally` is left, of a run that has not ended.
    pub fn finishing(&self) -> bool {
        match self.phase {
            Phase::Finishing => true,
            Phase::Interrupted(_) => self.stop.is_some(),
            Phase::Running | Phase::Ended(_) => false,
        }
    }

    /// Reading steps from this one on are done again.
    pub(super) fn repeat(&mut self, from: &str) -> Result<(), String> {
        let after: Vec<String> = self.started.steps.iter().skip_while(|id| *id != from).cloned().collect();
        if after.is_empty() {
            return Err(format!("there is no step `{from}` to begin from"));
        }
        for id in after {
            let Some(step) = self.steps.get_mut(&id) else { continue };
            let reads = step.begun.as_ref().is_some_and(|b| b.effect == Effect::Reads);
            if reads && matches!(step.phase, StepPhase::Ended(_)) {
                step.reopen();
            }
        }
        Ok(())
    }
}

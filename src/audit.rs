//! What makes the record of a run trustworthy: its chain, the order of its events, the files that it names, and a head
//! that is known from elsewhere.

use crate::{
    event::Verdict,
    journal::{self, Journal},
    replay::{Phase, RunState},
    runs::{PLAN, RUNBOOK},
};

/// A journal that was verified.
#[derive(Debug)]
pub struct Audited {
    pub journal: Journal,
    pub state: RunState,
}

/// A file beside a journal, and the SHA-256 that the journal names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub sha256: String,
}

/// Verifies the bytes of a journal. `head`, if it is known from elsewhere (the run printed it, or somebody signed it),
/// tells whether the end was cut off or changed, which the chain alone cannot.
pub fn journal(bytes: &[u8], head: Option<&str>) -> Result<Audited, String> {
    let journal = journal::parse(bytes).map_err(|e| e.to_string())?;
    let state = RunState::replay(&journal.lines).map_err(|e| e.to_string())?;
    if journal.torn_bytes > 0 && matches!(state.phase, Phase::Ended(Verdict::Held | Verdict::Late)) {
        return Err("something was added after the end: a run that holds is never gone on with".into());
    }
    if let Some(head) = head {
        is_at(&journal, head)?;
    }
    Ok(Audited { journal, state })
}

/// Whether the journal ends with the line of this SHA-256, and with nothing after it.
fn is_at(journal: &Journal, head: &str) -> Result<(), String> {
    if journal.head == head {
        return match journal.torn_bytes {
            0 => Ok(()),
            n => Err(format!("after the line of the known head come {n} bytes more")),
        };
    }
    let lines = journal.lines.len();
    Err(match journal.lines.iter().skip(1).position(|line| line.prev == head) {
        Some(before) => format!("the known head is that of line {} of {lines}: more was added after it", before + 1),
        None => format!("none of its {lines} lines has the known head: its end was cut off or written anew"),
    })
}

impl Audited {
    /// The runbook, the plan and the artifacts. A name that leads elsewhere is refused: no run makes one.
    pub fn files(&self) -> Result<Vec<Named>, String> {
        let started = &self.state.started;
        let runbook = (RUNBOOK.to_owned(), started.runbook_sha256.clone());
        let plan = started.plan_sha256.iter().map(|sha256| (PLAN.to_owned(), sha256.clone()));
        let artifacts = self.state.artifacts.iter().map(|(name, sha256)| (name.clone(), sha256.clone()));
        let all = std::iter::once(runbook).chain(plan).chain(artifacts);
        all.map(|(name, sha256)| {
            let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
            if plain { Ok(Named { name, sha256 }) } else { Err(format!("`{name}` is no name of a file of a run")) }
        })
        .collect()
    }
}

impl Named {
    /// Holds the file's SHA-256 against the one that the journal names.
    pub fn is(&self, sha256: &str) -> Result<(), String> {
        if self.sha256 == sha256 {
            return Ok(());
        }
        Err(format!("{} is not the file that the journal names", self.name))
    }
}

//! Runbooks from files, or embedded in the binary.

use std::path::{Path, PathBuf};

use super::Refusal;
use crate::{
    check,
    human::plural,
    problem::{self, Level},
    runbook::Runbook,
    steps,
};

/// A runbook that was read and checked.
pub(super) struct Loaded {
    pub runbook: Runbook,
    pub text: String,
    /// Where `sites.yaml` is looked for.
    pub beside: PathBuf,
    /// Warnings, rendered.
    pub warnings: Option<String>,
}

pub(super) fn file(path: &Path) -> Result<Loaded, Refusal> {
    let bytes =
        std::fs::read(path).map_err(|e| Refusal::refused(format!("{}: cannot be read: {e}", path.display())))?;
    let beside = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    text(&path.display().to_string(), &bytes, beside)
}

pub(super) fn text(name: &str, bytes: &[u8], beside: PathBuf) -> Result<Loaded, Refusal> {
    let styled = false;
    match check::load_bytes(bytes, steps::ALL) {
        Ok((runbook, warnings)) => {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let warnings = (!warnings.is_empty()).then(|| problem::render(name, &text, &warnings, styled));
            Ok(Loaded { runbook, text, beside, warnings })
        }
        Err(problems) => {
            let text = String::from_utf8_lossy(bytes);
            let errors = problems.iter().filter(|problem| problem.level == Level::Error).count();
            let rendered = problem::render(name, &text, &problems, styled);
            Err(Refusal::refused(format!("{}\n\n{}", plural(errors as u64, "error"), rendered.trim_end())))
        }
    }
}

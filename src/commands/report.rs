//! `report`: a run's journal as HTML, Markdown, JUnit or JSON.

use std::path::Path;

use super::{Refusal, print, print_json, resume, run::runs_flag};
use crate::{
    audit::Audited,
    cli::ReportForm,
    journal::JOURNAL,
    report::{document, facts::Report, junit, summary},
    runs::Place,
    verdict::Exit,
};

pub(super) fn report(runs: &Place, wanted: &str, form: ReportForm, out: Option<&Path>) -> Result<Exit, Refusal> {
    let id = runs.find(wanted)?;
    let Audited { journal, state } = resume::read(runs, &id)?;
    let path = runs.name(&id, JOURNAL);
    let report = Report::new(&journal.lines, &state, &path, &journal.head);
    let next = summary::next(&state, report.verdict, &runs_flag(runs));
    let unwritable = |e: minijinja::Error| Refusal::new(Exit::Defect, format!("the report cannot be written: {e:#}"));
    let text = match form {
        ReportForm::Html => document::html(&report, &next).map_err(unwritable)?,
        ReportForm::Markdown => document::markdown(&report, &next).map_err(unwritable)?,
        ReportForm::Junit => junit::junit(&report),
        ReportForm::Json if out.is_none() => {
            print_json(&report);
            return Ok(Exit::Held);
        }
        ReportForm::Json => serde_json::to_string_pretty(&report).unwrap_or_default() + "\n",
    };
    match out {
        None => print(&text),
        Some(file) => std::fs::write(file, text)
            .map_err(|e| Refusal::refused(format!("{}: the report cannot be written: {e}", file.display())))?,
    }
    Ok(Exit::Held)
}

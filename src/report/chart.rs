//! What the charts of a report show, in percent of their width and height.

use serde::Serialize;

use super::facts::{Report, Span, Step};

/// One step on the timeline.
#[derive(Serialize)]
pub(super) struct Bar {
    step: String,
    /// `work`, `failed` or `warned`: a class of the style sheet.
    tone: &'static str,
    /// Where it was at work.
    work: Vec<Stretch>,
    /// Where it waited for people.
    people: Vec<Stretch>,
    seconds: f64,
    waited_seconds: f64,
}

/// A part of the width, percent.
#[derive(Debug, PartialEq, Serialize)]
struct Stretch {
    x: f64,
    width: f64,
}

/// How far a step came, over time.
#[derive(Serialize)]
pub(super) struct Curve {
    step: String,
    /// Points of an SVG polyline in a field of 100 by 100, the origin at the top left.
    line: String,
    /// From the last point on, by the tool's own forecast; empty when there was none.
    forecast: String,
    done: u64,
    total: u64,
    /// Versions a second, over all of it.
    rate: f64,
    seconds: f64,
    points: usize,
}

/// The narrowest stretch that can still be seen, percent.
const VISIBLE: f64 = 0.4;

pub(super) fn bars(report: &Report) -> Vec<Bar> {
    let whole = report.seconds.max(f64::MIN_POSITIVE);
    let stretch = |span: &Span| {
        let width = ((span.to - span.from) / whole * 100.0).clamp(VISIBLE, 100.0);
        Stretch { x: (span.from / whole * 100.0).clamp(0.0, 100.0 - width), width }
    };
    let worked = report.steps.iter().filter(|step| !step.spans.is_empty());
    worked
        .map(|step| Bar {
            step: step.id.clone(),
            tone: match step.state {
                "not_held" | "broke" | "cancelled" if step.warn_only => "warned",
                "not_held" | "broke" | "cancelled" => "failed",
                _ => "work",
            },
            work: step.spans.iter().map(stretch).collect(),
            people: step.answers.iter().map(|asked| stretch(&asked.open)).collect(),
            seconds: step.seconds.unwrap_or_else(|| step.spans.iter().map(|span| span.to - span.from).sum()),
            waited_seconds: step.waited_seconds,
        })
        .collect()
}

pub(super) fn curves(report: &Report) -> Vec<Curve> {
    report.steps.iter().filter_map(curve).collect()
}

/// Two points make a line; fewer show nothing.
fn curve(step: &Step) -> Option<Curve> {
    let known =
        step.progress.iter().filter_map(|point| Some((point.seconds, point.progress.done?, point.progress.total?)));
    let points: Vec<(f64, u64, u64)> = known.collect();
    let ((first, begun, _), (last, done, _)) = (*points.first()?, *points.last()?);
    let total = points.iter().map(|(_, done, total)| *done.max(total)).max().filter(|total| *total > 0)?;
    if points.len() < 2 || last <= first {
        return None;
    }
    let eta =
        step.progress.last().and_then(|point| point.progress.eta_seconds).filter(|eta| *eta > 0.0 && done < total);
    let width = last - first + eta.unwrap_or(0.0);
    #[expect(clippy::cast_precision_loss, reason = "a point on a chart")]
    let place = |seconds: f64, done: u64| {
        format!("{:.2},{:.2}", (seconds - first) / width * 100.0, 100.0 - done as f64 / total as f64 * 100.0)
    };
    let line: Vec<String> = points.iter().map(|(seconds, done, _)| place(*seconds, *done)).collect();
    let forecast = eta.map(|eta| format!("{} {}", place(last, done), place(last + eta, total))).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "a rate, shown with one digit")]
    let rate = done.saturating_sub(begun) as f64 / (last - first);
    Some(Curve {
        step: step.id.clone(),
        line: line.join(" "),
        forecast,
        done,
        total,
        rate,
        seconds: width,
        points: points.len(),
    })
}

//! Waits for a person's yes.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    event::{Answer, Finding, How, Question},
    failure::Failure,
    step::{Asks, Cx, Step},
    types::Period,
};

/// Asks a person to confirm; no, or no answer in time, does not hold.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HumanConfirm {
    /// What the person is asked, or asked to do before answering.
    prompt: String,
    /// A word that must be typed instead of a plain yes, e.g. the name of the bucket.
    #[serde(default)]
    typed: Option<String>,
    /// User names that may answer; nobody named: anybody may.
    #[serde(default)]
    who: Vec<String>,
    /// How long to wait for an answer; after that it is no. Default: for ever.
    #[serde(default)]
    deadline: Option<Period>,
}

/// The answer.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Whether the answer was yes.
    confirmed: bool,
    /// The user who answered.
    by: String,
    /// How the answer came.
    how: How,
    /// What the person added.
    comment: Option<String>,
}

impl Step for HumanConfirm {
    const USES: &'static str = "human.confirm";
    const EXAMPLE: &'static str = r#"- id: drain_traffic
  uses: human.confirm
  with: { prompt: "Send all traffic to {{ roles.source.endpoint }}, then confirm", deadline: 4h }"#;
    type Access = Asks;
    type Output = Output;

    fn describe(&self) -> String {
        format!("ask: {}", self.prompt)
    }

    async fn run(&self, cx: &Cx<Asks>) -> Result<Output, Failure> {
        Ok(answered(cx.ask("confirm", self.question(cx.now())?).await?))
    }

    fn findings(&self, output: &Output) -> Vec<Finding> {
        let text = match (output.confirmed, output.how) {
            (true, _) => return Vec::new(),
            (false, How::Deadline) => "nobody answered in time".to_owned(),
            (false, How::Terminal | How::Flag | How::Approve) => match &output.comment {
                Some(comment) => format!("{} said no: {comment}", output.by),
                None => format!("{} said no", output.by),
            },
        };
        vec![
            Finding::new("not_confirmed", text)
                .remedy("do what the question asks for, then run `firedrill resume` and answer again"),
        ]
    }
}

impl HumanConfirm {
    fn question(&self, now: Timestamp) -> Result<Question, Failure> {
        let until = match self.deadline {
            None => None,
            Some(Period(wait)) => Some(
                now.checked_add(wait)
                    .map_err(|_| Failure::refused(format!("a deadline of {} s has no end", wait.as_secs())))?,
            ),
        };
        Ok(Question { prompt: self.prompt.clone(), typed: self.typed.clone(), who: self.who.clone(), until })
    }
}

fn answered(answer: Answer) -> Output {
    Output { confirmed: answer.yes, by: answer.by, how: answer.how, comment: answer.comment }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(value: serde_json::Value) -> HumanConfirm {
        serde_json::from_value(value).unwrap()
    }

    fn answer(yes: bool, how: How, comment: Option<&str>) -> Output {
        answered(Answer { yes, by: "ada".into(), how, comment: comment.map(Into::into) })
    }

    #[test]
    fn the_deadline_counts_from_the_question() {
        let now: Timestamp = "2026-11-23T18:00:00Z".parse().unwrap();
        let question =
            step(serde_json::json!({"prompt": "ready?", "deadline": "4h", "typed": "invoices"})).question(now).unwrap();
        assert_eq!(question.until, Some("2026-11-23T22:00:00Z".parse().unwrap()));
        assert_eq!(question.typed.as_deref(), Some("invoices"));
        assert_eq!(step(serde_json::json!({"prompt": "ready?"})).question(now).unwrap().until, None);
    }

    #[test]
    fn no_and_silence_do_not_hold() {
        let step = step(serde_json::json!({"prompt": "ready?"}));
        assert!(step.findings(&answer(true, How::Flag, None)).is_empty());
        assert_eq!(step.findings(&answer(false, How::Approve, Some("not yet")))[0].text, "ada said no: not yet");
        assert_eq!(step.findings(&answer(false, How::Deadline, None))[0].text, "nobody answered in time");
    }
}

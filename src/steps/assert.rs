//! Holds expressions of the runbook against the run, each with its own message.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    event::Finding,
    failure::Failure,
    step::{Cx, Reads, Step},
};

/// Checks statements about inputs and earlier steps.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Assert {
    /// The statements; each one must be true.
    #[schemars(length(min = 1))]
    that: Vec<Statement>,
}

/// One statement.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Statement {
    /// True when it holds; written as a template, e.g. `{{ steps.count.source.versions > 0 }}`.
    holds: bool,
    /// What to say when it does not hold.
    message: String,
}

/// Which statements held.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// How many statements were checked.
    checked: u64,
    /// Messages of those that did not hold.
    failed: Vec<String>,
}

impl Step for Assert {
    const USES: &'static str = "assert";
    const EXAMPLE: &'static str = r#"- id: enough_attempts
  uses: assert
  with:
    that:
      - { holds: "{{ inputs.max_attempts >= 2 }}", message: "one attempt leaves no room for a lost connection" }"#;
    type Access = Reads;
    type Output = Output;

    fn describe(&self) -> String {
        match self.that.len() {
            1 => "check one statement".into(),
            n => format!("check {n} statements"),
        }
    }

    async fn run(&self, _: &Cx<Reads>) -> Result<Output, Failure> {
        Ok(self.judge())
    }

    fn findings(&self, output: &Output) -> Vec<Finding> {
        output.failed.iter().map(|message| Finding::new("assert", message)).collect()
    }
}

impl Assert {
    fn judge(&self) -> Output {
        Output {
            checked: self.that.len() as u64,
            failed: self.that.iter().filter(|s| !s.holds).map(|s| s.message.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_false_statements_become_findings() {
        let step: Assert = serde_json::from_value(serde_json::json!({
            "that": [{"holds": true, "message": "fine"}, {"holds": false, "message": "too few versions"}]
        }))
        .unwrap();
        let output = step.judge();
        assert_eq!(output.checked, 2);
        assert_eq!(step.findings(&output), [Finding::new("assert", "too few versions")]);
    }
}

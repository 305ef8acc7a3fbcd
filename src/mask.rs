//! The one place that masks secrets: in events before they are written, and in text for people.

use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::{event::Event, secret::Secret};

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// Shorter values are not searched for: they would mask half of every line. Their own field is censored instead.
const SHORTEST: usize = 4;

/// Masks known secrets in text and in events, also where they stand percent-encoded.
#[derive(Clone, Debug, Default)]
pub struct Masker {
    needles: Vec<Secret>,
    /// Inputs whose field is censored whatever stands in it.
    inputs: Vec<String>,
}

impl Masker {
    /// `inputs` are the names of the inputs that are declared secret.
    pub fn new(secrets: impl IntoIterator<Item = Secret>, inputs: impl IntoIterator<Item = String>) -> Self {
        let mut needles = Vec::new();
        for secret in secrets {
            if secret.expose().len() < SHORTEST {
                continue;
            }
            let encoded = utf8_percent_encode(secret.expose(), NON_ALPHANUMERIC).to_string();
            if encoded != secret.expose() {
                needles.push(Secret::new(encoded));
            }
            needles.push(secret);
        }
        // The longest first, so that one secret inside another leaves no rest.
        needles.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        Self { needles, inputs: inputs.into_iter().collect() }
    }

    /// The text with every secret masked.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for needle in &self.needles {
            if text.contains(needle.expose()) {
                text = Cow::Owned(text.replace(needle.expose(), MASK));
            }
        }
        text
    }

    /// The event with every secret masked, and JSON pointers to what was masked. `Err`: it cannot be masked, and so
    /// must not be written.
    pub fn event(&self, event: &Event) -> Result<(Event, Vec<String>), serde_json::Error> {
        if (self.needles.is_empty() && self.inputs.is_empty()) || is_all_own(event) {
            return Ok((event.clone(), Vec::new()));
        }
        let mut value = serde_json::to_value(event)?;
        let mut masked = Vec::new();
        if let Event::RunStarted(_) = event {
            for name in &self.inputs {
                if let Some(field) = value.pointer_mut(&format!("/inputs/{name}")) {
                    *field = Value::String(MASK.into());
                    masked.push(format!("/inputs/{name}"));
                }
            }
        }
        self.value(&mut value, "", &mut masked);
        let event = if masked.is_empty() { event.clone() } else { serde_json::from_value(value)? };
        Ok((event, masked))
    }

    /// Masks every secret in a JSON document, wherever it stands.
    pub fn json(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(safe) = self.text(text) {
                    *text = safe;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            Value::Object(fields) => {
                for (name, mut field) in std::mem::take(fields) {
                    self.json(&mut field);
                    fields.insert(self.text(&name).into_owned(), field);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn value(&self, value: &mut Value, pointer: &str, masked: &mut Vec<String>) {
        match value {
            Value::String(text) if !is_own(pointer) => {
                if let Cow::Owned(safe) = self.text(text) {
                    *text = safe;
                    masked.push(pointer.to_owned());
                }
            }
            Value::Array(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    self.value(item, &format!("{pointer}/{i}"), masked);
                }
            }
            Value::Object(fields) => {
                let names: Vec<String> = fields.keys().cloned().collect();
                for name in names {
                    let step = name.replace('~', "~0").replace('/', "~1");
                    if let Some(field) = fields.get_mut(&name) {
                        self.value(field, &format!("{pointer}/{step}"), masked);
                    }
                    if is_free(pointer)
                        && let Cow::Owned(safe) = self.text(&name)
                        && let Some(field) = fields.shift_remove(&name)
                    {
                        fields.insert(safe, field);
                        masked.push(format!("{pointer}/{step}"));
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// Fields that hold one of our own words or times, which a short secret must not turn into something else.
const OWN: [&str; 10] = [
    "/event",
    "/effect",
    "/verdict",
    "/kind",
    "/since",
    "/answer/how",
    "/question/until",
    "/failure/class",
    "/outcome/refused/class",
    "/rto",
];

/// Places whose names come from runbooks and servers; elsewhere names are our own.
const FREE: [&str; 6] = ["/with", "/body", "/output", "/outcome/done", "/inputs", "/accepted"];

/// Events of nothing but our own words and numbers.
fn is_all_own(event: &Event) -> bool {
    match event {
        Event::Finishing { .. } | Event::Interrupted { .. } | Event::RunEnded { .. } => true,
        Event::RunStarted(_)
        | Event::RunResumed { .. }
        | Event::StepStarted(_)
        | Event::StepSkipped { .. }
        | Event::Intent(_)
        | Event::Receipt { .. }
        | Event::Asked { .. }
        | Event::Answered { .. }
        | Event::Progress { .. }
        | Event::AttemptFailed { .. }
        | Event::Artifact { .. }
        | Event::StepEnded(_) => false,
    }
}

fn is_own(pointer: &str) -> bool {
    OWN.contains(&pointer)
}

fn is_free(pointer: &str) -> bool {
    FREE.iter().any(|free| pointer == *free || pointer.strip_prefix(free).is_some_and(|rest| rest.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Finding, Signal, StepEnded, StepVerdict, Stop};

    fn ended(output: Value, text: &str) -> Event {
        Event::StepEnded(Box::new(StepEnded {
            verdict: StepVerdict::Held,
            output: Some(output),
            findings: vec![Finding::new("x", text)],
            failure: None,
            seconds: 1.0,
            waited_seconds: 0.0,
        }))
    }

    #[test]
    fn masks_values_names_and_percent_encoded_forms() {
        let masker = Masker::new([Secret::new("s3cr/t!"), Secret::new("held"), Secret::new("x")], []);
        let event = ended(serde_json::json!({"a": ["s3cr/t!"], "s3cr/t!": 1, "n": 5}), "at ?k=s3cr%2Ft%21&x");
        let (safe, masked) = masker.event(&event).expect("can be masked");
        let text = serde_json::to_string(&safe).expect("JSON");
        assert!(!text.contains("s3cr"), "{text}");
        assert!(text.contains("\"verdict\":\"held\""), "our own words stay: {text}");
        assert_eq!(masked, ["/output/a/0", "/output/s3cr~1t!", "/findings/0/text"]);
    }

    #[test]
    fn our_own_words_stay_and_the_words_of_a_runbook_do_not() {
        let masker = Masker::new(["last_step", "interrupt", "held", "hunter22"].map(Secret::new), []);
        for event in [
            Event::Finishing { why: Stop::LastStep },
            Event::Finishing { why: Stop::Signal(Signal::Interrupt) },
            Event::Interrupted { signal: Signal::Interrupt },
        ] {
            assert_eq!(masker.event(&event).expect("can be masked").1, [""; 0]);
        }
        let skipped = Event::StepSkipped { why: "`inputs.token == 'hunter22'` is false".into() };
        let (safe, masked) = masker.event(&skipped).expect("can be masked");
        assert_eq!(masked, ["/why"]);
        assert!(matches!(safe, Event::StepSkipped { why } if why == "`inputs.token == '***'` is false"));
    }

    #[test]
    fn the_longest_secret_goes_first_and_short_ones_only_as_their_field() {
        let masker = Masker::new(["hunter", "hunter22", "abc"].map(Secret::new), []);
        assert_eq!(masker.text("hunter22, hunter, abc"), "***, ***, abc");
        let mut value = serde_json::json!({"hunter22": [{"a": "x hunter"}], "n": 1});
        masker.json(&mut value);
        assert_eq!(value, serde_json::json!({"***": [{"a": "x ***"}], "n": 1}));
    }

    #[test]
    fn leaves_an_event_without_secrets_as_it_is() {
        let event = ended(serde_json::json!({"a": 1}), "fine");
        let (_, masked) = Masker::new([Secret::new("topsecret")], []).event(&event).expect("can be masked");
        assert!(masked.is_empty());
    }
}

//! The one place that masks secrets: in events before they are written, and in text for people.

mod forms;

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;

use crate::{event::Event, secret::Secret};

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// Shorter values are not searched for: they would mask half of every line. Their own field is censored instead.
const SHORTEST: usize = 4;

/// Masks known secrets in text and in events, also encoded ones; and what is secret by its place in an address.
#[derive(Clone, Default)]
pub struct Masker {
    given: Vec<Secret>,
    sources: Vec<Source>,
    /// Inputs whose field is censored whatever stands in it.
    inputs: Vec<String>,
    known: Arc<Mutex<Arc<Known>>>,
}

/// Tells the secrets that it knows by now.
type Source = Arc<dyn Fn() -> Vec<Secret> + Send + Sync>;

/// All secrets there were when something was last masked.
#[derive(Default)]
struct Known {
    all: Vec<Secret>,
    /// The longest first, so that one secret inside another leaves no rest.
    searched: Vec<Secret>,
    base64: Vec<Secret>,
}

impl Known {
    fn of(all: Vec<Secret>) -> Self {
        let mut searched: Vec<Secret> = all.iter().filter(|s| s.expose().len() >= SHORTEST).cloned().collect();
        let mut base64: Vec<Secret> =
            searched.iter().flat_map(|secret| forms::base64(secret.expose())).map(Secret::new).collect();
        for secrets in [&mut searched, &mut base64] {
            secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        }
        Self { all, searched, base64 }
    }
}

impl Masker {
    /// `inputs` are the names of the inputs that are declared secret.
    pub fn new(secrets: impl IntoIterator<Item = Secret>, inputs: impl IntoIterator<Item = String>) -> Self {
        Self {
            given: secrets.into_iter().collect(),
            sources: Vec::new(),
            inputs: inputs.into_iter().collect(),
            known: Arc::default(),
        }
    }

    /// Also masks what this tells, which is asked each time: credentials may be read anew while a run lives.
    #[must_use]
    pub fn and(mut self, source: impl Fn() -> Vec<Secret> + Send + Sync + 'static) -> Self {
        self.sources.push(Arc::new(source));
        // What one clone has found out must not stand for another with fewer sources.
        self.known = Arc::default();
        self
    }

    fn known(&self) -> Arc<Known> {
        let told = self.sources.iter().flat_map(|source| source());
        let all: Vec<Secret> = self.given.iter().cloned().chain(told).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.all != all {
            *known = Arc::new(Known::of(all));
        }
        Arc::clone(&known)
    }

    /// The text with every secret masked.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.known().mask(text)
    }

    /// The event with every secret masked, and JSON pointers to what was masked. `Err`: it cannot be masked, and so
    /// must not be written.
    pub fn event(&self, event: &Event) -> Result<(Event, Vec<String>), serde_json::Error> {
        if is_all_own(event) {
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
        self.known().value(&mut value, "", &mut masked);
        let event = if masked.is_empty() { event.clone() } else { serde_json::from_value(value)? };
        Ok((event, masked))
    }

    /// Masks every secret in a JSON document, wherever it stands.
    pub fn json(&self, value: &mut Value) {
        self.known().json(value);
    }
}

impl Known {
    fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.searched {
            let mut from = 0;
            while let Some((begin, end)) = forms::find(&text, from, secret.expose()) {
                text.to_mut().replace_range(begin..end, MASK);
                from = begin + MASK.len();
            }
        }
        for core in &self.base64 {
            if text.contains(core.expose()) {
                text = Cow::Owned(text.replace(core.expose(), MASK));
            }
        }
        for (begin, end) in forms::placed(&text).into_iter().rev() {
            if text[begin..end] != *MASK {
                text.to_mut().replace_range(begin..end, MASK);
            }
        }
        text
    }

    fn json(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(safe) = self.mask(text) {
                    *text = safe;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            Value::Object(fields) => {
                for (name, mut field) in std::mem::take(fields) {
                    self.json(&mut field);
                    fields.insert(self.mask(&name).into_owned(), field);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn value(&self, value: &mut Value, pointer: &str, masked: &mut Vec<String>) {
        match value {
            Value::String(text) if !is_own(pointer) => {
                if let Cow::Owned(safe) = self.mask(text) {
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
                        && let Cow::Owned(safe) = self.mask(&name)
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

// By hand, so that no value can reach a log through a `{:?}`.
impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").field("inputs", &self.inputs).finish_non_exhaustive()
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
    fn every_form_is_masked_and_the_rest_stays() {
        let masker = Masker::new([Secret::new("hunter22&co")], []);
        for form in ["hunter22&co", "hunter22%26co", "hunter22&amp;co", "hunter22\\u0026co"] {
            assert_eq!(masker.text(&format!("a {form} b {form}")), "a *** b ***");
        }
        let basic = "Authorization: Basic bWluaW86aHVudGVyMjImY28= end";
        let safe = masker.text(basic);
        assert!(safe.starts_with("Authorization: Basic ") && safe.ends_with(" end") && safe.len() < 42, "{safe}");
        assert_eq!(masker.text("http://me:other@host"), "http://***@host");
        assert_eq!(masker.text("http://***@host?X-Amz-Signature=***"), "http://***@host?X-Amz-Signature=***");
        assert_eq!(masker.text("hunter2 & 100% \\ + fine"), "hunter2 & 100% \\ + fine");
    }

    #[test]
    fn secrets_that_are_learnt_later_are_masked_from_then_on_by_every_clone() {
        let learnt = Arc::new(Mutex::new(vec![Secret::new("hunter22")]));
        let tell = Arc::clone(&learnt);
        let masker = Masker::new([], []).and(move || tell.lock().unwrap().clone());
        let clone = masker.clone();
        assert_eq!(clone.text("hunter22 hunter33"), "*** hunter33");
        learnt.lock().unwrap().push(Secret::new("hunter33"));
        assert_eq!(clone.text("hunter22 hunter33"), "*** ***");
        assert_eq!(masker.text("hunter33"), "***");
        assert!(!format!("{masker:?}").contains("hunter"));
    }

    #[test]
    fn leaves_an_event_without_secrets_as_it_is() {
        let event = ended(serde_json::json!({"a": 1}), "fine");
        let (_, masked) = Masker::new([Secret::new("topsecret")], []).event(&event).expect("can be masked");
        assert!(masked.is_empty());
    }
}

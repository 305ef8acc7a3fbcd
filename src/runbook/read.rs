//! Reads the envelope by hand, so that every problem has its place and all of them are found at once.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::{
    Expr, Input, InputType, OnFailure, Retry, Runbook, StepSpec, Until,
    inputs::amount,
    keys::{self, Key},
};
use crate::{
    event::RunbookKind,
    failure::Class,
    problem::{Problem, Span, did_you_mean},
    tree::{Node, Value},
    types::{Period, REQUEST_TIMEOUT, Role, is_name},
};

/// Reads the model out of the tree: envelope keys by hand, each problem at its place, all of them at once.
pub fn read(root: &Node) -> Result<Runbook, Vec<Problem>> {
    let mut problems = Vec::new();
    let runbook = gather(root, &mut problems);
    if problems.is_empty() { Ok(runbook) } else { Err(problems) }
}

/// As [`read`], but what can be read comes back even when there are problems, so that checks can go on.
pub(crate) fn gather(root: &Node, problems: &mut Vec<Problem>) -> Runbook {
    mapping(root, "a runbook", keys::RUNBOOK, problems);
    if let Some(format) = root.get("format")
        && !matches!(format.value, Value::Int(1))
    {
        problems.push(
            Problem::error(format.span, "this format of runbooks is not known").help("this version reads `format: 1`"),
        );
    }
    let objectives = root.get("objectives");
    if let Some(objectives) = objectives {
        mapping(objectives, "`objectives`", keys::OBJECTIVES, problems);
    }
    let steps = steps(root, "steps", problems);
    if root.get("steps").is_some_and(|list| matches!(&list.value, Value::List(items) if items.is_empty())) {
        let span = root.get("steps").map(|list| list.span);
        problems.push(Problem::error(span, "there are no steps").help("a runbook needs at least one"));
    }
    let finally = self::steps(root, "finally", problems);
    unique_ids(steps.iter().chain(&finally), problems);
    Runbook {
        name: root.get("runbook").and_then(|node| name(node, problems)).unwrap_or_default(),
        summary: field(root, "summary", problems).unwrap_or_default(),
        kind: field(root, "kind", problems).unwrap_or(RunbookKind::Recovery),
        inputs: entries(root, "inputs", problems, input),
        roles: entries(root, "roles", problems, |role, node, problems| {
            mapping(node, "a role", keys::ROLE, problems);
            (Role(role.into()), field(node, "description", problems).unwrap_or_default())
        }),
        rto: objectives.and_then(|node| period(node, "rto", problems)),
        steps,
        finally,
    }
}

/// Reports a node that is no mapping, keys that are not known, and keys that are missing.
pub(crate) fn mapping(node: &Node, what: &str, known: &[Key], problems: &mut Vec<Problem>) {
    let Value::Map(entries) = &node.value else {
        let names: Vec<&str> = known.iter().filter(|key| key.required).map(|key| key.name).collect();
        let known: Vec<&str> = known.iter().map(|key| key.name).collect();
        let help = if names.is_empty() {
            format!("it takes `{}`", known.join("`, `"))
        } else {
            format!("it needs `{}`", names.join("`, `"))
        };
        return problems
            .push(Problem::error(node.span, format!("{what} is a mapping, found {}", node.sort())).help(help));
    };
    for (key, _) in entries {
        match key.as_str() {
            None => problems.push(Problem::error(key.span, "a key must be text").help("quote it")),
            Some(name) if known.iter().any(|key| key.name == name) => {}
            Some(name) => problems.push(
                Problem::error(key.span, format!("unknown key `{name}`"))
                    .maybe_help(did_you_mean(name, known.iter().map(|key| key.name))),
            ),
        }
    }
    for key in known.iter().filter(|key| key.required && node.get(key.name).is_none()) {
        problems.push(
            Problem::error(node.span, format!("missing key `{}`", key.name))
                .help(format!("{}: {}", key.name, key.about)),
        );
    }
}

/// The value of a key as a type of ours, if it is there and fits.
pub(crate) fn field<T: DeserializeOwned>(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<T> {
    node.get(key)?.decode().map_err(|problem| problems.push(problem)).ok()
}

fn period(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<Period> {
    let value = node.get(key)?;
    if value.as_str().is_some_and(|text| text.contains("{{")) {
        problems.push(
            Problem::error(value.span, format!("`{key}` takes no template"))
                .help("write the duration itself, e.g. `10m`"),
        );
        return None;
    }
    field(node, key, problems)
}

/// The entries of a mapping of named things.
fn entries<T>(
    root: &Node,
    key: &str,
    problems: &mut Vec<Problem>,
    read: impl Fn(&str, &Node, &mut Vec<Problem>) -> T,
) -> Vec<T> {
    let Some(node) = root.get(key) else { return Vec::new() };
    if !matches!(node.value, Value::Map(_)) {
        problems.push(
            Problem::error(node.span, format!("`{key}` is a mapping from names, found {}", node.sort()))
                .help("write `name: { description: … }` for each"),
        );
    }
    let mut all = Vec::new();
    for (key, value) in node.entries() {
        // A bad name is reported, and its entry read nevertheless.
        name(key, problems);
        all.push(read(key.as_str().unwrap_or_default(), value, problems));
    }
    all
}

fn name(node: &Node, problems: &mut Vec<Problem>) -> Option<String> {
    let Some(text) = node.as_str() else {
        problems.push(Problem::error(node.span, format!("expected a name, found {}", node.sort())).help("quote it"));
        return None;
    };
    if !is_name(text) {
        problems.push(
            Problem::error(node.span, format!("`{text}` is not a name"))
                .help("names are `snake_case`: a-z, 0-9 and `_`, a letter first, 64 characters at most"),
        );
    }
    Some(text.into())
}

fn input(name: &str, node: &Node, problems: &mut Vec<Problem>) -> Input {
    mapping(node, "an input", keys::INPUT, problems);
    let r#type = field(node, "type", problems).unwrap_or(InputType::String);
    let mut limit = |key: &str| {
        let value = node.get(key)?;
        amount(r#type, value).map_err(|problem| problems.push(problem)).ok()
    };
    let (minimum, maximum) = (limit("minimum"), limit("maximum"));
    let one_of = match node.get("enum").map(|list| (&list.value, list.span)) {
        None => Vec::new(),
        Some((Value::List(items), _)) if !items.is_empty() => items.clone(),
        Some((_, span)) => {
            problems.push(
                Problem::error(span, "`enum` is a list of the values accepted").help("e.g. `enum: [fast, slow]`"),
            );
            Vec::new()
        }
    };
    let mut pattern: Option<String> = field(node, "pattern", problems);
    if let (Some(text), Some(value)) = (&pattern, node.get("pattern"))
        && let Err(e) = regex_lite::Regex::new(text)
    {
        problems.push(Problem::error(value.span, format!("not a regular expression: {e}")).help("e.g. `^[a-z]+$`"));
        pattern = None;
    }
    Input {
        name: name.into(),
        r#type,
        description: field(node, "description", problems).unwrap_or_default(),
        default: node.get("default").cloned(),
        one_of,
        pattern,
        minimum,
        maximum,
        secret: field(node, "secret", problems).unwrap_or_default(),
        span: node.span,
    }
}

fn steps(root: &Node, key: &str, problems: &mut Vec<Problem>) -> Vec<StepSpec> {
    match root.get(key).map(|node| (&node.value, node)) {
        None => Vec::new(),
        Some((Value::List(items), _)) => items.iter().map(|item| step(item, problems)).collect(),
        Some((_, node)) => {
            problems.push(
                Problem::error(node.span, format!("`{key}` is a list of steps, found {}", node.sort()))
                    .help("begin each step with `- id: …`"),
            );
            Vec::new()
        }
    }
}

fn step(node: &Node, problems: &mut Vec<Problem>) -> StepSpec {
    mapping(node, "a step", keys::STEP, problems);
    let with = match node.get("with") {
        Some(with) if matches!(with.value, Value::Map(_)) => Some(with.clone()),
        Some(with) => {
            problems.push(
                Problem::error(with.span, format!("`with` is a mapping, found {}", with.sort()))
                    .help("give the parameters by name, e.g. `with: { bucket: docs }`"),
            );
            None
        }
        None => None,
    };
    let title = node.get("title").cloned();
    if let Some(title) = &title
        && let Err(problem) = title.decode::<String>()
    {
        problems.push(problem);
    }
    let timeout = period(node, "timeout", problems);
    let deadline = period(node, "deadline", problems);
    for (key, limit) in [("timeout", timeout), ("deadline", deadline)] {
        if limit.is_some_and(|limit| limit <= REQUEST_TIMEOUT) {
            problems.push(
                Problem::error(node.get(key).map(|value| value.span), format!("the {key} is too short"))
                    .help(format!("one request alone may take {REQUEST_TIMEOUT}; give the step more than that")),
            );
        }
    }
    if let (Some(timeout), Some(deadline)) = (timeout, deadline)
        && deadline < timeout
    {
        problems.push(
            Problem::error(
                node.get("deadline").map(|value| value.span),
                "the deadline ends before the first attempt's timeout",
            )
            .help("the deadline covers all attempts: make it the longer one"),
        );
    }
    StepSpec {
        id: node.get("id").and_then(|id| name(id, problems)).unwrap_or_default(),
        span: node.get("id").unwrap_or(node).span,
        uses: field(node, "uses", problems).unwrap_or_default(),
        uses_span: node.get("uses").unwrap_or(node).span,
        with: with.unwrap_or(Node {
            value: Value::Map(Vec::new()),
            span: node.get("uses").unwrap_or(node).span,
            rendered: false,
        }),
        title,
        when: node.get("when").and_then(|node| expression("when", node, problems)),
        retry: node.get("retry").and_then(|node| retry(node, problems)),
        until: node.get("until").and_then(|node| until(node, problems)),
        timeout,
        deadline,
        expect: expect(node, problems),
        on_failure: field::<OnFailure>(node, "on_failure", problems).unwrap_or_default(),
    }
}

/// A bare expression. One in braces is reported, and read as if it had none.
pub(crate) fn expression(key: &str, node: &Node, problems: &mut Vec<Problem>) -> Option<Expr> {
    let Some(text) = node.as_str() else {
        problems.push(
            Problem::error(node.span, format!("`{key}` is an expression, found {}", node.sort()))
                .help(format!("write it as text, e.g. `{key}: \"out.versions > 0\"`")),
        );
        return None;
    };
    if !text.contains("{{") && !text.contains("{%") {
        return Some(Expr { text: text.into(), span: node.span });
    }
    let bare = text.trim().strip_prefix("{{").and_then(|text| text.strip_suffix("}}")).map(str::trim);
    let help = bare.map_or_else(
        || format!("`{key}` takes bare expressions, without braces"),
        |bare| format!("write it without braces: `{bare}`"),
    );
    problems.push(Problem::error(node.span, format!("`{key}` is a bare expression, not a template")).help(help));
    let bare = bare.filter(|bare| !bare.contains("{{"))?;
    let at = text.find(bare).unwrap_or(0);
    let verbatim = node.span.end - node.span.start == text.len();
    let span = Span { start: node.span.start + at, end: node.span.start + at + bare.len() };
    Some(Expr { text: bare.into(), span: if verbatim { span } else { node.span } })
}

fn expect(step: &Node, problems: &mut Vec<Problem>) -> Vec<Expr> {
    match step.get("expect").map(|node| (&node.value, node)) {
        None => Vec::new(),
        Some((Value::List(items), _)) => items.iter().filter_map(|item| expression("expect", item, problems)).collect(),
        Some((_, node)) => {
            problems.push(
                Problem::error(node.span, format!("`expect` is a list of expressions, found {}", node.sort()))
                    .help("put it into brackets: `expect: [ \"…\" ]`"),
            );
            Vec::new()
        }
    }
}

fn retry(node: &Node, problems: &mut Vec<Problem>) -> Option<Retry> {
    mapping(node, "`retry`", keys::RETRY, problems);
    let attempts: Option<u32> = field(node, "attempts", problems);
    if let (Some(span), Some(attempts)) = (node.get("attempts").map(|node| node.span), attempts)
        && !(1..=1000).contains(&attempts)
    {
        problems.push(
            Problem::error(span, format!("{attempts} attempts are not possible"))
                .help("1 to 1000, the first attempt included"),
        );
    }
    let interval = period(node, "interval", problems).unwrap_or(Period::secs(5));
    let longest = period(node, "max_interval", problems);
    if longest.is_some_and(|longest| longest < interval) {
        let span = node.get("max_interval").map(|node| node.span);
        problems.push(Problem::error(span, "`max_interval` is shorter than `interval`").help("make it the longer one"));
    }
    let on = node.get("on").map_or_else(|| keys::RETRIED.to_vec(), |list| classes(list, problems));
    Some(Retry {
        span: node.span,
        attempts: attempts?,
        interval,
        // A long first wait lengthens the default of the longest one.
        max_interval: longest.unwrap_or(Period::secs(60).max(interval)),
        on,
    })
}

fn classes(list: &Node, problems: &mut Vec<Problem>) -> Vec<Class> {
    let Value::List(items) = &list.value else {
        problems.push(
            Problem::error(list.span, format!("`on` is a list of failure classes, found {}", list.sort()))
                .help("e.g. `on: [unreachable, timed_out]`"),
        );
        return Vec::new();
    };
    if items.is_empty() {
        problems.push(
            Problem::error(list.span, "nothing would ever be tried again")
                .help("name at least one class, or leave `on` out"),
        );
    }
    let mut classes = Vec::new();
    for item in items {
        match item.decode::<Class>() {
            Ok(class @ (Class::Unreachable | Class::TimedOut | Class::Throttled)) => classes.push(class),
            Ok(Class::Refused | Class::Lost) => problems.push(
                Problem::error(item.span, "this failure is never tried again")
                    .help("`on` takes `unreachable`, `timed_out` and `throttled`"),
            ),
            Err(problem) => problems.push(problem),
        }
    }
    classes
}

fn until(node: &Node, problems: &mut Vec<Problem>) -> Option<Until> {
    mapping(node, "`until`", keys::UNTIL, problems);
    let that = node.get("that").and_then(|that| expression("that", that, problems));
    let every = period(node, "every", problems).unwrap_or(Period::secs(10));
    if every.0.is_zero() {
        let span = node.get("every").map(|node| node.span);
        problems.push(Problem::error(span, "looking again without a pause").help("give `every` at least `1s`"));
    }
    let deadline = period(node, "deadline", problems);
    if deadline.is_some_and(|deadline| deadline < every) {
        let span = node.get("deadline").map(|node| node.span);
        problems.push(
            Problem::error(span, "the deadline ends before the second look")
                .help("make `deadline` longer than `every`"),
        );
    }
    Some(Until { span: node.span, that: that?, every, deadline: deadline? })
}

fn unique_ids<'a>(steps: impl Iterator<Item = &'a StepSpec>, problems: &mut Vec<Problem>) {
    let mut seen = BTreeMap::new();
    for step in steps.filter(|step| !step.id.is_empty()) {
        if seen.insert(&step.id, step.span).is_some() {
            problems.push(
                Problem::error(step.span, format!("the id `{}` is used twice", step.id))
                    .help("give each step an id of its own, over `steps` and `finally` together"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::parse;

    fn step_of(step: &str) -> StepSpec {
        let text =
            format!("format: 1\nrunbook: toy\nsummary: x\nkind: drill\nsteps: [{{id: a, uses: toy.read, {step}}}]\n");
        read(&parse(&text).unwrap()).unwrap().steps.remove(0)
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let step = step_of("retry: { attempts: 3 }, until: { that: out.ok, deadline: 1h }");
        let retry = step.retry.unwrap();
        assert_eq!((retry.attempts, retry.interval, retry.max_interval), (3, Period::secs(5), Period::secs(60)));
        assert_eq!(retry.on, [Class::Unreachable, Class::TimedOut, Class::Throttled]);
        assert_eq!(step.until.unwrap().every, Period::secs(10));
        assert_eq!((step.on_failure, step.timeout, step.with.entries().len()), (OnFailure::Stop, None, 0));
    }

    #[test]
    fn a_long_first_wait_lengthens_the_longest() {
        let retry = step_of("retry: { attempts: 2, interval: 5m }").retry.unwrap();
        assert_eq!(retry.max_interval, Period::secs(300));
    }

    #[test]
    fn an_expression_in_braces_is_still_read() {
        let text = "format: 1\nrunbook: toy\nsummary: x\nkind: drill\nsteps: [{id: a, uses: toy.read, when: '{{ run.id }}'}]\n";
        let mut problems = Vec::new();
        let runbook = gather(&parse(text).unwrap(), &mut problems);
        let when = runbook.steps[0].when.clone().unwrap();
        assert_eq!((when.text.as_str(), &text[when.span.start..when.span.end]), ("run.id", "run.id"));
        assert_eq!(problems.len(), 1);
    }
}

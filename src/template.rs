//! Templates and expressions: which names they use, and what they come to in a scope.

mod vocabulary;

use std::time::Duration;

use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, value::Serde};
use serde_json::Value;

use self::vocabulary::{code, vocabulary};
use crate::{
    problem::{Problem, Span},
    runbook::Expr,
    tree::{Node, Value as Yaml},
    types::Period,
};

/// What a template may name, besides what it defines itself.
pub const ROOTS: [&str; 5] = ["inputs", "roles", "steps", "run", "out"];

/// Enough for any expression of a runbook, and soon used up by a loop that does not end.
const FUEL: u64 = 100_000;
const DEPTH: usize = 50;

/// A name that an expression uses, e.g. `steps.compare.versions`, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub path: String,
    pub span: Span,
    /// The text it stands in says what holds without it: `… | default(…)`.
    pub has_default: bool,
}

/// The tree with every template filled in; spans are kept, so that a bad value is reported at its template. Text that is
/// exactly one `{{ … }}` becomes the value itself, other text stays text.
pub fn render(node: &Node, scope: &Value) -> Result<Node, Problem> {
    let value = match &node.value {
        Yaml::Str(text) => match whole(text) {
            Some(expr) => return Ok(Node::from_json(evaluate(expr, place(node, text, expr), scope)?, node.span)),
            None if is_template(text) => {
                let text = environment()
                    .render_str(text, Serde(scope))
                    .map_err(|e| problem(&e, node.span, text, "the template cannot be filled in"))?;
                return Ok(Node { value: Yaml::Str(text), span: node.span, rendered: true });
            }
            None => node.value.clone(),
        },
        Yaml::List(items) => Yaml::List(items.iter().map(|item| render(item, scope)).collect::<Result<_, _>>()?),
        Yaml::Map(entries) => Yaml::Map(
            entries
                .iter()
                .map(|(key, value)| Ok((key.clone(), render(value, scope)?)))
                .collect::<Result<_, Problem>>()?,
        ),
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) => node.value.clone(),
    };
    Ok(Node { value, span: node.span, rendered: node.rendered })
}

/// What a condition says. Anything but a boolean, an undefined name above all, is a problem.
pub fn condition(expr: &Expr, scope: &Value) -> Result<bool, Problem> {
    let value = value(expr, scope)?;
    value.as_bool().ok_or_else(|| {
        Problem::error(expr.span, format!("`{}` is neither true nor false but {}", expr.text, sort(&value)))
            .help("compare it with something, e.g. `out.versions > 0`")
    })
}

/// What an expression comes to.
pub fn value(expr: &Expr, scope: &Value) -> Result<Value, Problem> {
    evaluate(&expr.text, expr.span, scope)
}

/// The names that the templates of a tree use, each with its place.
pub fn names(node: &Node) -> Result<Vec<Name>, Vec<Problem>> {
    let mut all = Vec::new();
    let mut problems = Vec::new();
    collect(node, &mut all, &mut problems);
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

/// The names that an expression uses, each with its place.
pub fn names_in(expr: &Expr) -> Result<Vec<Name>, Problem> {
    let environment = environment();
    let compiled = environment
        .compile_expression(&expr.text)
        .map_err(|e| problem(&e, expr.span, &expr.text, "not an expression"))?;
    vocabulary(&environment, &expr.text, 0..expr.text.len(), expr.span)?;
    Ok(placed(compiled.undeclared_variables(true), &expr.text, expr.span))
}

/// The name with its own place, also where the text it stands in is written over several lines.
pub fn narrowed(name: &Name, file: &str) -> Name {
    let raw = file.get(name.span.start..name.span.end).unwrap_or_default();
    let span = match find_name(raw, &name.path) {
        Some(at) => Span { start: name.span.start + at, end: name.span.start + at + name.path.len() },
        None => name.span,
    };
    Name { span, ..name.clone() }
}

/// The expression, when the text is exactly one `{{ … }}`.
pub fn whole(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix('-').unwrap_or(inner);
    let inner = inner.strip_suffix('-').unwrap_or(inner).trim();
    // Braces inside may be a second template, or text in quotes; then it is filled in as text.
    (!inner.contains("{{") && !inner.contains("}}")).then_some(inner)
}

/// Whether text holds anything to fill in.
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

fn collect(node: &Node, all: &mut Vec<Name>, problems: &mut Vec<Problem>) {
    match &node.value {
        Yaml::Str(text) if is_template(text) => match environment().template_from_str(text) {
            Ok(template) => {
                let code = code(text);
                problems.extend(code.filter_map(|code| vocabulary(&environment(), text, code, node.span).err()));
                if whole(text) == Some("") {
                    problems
                        .push(Problem::error(node.span, "an empty template").help("name a value between the braces"));
                }
                all.extend(placed(template.undeclared_variables(true), text, node.span));
            }
            Err(e) => problems.push(problem(&e, node.span, text, "not a template")),
        },
        Yaml::List(items) => items.iter().for_each(|item| collect(item, all, problems)),
        Yaml::Map(entries) => entries.iter().for_each(|(_, value)| collect(value, all, problems)),
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) => {}
    }
}

/// The names in the order of the text, each at its first place.
fn placed(paths: impl IntoIterator<Item = String>, text: &str, span: Span) -> Vec<Name> {
    let has_default = text.split('|').skip(1).any(|filter| filter.trim_start().starts_with("default"));
    let mut names: Vec<Name> = paths
        .into_iter()
        .map(|path| {
            let at = find_name(text, &path);
            Name { span: at.map_or(span, |at| inside(span, text, at, at + path.len())), path, has_default }
        })
        .collect();
    names.sort_by(|a, b| (a.span, &a.path).cmp(&(b.span, &b.path)));
    names
}

/// Where a name stands as a whole, not as a part of a longer one.
fn find_name(text: &str, path: &str) -> Option<usize> {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.');
    text.match_indices(path)
        .map(|(at, _)| at)
        .find(|at| !part(text[..*at].chars().next_back()) && !part(text[at + path.len()..].chars().next()))
}

/// A place inside of a text, when the text stands in the file as it is; else the place of the text.
fn inside(span: Span, text: &str, start: usize, end: usize) -> Span {
    let verbatim = span.end - span.start == text.len();
    if verbatim { Span { start: span.start + start, end: span.start + end } } else { span }
}

fn place(node: &Node, text: &str, expr: &str) -> Span {
    text.find(expr).map_or(node.span, |at| inside(node.span, text, at, at + expr.len()))
}

fn evaluate(expr: &str, span: Span, scope: &Value) -> Result<Value, Problem> {
    let environment = environment();
    let value = environment
        .compile_expression(expr)
        .and_then(|compiled| compiled.eval(Serde(scope)))
        .map_err(|e| problem(&e, span, expr, "the expression has no value"))?;
    // Strict or not, an undefined result that nothing is done with comes back without an error.
    if value.is_undefined() {
        return Err(
            Problem::error(span, format!("`{expr}` has no value")).help("say what holds without it: `… | default(…)`")
        );
    }
    serde_json::to_value(&value)
        .map_err(|_| Problem::error(span, format!("`{expr}` comes to something that is no value of YAML")))
}

/// No debug mode: its error texts would show every value in scope, secrets included.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_debug(false);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEPTH);
    for function in ["range", "dict", "debug", "namespace"] {
        environment.remove_global(function);
    }
    environment.add_filter("bytes", bytes);
    environment.add_filter("duration", duration);
    environment.add_filter("count", count);
    environment.add_filter("tojson", to_json);
    environment
}

/// `3.2 GiB`
fn bytes(n: f64) -> Result<String, Error> {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if !(n.is_finite() && n >= 0.0) {
        return Err(wrong("`bytes` takes a number of bytes"));
    }
    let mut amount = n;
    let mut unit = "B";
    for next in UNITS {
        // What would be shown as 1024.0 is one of the next unit.
        if amount < 1023.95 {
            break;
        }
        amount /= 1024.0;
        unit = next;
    }
    Ok(if unit == "B" { format!("{amount} B") } else { format!("{amount:.1} {unit}") })
}

/// `4m 10s`
fn duration(seconds: f64) -> Result<String, Error> {
    // Below a minute tenths still say something.
    let shown = if seconds < 60.0 { (seconds * 10.0).round() / 10.0 } else { seconds.round() };
    let shown = Duration::try_from_secs_f64(shown).map_err(|_| wrong("`duration` takes a number of seconds"))?;
    Ok(Period(shown).to_string())
}

/// `12,345`
fn count(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut out = String::from(if n < 0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// JSON without the escapes for HTML that the engine's own filter adds.
fn to_json(value: &minijinja::Value) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|_| wrong("`tojson` cannot write this value"))
}

fn wrong(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

/// An error of the template engine at its place in the YAML. Its text names what stands in the file, never a value.
fn problem(error: &Error, span: Span, text: &str, what: &str) -> Problem {
    let at = error
        .range()
        .filter(|range| range.start < text.len())
        .map_or(span, |range| inside(span, text, range.start, range.end.clamp(range.start + 1, text.len())));
    let reason = match error.kind() {
        ErrorKind::UndefinedError => "a name in it has no value".to_owned(),
        ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
        kind => match error.detail() {
            Some(detail) => detail.to_owned(),
            None => kind.to_string(),
        },
    };
    let problem = Problem::error(at, format!("{what}: {reason}"));
    match error.kind() {
        ErrorKind::UndefinedError => problem.help("say what holds without it: `… | default(…)`"),
        ErrorKind::SyntaxError => problem.help("complete it, e.g. `steps.compare.missing == 0 and not inputs.quick`"),
        _ => problem.help("correct the expression"),
    }
}

fn sort(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tree::parse;

    fn expr(text: &str) -> Expr {
        Expr { text: text.into(), span: Span { start: 10, end: 10 + text.len() } }
    }

    fn scope() -> Value {
        json!({"inputs": {"n": 3, "name": "x", "none": null}, "steps": {"a": {"versions": 12_345, "ok": true, "bytes": 3_435_973_837_u64}}})
    }

    #[test]
    fn a_whole_template_keeps_its_type_and_others_become_text() {
        let node = parse("{a: '{{ inputs.n }}', b: 'n={{ inputs.n }}', c: plain, d: ['{{ steps.a.ok }}']}").unwrap();
        let rendered = render(&node, &scope()).unwrap();
        assert_eq!(rendered.to_json(), json!({"a": 3, "b": "n=3", "c": "plain", "d": [true]}));
    }

    #[test]
    fn filters_write_for_people() {
        let text = |template: &str| {
            let node = Node::from_json(json!(template), Span::default());
            render(&node, &scope()).unwrap().to_json()
        };
        assert_eq!(text("{{ steps.a.bytes | bytes }}"), json!("3.2 GiB"));
        assert_eq!(text("{{ 250 | duration }}"), json!("4m 10s"));
        assert_eq!(text("{{ 0.25 | duration }}"), json!("300ms"));
        assert_eq!(text("{{ steps.a.versions | count }}"), json!("12,345"));
        assert_eq!(text("{{ inputs.missing | default(7) }}"), json!(7));
        assert_eq!(text("{{ {'a': '<'} | tojson }}!"), json!("{\"a\":\"<\"}!"));
        assert_eq!((bytes(1.0).unwrap(), bytes(1_048_575.0).unwrap()), ("1 B".into(), "1.0 MiB".into()));
        assert_eq!((count(-1_234_567), count(999)), ("-1,234,567".into(), "999".into()));
    }

    #[test]
    fn undefined_is_a_problem_wherever_it_stands() {
        for text in ["inputs.missing", "inputs.missing == 3", "not inputs.missing", "nowhere", "inputs.missing.x"] {
            assert!(condition(&expr(text), &scope()).is_err(), "{text}");
        }
        let node = Node::from_json(json!("{{ inputs.missing }}"), Span::default());
        assert!(render(&node, &scope()).unwrap_err().what.contains("has no value"));
        let node = Node::from_json(json!("a {{ inputs.missing }}"), Span::default());
        assert!(render(&node, &scope()).is_err());
    }

    #[test]
    fn what_a_skipped_step_lacks_may_have_a_default() {
        let scope = json!({"steps": {"a": {"ran": false, "verdict": "skipped"}}});
        assert_eq!(value(&expr("steps.a.versions | default(0)"), &scope), Ok(json!(0)));
        assert_eq!(condition(&expr("steps.a.ran and steps.a.versions > 3"), &scope), Ok(false));
        assert!(condition(&expr("steps.a.versions > 3"), &scope).is_err());
    }

    #[test]
    fn a_condition_is_true_or_false() {
        assert_eq!(condition(&expr("steps.a.versions > 3 and steps.a.ok"), &scope()), Ok(true));
        assert_eq!(condition(&expr("inputs.n is odd and not steps.a.ok"), &scope()), Ok(false));
        let problem = condition(&expr("inputs.n"), &scope()).unwrap_err();
        assert_eq!(problem.what, "`inputs.n` is neither true nor false but a number");
    }

    #[test]
    fn what_does_not_end_runs_out() {
        let node = Node::from_json(json!("{% for a in 'x' * 90000 %}{{ a }}{% endfor %}"), Span::default());
        let problem = render(&node, &scope()).unwrap_err();
        assert!(problem.what.contains("too many steps"), "{problem}");
        assert!(condition(&expr("'x' * 10000000000 == 'y'"), &scope()).is_err());
        assert!(condition(&expr(&"(".repeat(5000)), &scope()).is_err());
    }

    #[test]
    fn no_function_shows_what_is_in_scope() {
        for text in ["debug()", "range(3)", "namespace()"] {
            assert!(value(&expr(text), &scope()).is_err(), "{text}");
        }
    }

    #[test]
    fn filters_and_tests_must_exist() {
        for text in [
            "inputs.n | count",
            "inputs.n is odd",
            "inputs.n is not none",
            "'a | b is c' == 'x'",
            "1 in [1]",
            "inputs.n | default(3) | bytes == 'x'",
        ] {
            assert!(names_in(&expr(text)).is_ok(), "{text}");
        }
        let problem = names_in(&expr("inputs.n | byts")).unwrap_err();
        assert_eq!(problem.to_string(), "there is no filter `byts` (did you mean `bytes`?)");
        assert_eq!(problem.span, Some(Span { start: 21, end: 25 }));
        assert!(names_in(&expr("inputs.n is not evne")).is_err());
        let node = Node::from_json(json!("a | b {{ inputs.n | nope }} {{ 1 | count }}"), Span::default());
        assert_eq!(names(&node).unwrap_err().len(), 1);
    }

    #[test]
    fn no_error_shows_a_value() {
        let scope = json!({"inputs": {"s": "hunter22", "l": ["hunter22"], "m": {"hunter22": 1}}});
        let mut failed = 0;
        for text in [
            "inputs.s | int",
            "inputs.s + 1",
            "inputs.s | round",
            "inputs.s | abs",
            "inputs.s.x.y",
            "inputs.s | bytes",
            "inputs.s | count",
            "inputs.s | duration",
            "inputs.s()",
            "inputs.s.upper()",
            "inputs.l | sum",
            "inputs.m | sort",
            "inputs.s * 99999999999",
            "inputs.s | float",
            "inputs.l | join(3) | int",
            "-inputs.s",
            "inputs.s | fmt",
            "inputs.s % 3",
            "inputs.m[inputs.s].x",
            "inputs.s in 3",
            "inputs.m | bytes",
            "inputs[inputs.s]",
            "inputs.s is divisibleby('x')",
            "inputs.s | batch('x')",
            "inputs.s < 3",
            "inputs.s | attr('x') | int",
            "inputs.s | map('nope')",
            "inputs.l | map(inputs.s)",
            "inputs.l | select(inputs.s)",
            "inputs.l | map(attribute=inputs.s) | sum",
            "inputs.s | format(3)",
            "inputs.s | replace(3)",
            "inputs.l | dictsort",
            "inputs.s | indent('x')",
        ] {
            let Err(problem) = value(&expr(text), &scope) else { continue };
            failed += 1;
            assert!(!problem.to_string().contains("hunter22"), "{text}: {problem}");
        }
        assert!(failed > 15, "only {failed}");
    }

    #[test]
    fn names_have_places() {
        let names = names_in(&expr("steps.a.ok and inputs.n > 3")).unwrap();
        let paths: Vec<_> = names.iter().map(|name| (name.path.as_str(), name.span.start, name.span.end)).collect();
        assert_eq!(paths, [("steps.a.ok", 10, 20), ("inputs.n", 25, 33)]);
        let problem = names_in(&expr("inputs.n >")).unwrap_err();
        assert!(problem.span.unwrap().start >= 10, "{problem:?}");
    }
}

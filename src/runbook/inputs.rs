//! The values of the inputs: typed by their declaration, and within its limits.

use serde_json::{Map, Value, json};

use super::{Input, InputType, Runbook};
use crate::{
    problem::{Problem, did_you_mean},
    template,
    tree::{self, Node},
    types::{BucketName, Period, parse_period, parse_size},
};

/// The values of the inputs: what was given, else the defaults; typed and within their limits. Text that was given, as on
/// the command line, is read by the declared type.
pub fn bind_inputs(runbook: &Runbook, given: &Map<String, Value>) -> Result<Map<String, Value>, Vec<Problem>> {
    let mut problems = Vec::new();
    for name in given.keys().filter(|name| !runbook.inputs.iter().any(|input| input.name == **name)) {
        problems.push(
            Problem::error(None, format!("the runbook `{}` has no input `{name}`", runbook.name))
                .maybe_help(did_you_mean(name, runbook.inputs.iter().map(|input| input.name.as_str()))),
        );
    }
    let mut bound = Map::new();
    for input in &runbook.inputs {
        let value = match (given.get(&input.name), &input.default) {
            (Some(value), _) => value_of(input, value).map_err(|what| {
                Problem::error(None, format!("the input `{}` does not fit: {what}", input.name))
                    .help(format!("give it with `-i {}=…`: {}", input.name, input.description))
            }),
            // It may name an input that is among the problems already.
            (None, Some(default)) if !problems.is_empty() && has_template(default) => continue,
            (None, Some(default)) => default_of(input, default, &bound),
            (None, None) => Err(Problem::error(None, format!("the input `{}` is missing", input.name))
                .help(format!("give it with `-i {}=…`: {}", input.name, input.description))),
        };
        match value {
            Ok(value) => drop(bound.insert(input.name.clone(), value)),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(bound) } else { Err(problems) }
}

/// A default may be a template over the inputs above it.
fn default_of(input: &Input, default: &Node, above: &Map<String, Value>) -> Result<Value, Problem> {
    let node = template::render(default, &json!({"inputs": above}))?;
    value_of(input, &node.to_json())
        .map_err(|what| Problem::error(default.span, format!("the default of `{}` does not fit: {what}", input.name)))
}

fn has_template(node: &Node) -> bool {
    template::names(node).is_ok_and(|names| !names.is_empty())
}

/// One value as the type of its input, within the limits. The error never shows the value of a secret input.
pub(crate) fn value_of(input: &Input, value: &Value) -> Result<Value, String> {
    let limited = typed(input.r#type, value).and_then(|value| limited(input, value));
    if input.secret {
        return limited.map_err(|_| "its value is not shown, because it is secret".into());
    }
    limited
}

fn typed(r#type: InputType, value: &Value) -> Result<Value, String> {
    let text = value.as_str();
    let typed = match r#type {
        InputType::String => text.map(Value::from),
        InputType::Integer => value.as_i64().or_else(|| text.and_then(|text| text.parse().ok())).map(Value::from),
        InputType::Number => match text {
            Some(text) => text.parse::<f64>().ok().filter(|x| x.is_finite()).map(Value::from),
            None => value.is_number().then(|| value.clone()),
        },
        InputType::Boolean => value.as_bool().or_else(|| text.and_then(|text| text.parse().ok())).map(Value::from),
        InputType::Duration => match text {
            Some(text) => parse_period(text),
            None => serde_json::from_value(value.clone()).ok(),
        }
        .map(seconds),
        InputType::Size => match text {
            Some(text) => parse_size(text),
            None => value.as_u64(),
        }
        .map(Value::from),
        InputType::Bucket => match text {
            Some(text) => Some(Value::from(BucketName::try_from(text.to_owned())?.as_str())),
            None => None,
        },
        InputType::List => match value {
            Value::Array(items)
                if items.iter().all(|item| !item.is_array() && !item.is_object() && !item.is_null()) =>
            {
                Some(value.clone())
            }
            // Given once on the command line.
            Value::String(_) => Some(Value::Array(vec![value.clone()])),
            Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
        },
    };
    typed.ok_or_else(|| format!("`{}` is not {}", text.map_or_else(|| value.to_string(), Into::into), called(r#type)))
}

fn limited(input: &Input, value: Value) -> Result<Value, String> {
    let items = value.as_array().map_or(std::slice::from_ref(&value), Vec::as_slice);
    for item in items {
        let one_of: Vec<Value> =
            input.one_of.iter().filter_map(|node| typed_item(input.r#type, &node.to_json())).collect();
        if !one_of.is_empty() && !one_of.contains(item) {
            let known: Vec<String> = one_of.iter().map(|one| format!("`{}`", plain(one))).collect();
            return Err(format!("`{}` is not one of {}", plain(item), known.join(", ")));
        }
        if let Some(pattern) = &input.pattern
            && regex_lite::Regex::new(pattern).is_ok_and(|regex| !regex.is_match(&plain(item)))
        {
            return Err(format!("`{}` does not match the pattern `{pattern}`", plain(item)));
        }
    }
    if let Some(n) = value.as_f64() {
        let shown = |limit: f64| shown(input.r#type, limit);
        if let Some(minimum) = input.minimum.filter(|minimum| n < *minimum) {
            return Err(format!("{} is less than {}", shown(n), shown(minimum)));
        }
        if let Some(maximum) = input.maximum.filter(|maximum| n > *maximum) {
            return Err(format!("{} is more than {}", shown(n), shown(maximum)));
        }
    }
    Ok(value)
}

/// An entry of `enum` as it is compared: of a list its items are meant.
fn typed_item(r#type: InputType, value: &Value) -> Option<Value> {
    if r#type == InputType::List { Some(value.clone()) } else { typed(r#type, value).ok() }
}

/// `minimum` or `maximum` as a number.
pub(super) fn amount(r#type: InputType, node: &Node) -> Result<f64, Problem> {
    let bad = |help: &str| Problem::error(node.span, format!("not a limit of {}", called(r#type))).help(help);
    match r#type {
        InputType::Integer | InputType::Number => match node.value {
            tree::Value::Int(_) | tree::Value::Float(_) => node.decode(),
            _ => Err(bad("write a number")),
        },
        InputType::Duration | InputType::Size => typed(r#type, &node.to_json())
            .ok()
            .and_then(|value| value.as_f64())
            .ok_or_else(|| bad("write it as a value of this type, e.g. `10m` or `1MiB`")),
        InputType::String | InputType::Boolean | InputType::Bucket | InputType::List => {
            Err(bad("only numbers, durations and sizes have `minimum` and `maximum`; use `pattern` or `enum`"))
        }
    }
}

/// Whole seconds stay whole numbers, so that they can fill a parameter that takes one.
fn seconds(period: Period) -> Value {
    if period.0.subsec_nanos() == 0 { Value::from(period.0.as_secs()) } else { Value::from(period.0.as_secs_f64()) }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), Into::into)
}

fn shown(r#type: InputType, n: f64) -> String {
    match r#type {
        InputType::Duration => {
            serde_json::from_value(json!(n)).map_or_else(|_| n.to_string(), |period: Period| period.to_string())
        }
        InputType::Size => format!("{n} bytes"),
        InputType::String
        | InputType::Integer
        | InputType::Number
        | InputType::Boolean
        | InputType::Bucket
        | InputType::List => n.to_string(),
    }
}

fn called(r#type: InputType) -> &'static str {
    match r#type {
        InputType::String => "text",
        InputType::Integer => "a whole number",
        InputType::Number => "a number",
        InputType::Boolean => "`true` or `false`",
        InputType::Duration => "a duration such as `90s`, `10m` or `4h`",
        InputType::Size => "a size such as `512kB`, `10MiB` or `1.5GiB`",
        InputType::Bucket => "a bucket's name",
        InputType::List => "a list of texts",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{runbook::read, tree::parse};

    fn runbook(inputs: &str) -> Runbook {
        let text = format!(
            "format: 1\nrunbook: toy\nsummary: x\nkind: verify\ninputs: {inputs}\nsteps: [{{id: a, uses: toy.read}}]\n"
        );
        read(&parse(&text).unwrap()).unwrap()
    }

    fn bind(inputs: &str, given: Value) -> Result<Value, Vec<String>> {
        let Value::Object(given) = given else { panic!("given as a mapping") };
        bind_inputs(&runbook(inputs), &given)
            .map(Value::Object)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn text_is_read_by_the_declared_type() {
        let inputs = "{n: {type: integer, description: N}, x: {type: number, description: X}, b: {type: boolean, description: B}, \
            d: {type: duration, description: D}, s: {type: size, description: S}, u: {type: bucket, description: U}, \
            l: {type: list, description: L}, t: {type: string, description: T}}";
        let text = json!({"n": "3", "x": "0.5", "b": "true", "d": "4h", "s": "10MiB", "u": "docs", "l": "a", "t": "3"});
        let bound =
            json!({"n": 3, "x": 0.5, "b": true, "d": 14400, "s": 10_485_760, "u": "docs", "l": ["a"], "t": "3"});
        assert_eq!(bind(inputs, text).unwrap(), bound);
        let again = bound.clone();
        assert_eq!(bind(inputs, again).unwrap(), bound, "values of a file are taken as they are");
    }

    #[test]
    fn every_bad_value_is_named_with_its_way_out() {
        let inputs = "{n: {type: integer, minimum: 1, description: How many}, \
            d: {type: duration, maximum: 1h, description: How long}, \
            e: {type: string, enum: [fast, slow], description: How}, \
            p: {type: string, pattern: '^[a-z]+$', description: Letters}, \
            bucket: {type: bucket, description: Bucket to rebuild}}";
        let problems =
            bind(inputs, json!({"n": "0", "d": "2h", "e": "fats", "p": "A1", "bukcet": "docs"})).unwrap_err();
        assert_eq!(
            problems,
            [
                "the runbook `toy` has no input `bukcet` (did you mean `bucket`?)",
                "the input `n` does not fit: 0 is less than 1 (give it with `-i n=…`: How many)",
                "the input `d` does not fit: 2h is more than 1h (give it with `-i d=…`: How long)",
                "the input `e` does not fit: `fats` is not one of `fast`, `slow` (give it with `-i e=…`: How)",
                "the input `p` does not fit: `A1` does not match the pattern `^[a-z]+$` (give it with `-i p=…`: Letters)",
                "the input `bucket` is missing (give it with `-i bucket=…`: Bucket to rebuild)",
            ]
        );
    }

    #[test]
    fn defaults_may_use_the_inputs_above() {
        let inputs =
            "{a: {type: bucket, description: A}, b: {type: string, default: '{{ inputs.a }}-copy', description: B}}";
        assert_eq!(bind(inputs, json!({"a": "docs"})).unwrap(), json!({"a": "docs", "b": "docs-copy"}));
        assert_eq!(bind(inputs, json!({})).unwrap_err().len(), 1, "what is missing is said once");
    }

    #[test]
    fn the_value_of_a_secret_input_is_in_no_error() {
        let inputs = "{s: {type: integer, secret: true, description: S}}";
        let problems = bind(inputs, json!({"s": "hunter2"})).unwrap_err();
        assert!(!problems[0].contains("hunter2"), "{problems:?}");
    }
}

//! The parameters of a step against the schema of its kind: every problem with its place. Templates are holes, held
//! against the type of what they name.

use serde_json::Value as Json;

use super::{
    references::{Place, Used, resolve},
    shape::{Shape, Types, called, fits},
};
use crate::{
    problem::{Problem, Span, did_you_mean},
    template,
    tree::{Node, Value, how_to_write},
    types::{BucketName, Moment, Period},
};

/// What a walk through the parameters knows and collects.
pub(super) struct Params<'a> {
    /// Where names are looked up; without one, text is text and no template.
    pub(super) place: Option<&'a Place<'a>>,
    pub(super) used: &'a mut Used,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Params<'_> {
    /// `uses` is where a problem stands that is about what the step does not say.
    pub(super) fn check(mut self, with: &Node, shape: Shape<'_>, uses: Span) {
        self.walk(with, shape, uses);
    }

    fn walk(&mut self, node: &Node, shape: Shape<'_>, missing_at: Span) {
        if let (Some(place), Some(text)) = (self.place, node.as_str().filter(|text| template::is_template(text))) {
            return self.hole(place, node, text, shape);
        }
        match (shape.name(), &node.value, self.place) {
            (Some("Role"), Value::Str(role), Some(place)) => return self.role(place, role, node.span, false),
            (Some(name), Value::Str(_) | Value::Int(_) | Value::Float(_), _) if self.shared(name, node) => return,
            _ => {}
        }
        let shape = shape.resolved();
        let alternatives = shape.alternatives();
        if !alternatives.is_empty() {
            return self.one_of(node, &alternatives, missing_at);
        }
        let types = shape.types();
        if !types.is_empty() && !fits_exactly(node, &types) {
            let expected = called(&types);
            let what = format!("expected {expected}, found {}", node.sort());
            let quotable = matches!(node.value, Value::Int(_) | Value::Float(_) | Value::Bool(_));
            let help = if types.contains("string") && quotable { "quote it" } else { how_to_write(&expected) };
            return self.problems.push(Problem::error(node.span, what).help(help));
        }
        match &node.value {
            Value::Str(text) => self.text(node, text, shape),
            Value::Int(_) | Value::Float(_) => self.number(node, shape),
            Value::List(items) => self.list(node, items, shape),
            Value::Map(entries) => self.mapping(node, entries, shape, missing_at),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// A template: nothing is known of its value but, if it is a plain name, the type.
    fn hole(&mut self, place: &Place<'_>, node: &Node, text: &str, shape: Shape<'_>) {
        if is_role(shape) {
            return self.problems.push(
                Problem::error(node.span, "a role takes no template")
                    .help("name the role itself: which site it is, is said to each run with `--site`"),
            );
        }
        let Some(expr) = template::whole(text) else {
            let types = Types::from(["string"]);
            let wanted = shape.types();
            if !fits(&types, &wanted) {
                self.problems.push(
                    Problem::error(
                        node.span,
                        format!("a template with text around it is text, and this takes {}", called(&wanted)),
                    )
                    .help("make it exactly one `{{ … }}`"),
                );
            }
            return;
        };
        let Ok(names) = template::names(node) else { return };
        // What is wrong with the name itself is reported with all other names.
        if let [name] = names.as_slice()
            && name.path == expr
            && let Ok(given) = resolve(name, place, None, self.used)
        {
            let wanted = shape.types();
            if !fits(&given, &wanted) {
                let what = format!("`{expr}` is {}, and this takes {}", called(&given), called(&wanted));
                self.problems.push(Problem::error(name.span, what).help("use a value of that type"));
            }
        }
    }

    /// Types of our own say best what is wrong with a value. Whether this was one.
    fn shared(&mut self, name: &str, node: &Node) -> bool {
        let (checked, example) = match name {
            "BucketName" => (node.decode::<BucketName>().map(drop), "a name such as `invoices-2026`"),
            "Period" => (node.decode::<Period>().map(drop), "a duration such as `90s`, `10m` or `4h`"),
            "Moment" => (node.decode::<Moment>().map(drop), "`now`, or a time with its zone"),
            _ => return false,
        };
        if let Err(problem) = checked {
            self.problems.push(match problem.help {
                Some(_) => problem,
                None => problem.help(format!("write {example}")),
            });
        }
        true
    }

    fn role(&mut self, place: &Place<'_>, role: &str, span: Span, implied: bool) {
        let roles = || place.runbook.roles.iter().map(|(role, _)| role.as_str());
        if roles().any(|known| known == role) {
            self.used.roles.insert(role.into());
            return;
        }
        let problem = if implied {
            Problem::error(span, format!("this step works on the role `{role}`, which the runbook does not declare"))
                .help(format!("declare `{role}` under `roles:`, or name another role in `with`"))
        } else {
            Problem::error(span, format!("there is no role `{role}`"))
                .help(did_you_mean(role, roles()).unwrap_or_else(|| format!("declare `{role}` under `roles:`")))
        };
        self.problems.push(problem);
    }

    fn one_of(&mut self, node: &Node, alternatives: &[Shape<'_>], missing_at: Span) {
        let written: Vec<Shape<'_>> = alternatives
            .iter()
            .copied()
            .filter(|one| matches!(node.value, Value::Null) || !one.types().iter().eq(["null"].iter()))
            .collect();
        if let [only] = written.as_slice() {
            return self.walk(node, *only, missing_at);
        }
        if let Value::Str(text) = &node.value {
            let names: Vec<&str> = written.iter().flat_map(|one| one.resolved().names()).collect();
            let free = written.iter().any(|one| one.resolved().names().is_empty() && one.types().contains("string"));
            if names.contains(&text.as_str()) {
                return;
            }
            if !names.is_empty() && !free {
                return self.unknown_value(node, text, &names);
            }
        }
        // A variant with a value is a mapping of one key, the variant's name.
        if let [(key, _)] = node.entries() {
            let name = key.as_str().unwrap_or_default();
            let variants: Vec<(&str, Shape<'_>)> = written.iter().filter_map(|one| one.variant()).collect();
            if let Some((_, variant)) = variants.iter().find(|(known, _)| *known == name) {
                return self.walk(node, *variant, missing_at);
            }
            if !variants.is_empty() {
                let known = written
                    .iter()
                    .flat_map(|one| one.resolved().names())
                    .chain(variants.iter().map(|(known, _)| *known));
                let help = did_you_mean(name, known).unwrap_or_else(|| "see the reference of this kind".into());
                return self.problems.push(Problem::error(key.span, format!("unknown value `{name}`")).help(help));
            }
        }
        // The alternative with the fewest problems is the one that was meant.
        let mut best: Option<Vec<Problem>> = None;
        for one in written {
            let mut problems = Vec::new();
            Params { place: self.place, used: self.used, problems: &mut problems }.walk(node, one, missing_at);
            if best.as_ref().is_none_or(|best| problems.len() < best.len()) {
                best = Some(problems);
            }
        }
        self.problems.extend(best.unwrap_or_default());
    }

    fn text(&mut self, node: &Node, text: &str, shape: Shape<'_>) {
        let names = shape.names();
        if !names.is_empty() && !names.contains(&text) {
            return self.unknown_value(node, text, &names);
        }
        let pattern = shape.schema.get("pattern").and_then(Json::as_str);
        if let Some(pattern) = pattern
            && regex_lite::Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text))
        {
            let about = shape.schema.get("description").and_then(Json::as_str).unwrap_or("write text of that form");
            let what = format!("`{text}` does not match the pattern `{pattern}`");
            return self.problems.push(Problem::error(node.span, what).help(about));
        }
        let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
        if limit(shape, "minLength").is_some_and(|least| length < least) {
            self.problems
                .push(Problem::error(node.span, "this text is too short").help("write at least one character"));
        }
    }

    fn unknown_value(&mut self, node: &Node, text: &str, names: &[&str]) {
        self.problems.push(
            Problem::error(node.span, format!("unknown value `{text}`"))
                .maybe_help(did_you_mean(text, names.iter().copied())),
        );
    }

    fn number(&mut self, node: &Node, shape: Shape<'_>) {
        let number = |key: &str| shape.schema.get(key).and_then(Json::as_f64);
        let Some(n) = node.to_json().as_f64() else { return };
        let mut least = |what: String| self.problems.push(Problem::error(node.span, what).help("give another number"));
        if let Some(minimum) = number("minimum").filter(|minimum| n < *minimum) {
            least(format!("must be {minimum} or more"));
        }
        if let Some(minimum) = number("exclusiveMinimum").filter(|minimum| n <= *minimum) {
            least(format!("must be more than {minimum}"));
        }
        if let Some(maximum) = number("maximum").filter(|maximum| n > *maximum) {
            least(format!("must be {maximum} or less"));
        }
    }

    fn list(&mut self, node: &Node, items: &[Node], shape: Shape<'_>) {
        let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
        if let Some(least) = limit(shape, "minItems").filter(|least| count < *least) {
            self.problems.push(Problem::error(node.span, format!("needs at least {least} entries")).help("add some"));
        }
        if let Some(most) = limit(shape, "maxItems").filter(|most| count > *most) {
            self.problems.push(Problem::error(node.span, format!("takes at most {most} entries")).help("remove some"));
        }
        if let Some(shape) = shape.key("items") {
            for item in items {
                self.walk(item, shape, item.span);
            }
        }
    }

    fn mapping(&mut self, node: &Node, entries: &[(Node, Node)], shape: Shape<'_>, missing_at: Span) {
        let no_keys = serde_json::Map::new();
        let known = shape.schema.get("properties").and_then(Json::as_object).unwrap_or(&no_keys);
        let others = shape.schema.get("additionalProperties");
        for (key, value) in entries {
            let Some(name) = key.as_str() else {
                self.problems.push(Problem::error(key.span, "a key must be text").help("quote it"));
                continue;
            };
            if template::is_template(name) {
                self.problems.push(Problem::error(key.span, "a key takes no template").help("write the key itself"));
                continue;
            }
            match (known.get(name), others) {
                (Some(schema), _) => self.walk(value, shape.at(schema), value.span),
                (None, Some(schema)) if schema.is_object() => self.walk(value, shape.at(schema), value.span),
                (None, Some(Json::Bool(true))) => {}
                // A schema that names no keys takes any.
                (None, None) if known.is_empty() => {}
                (None, _) => self.problems.push(
                    Problem::error(key.span, format!("unknown key `{name}`"))
                        .maybe_help(did_you_mean(name, known.keys().map(String::as_str))),
                ),
            }
        }
        let at = if entries.is_empty() { missing_at } else { node.span };
        for required in
            shape.schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
        {
            if node.get(required).is_none() {
                let about = known.get(required).and_then(|key| key.get("description")).and_then(Json::as_str);
                self.problems.push(
                    Problem::error(at, format!("missing key `{required}`")).help(
                        about.map_or_else(|| format!("add `{required}`"), |about| format!("{required}: {about}")),
                    ),
                );
            }
        }
        for (_, schema) in known.iter().filter(|(key, _)| node.get(key).is_none()) {
            if let (Some(place), Some(role)) = (self.place, role_by_default(shape.at(schema))) {
                self.role(place, role, missing_at, true);
            }
        }
    }
}

/// The role that a parameter names when the runbook does not give it.
fn role_by_default(shape: Shape<'_>) -> Option<&str> {
    shape.schema.get("default").and_then(Json::as_str).filter(|_| is_role(shape))
}

fn is_role(shape: Shape<'_>) -> bool {
    shape.name() == Some("Role") || shape.alternatives().iter().any(|one| one.name() == Some("Role"))
}

fn limit(shape: Shape<'_>, key: &str) -> Option<u64> {
    shape.schema.get(key).and_then(Json::as_u64)
}

/// A written value, unlike one from a template, is what it is.
fn fits_exactly(node: &Node, types: &Types) -> bool {
    match &node.value {
        Value::Null => types.contains("null"),
        Value::Bool(_) => types.contains("boolean"),
        Value::Int(_) => types.contains("integer") || types.contains("number"),
        Value::Float(_) => types.contains("number"),
        Value::Str(_) => types.contains("string") || types.contains("name"),
        Value::List(_) => types.contains("array"),
        Value::Map(_) => types.contains("object"),
    }
}

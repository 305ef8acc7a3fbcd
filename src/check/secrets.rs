//! Refuses what looks like a secret: a runbook is checked in, and read by many.

use crate::{
    problem::Problem,
    runbook::Runbook,
    template,
    tree::{Node, Value},
};

/// Parts of names whose values are secret. `credentials` is not one of them: it names an alias.
const SECRET_NAMES: [&str; 9] =
    ["secret", "password", "passwd", "passphrase", "token", "access_key", "accesskey", "private_key", "api_key"];

/// Looks at all written values: parameters, titles and defaults of inputs.
pub(super) fn check(runbook: &Runbook, problems: &mut Vec<Problem>) {
    for input in &runbook.inputs {
        for node in input.default.iter().chain(&input.one_of) {
            look(node, Some(&input.name), problems);
        }
    }
    for step in runbook.steps.iter().chain(&runbook.finally) {
        look(&step.with, None, problems);
        step.title.iter().for_each(|title| look(title, None, problems));
    }
}

fn look(node: &Node, name: Option<&str>, problems: &mut Vec<Problem>) {
    match &node.value {
        Value::Str(text) => {
            let named = name.filter(|name| names_a_secret(name) && !text.is_empty() && !template::is_template(text));
            let what = match named {
                Some(name) => format!("`{name}` holds a secret in plain text"),
                None if is_a_credential(text) => "this looks like a credential".into(),
                None => return,
            };
            problems.push(
                Problem::error(node.span, what)
                    .help("declare an input with `secret: true` and give it to each run; credentials of sites belong into `sites.yaml`")
                    .hidden(),
            );
        }
        Value::Int(_) | Value::Float(_) => {
            if let Some(name) = name.filter(|name| names_a_secret(name)) {
                problems.push(
                    Problem::error(node.span, format!("`{name}` holds a secret in plain text"))
                        .help("declare an input with `secret: true` and give it to each run")
                        .hidden(),
                );
            }
        }
        Value::List(items) => items.iter().for_each(|item| look(item, name, problems)),
        Value::Map(entries) => entries.iter().for_each(|(key, value)| look(value, key.as_str().or(name), problems)),
        Value::Null | Value::Bool(_) => {}
    }
}

fn names_a_secret(name: &str) -> bool {
    let name = name.to_lowercase().replace('-', "_");
    SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// Values that are credentials whatever their key is called.
fn is_a_credential(text: &str) -> bool {
    has_key_id(text) || text.contains("PRIVATE KEY-----") || has_password_in_url(text)
}

/// An access key id as AWS makes them: `AKIA` or `ASIA` and 16 more.
fn has_key_id(text: &str) -> bool {
    ["AKIA", "ASIA"].iter().flat_map(|prefix| text.match_indices(prefix)).any(|(at, prefix)| {
        let rest = &text[at + prefix.len()..];
        rest.chars().take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit()).count() == 16
    })
}

/// `https://user:password@host`, unless the password is filled in.
fn has_password_in_url(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
        authority
            .rsplit_once('@')
            .and_then(|(user, _)| user.split_once(':'))
            .is_some_and(|(_, password)| !password.is_empty() && !template::is_template(password))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_known_by_their_form() {
        for text in ["AKIAIOSFODNN7EXAMPLE", "-----BEGIN EC PRIVATE KEY-----", "see https://me:pass@host/x"] {
            assert!(is_a_credential(text), "{text}");
        }
        for text in ["AKIA", "https://host:9000/a@b", "https://me@host", "https://me:{{ inputs.p }}@host", "ASIATIC"] {
            assert!(!is_a_credential(text), "{text}");
        }
        assert!(names_a_secret("X-Auth-Token") && names_a_secret("secretKey") && !names_a_secret("credentials"));
    }
}

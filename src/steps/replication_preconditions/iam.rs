//! Evaluates an IAM policy document as `MinIO` does, as far as it can be told without a request. Pure.

use serde_json::Value;

/// What a policy says about an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    Allowed,
    Denied,
    /// It depends on something that is only known in a request; why.
    Depends(String),
}

/// What an action is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On<'a> {
    /// The bucket itself.
    Bucket(&'a str),
    /// Every object of the bucket.
    Objects(&'a str),
    /// The deployment: MinIO's admin actions know no resource.
    Deployment,
}

/// Whether a policy document lets an account do something; deny beats allow, silence denies.
pub(super) fn ruling(policy: &Value, account: &str, action: &str, on: On<'_>) -> Ruling {
    let mut depends = None;
    let mut allowed = false;
    for statement in list(policy.get("Statement")) {
        let effect = statement.get("Effect").and_then(Value::as_str).unwrap_or_default();
        match (effect, applies(statement, account, action, on)) {
            ("Deny", Applies::Yes) => return Ruling::Denied,
            ("Allow", Applies::Yes) => allowed = true,
            ("Deny" | "Allow", Applies::Perhaps(why)) => {
                let text = format!("a statement `{effect}` with {why}");
                // A doubtful denial weighs more than a doubtful permission: it can take away what is allowed.
                if effect == "Deny" || depends.is_none() {
                    depends = Some((effect == "Deny", text));
                }
            }
            _ => {}
        }
    }
    match (allowed, depends) {
        (true, None | Some((false, _))) => Ruling::Allowed,
        (_, Some((_, why))) => Ruling::Depends(why),
        (false, None) => Ruling::Denied,
    }
}

enum Applies {
    Yes,
    No,
    Perhaps(String),
}

fn applies(statement: &Value, account: &str, action: &str, on: On<'_>) -> Applies {
    if statement.get("NotAction").is_some() {
        return Applies::Perhaps("`NotAction`".into());
    }
    let actions = strings(statement.get("Action"));
    if !actions.iter().any(|pattern| acts(pattern, action)) {
        return Applies::No;
    }
    if statement.get("NotResource").is_some() && on != On::Deployment {
        return Applies::Perhaps("`NotResource`".into());
    }
    match resource(&strings(statement.get("Resource")), account, on) {
        Applies::Yes => {}
        other => return other,
    }
    if statement.get("Condition").is_some_and(|c| c.as_object().is_none_or(|c| !c.is_empty())) {
        return Applies::Perhaps("a `Condition`".into());
    }
    Applies::Yes
}

fn acts(pattern: &str, action: &str) -> bool {
    // MinIO lets whoever may read a version also read the latest one.
    like(pattern, action) || (pattern == "s3:GetObjectVersion" && action == "s3:GetObject")
}

fn resource(patterns: &[String], account: &str, on: On<'_>) -> Applies {
    let (bucket, objects) = match on {
        On::Deployment => return Applies::Yes,
        On::Bucket(bucket) => (bucket, false),
        On::Objects(bucket) => (bucket, true),
    };
    let mut perhaps = None;
    for pattern in patterns {
        let pattern = pattern.strip_prefix("arn:aws:s3:::").unwrap_or(pattern);
        let pattern = pattern.replace("${aws:username}", account);
        if pattern.contains("${") {
            perhaps = Some(format!("the resource `{pattern}`"));
            continue;
        }
        // The server asks for `bucket/` when it means the bucket, so `bucket/*` covers it too.
        let whole = if objects {
            covers_objects(&pattern, bucket)
        } else {
            pattern == bucket || like(&pattern, &format!("{bucket}/"))
        };
        if whole {
            return Applies::Yes;
        }
        if objects && pattern.strip_prefix(bucket).is_some_and(|rest| rest.starts_with('/') && rest.len() > 1) {
            perhaps = Some(format!("the resource `{pattern}`, which is only a part of the bucket"));
        }
    }
    perhaps.map_or(Applies::No, Applies::Perhaps)
}

fn covers_objects(pattern: &str, bucket: &str) -> bool {
    // A key that nobody has written a pattern for: only one for all keys matches it.
    pattern.ends_with('*') && like(pattern, &format!("{bucket}/\u{1}\u{2}"))
}

/// MinIO's wildcards: `*` for anything, `?` for one character.
pub(super) fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    p = at + 1;
                    t = from + 1;
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

fn list(value: Option<&Value>) -> Vec<&Value> {
    match value {
        Some(Value::Array(all)) => all.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    }
}

fn strings(value: Option<&Value>) -> Vec<String> {
    list(value).into_iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ask(statements: Value, action: &str, on: On<'_>) -> Ruling {
        ruling(&json!({"Version": "2012-10-17", "Statement": statements}), "ada", action, on)
    }

    const BUCKET: On<'_> = On::Bucket("data");
    const OBJECTS: On<'_> = On::Objects("data");

    #[test]
    fn wildcards_match_as_the_server_matches() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("s3:*", "s3:GetObject", true),
            ("s3:Get*Lock*", "s3:GetBucketObjectLockConfiguration", true),
            ("s3:GetObjec?", "s3:GetObject", true),
            ("s3:GetObject", "s3:GetObjectTagging", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
        ] {
            assert_eq!(like(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_administrators_policy_allows_all() {
        let all = json!([
            {"Effect": "Allow", "Action": ["admin:*"]},
            {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
        ]);
        assert_eq!(ask(all.clone(), "s3:GetObject", OBJECTS), Ruling::Allowed);
        assert_eq!(ask(all.clone(), "s3:ListBucket", BUCKET), Ruling::Allowed);
        assert_eq!(ask(all, "admin:ServerInfo", On::Deployment), Ruling::Allowed);
    }

    #[test]
    fn silence_denies_and_deny_beats_allow() {
        assert_eq!(ask(json!([]), "s3:GetObject", OBJECTS), Ruling::Denied);
        assert_eq!(ruling(&Value::Null, "ada", "s3:GetObject", OBJECTS), Ruling::Denied);
        let both = json!([
            {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::data/*"},
            {"Effect": "Deny", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::*"}
        ]);
        assert_eq!(ask(both.clone(), "s3:GetObject", OBJECTS), Ruling::Denied);
        assert_eq!(ask(both, "s3:PutObject", OBJECTS), Ruling::Allowed);
    }

    #[test]
    fn resources_are_held_against_bucket_and_objects() {
        let on = |resource: &str| json!([{"Effect": "Allow", "Action": "s3:*", "Resource": resource}]);
        assert_eq!(ask(on("arn:aws:s3:::data"), "s3:ListBucket", BUCKET), Ruling::Allowed);
        assert_eq!(ask(on("arn:aws:s3:::data"), "s3:GetObject", OBJECTS), Ruling::Denied);
        assert_eq!(ask(on("arn:aws:s3:::data/*"), "s3:ListBucket", BUCKET), Ruling::Allowed);
        assert_eq!(ask(on("arn:aws:s3:::da*"), "s3:GetObject", OBJECTS), Ruling::Allowed);
        assert_eq!(ask(on("arn:aws:s3:::other/*"), "s3:ListBucket", BUCKET), Ruling::Denied);
        assert!(matches!(ask(on("arn:aws:s3:::data/logs/*"), "s3:GetObject", OBJECTS), Ruling::Depends(_)));
        assert_eq!(ask(on("arn:aws:s3:::${aws:username}"), "s3:ListBucket", On::Bucket("ada")), Ruling::Allowed);
        assert!(matches!(ask(on("arn:aws:s3:::${aws:sourceip}/*"), "s3:GetObject", OBJECTS), Ruling::Depends(_)));
    }

    #[test]
    fn what_a_request_decides_is_not_guessed() {
        let allow = |extra: (&str, Value)| {
            let mut statement = json!({"Effect": "Allow", "Action": "s3:*", "Resource": "*"});
            statement[extra.0] = extra.1;
            json!([statement])
        };
        let condition = ("Condition", json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}));
        assert!(matches!(ask(allow(condition), "s3:GetObject", OBJECTS), Ruling::Depends(_)));
        assert_eq!(ask(allow(("Condition", json!({}))), "s3:GetObject", OBJECTS), Ruling::Allowed);
        let not = json!([{"Effect": "Allow", "NotAction": "s3:DeleteObject", "Resource": "*"}]);
        assert!(matches!(ask(not, "s3:GetObject", OBJECTS), Ruling::Depends(_)));
        let doubtful_deny = json!([
            {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
            {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::data/secret/*"}
        ]);
        assert!(matches!(ask(doubtful_deny, "s3:GetObject", OBJECTS), Ruling::Depends(_)));
        let doubtful_allow = json!([
            {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
            {"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}
        ]);
        assert_eq!(ask(doubtful_allow, "s3:GetObject", OBJECTS), Ruling::Allowed);
    }

    #[test]
    fn reading_a_version_means_reading_the_object() {
        let version = json!([{"Effect": "Allow", "Action": "s3:GetObjectVersion", "Resource": "arn:aws:s3:::data/*"}]);
        assert_eq!(ask(version, "s3:GetObject", OBJECTS), Ruling::Allowed);
    }
}

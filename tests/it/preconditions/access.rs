//! Accounts that may not do what a recovery does: the operator's own, and the one that replicates.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Bench, Expected, stock};
use crate::{
    pair::{Pair, Rule, needs_minio},
    seed,
};

/// What `recover` needs of a bucket on either site.
const BUCKET: [&str; 7] = [
    "s3:GetReplicationConfiguration",
    "s3:GetBucketVersioning",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetEncryptionConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:ResetBucketReplicationState",
    "s3:ListBucket",
];
const OBJECTS: [&str; 2] = ["s3:GetObject", "s3:GetObjectTagging"];
const SOURCE: [&str; 2] = ["admin:ServerInfo", "admin:GetBucketTarget"];
const TARGET: [&str; 2] = ["admin:ServerInfo", "admin:GetBucketQuota"];
/// On the target, before it is prepared.
const PREPARING: [&str; 4] = [
    "s3:CreateBucket",
    "s3:PutBucketVersioning",
    "s3:PutBucketObjectLockConfiguration",
    "s3:PutEncryptionConfiguration",
];
/// Something is left out without these.
const BETTER: [&str; 2] = ["admin:SiteReplicationInfo", "admin:ServerTrace"];

/// A policy that allows these actions on one bucket and what is in it.
fn policy<'a>(bucket: &str, actions: impl IntoIterator<Item = &'a str>) -> Value {
    let (admin, s3): (Vec<_>, Vec<_>) = actions.into_iter().partition(|action| action.starts_with("admin:"));
    let resources = [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*")];
    let mut statements = vec![json!({ "Effect": "Allow", "Action": s3, "Resource": resources })];
    if !admin.is_empty() {
        statements.push(json!({ "Effect": "Allow", "Action": admin }));
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}

fn of_role(role: &str) -> Vec<&'static str> {
    let own: &[&str] = if role == "source" { &SOURCE } else { &TARGET };
    [&BUCKET[..], &OBJECTS, own].concat()
}

/// The bench with an account of its own at one role.
fn with_user<'a>(pair: &'a Pair, role: &str, name: &str, policy: &Value) -> Bench<'a> {
    let mut bench = Bench::new(pair, "pre-policy");
    let secret = pair.add_user(role, name, policy);
    match role {
        "source" => bench.source = pair.source.as_user(name, &secret),
        _ => bench.target = pair.target.as_user(name, &secret),
    }
    bench
}

/// The actions that the check says an account lacks.
fn missing(check: &Value, role: &str) -> BTreeSet<String> {
    let detail = check["detail"].as_str().unwrap_or_default();
    let words = detail.split([' ', ',', ';', '`']).collect::<Vec<_>>();
    assert!(detail.contains(role), "{check:#}");
    words.into_iter().filter(|word| word.contains(':') && !word.ends_with(':')).map(str::to_owned).collect()
}

#[test]
fn each_action_that_an_account_lacks_is_named() {
    needs_minio!();
    let pair = Pair::shared();
    Bench::stocked(pair, "pre-policy", &Rule::default());
    let before = Bench::new(pair, "pre-policy").state();
    for role in ["source", "target"] {
        let all = of_role(role);
        for (n, half) in ["even", "odd"].into_iter().enumerate() {
            let lacks: BTreeSet<_> = all.iter().skip(n).step_by(2).copied().collect();
            let has = all.iter().filter(|action| !lacks.contains(**action)).copied();
            let bench = with_user(pair, role, &format!("pre-{half}"), &policy("pre-policy", has));
            for seen in [bench.verify(&[]), bench.recover(&[])] {
                let remedy = format!("mc admin policy attach {role} firedrill --user ACCOUNT");
                seen.refused(&Expected { id: "permissions", says: &[&remedy], ..Expected::default() }).sent_nothing();
                let named = missing(seen.check("permissions"), role);
                for action in &lacks {
                    assert!(named.contains(*action), "{role}: {action} is not named: {named:?}");
                }
                for action in all.iter().filter(|action| !lacks.contains(**action)) {
                    assert!(!named.contains(*action), "{role}: {action} is named: {named:?}");
                }
            }
        }
    }
    assert_eq!(Bench::new(pair, "pre-policy").state(), before);
}

/// The actions that this test takes away one by one are all that is needed.
#[test]
fn accounts_with_the_least_policy_are_enough() {
    needs_minio!();
    let pair = Pair::shared();
    let bucket = "pre-least";
    let bench = Bench::stocked(pair, bucket, &Rule::default());
    let all =
        |role| of_role(role).into_iter().chain(if role == "target" { &PREPARING[..] } else { &[] }.iter().copied());
    let [source, target] = ["source", "target"].map(|role| {
        let name = format!("pre-least-{role}");
        (pair.add_user(role, &name, &policy(bucket, all(role).chain(BETTER))), name)
    });
    let bench = Bench {
        source: pair.source.as_user(&source.1, &source.0),
        target: pair.target.as_user(&target.1, &target.0),
        ..bench
    };
    let seen = bench.verify(&[]);
    assert_eq!(seen.step["verdict"], "held", "{}", seen.outcome.stdout);
    assert_eq!(seen.check("permissions")["verdict"], "pass", "{}", seen.outcome.stdout);
    let unknown = seen.step["output"]["unknown"].as_u64();
    assert_eq!(unknown, Some(0), "{}", seen.outcome.stdout);
    seen.outcome.exit(0);

    pair.lose_bucket("target", bucket);
    bench.recover(&[]).outcome.exit(0);
    seed::assert_same(&pair.source, &pair.target, bucket);
}

/// What the server does not tell is `unknown`, never `pass`, and a check that must be told keeps the run from starting.
#[test]
fn what_cannot_be_told_is_unknown() {
    needs_minio!();
    let pair = Pair::shared();
    let bucket = "pre-untold";
    Bench::stocked(pair, bucket, &Rule::default());
    let shy = of_role("target").into_iter().chain(PREPARING).filter(|action| *action != "admin:ServerInfo");
    let mut bench = Bench::new(pair, bucket);
    let secret = pair.add_user("target", "pre-shy", &policy(bucket, shy));
    bench.target = pair.target.as_user("pre-shy", &secret);
    let says = ["missing: admin:ServerInfo on target"];
    bench.both_refuse(&Expected { id: "permissions", says: &says, ..Expected::default() });
    let seen = bench.verify(&["--accept", "permissions=tried by hand"]);
    for id in ["versions_match", "free_space"] {
        seen.has("unknown", &Expected { id, says: &["refused to describe itself"], ..Expected::default() });
    }

    // Waived where the account itself is what cannot be told: what follows from it is found by itself.
    bench.target = pair.target.as_user("pre-shy", "wrong-secret-key");
    let seen = bench.verify(&["--accept", "permissions=looked at by hand"]);
    let expected = Expected {
        id: "versioning_enabled",
        says: &["versioning could not be told", "give valid credentials for `target`"],
        with: &["direction", "object_lock_matches", "no_resync_running", "encryption_matches"],
    };
    seen.stopped_by("unknown", &expected);
}

#[test]
fn credentials_that_a_site_does_not_take_are_refused() {
    needs_minio!();
    let pair = Pair::shared();
    let bench = Bench::stocked(pair, "pre-wrong-keys", &Rule::default());
    for role in ["source", "target"] {
        let mut bench = Bench::new(pair, &bench.bucket);
        let server = pair.server(role);
        let wrong = server.as_user(&server.access_key, "not-the-secret-key");
        match role {
            "source" => bench.source = wrong,
            _ => bench.target = wrong,
        }
        let says = ["does not take the credentials", "give valid credentials", &format!("mc admin info {role}")];
        bench.both_refuse(&Expected { id: "permissions", says: &says, ..Expected::default() });
    }
}

#[test]
fn credentials_of_the_remote_target_that_the_target_refuses_are_named() {
    needs_minio!();
    let pair = Pair::shared();
    for (bucket, disable) in [("pre-secret-changed", false), ("pre-user-disabled", true)] {
        for alias in ["source", "target"] {
            pair.make_bucket(alias, bucket, false);
        }
        let all = ["s3:*"];
        let secret = pair.add_user("target", bucket, &policy(bucket, all));
        let remote = pair.target.as_user(bucket, &secret).remote(bucket);
        pair.add_rule("source", bucket, &remote, &Rule::default());
        stock(&pair.source, bucket);
        pair.wait_replicated(bucket);
        if disable {
            pair.mc(&["admin", "user", "disable", "target", bucket]);
        } else {
            pair.mc(&["admin", "user", "add", "target", bucket, "another-secret-key"]);
        }
        let update = format!("mc replicate update source/{bucket} --id {}", Bench::new(pair, bucket).rule_id());
        let says = ["the target refuses the source", &update, "http://KEY:SECRET@127.0.0.1"];
        let bench = Bench::new(pair, bucket);
        bench.both_refuse(&Expected { id: "target_credentials", says: &says, ..Expected::default() });
        bench.paste_remedy("target_credentials");
    }
}

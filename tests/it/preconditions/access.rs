//! Accounts that may not do what a recovery does: the operator's own, and the one that replicates.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Bench, Expected, stock};
use crate::pair::{Pair, Rule, needs_minio};

/// What `recover` needs of a bucket on either site.
const BUCKET: [&str; 6] = [
    "s3:GetBucketVersioning",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetEncryptionConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:ResetBucketReplicationState",
    "s3:ListBucket",
];
const OBJECTS: [&str; 2] = ["s3:GetObject", "s3:GetObjectTagging"];
const SOURCE: [&str; 3] = ["s3:GetReplicationConfiguration", "admin:ServerInfo", "admin:GetBucketTarget"];
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
    for role in ["source", "target"] {
        let all = of_role(role);
        for (n, half) in ["even", "odd"].into_iter().enumerate() {
            let lacks: BTreeSet<_> = all.iter().skip(n).step_by(2).copied().collect();
            let has = all.iter().filter(|action| !lacks.contains(**action)).copied();
            let bench = with_user(pair, role, &format!("pre-{half}"), &policy("pre-policy", has));
            let before = bench.state();
            let seen = bench.verify(&[]);
            seen.refused(&Expected { id: "permissions", says: &["mc admin policy"], ..Expected::default() });
            let named = missing(seen.check("permissions"), role);
            for action in lacks {
                assert!(named.contains(action), "{role}: {action} is not named: {named:?}");
            }
            assert_eq!(bench.state(), before);
        }
    }
}

//! Made-up facts for the tests of the checks: a pair with which everything is right.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    checks::{Answer, Outcome},
    facts::{Asked, Facts, SiteFacts},
    inventory::{Inventory, Sample},
};
use crate::{
    failure::{Class, Failure},
    site::{
        minio::{Account, Health, Info, Latency, Node, Quota, RemoteTarget},
        s3::{Replication, Rule, Versioning},
    },
    types::{BucketName, Role},
};

/// What a check comes to, the short way out included.
pub(super) fn outcome(check: fn(&Facts) -> Answer, facts: &Facts) -> Outcome {
    check(facts).unwrap_or_else(|said| said).outcome
}

pub(super) fn down() -> Failure {
    Failure::unreachable("connection refused")
}

pub(super) fn refused(code: &str, status: u16) -> Failure {
    Failure::Call { class: Class::Refused, what: format!("{code}: no"), code: Some(code.into()), status: Some(status) }
}

pub(super) fn facts() -> Facts {
    let bucket: BucketName = "data".to_owned().try_into().unwrap();
    Facts {
        asked: Asked {
            source: Role::source(),
            target: Role::target(),
            bucket: bucket.clone(),
            target_bucket: bucket,
            arn: "arn:b".into(),
            before_prepare: false,
            sample: 1_000,
        },
        source: site(Role::source(), "a", 100),
        target: site(Role::target(), "b", 50),
        replication: Ok(Some(Replication { role: String::new(), rules: vec![rule()] })),
        remote_targets: Ok(vec![remote_target()]),
        replication_check: Some(Ok(())),
        sample: Ok(Sample { objects: 90, ..Sample::default() }),
        target_keys: BTreeMap::new(),
    }
}

/// The target has no bucket.
pub(super) fn lost_target(before_prepare: bool) -> Facts {
    let mut facts = facts();
    facts.asked.before_prepare = before_prepare;
    let missing = refused("NoSuchBucket", 404);
    facts.target = SiteFacts {
        exists: Ok(false),
        versioning: Err(missing.clone()),
        lock: Err(missing.clone()),
        encryption: Err(missing.clone()),
        lifecycle: Err(missing.clone()),
        quota: Err(missing.clone()),
        resyncs: Err(missing.clone()),
        inventory: Err(missing),
        ..facts.target
    };
    facts
}

fn site(role: Role, alias: &str, versions: u64) -> SiteFacts {
    SiteFacts {
        role,
        alias: alias.into(),
        endpoint: format!("https://{alias}.example"),
        names: vec![format!("{alias}.example:443")],
        health: Ok(Health {
            live: true,
            cluster: true,
            server_status: None,
            healing_drives: 0,
            is_minio: true,
            server_time: None,
        }),
        skew: Some(0.2),
        info: Ok(info(alias)),
        account: Ok(Account {
            name: "admin".into(),
            policy: json!({"Statement": [
                {"Effect": "Allow", "Action": ["admin:*"]},
                {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
            ]}),
        }),
        site_replication: Ok(false),
        exists: Ok(true),
        versioning: Ok(Versioning { enabled: true, ..Versioning::default() }),
        lock: Ok(None),
        encryption: Ok(None),
        lifecycle: Ok(Vec::new()),
        quota: Ok(Quota { bytes: 0 }),
        resyncs: Ok(Vec::new()),
        inventory: Ok(Inventory {
            versions,
            bytes: versions * 10,
            delete_markers: 10,
            complete: true,
            anchors: vec![String::new()],
            ..Inventory::default()
        }),
    }
}

fn info(alias: &str) -> Info {
    Info {
        deployment_id: format!("id-{alias}"),
        nodes: vec![Node {
            endpoint: format!("{alias}.example:443"),
            state: "online".into(),
            uptime_seconds: 86_400,
            release: "2025-10-15T17:29:55Z".into(),
            offline_drives: 0,
            healing_drives: 0,
        }],
        online_drives: 4,
        offline_drives: 0,
        free_bytes: 1_000_000,
        usable_share: 0.5,
        kms_online: Some(true),
    }
}

fn rule() -> Rule {
    Rule {
        id: "r1".into(),
        enabled: true,
        priority: 1,
        arn: "arn:b".into(),
        delete_markers: true,
        deletes: true,
        existing_objects: true,
        replica_modifications: true,
        ..Rule::default()
    }
}

fn remote_target() -> RemoteTarget {
    RemoteTarget {
        arn: "arn:b".into(),
        source_bucket: "data".into(),
        endpoint: "b.example".into(),
        target_bucket: "data".into(),
        secure: true,
        deployment_id: None,
        synchronous: false,
        bandwidth_limit: 0,
        is_online: false,
        reset_id: None,
        proxy_disabled: false,
        latency: Latency::default(),
    }
}

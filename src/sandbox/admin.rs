//! MinIO's admin interface, as far as recoveries need it, and its health calls.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::Method;
use http_body_util::StreamBody;
use hyper::body::Frame;
use s3s::Body;
use serde_json::{Value, json};
use tokio::{sync::broadcast, time::timeout};

use super::{
    madmin, resync,
    site::Site,
    store::{Bucket, Store, Totals},
    targets::{Given, Target},
    wire::{Answer, Ask, Refused, Reply, nanos, uuid},
};

/// What the sandbox calls itself where a server tells its release.
const RELEASE: &str = "2025-10-15T17:29:55Z";
/// Room on each of four drives that do not exist.
const DRIVE: u64 = 1 << 40;

pub(super) fn health(call: &str) -> Answer {
    match call {
        "live" | "ready" => Ok(Reply::ok()),
        "cluster" | "cluster/read" => {
            Ok(Reply::ok().with("x-minio-write-quorum", "3").with("x-minio-storage-class-defaults", "false"))
        }
        _ => Err(Refused::new(404, "NoSuchKey", "The specified key does not exist.")),
    }
}

/// `call` stands behind `/minio/admin/`.
pub(super) async fn answer(site: &Arc<Site>, ask: &Ask, call: &str) -> Answer {
    let call = call.strip_prefix("v3/").unwrap_or("");
    let answer = match (&ask.method, call) {
        (&Method::GET, "info") => Ok(info(site, ask.header("host"))),
        (&Method::GET, "accountinfo") => Ok(account(site)),
        (&Method::GET, "datausageinfo") => Ok(usage(site)),
        (&Method::GET, "list-remote-targets") if ask.has("bucket") && ask.has("type") => list_targets(site, ask),
        (&Method::PUT, "set-remote-target") => set_target(site, ask).await,
        (&Method::DELETE, "remove-remote-target") => remove_target(site, ask),
        (&Method::GET, "get-bucket-quota") => {
            let size = site.store().bucket(ask.query("bucket").unwrap_or_default()).map(|b| b.quota);
            size.map(|size| Reply::json(&quota(size)))
        }
        (&Method::PUT, "set-bucket-quota") => set_quota(site, ask),
        (&Method::GET, "kms/key/status") => key_status(site, ask),
        (&Method::GET, "site-replication/info") => {
            Ok(Reply::ok().with("content-type", "text/plain; charset=utf-8").body("{\"enabled\":false}\n"))
        }
        (&Method::GET, "trace") => Ok(trace(site)),
        (&Method::POST, "replication/diff") => diff(site, ask),
        // What it would show is kept in memory only; reading it on a real server loses it.
        (&Method::GET, "replication/mrf") => Ok(Reply::ok()),
        _ => Err(Refused::new(
            426,
            "XMinioAdminVersionMismatch",
            "This 'admin' API is not supported by server in 'mode-server-xl'",
        )),
    };
    answer.map_err(Refused::in_json)
}

/// A node alone calls itself what it was called.
fn info(site: &Site, host: Option<&str>) -> Reply {
    let (uptime, kms) = {
        let now = site.now();
        let state = site.state();
        (now.as_second() - state.started.as_second(), !state.kms_keys.is_empty())
    };
    let store = site.store();
    let all = totals(store.buckets.values());
    let drives: Vec<Value> = (0..4).map(|n| json!({
        "endpoint": format!("/sandbox/disk{}", n + 1), "path": format!("/sandbox/disk{}", n + 1), "state": "ok",
        "uuid": format!("{n}"), "major": 0, "minor": n, "totalspace": DRIVE, "usedspace": all.bytes,
        "availspace": DRIVE - all.bytes.min(DRIVE), "metrics": {}, "used_inodes": all.versions, "free_inodes": DRIVE, "local": true, "pool_index": 0, "set_index": 0, "disk_index": n,
    })).collect();
    let kms =
        if kms { json!([{ "status": "online", "endpoint": "127.0.0.1" }]) } else { json!([{ "status": "disabled" }]) };
    let address = host.unwrap_or_else(|| site.address());
    Reply::json(&json!({
        "mode": "online", "deploymentID": site.deployment, "buckets": { "count": store.buckets.len() },
        "objects": { "count": all.objects }, "versions": { "count": all.versions },
        "deletemarkers": { "count": all.markers }, "usage": { "size": all.bytes },
        "services": { "kms": {}, "kmsStatus": kms, "ldap": {} },
        "backend": { "backendType": "Erasure", "onlineDisks": 4, "offlineDisks": 0, "standardSCParity": 2,
            "rrSCParity": 1, "totalSets": [1], "totalDrivesPerSet": [4] },
        "servers": [{ "state": "online", "endpoint": address, "uptime": uptime.max(0), "version": RELEASE,
            "commitID": "sandbox", "network": { address: "online" }, "drives": drives, "poolNumber": 1, "poolNumbers": [1],
            "mem_stats": { "Alloc": 0, "TotalAlloc": 0, "Mallocs": 0, "Frees": 0, "HeapAlloc": 0 }, "go_max_procs": 1,
            "num_cpu": 1, "runtime_version": "sandbox", "gc_stats": { "last_gc": nanos(None), "num_gc": 0, "pause_total": 0,
            "pause": [], "pause_end": [] }, "minio_env_vars": { "MINIO_ROOT_USER": "*** EXISTS, REDACTED ***" },
            "edition": "", "is_leader": true, "ilm_expiry_in_progress": false }],
        "pools": { "0": { "0": { "id": 0, "rawUsage": all.bytes, "rawCapacity": 4 * DRIVE, "usage": all.bytes,
            "objectsCount": all.objects, "versionsCount": all.versions, "deleteMarkersCount": all.markers,
            "healDisks": 0 } } },
    }))
}

fn account(site: &Site) -> Reply {
    let store = site.store();
    let buckets: Vec<Value> = store.buckets.iter().map(|(name, bucket)| {
        let all = bucket.keys.totals();
        json!({ "name": name, "size": all.bytes, "objects": all.objects, "objectHistogram": null,
            "objectsVersionsHistogram": null, "details": {
            "versioning": bucket.versioning() == "Enabled", "versioningSuspended": bucket.versioning() == "Suspended",
            "locking": bucket.lock, "replication": !bucket.rules().is_empty(), "tags": null, "quota": quota(bucket.quota) },
            "prefixUsage": null, "created": bucket.created.to_string(), "access": { "read": true, "write": true } })
    }).collect();
    Reply::json(&json!({
        "AccountName": site.access_key,
        "Server": { "Type": 2, "GatewayOnline": false, "OnlineDisks": null, "OfflineDisks": null, "StandardSCData": [2],
            "StandardSCParities": null, "RRSCData": [3], "RRSCParities": null, "TotalSets": [1],
            "DrivesPerSet": [4], "StandardSCParity": 2, "RRSCParity": 1 },
        "Policy": { "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": ["admin:*"] },
            { "Effect": "Allow", "Action": ["kms:*"] },
            { "Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"] }] },
        "Buckets": buckets,
    }))
}

fn usage(site: &Site) -> Reply {
    let store = site.store();
    let buckets: serde_json::Map<_, _> = store
        .buckets
        .iter()
        .map(|(name, bucket)| {
            let all = bucket.keys.totals();
            (
                name.clone(),
                json!({ "size": all.bytes, "objectsCount": all.objects, "versionsCount": all.versions,
            "deleteMarkersCount": all.markers }),
            )
        })
        .collect();
    Reply::json(&json!({ "lastUpdate": site.now().to_string(), "bucketsUsageInfo": buckets }))
}

/// What buckets hold.
fn totals<'a>(buckets: impl IntoIterator<Item = &'a Bucket>) -> Totals {
    buckets.into_iter().fold(Totals::default(), |mut sum, bucket| {
        sum += bucket.keys.totals();
        sum
    })
}

fn quota(size: u64) -> Value {
    let mut quota = json!({ "quota": size, "size": size, "rate": 0, "requests": 0 });
    if size > 0 {
        quota["quotatype"] = "hard".into();
    }
    quota
}

fn set_quota(site: &Site, ask: &Ask) -> Answer {
    let given: Value = serde_json::from_slice(&ask.body).map_err(|_| bad_json())?;
    let size = [&given["size"], &given["quota"]].into_iter().filter_map(Value::as_u64).max().unwrap_or(0);
    site.store().bucket_mut(ask.query("bucket").unwrap_or_default())?.quota = size;
    Ok(Reply::ok())
}

fn list_targets(site: &Site, ask: &Ask) -> Answer {
    let wanted = ask.query("bucket").unwrap_or_default();
    let store = site.store();
    if !wanted.is_empty() {
        store.bucket(wanted)?;
    }
    let buckets = store.buckets.iter().filter(|(name, _)| wanted.is_empty() || *name == wanted);
    if buckets.clone().any(|(_, bucket)| bucket.targets.iter().any(|target| target.unwritable)) {
        return Err(Refused::new(500, "InternalError", "We encountered an internal error, please try again."));
    }
    let listed: Vec<Value> =
        buckets.flat_map(|(name, bucket)| bucket.targets.iter().map(move |target| target.listed(name))).collect();
    Ok(Reply::json(&if listed.is_empty() { Value::Null } else { listed.into() }))
}

async fn set_target(site: &Site, ask: &Ask) -> Answer {
    let name = ask.query("bucket").unwrap_or_default();
    let plain = madmin::decrypt(&site.secret_key, &ask.body).ok_or_else(bad_json)?;
    let given: Given = serde_json::from_slice(&plain).map_err(|_| bad_json())?;
    let update = ask.query("update") == Some("true");
    {
        let mut store: std::sync::MutexGuard<'_, Store> = site.store();
        let bucket = store.bucket_mut(name)?;
        if bucket.versioning() != "Enabled" {
            return Err(Refused::new(
                400,
                "ReplicationSourceNotVersionedError",
                "The replication source does not have versioning enabled",
            ));
        }
        if update {
            let target = bucket.targets.iter_mut().find(|target| target.arn == given.arn);
            let target = target.ok_or_else(no_target)?;
            let asked = |what| ask.query(what) == Some("true");
            if asked("creds") {
                target.access_key = given.credentials.access_key;
                target.secret_key = given.credentials.secret_key;
            }
            if asked("bandwidth") {
                target.bandwidth = given.bandwidth;
            }
            if asked("sync") {
                target.synchronous = given.synchronous;
            }
            if asked("proxy") {
                target.proxy_disabled = given.proxy_disabled;
            }
            return Ok(Reply::json(&target.arn.as_str().into()));
        }
        // The new secret is neither checked nor kept.
        let same = |t: &&Target| t.bucket == given.bucket && t.endpoint == given.endpoint;
        match bucket.targets.iter().find(same) {
            Some(target) if target.access_key == given.credentials.access_key => {
                return Ok(Reply::json(&target.arn.as_str().into()));
            }
            Some(_) => {
                return Err(Refused::new(
                    400,
                    "XMinioAdminBucketRemoteAlreadyExists",
                    "The remote target already exists",
                ));
            }
            None => {}
        }
    }
    if given.bandwidth > 0 && given.bandwidth < 100_000_000 {
        return Err(Refused::new(
            400,
            "XMinioAdminReplicationBandwidthLimitError",
            "Bandwidth limit for remote target must be atleast 100MBps",
        ));
    }
    let target = Target::new(format!("arn:minio:replication::{}:{}", uuid(), given.bucket), given);
    resync::check(site, &target).await?;
    let arn = target.arn.clone();
    site.store().bucket_mut(name)?.targets.push(target);
    Ok(Reply::json(&arn.into()))
}

fn remove_target(site: &Site, ask: &Ask) -> Answer {
    let arn = ask.query("arn").unwrap_or_default();
    let mut store = site.store();
    let bucket = store.bucket_mut(ask.query("bucket").unwrap_or_default())?;
    if !bucket.targets.iter().any(|target| target.arn == arn) {
        return Err(no_target());
    }
    if bucket.rules().names(arn) {
        return Err(Refused::new(
            400,
            "XMinioAdminRemoteRemoveDisallowed",
            "This ARN is in use by an existing configuration",
        ));
    }
    bucket.targets.retain(|target| target.arn != arn);
    Ok(Reply::new(204))
}

fn key_status(site: &Site, ask: &Ask) -> Answer {
    let keys = site.kms_keys();
    let key = ask.query("key-id").unwrap_or_default();
    if keys.is_empty() {
        return Err(Refused::new(501, "XMinioKMSNotConfigured", "KMS is not configured"));
    }
    let mut told = json!({ "key-id": key });
    if !keys.iter().any(|known| known == key) {
        told["encryption-error"] = "key does not exist".into();
    }
    Ok(Reply::json(&told))
}

/// Lines of the live trace as they come, and blanks in between, as signs of life.
fn trace(site: &Site) -> Reply {
    let lines = stream::unfold(site.trace.subscribe(), |mut lines| async {
        let text = loop {
            match timeout(std::time::Duration::from_millis(500), lines.recv()).await {
                Ok(Ok(line)) => break format!("{line}\n"),
                Ok(Err(broadcast::error::RecvError::Lagged(_))) => {}
                Ok(Err(broadcast::error::RecvError::Closed)) => return None,
                Err(_) => break " ".to_owned(),
            }
        };
        Some((Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(text))), lines))
    });
    let mut reply = Reply::ok().with("content-type", "text/event-stream");
    reply.body = Body::http_body_unsync(StreamBody::new(lines));
    reply
}

/// The source's own opinion: it never asks the target.
fn diff(site: &Site, ask: &Ask) -> Answer {
    let store = site.store();
    let bucket = store.bucket(ask.query("bucket").unwrap_or_default())?;
    let mut text = String::new();
    // What is computed is replicated: nothing is open there.
    for (key, version) in bucket.keys.kept() {
        let open: serde_json::Map<_, _> = version
            .replication
            .iter()
            .filter(|(_, status)| **status != "COMPLETED")
            .map(|(arn, status)| (arn.clone(), json!({ "rStatus": status })))
            .collect();
        if !open.is_empty() {
            text += &json!({ "object": key, "versionId": version.id, "targets": open, "rStatus": version.status(),
                "replTimestamp": nanos(None), "lastModified": version.modified.to_string(), "deletemarker": version.marker }).to_string();
            text.push('\n');
        }
    }
    let reply = Reply::ok();
    Ok(if text.is_empty() { reply } else { reply.with("content-type", "text/plain; charset=utf-8").body(text) })
}

/// `replication-check`: proves that the target is there, and less than it seems.
pub(super) async fn check_targets(site: &Site, ask: &Ask) -> Answer {
    let (targets, lock) = {
        let store = site.store();
        let bucket = store.bucket(&ask.bucket).map_err(|_| {
            let message = format!("Replication validation failed on target (Bucket not found: {})", ask.bucket);
            Refused::new(400, "InvalidRequest", message)
        })?;
        let rules = bucket.rules();
        if rules.is_empty() {
            let Refused { message, .. } = resync::no_rules();
            return Err(Refused { message: format!("{message} ({message}: {})", ask.bucket), ..resync::no_rules() });
        }
        let named: Vec<_> =
            rules.arns().into_iter().map(|arn| bucket.targets.iter().find(|t| t.arn == arn).cloned()).collect();
        (named.into_iter().collect::<Option<Vec<_>>>().ok_or_else(no_target)?, bucket.lock)
    };
    for target in targets {
        resync::check(site, &target).await.map_err(|refused| match refused.status {
            400 => {
                let message = format!("{} (target bucket {} is not versioned)", refused.message, target.bucket);
                Refused { json: false, message, ..refused }
            }
            503 if refused.message.contains("dial tcp") => {
                let Target { endpoint, bucket, .. } = &target;
                let why = refused.message.rsplit_once("dial tcp ").map_or("", |(_, why)| why.trim_end_matches(')'));
                let message = format!("(Head \"http://{endpoint}/{bucket}/\": dial tcp {why})");
                no_destination(&message)
            }
            _ => no_destination(&format!("({})", refused.message)),
        })?;
        let say = super::peer::Say { query: vec![("object-lock", String::new())], ..super::peer::Say::default() };
        let locked = site.peer.ask(&target, say).await.is_ok_and(|heard| heard.status == 200);
        if lock && !locked {
            return Err(Refused::new(
                400,
                "ReplicationDestinationMissingLockError",
                "The replication destination bucket does not have object locking enabled (Object Lock configuration does \
                 not exist for this bucket)",
            ));
        }
    }
    Ok(Reply::ok())
}

/// `replication-metrics`, of what is in memory.
pub(super) fn metrics(site: &Site, ask: &Ask) -> Answer {
    let store = site.store();
    let bucket = store.bucket(&ask.bucket)?;
    if bucket.rules().is_empty() {
        return Err(resync::no_rules());
    }
    let none = json!({ "lastMinute": { "count": 0, "bytes": 0 }, "lastHour": { "count": 0, "bytes": 0 }, "totals": { "count": 0, "bytes": 0 } });
    // What older releases told, and newer ones leave at nothing.
    let old = json!({ "pendingReplicationSize": 0, "failedReplicationSize": 0, "pendingReplicationCount": 0,
        "failedReplicationCount": 0 });
    // What is computed was sent before this process began.
    let versions = || bucket.keys.kept().map(|(_, version)| version);
    let (mut sum, mut stats) = ((0_u64, 0_u64), serde_json::Map::new());
    for target in &bucket.targets {
        let sent = versions().filter(|v| v.replication.get(&target.arn) == Some(&"COMPLETED"));
        let (count, bytes) = sent.fold((0_u64, 0_u64), |(n, size), v| (n + 1, size + v.body.len() as u64));
        sum = (sum.0 + count, sum.1 + bytes);
        let mut told = json!({ "completedReplicationSize": bytes, "replicaSize": 0, "failed": none,
            "replicationCount": count, "replicationLatency": { "UploadHistogram": [] },
            "limitInBits": target.bandwidth, "currentBandwidth": 0 });
        add(&mut told, &old);
        stats.insert(target.arn.clone(), told);
    }
    let replicas = versions().filter(|v| v.replica);
    let (count, bytes) = replicas.fold((0_u64, 0_u64), |(n, size), v| (n + 1, size + v.body.len() as u64));
    let waiting = versions().filter(|v| v.replication.values().any(|s| *s == "PENDING")).count();
    let amount = json!({ "count": waiting, "bytes": 0 });
    let queued = json!({ "curr": amount, "avg": amount, "max": amount });
    let mut current = json!({});
    if !stats.is_empty() {
        current["Stats"] = stats.into();
    }
    add(
        &mut current,
        &json!({ "completedReplicationSize": sum.1, "replicaSize": bytes, "failed": none,
        "replicationCount": sum.0, "replicaCount": count, "queued": queued }),
    );
    add(&mut current, &old);
    if ask.query("replication-metrics") != Some("2") {
        return Ok(Reply::json(&current));
    }
    let uptime = site.now().as_second() - site.state().started.as_second();
    let uptime = uptime.max(0);
    let rates = || {
        let rate = json!({ "currRate": 0, "avgRate": 0, "peakRate": 0, "n": 0 });
        json!({ "Large": rate, "Small": rate, "Total": rate })
    };
    let each: serde_json::Map<_, _> = bucket.targets.iter().map(|target| (target.arn.clone(), rates())).collect();
    let node = json!({ "nodeName": site.address(), "uptime": uptime, "activeWorkers": { "curr": 0, "avg": 0, "max": 0 },
        "transferSummary": rates(), "tgtTransferStats": each, "queueStats": queued,
        "mrfStats": { "failedCount_last5min": 0, "droppedCount_since_uptime": 0, "droppedBytes_since_uptime": 0 } });
    let calls = ["putTagging", "getTagging", "removeTagging", "get", "head"];
    let proxied =
        ["Total", "Failed"].iter().flat_map(|end| calls.map(|call| (format!("{call}Proxy{end}"), Value::from(0))));
    Ok(Reply::json(&json!({ "uptime": uptime, "currStats": current,
        "queueStats": { "nodes": [node], "uptime": uptime }, "proxyStats": proxied.collect::<serde_json::Map<_, _>>() })))
}

fn add(told: &mut Value, more: &Value) {
    for (name, value) in more.as_object().into_iter().flatten() {
        told[name] = value.clone();
    }
}

fn no_destination(why: &str) -> Refused {
    let message = format!("The remote destination bucket does not exist {why}");
    Refused::new(404, "RemoteDestinationNotFoundError", message)
}

fn bad_json() -> Refused {
    Refused::new(400, "XMinioAdminConfigBadJSON", "JSON configuration provided is of incorrect format")
}

fn no_target() -> Refused {
    Refused::new(404, "XMinioAdminRemoteTargetNotFoundError", "The remote target does not exist")
}

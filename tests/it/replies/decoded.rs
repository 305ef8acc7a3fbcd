//! What our own client makes of each recorded reply: every field that it reads.

use std::{sync::Arc, time::Duration};

use firedrill::{
    change::Change,
    failure::Failure,
    secret::Secret,
    site::{
        Site, SiteSpec, Value, Wire,
        changes::StartResync,
        listing::Listing,
        s3::{Encryption, ObjectLock, Retention},
    },
    step::Reads,
    types::BucketName,
    version::Kind,
};

use super::{Loopback, Recorded};

const ARN: &str = "arn:minio:replication::153eac8c-229e-4d0e-a5c3-8475e02e78c3:data";

/// Calls that we never make, because they lose something or say nothing we need; and the check of targets, which has an
/// empty answer and needs a leave that only the engine gives.
const NOT_ASKED: [&str; 5] =
    ["admin-kms-status", "admin-replication-diff", "admin-replication-mrf", "metrics-v1", "replication-check"];

#[tokio::test]
async fn our_client_reads_every_recorded_reply() {
    for reply in Recorded::all() {
        if NOT_ASKED.contains(&reply.name.as_str()) {
            continue;
        }
        let server = Loopback::serve(&reply);
        let wire = Wire::new(spec(&server.endpoint)).unwrap();
        read(&reply, &Site::reading(Arc::clone(&wire)), &wire).await;
        // Asked as it was recorded, apart from how a query writes what has no value.
        let call = |path: &str| {
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let name = query.split('&').find(|part| !part.starts_with("x-id=")).unwrap_or_default();
            format!("{}?{}", path.trim_end_matches('/'), name.split('=').next().unwrap_or_default())
        };
        let expected = format!("{} {}", reply.method, call(&reply.path));
        let asked: Vec<String> = server
            .asked()
            .iter()
            .filter_map(|line| {
                let mut words = line.split(' ');
                Some(format!("{} {}", words.next()?, call(words.next()?)))
            })
            .collect();
        assert!(asked.contains(&expected), "{}: {expected} was not asked, but {asked:?}", reply.name);
    }
}

fn spec(endpoint: &str) -> SiteSpec {
    SiteSpec {
        alias: "recorded".into(),
        endpoint: endpoint.parse().unwrap(),
        nodes: Vec::new(),
        region: "us-east-1".into(),
        path_style: true,
        access_key: Value::Literal(Secret::new("recorded")),
        secret_key: Value::Literal(Secret::new("not-a-secret")),
        session_token: None,
        ca_bundle: None,
        pin: None,
        insecure: false,
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(10),
        max_requests_per_second: None,
        drills: false,
    }
}

fn bucket(name: &str) -> BucketName {
    BucketName::try_from(name.to_owned()).unwrap()
}

fn start(name: &str, arn: &str) -> StartResync {
    StartResync {
        bucket: bucket(name),
        arn: arn.into(),
        reset_id: "drill-0001".into(),
        older_than_days: None,
        before: None,
    }
}

/// Code and status of a refusal.
fn refused<T: std::fmt::Debug>(answer: Result<T, Failure>) -> (String, u16) {
    let failure = answer.expect_err("a refusal");
    (failure.code().unwrap_or_default().to_owned(), failure.status().unwrap_or_default())
}

#[expect(clippy::too_many_lines, reason = "one arm for each recorded reply")]
async fn read(reply: &Recorded, site: &Site<Reads>, wire: &Arc<Wire>) {
    let data = bucket("data");
    match reply.name.as_str() {
        "admin-account-info" => {
            let account = site.account().await.unwrap();
            assert_eq!(account.name, "minioadmin");
            assert_eq!(account.policy["Statement"][2]["Action"][0], "s3:*");
        }
        "admin-bucket-quota" => assert_eq!(site.quota(&data).await.unwrap().bytes, 0),
        "admin-info" => {
            let info = site.info().await.unwrap();
            assert_eq!(info.deployment_id, "19fa3b0b-0038-417c-88d1-f021e73e3be3");
            assert_eq!((info.online_drives, info.offline_drives, info.kms_online), (4, 0, Some(true)));
            assert_eq!(info.free_bytes, 4 * 81_245_650_944);
            assert!((info.usable_share - 0.5).abs() < f64::EPSILON);
            assert_eq!(info.releases(), ["DEVELOPMENT.GOGET"]);
            let node = &info.nodes[0];
            assert_eq!(
                (node.endpoint.as_str(), node.state.as_str(), node.uptime_seconds),
                ("source.example:9000", "online", 272)
            );
            assert_eq!((node.offline_drives, node.healing_drives), (0, 0));
        }
        "admin-kms-key-status" => site.kms_key("my-minio-key").await.unwrap(),
        "admin-site-replication-info" => assert!(!site.site_replication().await.unwrap()),
        "get-encryption-none" => assert_eq!(site.encryption(&data).await.unwrap(), None),
        "get-encryption-sse-kms" => {
            let expected = Encryption { algorithm: "aws:kms".into(), kms_key: Some("my-minio-key".into()) };
            assert_eq!(site.encryption(&bucket("enc")).await.unwrap(), Some(expected));
        }
        "get-encryption-sse-s3" => {
            let expected = Encryption { algorithm: "AES256".into(), kms_key: None };
            assert_eq!(site.encryption(&bucket("enc")).await.unwrap(), Some(expected));
        }
        "get-lifecycle-none" => assert!(site.lifecycle(&data).await.unwrap().is_empty()),
        "get-object-lock-default-retention" => {
            let default = Retention { mode: "GOVERNANCE".into(), days: Some(30), years: None };
            assert_eq!(site.object_lock(&bucket("lock2")).await.unwrap(), Some(ObjectLock { default: Some(default) }));
        }
        "get-object-lock-no-rule" => {
            assert_eq!(site.object_lock(&bucket("lock2")).await.unwrap(), Some(ObjectLock { default: None }));
        }
        // It is asked once more whether the bucket exists, which the same answer denies.
        "get-object-lock-none" => assert_eq!(refused(site.object_lock(&data).await), ("NoSuchBucket".into(), 404)),
        "get-replication" => {
            let replication = site.replication(&data).await.unwrap().unwrap();
            assert_eq!(replication.role, "");
            let rule = &replication.rules[0];
            assert_eq!((rule.id.as_str(), rule.enabled, rule.priority), ("dc28c19ksdu8o9eku9vg", true, 0));
            assert_eq!((rule.arn.as_str(), rule.prefix.as_str(), rule.tags.len()), (ARN, "", 0));
            assert!(rule.delete_markers && rule.deletes && rule.existing_objects && rule.replica_modifications);
        }
        "get-versioning" => {
            let versioning = site.versioning(&data).await.unwrap();
            assert!(versioning.enabled && versioning.excluded_prefixes.is_empty() && !versioning.exclude_folders);
        }
        "get-versioning-excluded" => {
            let versioning = site.versioning(&bucket("excl")).await.unwrap();
            assert!(versioning.enabled && versioning.exclude_folders);
            assert_eq!(versioning.excluded_prefixes, ["tmp/", "cache/"]);
        }
        "head-object-replica-target" | "head-object-sse-kms-source" => {
            let head = site.head(&bucket("enc"), "x", None).await.unwrap().unwrap();
            assert_eq!(
                (head.etag.as_str(), head.size, head.delete_marker),
                ("ef55509ffd5309db47b1df993b6a17cb-1", 3, false)
            );
            assert_eq!(head.last_modified, Some("2026-11-23T18:53:46Z".parse().unwrap()));
            assert_eq!(head.version_id.as_deref(), Some("9eebd507-41d4-437c-8fb5-a3e00dd8a5d2"));
            let status = if reply.name.ends_with("target") { "REPLICA" } else { "COMPLETED" };
            assert_eq!((head.replication_status.as_deref(), head.purge), (Some(status), None));
            assert_eq!(
                (head.sse.as_deref(), head.kms_key.as_deref(), head.sse_c),
                (Some("aws:kms"), Some("my-minio-key"), false)
            );
            assert_eq!(head.content_type.as_deref(), Some("application/octet-stream"));
            assert!(head.user_metadata.is_empty());
        }
        "health-cluster" | "health-live" => {
            let health = site.health().await.unwrap();
            assert!(health.live && health.cluster && health.is_minio);
            assert_eq!((health.server_status, health.healing_drives), (None, 0));
            let second = if reply.name == "health-live" { "16" } else { "17" };
            assert_eq!(health.server_time, Some(format!("2026-11-23T18:31:{second}Z").parse().unwrap()));
        }
        "list-remote-targets" => {
            let targets = site.remote_targets(&data).await.unwrap();
            let target = &targets[0];
            assert_eq!(
                (target.arn.as_str(), target.source_bucket.as_str(), target.target_bucket.as_str()),
                (ARN, "data", "data")
            );
            assert_eq!(
                (target.endpoint.as_str(), target.secure, target.synchronous),
                ("target.example:9000", false, false)
            );
            assert_eq!(
                (target.deployment_id.as_deref(), target.bandwidth_limit, target.proxy_disabled),
                (None, 0, false)
            );
            assert_eq!(target.reset_id.as_deref(), Some("551bad9e-e3fc-42f1-b2ba-47e2c91532e9"));
            assert!(target.is_online);
            assert_eq!(
                (target.latency.curr, target.latency.avg, target.latency.max),
                (1_247_903, 1_633_247, 5_730_720)
            );
        }
        "list-versions" => {
            let mut versions = site.versions(&data, Listing::default());
            let [marker, second, third] =
                [versions.next().await, versions.next().await, versions.next().await].map(|v| v.unwrap().unwrap());
            assert_eq!(
                (marker.kind, marker.is_latest, marker.etag.as_str(), marker.size),
                (Kind::DeleteMarker, true, "", 0)
            );
            assert_eq!(
                (marker.key.as_str(), marker.version_id.as_str()),
                ("o1.bin", "bdb8203f-8ad2-410e-b4c9-0273d7486fc3")
            );
            assert_eq!(marker.last_modified, "2026-11-23T18:29:24.074Z".parse().unwrap());
            assert_eq!((second.kind, second.is_latest, second.size), (Kind::Object, false, 74));
            assert_eq!((second.etag.as_str(), second.metadata), ("e7891c01b93e2dbb2d52274c7e9c7f53", None));
            assert_eq!(third.version_id, "80269a05-3453-429d-8c88-660369a11457");
        }
        "metrics-v2" => {
            let metrics = site.replication_metrics(&data).await.unwrap();
            for one in [&metrics[ARN], &metrics[""]] {
                assert_eq!((one.replicated_count, one.replicated_bytes, one.replica_bytes), (240, 762_015, 0));
                assert_eq!((one.failed_last_minute, one.failed_last_hour, one.failed_total), (0, 0, 0));
                assert_eq!((one.queued_count, one.queued_bytes, one.bandwidth_limit), (0, 0, 0));
            }
        }
        "resync-start-bad-arn" => {
            let answer = start("data", "arn:minio:replication::nope:data").send(wire).await;
            assert_eq!(refused(answer), ("SignatureDoesNotMatch".into(), 403));
        }
        "resync-start-no-bucket" => {
            assert_eq!(refused(start("nobucket", "x").send(wire).await), ("NoSuchBucket".into(), 404));
        }
        "resync-start-no-config" => {
            let answer = start("data", "x").send(wire).await;
            assert_eq!(refused(answer), ("ReplicationConfigurationNotFoundError".into(), 404));
        }
        "resync-start-no-existing-objects" => {
            let answer = start("noexist", "arn:minio:replication::7eefbf2a-c3ce-4e88-ba6c-061a7885f5d6:noexist")
                .send(wire)
                .await;
            assert_eq!(refused(answer), ("XMinioReplicationNoExistingObjects".into(), 400));
        }
        "resync-start-target-down" => {
            let answer = start("data", ARN).send(wire).await;
            assert_eq!(refused(answer), ("XMinioAdminReplicationRemoteConnectionError".into(), 503));
        }
        "resync-start-unknown-arn" => {
            let answer = start("data", "arn:minio:replication::nope:data").send(wire).await;
            assert_eq!(refused(answer), ("XMinioAdminRemoteTargetNotFoundError".into(), 404));
        }
        "resync-start-client-reset-id" | "resync-start-same-reset-id" => {
            let started = start("data", ARN).send(wire).await.unwrap();
            assert_eq!(started.reset_id, "drill-0001");
            let second = if reply.name.ends_with("client-reset-id") { "53" } else { "56" };
            assert_eq!(started.started_at, format!("2026-11-23T19:01:{second}Z").parse().unwrap());
        }
        "resync-status" | "resync-status-completed" => {
            let status = &site.resync_status(&data, Some(ARN)).await.unwrap()[0];
            assert_eq!((status.arn.as_str(), status.status.as_str(), status.failed_count), (ARN, "Completed", 0));
            let first = reply.name == "resync-status";
            let reset_id = if first { "6c07f43a-bc53-4235-b957-ad806ce9999c" } else { "drill-0001" };
            let (count, bytes, object) = if first { (240, 762_015, "o96.bin") } else { (239, 758_463, "o95.bin") };
            assert_eq!(
                (status.reset_id.as_str(), status.replicated_count, status.replicated_bytes),
                (reset_id, count, bytes)
            );
            assert_eq!(status.object.as_deref(), Some(object));
            let times = if first {
                ("2026-11-23T18:30:11.391710855Z", "2026-11-23T18:30:13.0845791Z")
            } else {
                ("2026-11-23T19:01:53.293338119Z", "2026-11-23T19:01:54.147947681Z")
            };
            assert_eq!((status.start_time, status.end_time), (times.0.parse().unwrap(), times.1.parse().unwrap()));
            assert!(!status.running());
        }
        "resync-status-never-started" => {
            assert!(site.resync_status(&bucket("noexist"), None).await.unwrap().is_empty());
        }
        other => panic!("nothing reads tests/replies/{other}.http"),
    }
}

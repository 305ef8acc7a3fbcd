//! The sandbox's answer to each recorded request.

use std::collections::BTreeSet;

use aws_sdk_s3::types::{
    DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRetentionMode, ObjectLockRule,
    ServerSideEncryption, ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
};
use firedrill::sandbox::Scenario;

use super::{
    Recorded,
    shape::{Body, Shape},
};
use crate::{
    client::{self, block_on, s3},
    pair::Server,
    sandbox::Sandbox,
    seed,
};

/// Say how busy a server is, how an answer travelled, or which clients are served at all.
const NOT_COMPARED: [&str; 6] =
    ["content-encoding", "content-length", "transfer-encoding", "vary", "x-ratelimit-limit", "x-ratelimit-remaining"];
/// On every answer of the sandbox; a real server leaves them out of some.
const EVERYWHERE: [&str; 6] = [
    "accept-ranges",
    "strict-transport-security",
    "x-amz-id-2",
    "x-amz-request-id",
    "x-content-type-options",
    "x-xss-protection",
];

/// A pair that holds what was there when the replies were recorded.
struct Scene {
    _sandbox: Sandbox,
    source: Server,
    target: Server,
}

impl Scene {
    fn new(bucket: &str, more: &str) -> Self {
        let text = format!(
            "scenario: recorded\nsummary: As it was\nbucket: {bucket}\nresync: {{ version: 0ms, flush: 100ms }}\n{more}"
        );
        let sandbox = Sandbox::of(Scenario::read(&text).unwrap());
        let source = Sandbox::server("source", &sandbox.pair.source);
        let target = Sandbox::server("target", &sandbox.pair.target);
        Self { _sandbox: sandbox, source, target }
    }

    /// The ARN of the only rule.
    fn arn(&self, bucket: &str) -> String {
        let (_, document) = client::signed(&self.source, "GET", &format!("/{bucket}?replication="));
        let arn = document.split_once("<Bucket>").and_then(|(_, rest)| rest.split_once("</Bucket>"));
        arn.expect("a rule").0.replace(':', "%3A")
    }
}

fn answer(server: &Server, method: &str, path: &str) -> Shape {
    let (status, headers, body) = client::signed_whole(server, method, path);
    let names = headers.keys().map(|name| name.as_str().to_owned());
    let content_type = headers.get("content-type").and_then(|t| t.to_str().ok()).unwrap_or_default();
    Shape { status, headers: names.collect(), body: Body::of(content_type, &body) }
}

const DATA: &str = "data: { objects: 1, versions: 3, delete_markers: 1 }\n";

#[test]
fn the_sandbox_answers_in_the_recorded_shapes() {
    let mut wrong = Vec::new();
    for reply in Recorded::all() {
        let Shape { status, headers, body } = ask(&reply);
        let expected: BTreeSet<_> = reply.headers.iter().map(|(name, _)| name.clone()).collect();
        let matters = |name: &&String| {
            !NOT_COMPARED.contains(&name.as_str())
                && !EVERYWHERE.contains(&name.as_str())
                && !name.starts_with("x-amz-meta-")
                && *name != "x-amz-tagging-count"
        };
        let (expected, said): (BTreeSet<_>, BTreeSet<_>) =
            (expected.iter().filter(matters).collect(), headers.iter().filter(matters).collect());
        if expected != said {
            wrong.push(format!("{}: headers\n  recorded {expected:?}\n  sandbox  {said:?}", reply.name));
        }
        let recorded = (reply.status, Body::of(reply.header("content-type").unwrap_or_default(), &reply.body));
        if recorded != (status, body) {
            wrong.push(format!("{}\n  recorded {recorded:?}\n  sandbox  {:?}", reply.name, ask(&reply)));
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

#[expect(clippy::too_many_lines, reason = "one arm for each way to get there")]
/// Brings a sandbox to where the request can be made, and makes it.
fn ask(reply: &Recorded) -> Shape {
    let method = reply.method.as_str();
    let (bucket, path) = (reply.path.split(['/', '?']).nth(1).unwrap_or_default(), reply.path.as_str());
    match reply.name.as_str() {
        "head-object-replica-target" | "head-object-sse-kms-source" => {
            let scene =
                Scene::new("enc", "data: { objects: 5, versions: 1, delete_markers: 0, kms_key: my-minio-key }\n");
            let server = if reply.name.ends_with("target") { &scene.target } else { &scene.source };
            let all = seed::inventory(server, "enc");
            let key = &all.iter().find(|entry| entry.key.starts_with("2026/")).expect("a plain key").key;
            answer(server, method, &format!("/enc/{key}"))
        }
        "get-encryption-sse-kms" | "get-encryption-sse-s3" => {
            let scene = Scene::new("data", DATA);
            let kms = reply.name.ends_with("kms").then(|| "my-minio-key".to_owned());
            let algorithm = if kms.is_some() { ServerSideEncryption::AwsKms } else { ServerSideEncryption::Aes256 };
            block_on(async || {
                let client = s3(&scene.source);
                client.create_bucket().bucket("enc").send().await.expect("a bucket");
                let default =
                    ServerSideEncryptionByDefault::builder().sse_algorithm(algorithm).set_kms_master_key_id(kms);
                let rule = ServerSideEncryptionRule::builder()
                    .apply_server_side_encryption_by_default(default.build().expect("a default"));
                let document =
                    ServerSideEncryptionConfiguration::builder().rules(rule.build()).build().expect("a document");
                let put = client.put_bucket_encryption().bucket("enc").server_side_encryption_configuration(document);
                put.send().await.expect("an encryption");
            });
            answer(&scene.source, method, path)
        }
        "get-object-lock-no-rule" | "get-object-lock-default-retention" => {
            let scene = Scene::new("data", DATA);
            block_on(async || {
                let client = s3(&scene.source);
                let made = client.create_bucket().bucket("lock2").object_lock_enabled_for_bucket(true);
                made.send().await.expect("a bucket");
                if reply.name.ends_with("retention") {
                    let default =
                        DefaultRetention::builder().mode(ObjectLockRetentionMode::Governance).days(30).build();
                    let rule = ObjectLockRule::builder().default_retention(default).build();
                    let document =
                        ObjectLockConfiguration::builder().object_lock_enabled(ObjectLockEnabled::Enabled).rule(rule);
                    let put = client
                        .put_object_lock_configuration()
                        .bucket("lock2")
                        .object_lock_configuration(document.build());
                    put.send().await.expect("a retention");
                }
            });
            answer(&scene.source, method, path)
        }
        "get-versioning-excluded" => {
            let scene = Scene::new("data", DATA);
            assert_eq!(client::signed(&scene.source, "PUT", "/excl").0, 200);
            let document = "<VersioningConfiguration><Status>Enabled</Status><ExcludedPrefixes><Prefix>tmp/</Prefix>\
                            </ExcludedPrefixes><ExcludedPrefixes><Prefix>cache/</Prefix></ExcludedPrefixes>\
                            <ExcludeFolders>true</ExcludeFolders></VersioningConfiguration>";
            assert_eq!(client::signed_body(&scene.source, "PUT", "/excl?versioning=", document).0, 200);
            answer(&scene.source, method, path)
        }
        "resync-start-no-config" => {
            let scene = Scene::new("ruled", DATA);
            assert_eq!(client::signed(&scene.source, "PUT", "/data").0, 200);
            answer(&scene.source, method, path)
        }
        "resync-start-target-down" => {
            let scene = Scene::new("data", &format!("{DATA}target: {{ down: true }}\n"));
            let arn = scene.arn("data");
            answer(&scene.source, method, &format!("/data?replication-reset=&arn={arn}&reset-id=drill-0001"))
        }
        // A signature over other bytes than were sent.
        "resync-start-bad-arn" => {
            let scene = Scene::new("data", DATA);
            let wrong = scene.source.as_user(&scene.source.access_key, "not-the-secret");
            answer(&wrong, method, path)
        }
        "resync-start-no-existing-objects" | "resync-status-never-started" => {
            let scene = Scene::new("noexist", &format!("{DATA}rule: {{ existing_objects: false }}\n"));
            let arn = scene.arn(bucket);
            answer(
                &scene.source,
                method,
                &path
                    .split("arn%3A")
                    .next()
                    .map(|p| if p == path { p.to_owned() } else { format!("{p}{arn}") })
                    .unwrap_or_default(),
            )
        }
        "resync-start-client-reset-id"
        | "resync-start-same-reset-id"
        | "resync-status"
        | "resync-status-completed"
        | "list-remote-targets" => {
            let scene = Scene::new("data", DATA);
            let arn = scene.arn("data");
            let start = format!("/data?replication-reset=&arn={arn}&reset-id=drill-0001");
            if reply.name.contains("start") {
                return answer(&scene.source, method, &start);
            }
            assert_eq!(client::signed(&scene.source, "PUT", &start).0, 200);
            let ended =
                || client::signed(&scene.source, "GET", "/data?replication-reset-status=").1.contains("\"object\"");
            let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
            while !ended() {
                assert!(std::time::Instant::now() < end, "the resync does not end");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            answer(&scene.source, method, path.split("&arn=").next().unwrap_or_default())
        }
        "admin-account-info"
        | "admin-bucket-quota"
        | "admin-info"
        | "admin-kms-key-status"
        | "admin-kms-status"
        | "admin-replication-diff"
        | "admin-replication-mrf"
        | "admin-site-replication-info"
        | "get-encryption-none"
        | "get-lifecycle-none"
        | "get-object-lock-none"
        | "get-replication"
        | "get-versioning"
        | "health-cluster"
        | "health-live"
        | "list-versions"
        | "metrics-v1"
        | "metrics-v2"
        | "replication-check"
        | "resync-start-no-bucket"
        | "resync-start-unknown-arn" => {
            let scene = Scene::new("data", DATA);
            answer(&scene.source, method, path)
        }
        other => panic!("nothing asks the sandbox for tests/replies/{other}.http"),
    }
}

//! All integration tests: one program, so that it is linked once and its tests share one pair of servers.
#![expect(clippy::disallowed_methods, reason = "tests run programs, wait, and read the environment")]

// `cfg(test)` tells clippy that helpers are test code too.
#[cfg(test)]
mod canaries;
#[cfg(test)]
mod case;
#[cfg(test)]
mod client;
#[cfg(test)]
#[cfg(feature = "sandbox")]
mod clients;
#[cfg(test)]
mod command_line;
#[cfg(all(test, feature = "sandbox"))]
mod compare;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod engine;
#[cfg(all(test, feature = "sandbox"))]
mod evidence;
#[cfg(test)]
mod help;
#[cfg(test)]
mod interrupted;
#[cfg(test)]
mod invalid;
#[cfg(test)]
mod link;
#[cfg(all(test, feature = "sandbox"))]
mod matrix;
#[cfg(test)]
#[cfg(feature = "sandbox")]
mod network;
#[cfg(all(test, not(feature = "sandbox")))]
mod no_sandbox;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod pair;
#[cfg(test)]
mod parrot;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod preconditions;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod record;
#[cfg(test)]
mod recover;
#[cfg(test)]
mod redact;
#[cfg(test)]
mod replies;
#[cfg(all(test, feature = "sandbox"))]
mod reports;
#[cfg(all(test, feature = "sandbox"))]
mod resumed;
#[cfg(all(test, feature = "sandbox"))]
mod sandbox;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod secrecy;
#[cfg(test)]
mod seed;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod signed;
#[cfg(test)]
mod site;
#[cfg(test)]
mod symlinks;
#[cfg(all(test, feature = "sandbox"))]
mod tamper;
#[cfg(test)]
#[cfg(feature = "sandbox")]
mod testing;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod toys;
#[cfg(test)]
mod traps;
#[cfg(test)]
#[cfg(feature = "sandbox")]
mod truth;

use std::collections::BTreeSet;

use firedrill::{
    site::Value,
    sites::{self, Sites},
};

use crate::{
    case::Firedrill,
    pair::{Kms, Options, Pair, Rule, needs_minio},
    proxy::{At, Proxy},
};

#[test]
fn a_pair_replicates_versions_of_every_kind_and_loses_a_bucket() {
    needs_minio!();
    let pair = Pair::shared();
    let bucket = "infra-smoke";
    let arn = pair.replicate(bucket, &Rule { lock: true, ..Rule::default() });
    assert!(arn.starts_with("arn:minio:replication::"), "{arn}");

    // Every version comes under a retention that only a bypass removes.
    pair.mc(&["retention", "set", "--default", "GOVERNANCE", "1d", &format!("source/{bucket}")]);

    let versions = seed::fill(&pair.source, bucket, 1);
    let source = seed::inventory(&pair.source, bucket);
    assert_eq!(source.len(), versions);
    assert!(source.iter().filter(|entry| entry.is_delete_marker).count() > 10);
    assert!(source.iter().any(|entry| entry.etag.ends_with("-2")), "no multipart object");
    let keys: BTreeSet<&str> = source.iter().map(|entry| entry.key.as_str()).collect();
    for key in seed::STRANGE {
        assert!(keys.contains(key), "no `{key}`");
    }
    pair.wait_replicated(bucket);
    seed::assert_same(&pair.source, &pair.target, bucket);

    let before = seed::bucket_fingerprint(&pair.source, bucket);
    pair.lose_bucket("target", bucket);
    assert!(!pair.bucket_exists("target", bucket));
    assert_eq!(seed::inventory(&pair.source, bucket), source, "the source lost something too");
    assert_eq!(seed::bucket_fingerprint(&pair.source, bucket), before);
    assert!(before.contains("<ExistingObjectReplication><Status>Enabled"), "{before}");
    assert!(before.contains(&arn) && before.contains("<Mode>GOVERNANCE"), "{before}");
}

#[test]
fn two_way_replication_survives_the_loss_of_one_side() {
    needs_minio!();
    let pair = Pair::shared();
    let bucket = "infra-two-way";
    pair.replicate(bucket, &Rule { two_way: true, ..Rule::default() });
    let first = seed::put(&pair.source, bucket, "from source", b"1");
    seed::put(&pair.target, bucket, "from target", b"2");
    let marker = seed::delete(&pair.target, bucket, "from target");
    pair.wait_replicated(bucket);
    let both = seed::inventory(&pair.source, bucket);
    assert_eq!(both.len(), 3);
    assert!(both.iter().any(|entry| entry.version_id == marker && entry.is_delete_marker));

    seed::delete_version(&pair.source, bucket, "from source", &first);
    pair.wait_replicated(bucket);
    let both = seed::inventory(&pair.source, bucket);
    assert_eq!(both.len(), 2);
    pair.lose_bucket("target", bucket);
    assert_eq!(seed::inventory(&pair.source, bucket), both, "the loss was replicated");
}

#[test]
fn a_server_keeps_its_data_when_killed_and_its_connections_when_stopped() {
    needs_minio!();
    let pair = Pair::own(&Options { kms: Kms::Different, env: vec![("MINIO_API_REQUESTS_MAX".into(), "200".into())] });
    pair.make_bucket("target", "kept", false);
    let version = seed::put(&pair.target, "kept", "key", b"data");
    pair.target.kill();
    assert!(std::net::TcpStream::connect(("127.0.0.1", pair.target.port)).is_err());
    pair.target.start();
    let entries = seed::inventory(&pair.target, "kept");
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].version_id, version);

    pair.target.stop();
    assert!(std::net::TcpStream::connect(("127.0.0.1", pair.target.port)).is_ok());
    pair.target.cont();
    pair.source.restart();
    assert!(pair.source.log().contains("API: http"), "{}", pair.source.log());

    seed::set_versioning(&pair.target, "kept", aws_sdk_s3::types::BucketVersioningStatus::Suspended);
    let fingerprint = seed::bucket_fingerprint(&pair.target, "kept");
    assert!(fingerprint.contains("<Status>Suspended"), "{fingerprint}");

    let policy = serde_json::json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::kept"] }] });
    let secret = pair.add_user("target", "lister", &policy);
    let lister = pair.target.as_user("lister", &secret);
    assert_eq!(client::signed(&lister, "GET", "/kept?list-type=2").0, 200);
    assert_eq!(client::signed(&lister, "GET", "/kept?versioning=").0, 403);
    assert!(!pair.secrets().contains(&secret));
}

#[test]
fn the_proxy_records_holds_and_loses_requests() {
    needs_minio!();
    let pair = Pair::shared();
    pair.make_bucket("source", "infra-proxy", false);
    let proxy = Proxy::start(&pair.source.endpoint());
    let behind = pair.source.at(&proxy.endpoint());

    seed::put(&behind, "infra-proxy", "a b/ü+%2F?.txt", &vec![7; 300_000]);
    assert_eq!(seed::inventory(&behind, "infra-proxy"), seed::inventory(&pair.source, "infra-proxy"));
    assert_eq!(client::signed(&behind, "GET", "/infra-proxy?replication-check=").0, 404);
    let recorded = proxy.requests();
    assert_eq!(recorded.len(), 3, "{recorded:?}");
    assert!(recorded[0].user_agent.contains("aws-sdk-rust"), "{recorded:?}");
    assert_eq!(recorded[0].status, Some(200));
    assert_eq!(proxy.changing(), [recorded[0].clone(), recorded[2].clone()]);
    assert!(recorded[0].path.starts_with("/infra-proxy/a%20b/%C3%BC%2B%252F%3F.txt"), "{recorded:?}");

    // The SDK tries again after each of these, and is answered in the end.
    let is_put =
        |key: &'static str| move |request: &proxy::Recorded| request.method == "PUT" && request.path.contains(key);
    proxy.refuse(1, is_put("refused"));
    proxy.cut(At::Request, 1, is_put("lost"));
    proxy.cut(At::Reply, 1, is_put("unheard"));
    proxy.delay(std::time::Duration::from_millis(10), is_put("late"));
    for key in ["refused", "lost", "unheard", "late"] {
        seed::put(&behind, "infra-proxy", key, b"data");
    }
    let counts = ["refused", "lost", "unheard", "late"].map(|key| proxy.count(is_put(key)));
    assert_eq!(counts, [2, 2, 2, 1]);
    let entries = seed::inventory(&pair.source, "infra-proxy");
    let versions = |key| entries.iter().filter(|entry| entry.key == key).count();
    assert_eq!(["refused", "lost", "unheard", "late"].map(versions), [1, 1, 2, 1]);

    let gate = proxy.hold(At::Request, is_put("held"));
    std::thread::scope(|scope| {
        scope.spawn(|| seed::put(&behind, "infra-proxy", "held", b"data"));
        gate.wait_arrived();
        assert_eq!(gate.arrived(), 1);
        assert!(seed::inventory(&pair.source, "infra-proxy").iter().all(|entry| entry.key != "held"));
        gate.release();
    });
    assert!(seed::inventory(&pair.source, "infra-proxy").iter().any(|entry| entry.key == "held"));
    assert_eq!(proxy.count(proxy::Recorded::starts_resync), 0);
}

#[test]
fn the_key_service_is_where_it_was_asked_for() {
    needs_minio!();
    for (kms, expected) in [(Kms::SourceOnly, [true, false]), (Kms::Neither, [false, false])] {
        let pair = Pair::own(&Options { kms, ..Options::default() });
        let found = ["source", "target"].map(|alias| {
            pair.make_bucket(alias, "encrypted", false);
            pair.try_mc(&["encrypt", "set", "sse-s3", &format!("{alias}/encrypted")]).is_ok()
        });
        assert_eq!(found, expected, "{kms:?}");
    }
}

#[test]
fn sites_are_found_where_people_and_mc_put_them() {
    needs_minio!();
    let pair = Pair::shared();
    pair.mc(&["alias", "set", "third", &pair.source.endpoint(), &pair.source.access_key, &pair.source.secret_key]);
    let drill = Firedrill::new()
        .sites_file(&[("primary", &pair.source)])
        .site("dr", &pair.target)
        .env("MC_CONFIG_DIR", pair.mc_folder().to_str().unwrap());
    let env = |name: &str| drill.variable(name);
    let options = sites::Options { file: None, beside: drill.folder().to_owned(), allow_insecure: false, env: &env };
    let sites = Sites::load(options).unwrap_or_else(|refused| panic!("{refused}"));
    for (alias, server) in [("primary", &pair.source), ("dr", &pair.target), ("third", &pair.source)] {
        let spec = sites.lookup(alias).unwrap_or_else(|refused| panic!("{refused}"));
        assert_eq!(spec.endpoint.to_string().trim_end_matches('/'), server.endpoint());
        let secret = match spec.secret_key {
            Value::Literal(secret) => secret.expose().to_owned(),
            Value::Env(name) => env(&name).unwrap(),
            Value::File(path) => panic!("{alias}: {}", path.display()),
        };
        assert_eq!(secret, server.secret_key);
    }
}

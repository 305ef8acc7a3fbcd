//! Keys that the target lacks.

use aws_sdk_s3::types::ServerSideEncryption;

use super::{Bench, Expected};
use crate::{
    client,
    pair::{Kms, Options, Pair, Rule, needs_minio},
};

/// Encrypts an object with the key of the source.
fn put_with_key(bench: &Bench<'_>, key: &str) {
    client::block_on(async || {
        let put = client::s3(&bench.pair.source).put_object().bucket(&bench.bucket).key(key);
        let put = put.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id("my-minio-key");
        put.body(b"secret".to_vec().into()).send().await.expect("the object is put");
    });
}

#[test]
fn a_target_without_the_key_is_refused() {
    needs_minio!();
    for (kms, says) in [
        (Kms::SourceOnly, ["target `target` has no KMS", "the same keys"]),
        (Kms::OtherName, ["key `my-minio-key`, which target `target` does not have", "the same KMS keys"]),
    ] {
        let pair = Pair::own(&Options { kms, ..Options::default() });
        let bench = Bench::stocked(&pair, "keys", &Rule::default());
        // The bucket has no default encryption: only its objects tell.
        put_with_key(&bench, "sealed");
        wait_failed(&bench);
        bench.both_refuse(&Expected { id: "encryption_matches", says: &says, with: &["tls"] });
    }
}

/// Waits until the server has given the object up, so that it does not come between before and after.
fn wait_failed(bench: &Bench<'_>) {
    let end = std::time::Instant::now() + std::time::Duration::from_mins(1);
    loop {
        let status = client::block_on(async || {
            let head = client::s3(&bench.pair.source).head_object().bucket(&bench.bucket).key("sealed").send().await;
            head.expect("the object").replication_status().map(|status| status.as_str().to_owned())
        });
        if status.as_deref() == Some("FAILED") {
            return;
        }
        assert!(std::time::Instant::now() < end, "still {status:?}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn encrypted_objects_over_plain_http_are_refused_unless_accepted() {
    needs_minio!();
    let pair = Pair::shared();
    let bench = Bench::stocked(pair, "pre-sealed", &Rule::default());
    put_with_key(&bench, "sealed");
    pair.wait_replicated("pre-sealed");
    let says = ["they cross the network in the clear", "--accept tls="];
    bench.both_refuse(&Expected { id: "tls", says: &says, ..Expected::default() });
    let seen = bench.verify(&["--accept", "tls=loopback"]);
    assert_eq!(seen.step["verdict"], "held", "{}", seen.outcome.stdout);
}

#[test]
fn default_encryption_that_only_the_source_has_is_refused_where_nothing_prepares_it() {
    needs_minio!();
    let pair = Pair::shared();
    let bench = Bench::stocked(pair, "pre-default", &Rule::default());
    pair.mc(&["encrypt", "set", "sse-s3", "source/pre-default"]);
    bench.verify_refuses(&Expected {
        id: "encryption_matches",
        says: &["default encryption is", "`bucket.prepare` aligns it", "target/pre-default"],
        with: &["tls"],
    });
    let before = bench.state();
    let seen = bench.recover(&[]);
    seen.has(
        "warn",
        &Expected { id: "encryption_matches", says: &["`bucket.prepare` aligns it"], ..Expected::default() },
    );
    seen.refused(&Expected { id: "tls", ..Expected::default() }).sent_nothing();
    assert_eq!(bench.state(), before);
    bench.paste_remedy("encryption_matches");
}

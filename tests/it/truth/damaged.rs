//! What may have happened to the target, and what the buckets may hold.

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart, ObjectLockLegalHoldStatus},
};

use super::{Bench, Case, case, until};
use crate::{
    pair::Rule,
    scene::next_second,
    seed::{self, STRANGE},
};

pub(super) const CASES: &[Case] = &[
    case("lost-bucket", |bench| {
        bench.replicated(&Rule::default());
        bench.lose();
        bench.recover(0, "6 missing");
        bench.verify(0, "no difference");
    }),
    case("partial-loss", |bench| {
        bench.replicated(&Rule::default());
        for entry in seed::inventory(&bench.pair.target, bench.bucket) {
            if entry.size == 5 || entry.is_delete_marker {
                seed::delete_version(&bench.pair.target, bench.bucket, &entry.key, &entry.version_id);
            }
        }
        next_second();
        bench.recover(0, "missing");
    }),
    case("extra-versions", |bench| {
        bench.replicated(&Rule::default());
        seed::put(&bench.pair.target, bench.bucket, "a", b"newer, and only here");
        seed::put(&bench.pair.target, bench.bucket, "stray", b"only here");
        next_second();
        bench.verify(4, "2 extra");
        bench.recover(4, "extra");
    }),
    case("extra-accepted", |bench| {
        bench.replicated(&Rule::default());
        seed::put(&bench.pair.target, bench.bucket, "stray", b"only here");
        bench.lose_key("b/deep/c");
        bench.recover_with(&["-i", "accept=extra"], 0, "1 extra");
    }),
    case("different-content", |bench| {
        bench.replicated(&Rule::default());
        let all = seed::inventory(&bench.pair.source, bench.bucket);
        let entry = all.iter().find(|entry| entry.key == "b/deep/c").expect("a version");
        bench.overwrite_replica(entry, b"other bytes");
        next_second();
        bench.verify(4, "1 different");
        bench.recover(0, "no difference");
    }),
    case("delete-markers", |bench| {
        bench.pair.replicate(bench.bucket, &Rule::default());
        let (source, bucket) = (&bench.pair.source, bench.bucket);
        for key in ["hidden", "back again"] {
            seed::put(source, bucket, key, b"x");
            seed::delete(source, bucket, key);
        }
        seed::put(source, bucket, "back again", b"y");
        // Nothing is made of what was never there.
        seed::delete(source, bucket, "never there");
        bench.pair.wait_replicated(bucket);
        bench.lose();
        bench.recover(0, "no difference");
    }),
    case("multipart", |bench| {
        bench.pair.replicate(bench.bucket, &Rule::default());
        bench.write("source", async |client, bucket| {
            let begun = client.create_multipart_upload().bucket(bucket).key("parts").metadata("made", "in parts");
            let begun = begun.send().await.expect("an upload");
            let id = begun.upload_id().expect("its id");
            let mut parts = Vec::new();
            for (number, size) in [(1, 5 << 20), (2, 10)] {
                let body = ByteStream::from(vec![7; size]);
                let part =
                    client.upload_part().bucket(bucket).key("parts").upload_id(id).part_number(number).body(body);
                let part = part.send().await.expect("a part");
                parts.push(CompletedPart::builder().part_number(number).set_e_tag(part.e_tag).build());
            }
            let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
            let end =
                client.complete_multipart_upload().bucket(bucket).key("parts").upload_id(id).multipart_upload(parts);
            end.send().await.expect("the end");
        });
        bench.pair.wait_replicated(bench.bucket);
        bench.lose();
        bench.recover(0, "no difference");
    }),
    case("strange-keys", |bench| {
        bench.pair.replicate(bench.bucket, &Rule::default());
        for key in STRANGE {
            let body: &[u8] = if key.ends_with('/') { b"" } else { key.as_bytes() };
            seed::put(&bench.pair.source, bench.bucket, key, body);
        }
        bench.pair.wait_replicated(bench.bucket);
        bench.lose();
        bench.recover(0, "no difference");
    }),
    case("keys-below-keys", |bench| {
        bench.replicated(&Rule::default());
        // In no listing, and so found by nobody.
        seed::put(&bench.pair.source, bench.bucket, "a/b", b"below an object");
        seed::put(&bench.pair.source, bench.bucket, "a/b/c", b"and below that one");
        until("the replica below", || bench.asked("target", "HEAD", "/BUCKET/a/b").0 == 200);
        bench.ask("source", "GET", "/BUCKET/a/b");
        bench.ask("source", "GET", "/BUCKET?list-type=2&prefix=a");
        bench.lose();
        bench.recover(0, "no difference");
        bench.ask("target", "GET", "/BUCKET/a/b");
    }),
    case("empty-bucket", |bench| {
        bench.pair.replicate(bench.bucket, &Rule::default());
        bench.verify(4, "direction");
        bench.recover(4, "direction");
    }),
    case("locked", |bench| {
        bench.pair.replicate(bench.bucket, &Rule { lock: true, ..Rule::default() });
        for alias in ["source", "target"] {
            bench.mc(&format!("retention set --default GOVERNANCE 2d {alias}/BUCKET"));
        }
        bench.stock();
        bench.write("source", async |client, bucket| {
            let held = client.put_object().bucket(bucket).key("held").body(b"held".to_vec().into());
            held.object_lock_legal_hold_status(ObjectLockLegalHoldStatus::On).send().await.expect("a legal hold");
        });
        bench.pair.wait_replicated(bench.bucket);
        bench.lose();
        bench.recover(0, "no difference");
        bench.mc("legalhold info target/BUCKET/held");
    }),
    case("lock-missing", |bench| {
        bench.pair.make_bucket("source", bench.bucket, true);
        bench.pair.make_bucket("target", bench.bucket, true);
        bench.pair.add_rule("source", bench.bucket, &bench.pair.target.remote(bench.bucket), &Rule::default());
        bench.stock();
        bench.pair.wait_replicated(bench.bucket);
        bench.lose();
        bench.pair.make_bucket("target", bench.bucket, false);
        bench.recover(4, "object_lock_matches");
    }),
    case("encrypted-by-kms", |bench| {
        *bench.sealed.borrow_mut() = Some(Vec::new());
        encrypted(bench, "sse-kms my-minio-key");
    }),
    case("encrypted-by-the-site", |bench| encrypted(bench, "sse-s3")),
    case("excluded-prefixes", |bench| {
        bench.pair.replicate(bench.bucket, &Rule::default());
        for alias in ["source", "target"] {
            bench.mc(&format!("version enable --excluded-prefixes tmp/,scratch/ {alias}/BUCKET"));
        }
        bench.stock();
        bench.pair.wait_replicated(bench.bucket);
        for key in ["tmp/1", "scratch/deep/2"] {
            seed::put(&bench.pair.source, bench.bucket, key, b"not kept");
        }
        bench.lose();
        bench.recover(0, "2 out of scope");
        bench.verify(0, "excluded_prefixes");
    }),
    case("null-versions", |bench| {
        for alias in ["source", "target"] {
            bench.mc(&format!("mb {alias}/BUCKET"));
        }
        seed::put(&bench.pair.source, bench.bucket, "before", b"unversioned");
        seed::put(&bench.pair.source, bench.bucket, "a", b"unversioned too");
        for alias in ["source", "target"] {
            bench.mc(&format!("version enable {alias}/BUCKET"));
        }
        bench.pair.add_rule("source", bench.bucket, &bench.pair.target.remote(bench.bucket), &Rule::default());
        bench.stock();
        next_second();
        bench.recover(0, "no difference");
    }),
];

fn encrypted(bench: &Bench<'_>, how: &str) {
    bench.pair.replicate(bench.bucket, &Rule::default());
    for alias in ["source", "target"] {
        bench.mc(&format!("encrypt set {how} {alias}/BUCKET"));
    }
    bench.stock();
    bench.pair.wait_arrived(bench.bucket);
    bench.lose();
    bench.recover(4, "tls");
    bench.recover_with(&["--accept=tls=loopback"], 0, "no difference");
}

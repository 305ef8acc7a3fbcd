//! How the buckets, the rules and the way between the sites are set up.

use super::{Case, alone, case, until};
use crate::{pair::Rule, scene::operator, seed};

pub(super) const CASES: &[Case] = &[
    case("prefix-rule", |bench| {
        bench.pair.make_bucket("source", bench.bucket, false);
        bench.pair.make_bucket("target", bench.bucket, false);
        let remote = bench.pair.target.remote(bench.bucket);
        bench.pair.mc(&["replicate", "add", "source/prefix-rule/b/", "--remote-bucket", &remote, "--priority", "1"]);
        bench.stock();
        until("the replica", || bench.asked("target", "HEAD", "/BUCKET/b/deep/c").0 == 200);
        bench.lose();
        bench.recover(0, "out of scope");
        bench.verify(0, "rule_scope");
    }),
    case("tag-rule", |bench| {
        let tags = vec!["--tags".to_owned(), "team=dr".to_owned()];
        bench.pair.replicate(bench.bucket, &Rule { arguments: tags, ..flags("existing-objects,metadata-sync") });
        bench.write("source", async |client, bucket| {
            for (key, tags) in [("tagged", "team=dr&n=1"), ("other", "team=web"), ("bare", "")] {
                let put = client.put_object().bucket(bucket).key(key).body(b"x".to_vec().into());
                let put = if tags.is_empty() { put } else { put.tagging(tags) };
                put.send().await.expect("an object");
            }
        });
        until("the replica", || bench.asked("target", "HEAD", "/BUCKET/tagged").0 == 200);
        bench.ask("target", "HEAD", "/BUCKET/other");
        bench.ask("target", "HEAD", "/BUCKET/bare");
        bench.lose();
        bench.recover(0, "out of scope");
    }),
    case("existing-objects-off", |bench| {
        bench.replicated(&flags("delete,delete-marker,metadata-sync"));
        bench.ask("source", "PUT", "/BUCKET?replication-reset=&arn=ARN&reset-id=x");
        bench.verify(4, "existing_objects_enabled");
        bench.recover(4, "existing_objects_enabled");
    }),
    case("delete-replication-off", |bench| {
        bench.replicated(&flags("delete-marker,existing-objects,metadata-sync"));
        bench.verify(4, "delete_replication_enabled");
        bench.lose();
        bench.pair.make_bucket("target", bench.bucket, false);
        bench.ask("source", "PUT", "/BUCKET?replication-reset=&arn=ARN&reset-id=x");
        // What was hidden is live on the target.
        bench.wait_ended("x");
        bench.ask("target", "HEAD", "/BUCKET/gone");
    }),
    case("rule-disabled", |bench| {
        bench.replicated(&Rule::default());
        bench.mc(&format!("replicate update source/BUCKET --id {} --state disable", bench.rule_id()));
        bench.ask("source", "PUT", "/BUCKET?replication-reset=&arn=ARN&reset-id=x");
        bench.ask("source", "GET", "/BUCKET?replication-check=");
        bench.verify(4, "rule_enabled");
        bench.recover(4, "rule_enabled");
    }),
    case("rule-missing", |bench| {
        bench.replicated(&Rule::default());
        bench.mc("replicate rm --all --force source/BUCKET");
        bench.ask("source", "PUT", "/BUCKET?replication-reset=&reset-id=x");
        bench.ask("source", "GET", "/BUCKET?replication-reset-status=");
        bench.ask("source", "GET", "/minio/admin/v3/list-remote-targets?bucket=BUCKET&type=replication");
        bench.verify(4, "replication_configured");
        bench.recover(4, "replication_configured");
    }),
    case("wrong-credentials", |bench| {
        bench.replicated(&Rule::default());
        let [source, target] = [&bench.pair.source, &bench.pair.target];
        let wrong = target.as_user(&target.access_key, "not-the-secret");
        bench.verify_as(&operator(bench.pair).site("target", &wrong), 4, "SignatureDoesNotMatch");
        let nobody = source.as_user("nobody", "not-a-secret");
        bench.verify_as(&operator(bench.pair).site("source", &nobody), 4, "InvalidAccessKeyId");
    }),
    alone(
        "credentials-of-the-remote-target",
        "an account that lost its rights needs a site with accounts, and a sandbox has one only",
        |bench| {
            bench.replicated(&Rule::default());
            let wrong = format!(
                "{}://{}:not-the-secret@127.0.0.1:{}/{}",
                "http", bench.pair.target.access_key, bench.pair.target.port, bench.bucket
            );
            bench.pair.mc(&[
                "replicate",
                "update",
                &bench.place("source"),
                "--id",
                &bench.rule_id(),
                "--remote-bucket",
                &wrong,
            ]);
            bench.ask("source", "GET", "/BUCKET?replication-check=");
            bench.verify(4, "target_credentials");
        },
    ),
    case("other-name", |bench| {
        "other-name-there".clone_into(&mut bench.target_bucket.borrow_mut());
        bench.pair.make_bucket("source", "other-name", false);
        bench.pair.make_bucket("target", "other-name-there", false);
        bench.pair.add_rule("source", "other-name", &bench.pair.target.remote("other-name-there"), &Rule::default());
        bench.stock();
        until("the replicas", || seed::inventory(&bench.pair.target, "other-name-there").len() == 6);
        bench.lose();
        bench.recover(0, "no difference");
    }),
    case("two-way", |bench| {
        bench.replicated(&Rule { two_way: true, ..Rule::default() });
        seed::put(&bench.pair.target, bench.bucket, "written there", b"x");
        bench.pair.wait_replicated(bench.bucket);
        bench.verify(0, "no difference");
        bench.lose();
        bench.recover(0, "no difference");
    }),
    case("proxied-reads", |bench| {
        bench.pair.make_bucket("source", bench.bucket, false);
        bench.pair.make_bucket("target", bench.bucket, false);
        bench.pair.add_rule("target", bench.bucket, &bench.pair.source.remote(bench.bucket), &Rule::default());
        seed::put(&bench.pair.source, bench.bucket, "only on the source", b"and yet");
        for (alias, method) in [("target", "GET"), ("target", "HEAD"), ("source", "GET")] {
            bench.ask(alias, method, "/BUCKET/only%20on%20the%20source");
            bench.ask(alias, method, "/BUCKET/nowhere");
        }
        bench.ask("target", "GET", "/BUCKET?list-type=2");
        bench.verify(4, "1 missing");
    }),
    case("quota", |bench| {
        bench.replicated(&Rule::default());
        bench.lose();
        bench.pair.make_bucket("target", bench.bucket, false);
        bench.mc("quota set target/BUCKET --size 10B");
        bench.recover(4, "quota");
    }),
    case("lifecycle", |bench| {
        bench.replicated(&Rule::default());
        bench.mc("ilm rule add --noncurrent-expire-days 1 target/BUCKET");
        bench.verify(4, "lifecycle_safe");
        bench.recover(4, "lifecycle_safe");
    }),
    case("not-versioned", |bench| {
        bench.replicated(&Rule::default());
        bench.lose();
        bench.mc("mb target/BUCKET");
        bench.ask("source", "PUT", "/BUCKET?replication-reset=&arn=ARN&reset-id=x");
        bench.ask("source", "GET", "/BUCKET?replication-check=");
        bench.verify(4, "versioning_enabled");
        bench.recover(0, "no difference");
    }),
    case("only-planned", |bench| {
        bench.replicated(&Rule::default());
        bench.lose();
        let plan = ["plan", "runbooks/recover_bucket.yaml"];
        let runbook = crate::scene::shipped("recover_bucket.yaml");
        let input = format!("bucket={}", bench.bucket);
        let bound = [
            plan[0],
            runbook.to_str().expect("a plain path"),
            "--site",
            "source=source",
            "--site",
            "target=target",
            "-i",
            &input,
        ];
        bench.firedrill(&operator(bench.pair), &bound, 0, "prepare");
    }),
    case("no-bucket-anywhere", |bench| {
        bench.verify(4, "does not exist");
        bench.recover(4, "is missing on source");
    }),
];

fn flags(flags: &str) -> Rule {
    Rule { flags: flags.to_owned(), ..Rule::default() }
}

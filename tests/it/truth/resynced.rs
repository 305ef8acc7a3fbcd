//! Resyncs that are refused, that run already, that do nothing.

use super::{Case, case, until};
use crate::{
    client,
    pair::Rule,
    proxy::{At, Proxy},
    scene::operator,
    seed,
};

pub(super) const CASES: &[Case] = &[
    case("bad-arn", |bench| {
        bench.replicated(&Rule::default());
        for query in [
            "",
            "&arn=",
            "&arn=x",
            "&arn=arn%3Aminio%3Areplication%3A%3Anope%3Abad-arn",
            "&arn=ARN&older-than=7d",
            "&arn=ARN&older-than=",
        ] {
            bench.ask("source", "PUT", &format!("/BUCKET?replication-reset={query}&reset-id=x"));
        }
        bench.ask("source", "PUT", "/no-such-bucket?replication-reset=&arn=x");
        bench.ask("source", "GET", "/BUCKET?replication-reset-status=&arn=x");
        bench.ask("source", "GET", "/minio/admin/v3/list-remote-targets?bucket=BUCKET&type=replication");
    }),
    case("used-reset-id", |bench| {
        bench.replicated(&Rule::default());
        bench.ask("source", "PUT", "/BUCKET?replication-reset=&arn=ARN&reset-id=used");
        bench.wait_ended("used");
        bench.lose();
        bench.pair.make_bucket("target", bench.bucket, false);
        bench.ask("source", "PUT", "/BUCKET?replication-reset=&arn=ARN&reset-id=used");
        bench.wait_ended("used");
        // `Completed`, and nothing was sent.
        bench.note(format!("{} versions came back", seed::inventory(&bench.pair.target, bench.bucket).len()));
        bench.recover(0, "no difference");
    }),
    case("running", |bench| {
        bench.pair.make_bucket("source", bench.bucket, false);
        bench.pair.make_bucket("target", bench.bucket, false);
        let proxy = Proxy::start(&bench.pair.target.endpoint());
        let behind = bench.pair.target.at(&proxy.endpoint());
        bench.pair.add_rule("source", bench.bucket, &behind.remote(bench.bucket), &Rule::default());
        bench.stock();
        bench.pair.wait_replicated(bench.bucket);
        // The target seems to think about every version that it is asked for.
        let gate = proxy.hold(At::Request, |request| request.path.starts_with("/running/a?"));
        bench.ask("source", "PUT", "/BUCKET?replication-reset=&arn=ARN&reset-id=first");
        gate.wait_arrived();
        until("the job", || bench.asked("source", "GET", "/BUCKET?replication-reset-status=").1.contains("Ongoing"));
        bench.ask("source", "GET", "/BUCKET?replication-reset-status=");
        bench.ask("source", "PUT", "/BUCKET?replication-reset=&arn=ARN&reset-id=second");
        // Refused, and yet remembered.
        bench.ask("source", "GET", "/minio/admin/v3/list-remote-targets?bucket=BUCKET&type=replication");
        let drill = operator(bench.pair).site("target", &behind);
        let arn = format!("arn={}", bench.arn());
        let (source, target) = (bench.place("source"), bench.place("target"));
        let recover = ["recover", &source, &target, "--confirm-target", "target", "-i", "settle=1s", "-i", &arn];
        bench.firedrill(&drill, &recover, 4, "no_resync_running");
        gate.release();
        bench.wait_ended("first");
    }),
    case("deployments", |bench| {
        bench.replicated(&Rule::default());
        for path in ["/minio/health/live", "/minio/health/cluster", "/minio/admin/v3/site-replication/info"] {
            bench.ask("source", "GET", path);
        }
        bench.ask("source", "GET", "/minio/admin/v3/kms/key/status?key-id=my-minio-key");
        let (status, _) =
            client::signed(&bench.pair.source, "GET", "/minio/admin/v3/kms/key/status?key-id=no-such-key");
        bench.note(format!("an unknown key: {status}"));
    }),
];

//! A site goes away. One case, so that nobody else misses the site.

use firedrill::sandbox::scenario::Which;

use super::{Case, case, until};
use crate::{pair::Rule, scene::next_second, seed};

pub(super) const CASES: &[Case] = &[case("stopped", |bench| {
    bench.replicated(&Rule::default());
    let versions = seed::inventory(&bench.pair.source, bench.bucket);
    let purged = versions.iter().find(|entry| entry.key == "b/deep/c").expect("a version");

    bench.stop(Which::Target);
    seed::put(&bench.pair.source, bench.bucket, "late", b"written meanwhile");
    // Gone for who lists, and not yet gone.
    seed::delete_version(&bench.pair.source, bench.bucket, &purged.key, &purged.version_id);
    until("the hiding", || {
        !seed::inventory(&bench.pair.source, bench.bucket).iter().any(|entry| entry.key == "b/deep/c")
    });
    // A GET is passed on to the target, and what becomes of it depends on how long that has been away.
    let (status, _) = bench.asked("source", "HEAD", &format!("/BUCKET/b/deep/c?versionId={}", purged.version_id));
    bench.note(format!("HEAD of a purged version: {status}"));
    bench.ask("source", "PUT", "/BUCKET?replication-reset=&arn=ARN&reset-id=x");
    bench.ask("source", "GET", "/BUCKET?replication-check=");
    bench.verify(4, "does not answer");
    bench.recover(4, "does not answer");

    bench.start(Which::Target);
    next_second();
    // Listing the source makes it try again.
    bench.pair.wait_replicated(bench.bucket);
    next_second();
    bench.verify(0, "no difference");
    bench.recover(0, "no difference");
})];

//! The runs that die: every shipped runbook, and every kind that changes something, over small sites.

use aws_sdk_s3::types::{
    DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRetentionMode, ObjectLockRule,
};

use super::bench::Bench;
use crate::client::{block_on, s3_at};

/// A runbook, and sites for it.
pub(super) struct Scene {
    pub(super) name: &'static str,
    runbook: &'static str,
    scenario: &'static str,
    inputs: &'static [(&'static str, &'static str)],
    /// What is done to the sites before.
    before: fn(&Bench),
}

impl Scene {
    pub(super) fn start(&self) -> Bench {
        let bench = Bench::start(self.runbook, self.scenario, self.inputs);
        (self.before)(&bench);
        bench
    }
}

/// What the source's bucket is, and how quick its resyncs are; the loss comes after it.
macro_rules! small {
    ($more:literal) => {
        concat!(
            "scenario: small\nsummary: A small bucket\n",
            "data: { objects: 4, versions: 2, delete_markers: 1, size: 40",
            $more
        )
    };
}

const LOST: &str = small!(" }\ndamage: { bucket_lost: true }\nresync: { flush: 50ms, retry: 100ms, version: 5ms }\n");
const WHOLE: &str = small!(" }\n");
const LOCKED: &str = small!(
    ", lock: true, kms_key: my-minio-key }\ndamage: { bucket_lost: true }\n\
     resync: { flush: 50ms, retry: 100ms, version: 5ms }\n"
);
const LIES: &str = small!(
    " }\ndamage: { bucket_lost: true }\nresync: { flush: 50ms, retry: 100ms, version: 5ms, lie: nothing_sent }\n"
);

const START: &str = "
format: 1
runbook: start_and_watch
summary: The parts of a recovery as steps of their own
kind: recovery
roles: { source: { description: S }, target: { description: T } }
inputs: { bucket: { type: bucket, description: B } }
steps:
  - { id: targets, uses: replication.targets, with: { bucket: \"{{ inputs.bucket }}\" }, on_failure: continue }
  - { id: prepare, uses: bucket.prepare, with: { bucket: \"{{ inputs.bucket }}\" } }
  - { id: start, uses: resync.start, with: { bucket: \"{{ inputs.bucket }}\", arn: \"{{ steps.targets.arn }}\" } }
  - id: watch
    uses: resync.monitor
    with:
      bucket: \"{{ inputs.bucket }}\"
      arn: \"{{ steps.start.arn }}\"
      reset_id: \"{{ steps.start.reset_id }}\"
      every: 1s
  - { id: validate, uses: versions.compare, with: { bucket: \"{{ inputs.bucket }}\", before: now, settle: 5s } }
finally:
  - { id: counts, uses: versions.count, with: { bucket: \"{{ inputs.bucket }}\" } }
";

pub(super) const ALL: [Scene; 5] = [
    Scene {
        name: "recover_bucket, with object lock, retention and encryption",
        runbook: include_str!("../../../runbooks/recover_bucket.yaml"),
        scenario: LOCKED,
        inputs: &[("settle", "5s")],
        before: retain,
    },
    Scene {
        name: "recover_bucket, with a resync that sent nothing",
        runbook: include_str!("../../../runbooks/recover_bucket.yaml"),
        scenario: LIES,
        inputs: &[("settle", "5s")],
        before: |_| (),
    },
    Scene {
        name: "resync_bucket",
        runbook: include_str!("../../../runbooks/resync_bucket.yaml"),
        scenario: LOST,
        inputs: &[("settle", "5s")],
        before: |_| (),
    },
    Scene {
        name: "verify_replica",
        runbook: include_str!("../../../runbooks/verify_replica.yaml"),
        scenario: WHOLE,
        inputs: &[("settle", "5s")],
        before: |_| (),
    },
    Scene { name: "resync.start and resync.monitor", runbook: START, scenario: LOST, inputs: &[], before: |_| () },
];

/// A default retention on the source's bucket, for the target's to be given.
fn retain(bench: &Bench) {
    let site = &bench.pair.source;
    let day = DefaultRetention::builder().mode(ObjectLockRetentionMode::Governance).days(1).build();
    let rule = ObjectLockRule::builder().default_retention(day).build();
    let lock = ObjectLockConfiguration::builder().object_lock_enabled(ObjectLockEnabled::Enabled).rule(rule).build();
    block_on(async || {
        let client = s3_at(&site.endpoint, &site.access_key, &site.secret_key);
        let put = client.put_object_lock_configuration().bucket(&bench.pair.scenario.bucket);
        put.object_lock_configuration(lock).send().await.expect("a default retention");
    });
}

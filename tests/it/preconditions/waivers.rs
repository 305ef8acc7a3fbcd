//! Checks that a person waives: they are made and shown all the same, and the run goes on.

use super::Bench;
use crate::{
    case::Firedrill,
    pair::{Pair, Rule, needs_minio},
};

/// A rule that warns by itself, and fails with an expiry on the target.
fn failing<'a>(pair: &'a Pair, bucket: &str) -> Bench<'a> {
    let bench = Bench::stocked(pair, bucket, &Rule::default());
    pair.mc(&["ilm", "rule", "add", "--expire-days", "30", &bench.place("target")]);
    bench
}

fn runbook(ignore: &str) -> String {
    format!(
        "format: 1\n\
         runbook: look\n\
         summary: Only the preconditions\n\
         kind: verify\n\
         roles:\n  \
           source: {{ description: Has the data }}\n  \
           target: {{ description: Holds the replica }}\n\
         inputs:\n  \
           bucket: {{ type: bucket, description: The bucket }}\n\
         steps:\n\
         - id: targets\n  \
           uses: replication.targets\n  \
           with: {{ bucket: \"{{{{ inputs.bucket }}}}\" }}\n\
         - id: preconditions\n  \
           uses: replication.preconditions\n  \
           with: {{ bucket: \"{{{{ inputs.bucket }}}}\", arn: \"{{{{ steps.targets.arn }}}}\", ignore: [{ignore}] }}\n"
    )
}

fn run(bench: &Bench<'_>, ignore: &str) -> Firedrill {
    let bucket = format!("bucket={}", bench.bucket);
    let drill = Firedrill::new().site("source", &bench.source).site("target", &bench.target);
    let drill = drill.file("look.yaml", &runbook(ignore));
    drill.args(["run", "look.yaml", "--site", "source=source", "--site", "target=target", "-i", &bucket])
}

#[test]
fn a_check_waived_on_the_command_line_is_shown_and_lets_the_run_go_on() {
    needs_minio!();
    let bench = failing(Pair::shared(), "pre-accepted");
    let before = bench.state();
    let seen = bench.verify(&["--accept", "lifecycle_safe=we watch it: ticket 17"]);
    seen.outcome.clone().exit(0).says("(waived: we watch it: ticket 17)");
    let check = seen.check("lifecycle_safe");
    assert_eq!((check["verdict"].as_str(), check["waived"].as_str()), (Some("fail"), Some("we watch it: ticket 17")));
    assert_eq!(seen.step["output"]["waived"], 1);
    assert_eq!(seen.step["output"]["failed"], 0);
    assert!(seen.findings().is_empty());
    let started = &seen.drill.events("run_started")[0];
    assert_eq!(started["accepted"]["lifecycle_safe"], "we watch it: ticket 17");
    let shown = seen.drill.clone().args(["show", "latest"]).run().exit(0);
    shown.says("lifecycle_safe: we watch it: ticket 17");
    assert_eq!(bench.state(), before);
}

#[test]
fn a_check_ignored_by_the_runbook_is_shown_and_lets_the_run_go_on() {
    needs_minio!();
    let bench = failing(Pair::shared(), "pre-ignored");
    run(&bench, "").run().exit(4).says("lifecycle_safe").says("remedy:");
    let drill = run(&bench, "lifecycle_safe, quota");
    drill.run().exit(0).says("(waived: ignored by the runbook)");
    let ends = drill.events("step_ended");
    let checks = ends[1]["output"]["checks"].as_array().expect("the checks");
    let waived: Vec<_> = checks.iter().filter(|check| !check["waived"].is_null()).collect();
    // What holds needs no waiver.
    assert_eq!(waived.len(), 1, "{waived:?}");
    assert_eq!(waived[0]["verdict"], "fail");
    drill.clone().args(["show", "latest"]).run().exit(0).says("waived: ignored by the runbook");
}

#[test]
fn a_check_that_does_not_exist_cannot_be_waived() {
    needs_minio!();
    let pair = Pair::shared();
    let bench = Bench::stocked(pair, "pre-no-such", &Rule::default());
    let verify = |accept: &str| {
        let drill = Firedrill::new().site("source", &bench.source).site("target", &bench.target);
        let drill = drill.args(["verify", "source/pre-no-such", "target/pre-no-such", "--accept", accept]);
        let outcome = drill.run().exit(3);
        assert!(drill.run_folder().is_none(), "a run was begun");
        outcome
    };
    verify("lifecycle_save=known").says("there is no check `lifecycle_save` (did you mean `lifecycle_safe`?)");
    verify("tls= ").says("say why");
    let drill = run(&bench, "lifecycle_save");
    drill.run().exit(3).says("lifecycle_save").says("did you mean `lifecycle_safe`?");
    assert!(drill.run_folder().is_none(), "a run was begun");
}

//! The program without the feature `sandbox`.

use crate::case::Firedrill;

#[test]
fn what_needs_the_sandbox_says_that_it_is_not_there() {
    let runbook = concat!(env!("CARGO_MANIFEST_DIR"), "/runbooks/recover_bucket.yaml");
    for args in [
        &["test", "."][..],
        &["sandbox"],
        &["run", runbook, "--sandbox"],
        &["recover", "--sandbox"],
        &["schema", "test"],
        &["schema", "scenario"],
    ] {
        Firedrill::new().args(args).run().exit(3).says("this program was built without the sandbox");
    }
    let help = Firedrill::new().args(["--help"]).run().exit(0);
    assert!(!help.stdout.contains("sandbox"), "{}", help.stdout);
}

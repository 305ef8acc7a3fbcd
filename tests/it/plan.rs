//! `plan` says what a run would do and changes nothing, which recorders in front of both sites witness.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use crate::{
    case::Firedrill,
    pair::{Pair, needs_minio},
    scene::{Watched, assert_rebuilt, everything, next_second, over, shipped},
    seed,
};

const RUNBOOKS: [&str; 3] = ["resync_bucket.yaml", "recover_bucket.yaml", "verify_replica.yaml"];

#[test]
fn every_shipped_runbook_is_planned_here() {
    let names: BTreeSet<String> = fs::read_dir(shipped(""))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name.strip_suffix(".yaml").is_some_and(|name| !name.contains('.')))
        .collect();
    assert_eq!(names, RUNBOOKS.map(str::to_owned).into());
}

#[test]
fn a_plan_sends_nothing_that_changes_anything_and_leaves_nothing_behind() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "planned");
    let mut watched = Watched::new(pair);
    watched.replicate(pair, bucket);
    seed::fill(&pair.source, bucket, 13);
    pair.wait_replicated(bucket);
    let whole = everything(pair, bucket);
    for runbook in RUNBOOKS {
        let planned = plan(&watched, runbook, bucket, &[]).run().exit(0).says("nothing was changed");
        assert_eq!(planned.stdout.contains("will change"), runbook != "verify_replica.yaml", "{}", planned.stdout);
    }
    assert_eq!(everything(pair, bucket), whole);

    pair.lose_bucket("target", bucket);
    let lost = everything(pair, bucket);
    for runbook in RUNBOOKS {
        let planned = plan(&watched, runbook, bucket, &["--output", "json"]).run();
        let expected = if runbook == "verify_replica.yaml" { 4 } else { 0 };
        let steps = planned.exit(expected).json()["steps"].clone();
        let actions =
            |id: &str| steps.as_array().unwrap().iter().find(|step| step["id"] == id).map(|s| s["action"].clone());
        if expected == 0 {
            assert_eq!(actions("prepare"), Some("will_change".into()), "{steps:#}");
            assert_eq!(actions("recover"), Some("will_change".into()), "{steps:#}");
            assert_eq!(actions("validate"), Some("will_check".into()), "{steps:#}");
            assert_eq!(actions("damage").unwrap()["checked"]["verdict"], "not_held", "{steps:#}");
        }
        if runbook == "resync_bucket.yaml" {
            assert_eq!(actions("drain_traffic"), Some("will_wait_for_a_person".into()), "{steps:#}");
        }
    }
    let text = plan(&watched, "recover_bucket.yaml", bucket, &[]).run().exit(0);
    for step in ["prepare", "recover"] {
        let line = text.stdout.lines().find(|line| line.trim_start().starts_with(step) && line.contains("will change"));
        assert!(line.is_some(), "`{step}` is not said to change something:\n{}", text.stdout);
    }

    // Now the site itself goes down.
    watched.target = crate::proxy::Proxy::start("http://127.0.0.1:9");
    let drill = watched.drill.clone();
    assert!(watched.changing().is_empty(), "{:?}", watched.changing());
    for runbook in RUNBOOKS {
        plan(&watched, runbook, bucket, &[]).run().exit(4).says("site_online").says("unreachable");
    }
    assert!(watched.changing().is_empty(), "{:?}", watched.changing());
    assert_eq!(everything(pair, bucket), lost);
    assert!(watched.source.requests().len() > 20, "the recorder saw next to nothing");
    let left: Vec<_> = fs::read_dir(drill.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn only_a_plan_that_may_probe_lets_a_server_write_its_probe() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "planned-probe");
    let watched = Watched::new(pair);
    watched.replicate(pair, bucket);
    seed::put(&pair.source, bucket, "key", b"data");
    pair.wait_replicated(bucket);
    next_second();
    plan(&watched, "verify_replica.yaml", bucket, &["--probe"]).run().exit(0);
    let changing = watched.changing();
    assert!(
        !changing.is_empty() && changing.iter().all(|request| request.has_query("replication-check")),
        "{changing:?}"
    );
}

#[test]
fn a_kept_plan_is_run_as_it_is_or_not_at_all() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "planned-kept");
    let watched = Watched::new(pair);
    let source = watched.lost(pair, bucket);
    let text = fs::read_to_string(shipped("recover_bucket.yaml")).unwrap();
    let drill = watched.drill.clone().file("mine.yaml", &text);
    over(&drill, "plan", "mine.yaml", bucket, &["--out", "plan.json"]).run().exit(0).says("kept in plan.json");
    let kept: Value = serde_json::from_slice(&fs::read(drill.folder().join("plan.json")).unwrap()).unwrap();
    assert_eq!(kept["inputs"]["bucket"], bucket);
    assert_eq!(kept["changes"].as_object().unwrap().len(), 2, "{kept:#}");
    assert!(kept["changes"]["recover"]["arn"].as_str().unwrap().starts_with("arn:minio:replication:"), "{kept:#}");

    let run = |drill: &Firedrill, more: &[&str]| {
        let flags = ["--plan", "plan.json", "--confirm-target", "target"];
        over(drill, "run", "mine.yaml", bucket, &[&flags, more].concat()).run()
    };
    let before = everything(pair, bucket);
    run(&drill, &["-i", "max_attempts=2"]).exit(3).says("input `max_attempts` was 3");
    let swapped = ["run", "mine.yaml", "--plan", "plan.json", "--confirm-target", "source", "--site", "source=target"];
    let input = format!("bucket={bucket}");
    let swapped = drill.clone().args(swapped.iter().chain(&["--site", "target=source", "-i", &input]));
    swapped.run().exit(3).says("is another deployment now");
    let edited = drill.clone().file("mine.yaml", &format!("{text}# a comment is an edit, too\n"));
    run(&edited, &[]).exit(3).says("the runbook was edited");
    let drill = drill.file("mine.yaml", &text).file("no-plan.json", "{}").file("cut.json", "{\"v\":");
    for (file, why) in [("no-plan.json", "is no plan"), ("cut.json", "is no plan"), ("missing.json", "cannot be read")]
    {
        over(&drill, "run", "mine.yaml", bucket, &["--plan", file, "--confirm-target=target"]).run().exit(3).says(why);
    }
    assert!(watched.changing().is_empty(), "{:?}", watched.changing());
    assert!(drill.run_folder().is_none(), "a refused run left something behind");
    assert_eq!(everything(pair, bucket), before);

    // What was planned for a step is no longer what it would do: another remote target of the same bucket.
    let arn = kept["changes"]["recover"]["arn"].as_str().unwrap();
    let other = arn.replace("replication:", "replication:other");
    let drifted = serde_json::to_string(&kept).unwrap().replace(arn, &other);
    let drifting = drill.clone().file("drifted.json", &drifted);
    let flags = ["--plan", "drifted.json", "--confirm-target=target"];
    over(&drifting, "run", "mine.yaml", bucket, &flags).run().exit(3).says("`recover` is not as planned").says(&other);
    assert_eq!(watched.starts(), 0);
    fs::remove_dir_all(drill.folder().join("runs")).unwrap();

    run(&drill, &[]).exit(0);
    assert_rebuilt(pair, bucket, &source);
}

fn plan(watched: &Watched, runbook: &str, bucket: &str, more: &[&str]) -> Firedrill {
    let flags = [&["-i", "settle=1s"], more].concat();
    over(&watched.drill, "plan", shipped(runbook).to_str().unwrap(), bucket, &flags)
}

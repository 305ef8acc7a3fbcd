//! `resume` and `approve` from outside: what stands, what runs again, what is refused, and who may say so.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use firedrill::sandbox::{Access, Scenario};

use crate::{
    case::Firedrill,
    client::{block_on, s3_at},
    sandbox::Sandbox,
    scene::{assert_audited, output, shipped},
};

const LOST: &str = "scenario: lost\nsummary: A small bucket that the target lost\n\
    data: { objects: 4, versions: 2, delete_markers: 1, size: 40 }\ndamage: { bucket_lost: true }\n\
    resync: { flush: 50ms, retry: 100ms, version: 5ms }\n";

const HEAD: &str = "format: 1\nrunbook: own\nsummary: Asks\nkind: recovery\ninputs:\n  \
    bucket: { type: bucket, default: invoices, description: B }\n\
    roles: { source: { description: S }, target: { description: T } }\nsteps:\n  \
    - { id: targets, uses: replication.targets, with: { bucket: invoices } }\n";

fn small() -> Sandbox {
    Sandbox::of(Scenario::read(LOST).expect("a scenario"))
}

/// A run of these steps after `targets`, over both sites.
fn run(sandbox: &Sandbox, steps: &str) -> Firedrill {
    let drill = sandbox.firedrill().file("book.yaml", &format!("{HEAD}{steps}"));
    again(&drill, &["run", "book.yaml", "--site", "source=src", "--site", "target=dst", "--confirm-target=dst"])
}

fn again(drill: &Firedrill, args: &[&str]) -> Firedrill {
    drill.clone().args(args)
}

/// How often each step began.
fn begun(drill: &Firedrill, step: &str) -> usize {
    drill.events("step_started").iter().filter(|line| line["path"] == step).count()
}

fn edit(path: &Path, from: &str, to: &str) -> String {
    let text = fs::read_to_string(path).expect("a file");
    assert!(text.contains(from), "{text}");
    text.replace(from, to)
}

fn client(site: &Access) -> aws_sdk_s3::Client {
    s3_at(&site.endpoint, &site.access_key, &site.secret_key)
}

const ASKED: &str = "  - { id: ask, uses: human.confirm, with: { prompt: go? } }\n";

#[test]
fn a_run_that_is_not_green_is_reopened_and_may_begin_from_an_earlier_reading_step() {
    let sandbox = Sandbox::start("extra_versions");
    let bucket = &sandbox.pair.scenario.bucket;
    let (source, target) = (format!("src/{bucket}"), format!("dst/{bucket}"));
    let drill = sandbox.firedrill();
    again(&drill, &["recover", &source, &target, "--confirm-target=dst", "-i", "settle=2s"]).run().exit(4);
    let steps = ["targets", "preconditions", "prepare", "ready", "recover", "validate"];
    assert_eq!(steps.map(|step| begun(&drill, step)), [1, 1, 1, 1, 1, 0]);

    // Held steps stand, the first that did not hold runs again.
    again(&drill, &["resume", "latest"]).run().exit(4).says("4 extra");
    assert_eq!(steps.map(|step| begun(&drill, step)), [1, 1, 1, 1, 2, 0]);

    for (from, why) in [
        ("prepar", "did you mean `prepare`?"),
        ("nothing", "has no such step (known here: `targets`"),
        ("prepare", "more than read"),
        ("validate", "goes on with `recover`, which comes before it"),
    ] {
        again(&drill, &["resume", "latest", "--from", from]).run().exit(3).says(why);
    }
    assert_eq!(drill.events("run_resumed").len(), 1, "a refused resume left a line");

    block_on(async || {
        let client = client(&sandbox.pair.target);
        let listed = client.list_object_versions().bucket(bucket).prefix("stray/").send().await.expect("a listing");
        for version in listed.versions() {
            let (key, id) = (version.key().unwrap(), version.version_id().unwrap());
            client.delete_object().bucket(bucket).key(key).version_id(id).send().await.expect("deleted");
        }
    });
    again(&drill, &["resume", "latest", "--from", "preconditions"]).run().exit(0).says("HELD");
    // Reading steps from there on are done again; what changed something stands.
    assert_eq!(steps.map(|step| begun(&drill, step)), [1, 2, 1, 2, 3, 1]);
    assert_eq!(drill.events("run_resumed")[1]["from"], "preconditions");
    assert_audited(&drill);
    let lines = drill.journal().len();
    for more in [&[][..], &["--from", "targets"], &["--use-edited", "book.yaml"]] {
        again(&drill, &[&["resume", "latest"], more].concat()).run().exit(3).says("has ended, and holds");
    }
    assert_eq!(drill.journal().len(), lines);
}

#[test]
fn an_edited_runbook_takes_over_when_only_later_steps_differ() {
    let sandbox = small();
    let later = "  - { id: sum, uses: assert, with: { that: [{ holds: '{{ steps.targets.bucket_exists == false }}', message: no }] } }\n";
    let drill = run(&sandbox, &format!("{ASKED}{later}"));
    drill.run().exit(7);
    let saved = drill.run_folder().unwrap().join("runbook.yaml");
    let resume = |more: &[&str]| again(&drill, &[&["resume", "latest", "--yes=ask"], more].concat());

    // What has begun stays, and so does the head.
    for (from, to, why) in [
        ("prompt: go?", "prompt: gone?", "step `ask` has begun, or a later one has, and differs in `with`"),
        (
            "  - { id: ask",
            "  - { id: between, uses: human.confirm, with: { prompt: no? } }\n  - { id: ask",
            "step `ask` has begun, or a later one has, and is not in its place",
        ),
        ("summary: Asks", "summary: Answers", "`summary` differs"),
        ("description: T }", "description: U }", "`roles` differs"),
        ("uses: assert", "uses: asert", "did you mean `assert`?"),
    ] {
        let text = edit(&saved, from, to);
        let drill = drill.clone().file("edited.yaml", &text);
        again(&drill, &["resume", "latest", "--use-edited", "edited.yaml"]).run().exit(3).says(why);
    }
    assert!(drill.events("run_resumed").is_empty(), "a refused resume left a line");

    // The one beside the journal is evidence: edited there, it is not run.
    let whole = fs::read(&saved).unwrap();
    fs::write(&saved, edit(&saved, "== false", "== true")).unwrap();
    resume(&[]).run().exit(3).says("was edited since the run began").says("--use-edited FILE");
    fs::write(&saved, &whole).unwrap();

    let text = edit(&saved, "== false", "== true") + ASKED.replace("ask", "more").as_str();
    let drill = drill.file("edited.yaml", &text);
    again(&drill, &["resume", "latest", "--yes=ask", "--use-edited", "edited.yaml"]).run().exit(7);
    assert_eq!(output(&drill, "sum")["failed"], serde_json::json!([]));
    assert_eq!(fs::read(&saved).unwrap(), whole);
    let kept = drill.run_folder().unwrap().join("runbook-2.yaml");
    assert_eq!(fs::read_to_string(&kept).unwrap(), text);
    assert_audited(&drill);

    // A third process goes on with what took over, whose file is evidence too.
    fs::write(&kept, text.replace("== true", "!= false")).unwrap();
    again(&drill, &["audit", "verify", "latest"]).run().exit(6).says("runbook-2.yaml is not the file");
    again(&drill, &["resume", "latest", "--yes=more"]).run().exit(3).says("runbook-2.yaml was edited");
    fs::write(&kept, &text).unwrap();
    again(&drill, &["resume", "latest", "--yes=more"]).run().exit(0);
    assert_audited(&drill);
}

#[test]
fn an_answer_counts_once_from_those_who_may_and_in_time() {
    let sandbox = small();
    let asks = |with: &str| format!("  - {{ id: ask, uses: human.confirm, with: {{ prompt: go?{with} }} }}\n");
    let drill = run(&sandbox, &asks(", who: [ann]"));
    drill.run().exit(7);
    again(&drill, &["resume", "latest", "--yes=ask"]).run().exit(7);
    again(&drill, &["approve", "latest"]).run().exit(3).says("may be answered by ann, and you are operator");
    let ann = drill.clone().env("USER", "ann");
    again(&ann, &["approve", "latest", "targets"]).run().exit(3).says("`targets` of run").says("asks nothing");
    again(&ann, &["approve", "latest"]).run().exit(0);
    // The same again is no error; another one is told who said what.
    let lines = drill.journal().len();
    again(&drill, &["approve", "latest"]).run().exit(0).says("answered yes already, by ann");
    again(&drill, &["approve", "latest", "ask", "--no"]).run().exit(3).says("answered already: ann said yes");
    assert_eq!((drill.journal().len(), drill.events("answered").len()), (lines, 1));

    let drill = run(&sandbox, &asks(", deadline: 1s"));
    drill.run().exit(7);
    let until = drill.events("asked")[0]["question"]["until"].as_str().unwrap().to_owned();
    thread::sleep(Duration::from_millis(1100));
    again(&drill, &["approve", "latest"]).run().exit(3).says(&until).says("firedrill resume");
    again(&drill, &["resume", "latest", "--yes=ask"]).run().exit(4).says("nobody answered in time");
    assert_eq!(drill.events("answered")[0]["answer"]["how"], "deadline");
    // Reopened, it asks again, and in time.
    again(&drill, &["resume", "latest", "--yes", "--confirm-target=dst"]).run().exit(0);

    let drill = run(&sandbox, &asks(""));
    drill.run().exit(7);
    again(&drill, &["approve", "latest", "--no", "--comment", "not today"]).run().exit(4).says("not today");
    again(&drill, &["approve", "latest"]).run().exit(3).says("operator said no");
    assert_audited(&drill);
}

#[test]
fn a_run_that_did_not_change_anything_yet_looks_at_the_preconditions_again() {
    let sandbox = small();
    let bucket = &sandbox.pair.scenario.bucket;
    let book = shipped("resync_bucket.yaml");
    let drill = sandbox.firedrill();
    let input = format!("bucket={bucket}");
    let sites = ["--site", "source=src", "--site", "target=dst", "-i", &input, "--confirm-target=dst"];
    again(&drill, &[&["run", book.to_str().unwrap()], &sites[..]].concat()).run().exit(7);
    block_on(async || {
        let gone = client(&sandbox.pair.source).delete_bucket_replication().bucket(bucket);
        gone.send().await.expect("its rules are gone");
    });
    again(&drill, &["approve", "latest"]).run().exit(4).says("rule");
    assert!(drill.events("intent").is_empty());
    assert_eq!((begun(&drill, "preconditions"), begun(&drill, "prepare")), (2, 0));
}

#[test]
fn another_deployment_in_the_place_of_a_site_is_refused_also_after_it_was_down() {
    let (sandbox, other) = (small(), small());
    let drill = run(&sandbox, ASKED);
    drill.run().exit(7);
    let to = |host: &str| drill.clone().env("MC_HOST_dst", host).args(["resume", "latest"]);
    to(&other.pair.target.mc_host()).run().exit(3).says("`dst` was deployment");
    // Nothing listens there: the run is resumed, and knows what was there.
    let nowhere = "http://a:bcdefghi@127.0.0.1:1";
    let down = to(nowhere).run();
    assert_ne!((down.code, drill.events("run_resumed").len()), (3, 0), "{}", down.stderr);
    to(&other.pair.target.mc_host()).run().exit(3).says("`dst` was deployment");
    to(&sandbox.pair.target.mc_host()).args(["resume", "latest", "--yes=ask"]).run().exit(0);
}

#[test]
fn what_was_masked_is_read_again_given_again_or_asked_for() {
    let sandbox = small();
    let steps = "  - { id: prepare, uses: bucket.prepare, with: { bucket: invoices } }\n  \
        - { id: start, uses: resync.start, with: { bucket: invoices, arn: \"{{ steps.targets.arn }}\" } }\n  \
        - { id: ask, uses: human.confirm, with: { prompt: go? } }\n  \
        - { id: again, uses: assert, with: { that: [{ holds: \"{{ steps.start.arn == steps.targets.arn }}\", message: no }] } }\n  \
        - { id: compare, uses: versions.compare, with: { bucket: invoices, before: now, settle: 10s } }\n";
    let word =
        |text: &str| text.replacen("inputs:\n", "inputs:\n  word: { type: string, secret: true, description: W }\n", 1);
    let drill = run(&sandbox, steps).file("book.yaml", &word(&format!("{HEAD}{steps}")));
    // A secret that stands in every ARN: what the journal keeps of them is of no use.
    let secret = ["-i", "word=replication"];
    let args = ["run", "book.yaml", "--site", "source=src", "--site", "target=dst", "--confirm-target=dst"];
    again(&drill, &[&args[..], &secret].concat()).run().exit(7);
    assert_eq!((begun(&drill, "targets"), begun(&drill, "start")), (1, 1));
    let go_on = |args: &[&str]| again(&drill, &[args, &secret].concat());
    go_on(&["resume", "latest"]).run().exit(7).says("masked in the journal");
    assert_eq!((begun(&drill, "targets"), begun(&drill, "prepare"), begun(&drill, "start")), (2, 1, 1));
    go_on(&["approve", "latest", "start"]).run().exit(7);
    assert_eq!(begun(&drill, "start"), 2);
    let starts =
        |drill: &Firedrill| drill.events("intent").iter().filter(|line| line["change"] == "StartResync").count();
    assert_eq!(starts(&drill), 1, "it is remembered, and not sent again");
    // Answered once, the same question is not asked again by the next process.
    go_on(&["approve", "latest", "ask"]).run().exit(0);
    assert_eq!(starts(&drill), 1);
    assert_audited(&drill);

    // An input that holds a secret is lost as well, and is given again.
    let drill = run(&sandbox, ASKED).file("book.yaml", &word(&format!("{HEAD}{ASKED}")));
    again(&drill, &[&args[..], &["-i", "word=invoices"]].concat()).run().exit(7);
    again(&drill, &["resume", "latest", "-i", "word=invoices"]).run().exit(3).says("`bucket` was masked");
    let given = ["resume", "latest", "--yes=ask", "-i", "word=invoices", "-i", "bucket=invoices"];
    again(&drill, &given).run().exit(0);
}

#[test]
fn a_live_run_that_asks_at_its_terminal_takes_the_answer_of_another_process() {
    let sandbox = small();
    let drill = run(&sandbox, ASKED);
    let Some(mut terminal) = drill.in_a_terminal() else { return };
    let end = Instant::now() + Duration::from_secs(60);
    while drill.events("asked").is_empty() {
        assert!(Instant::now() < end, "it does not ask");
        thread::sleep(Duration::from_millis(50));
    }
    again(&drill, &["resume", "latest"]).run().exit(9).says("at work in another process");
    let answered = again(&drill, &["approve", "latest"]).run().exit(0);
    assert!(answered.stdout.contains("goes on by itself"), "{}", answered.stdout);
    assert_eq!(terminal.wait().code, 0);
    assert_eq!(drill.events("answered")[0]["answer"]["how"], "approve");
    again(&drill, &["approve", "latest", "--no"]).run().exit(3).says("operator said yes");
}

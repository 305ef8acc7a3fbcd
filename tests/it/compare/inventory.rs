//! `--save` and `--against`: a listing that is kept is as good as the site, and a damaged one is as good as none.

use std::fs;

use super::*;

const FILE: &str = "invoices.inventory";

fn save(drill: &Firedrill, place: &str, more: &[&str]) -> Outcome {
    drill.clone().args(["compare", place, "--save", FILE].iter().chain(more)).run()
}

fn against(drill: &Firedrill, place: &str, more: &[&str]) -> Outcome {
    drill.clone().args(["compare", place, "--against", FILE].iter().chain(more)).run()
}

#[test]
fn a_site_is_compared_with_what_it_was() {
    let sandbox = Sandbox::start("healthy");
    let servers = servers(&sandbox);
    let strange = ["=1+1", "line\nbreak", "return\r\nboth", "\"quoted\"", "bell\u{7}"];
    for key in seed::STRANGE.iter().chain(&strange) {
        seed::put(&servers[1], "invoices", key, b"x");
    }
    let drill = case(&servers);
    let saved = save(&drill, "dst/invoices", &["--metadata", "--output", "json"]).exit(0).json();
    let before = seed::inventory(&servers[1], "invoices");
    assert_eq!((&saved["trailer"]["versions"], &saved["header"]["site"]), (&json!(before.len()), &json!("dst")));
    for more in [&[][..], &["--metadata"], &["--concurrency", "8"]] {
        against(&drill, "dst/invoices", more).exit(0).says("EQUAL (exit 0)");
    }

    for entry in before.iter().step_by(17) {
        seed::delete_version(&servers[1], "invoices", &entry.key, &entry.version_id);
    }
    seed::put(&servers[1], "invoices", "line\nbreak", b"newer");
    let now = seed::inventory(&servers[1], "invoices");
    let truth = told(&before, &now);
    assert!(truth.iter().any(|one| one.0 == "extra") && truth.len() > 10, "{truth:?}");
    let jsonl = against(&drill, "dst/invoices", &["--format", "jsonl"]).exit(4);
    assert_eq!(lines(&jsonl), truth);
    let under = against(&drill, "dst/invoices", &["--format", "jsonl", "--prefix", "line"]).exit(4);
    assert_eq!(lines(&under), truth.into_iter().filter(|one| one.1.starts_with("line")).collect());
    let taken = saved["header"]["taken_at"].as_str().expect("a time");
    let then = against(&drill, "dst/invoices", &["--format", "jsonl", "--before", taken]).exit(4);
    assert!(lines(&then).iter().all(|one| one.0 == "missing"), "{}", then.stdout);
    assert!(!drill.folder().join("runs").exists(), "a run was left behind");
}

#[test]
fn a_site_that_is_gone_is_still_compared_with() {
    for name in ["partial_loss", "extra_versions", "different_content", "target_lost"] {
        let sandbox = Sandbox::start(name);
        let servers = servers(&sandbox);
        let both = compare(&servers, &["--output", "json"]).exit(4).json();
        let drill = case(&servers);
        save(&drill, "src/invoices", &[]).exit(0).says("188 versions of src/invoices at ");
        // Nobody asks it again.
        let alone = drill.env("MC_HOST_src", "http://a:bbbbbbbb@127.0.0.1:1");
        let file = against(&alone, "dst/invoices", &["--output", "json"]).exit(4).json();
        for name in ["versions", "same", "missing", "extra", "different", "source", "target", "target_bucket_missing"] {
            assert_eq!(file[name], both[name], "{name}");
        }
        assert_eq!(file["examples"], both["examples"]);
    }
}

#[test]
fn stock_tools_read_it() {
    let sandbox = Sandbox::start("healthy");
    let servers = servers(&sandbox);
    let drill = case(&servers);
    save(&drill, "src/invoices", &[]).exit(0);
    let Ok(output) = Command::new("gzip").args(["-dc", FILE]).current_dir(drill.folder()).output() else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [header, versions @ .., trailer] = &lines[..] else { panic!("{text}") };
    assert_eq!((&header["firedrill_inventory"], &header["bucket"]), (&json!(1), &json!("invoices")));
    let told = versions.iter().map(|line| (line["key"].as_str().unwrap(), line["version_id"].as_str().unwrap()));
    let entries = seed::inventory(&servers[0], "invoices");
    let truth = entries.iter().map(|entry| (entry.key.as_str(), entry.version_id.as_str()));
    assert_eq!(told.collect::<BTreeSet<_>>(), truth.collect());
    let bytes = fs::read(drill.folder().join(FILE)).unwrap();
    let before = usize::try_from(trailer["bytes"].as_u64().unwrap()).unwrap();
    assert_eq!(trailer["sha256"], firedrill::digest::digest(&bytes[..before]));
    assert_eq!(trailer["versions"], versions.len());
}

#[test]
fn a_damaged_file_is_refused_and_never_equal() {
    let sandbox = Sandbox::start("healthy");
    let drill = case(&servers(&sandbox));
    save(&drill, "src/invoices", &[]).exit(0);
    let path = drill.folder().join(FILE);
    let whole = fs::read(&path).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let outcome = against(&drill, "dst/invoices", &[]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (3, ""), "{what}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(FILE), "{what}: {}", outcome.stderr);
    };
    let ends = [0, 1, 9, 10, 11, whole.len() - 1, whole.len() - 4, whole.len() - 60];
    for at in ends.into_iter().chain((0..whole.len()).step_by(whole.len() / 25)) {
        refused(&whole[..at], &format!("cut to {at} bytes"));
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        refused(&damaged, &format!("byte {at}"));
    }
    refused(&[&whole[..], b"\n"].concat(), "longer");
    refused(b"class,key\n", "another file");
    fs::write(&path, &whole).unwrap();
    against(&drill, "dst/invoices", &[]).exit(0);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let sandbox = Sandbox::start("healthy");
    let drill = case(&servers(&sandbox));
    against(&drill, "dst/invoices", &[]).exit(3).says("cannot be read");
    save(&drill, "src/absent", &[]).exit(5).says("does not exist on src");
    save(&drill, "src/invoices", &["--settle", "1s"]).exit(2);
    assert!(!drill.folder().join(FILE).exists(), "a file was left behind");
    save(&drill, "src/invoices", &["--prefix", "2026/"]).exit(0);
    save(&drill, "src/invoices", &[]).exit(3).says("is there already");
    against(&drill, "dst/invoices", &["--prefix", "2027/"]).exit(3).says("only keys with the prefix `2026/`");
    against(&drill, "dst/invoices", &["--metadata"]).exit(3).says("no tags and metadata");
    against(&drill, "dst/invoices", &["--settle", "1s"]).exit(2);
    let left: Vec<_> = fs::read_dir(drill.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [FILE]);
}

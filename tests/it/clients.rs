//! Two clients that nobody here wrote, the real `mc` and boto3, against `firedrill sandbox` and against real sites: the
//! same script on both, and the same is said, apart from ids, times and addresses.

use std::{
    env, fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::Once,
    thread,
    time::{Duration, Instant},
};

use regex_lite::Regex;
use serde_json::Value;

use crate::{
    case::{Firedrill, Running},
    pair::{Pair, Server, needs_minio},
};

/// A folder of `tests/`.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

/// The lines to paste into a shell, for each site.
#[derive(Clone)]
struct Exports {
    mc: String,
    aws: String,
}

impl Exports {
    /// As a person would write them for real sites.
    fn of(pair: &Pair) -> Self {
        let Server { access_key, secret_key, .. } = &pair.source;
        let host = |server: &Server| format!("export MC_HOST_{}={}\n", server.alias, server.mc_host());
        let aws = format!(
            "export AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret_key} AWS_REGION=us-east-1 AWS_ENDPOINT_URL={}\n",
            pair.source.endpoint()
        );
        Self { mc: host(&pair.source) + &host(&pair.target), aws }
    }

    /// As `firedrill sandbox` prints them, byte by byte.
    fn printed(said: &str) -> Self {
        let exports = said.lines().filter(|line| line.starts_with("export MC_HOST_"));
        let (_, source) = said.split_once("# source, for aws\n").expect("lines for aws");
        Self {
            mc: exports.fold(String::new(), |all, line| all + line + "\n"),
            aws: format!("{}\n", source.lines().next().expect("a line for aws")),
        }
    }

    fn value(&self, name: &str) -> String {
        let line = self.mc.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")));
        line.expect("a site").to_owned()
    }
}

/// Runs a program in a shell into which the lines were pasted.
fn pasted(exports: &str, folder: &Path, program: &str, arguments: &[&str]) -> (i32, String) {
    let output = Command::new("sh")
        .args(["-c", &format!("{exports}exec \"$0\" \"$@\""), program])
        .args(arguments)
        .env_clear()
        .env("HOME", folder)
        .env("PATH", "/usr/bin:/bin")
        .env("TZ", "UTC")
        .env("PYTHONUTF8", "1")
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    (output.status.code().unwrap_or(-1), said.concat())
}

/// `firedrill sandbox` as a process of its own, and what it printed.
fn sandbox() -> (Running, Exports) {
    let running = Firedrill::new().args(["sandbox", "healthy"]).spawn();
    let end = Instant::now() + Duration::from_secs(30);
    while !running.so_far().contains("Ctrl-C") {
        assert!(Instant::now() < end, "it does not start\n{}", running.so_far());
        thread::sleep(Duration::from_millis(20));
    }
    let exports = Exports::printed(&running.so_far());
    (running, exports)
}

/// The Python that has boto3. Says once that its tests are skipped; under `CI=true` a skip is a failure.
fn python() -> Option<String> {
    static SAY: Once = Once::new();
    let python = env::var("FIREDRILL_TEST_PYTHON").ok();
    if python.is_none() {
        assert!(env::var("CI").as_deref() != Ok("true"), "needs boto3, and under CI=true a skip is a failure");
        SAY.call_once(|| {
            let _ = writeln!(std::io::stderr().lock(), "skipped: needs Python with boto3 (run tests/run)");
        });
    }
    python
}

#[test]
fn boto3_is_told_the_same_by_the_sandbox_and_by_a_real_site() {
    needs_minio!();
    let Some(python) = python() else { return };
    let (running, embedded) = sandbox();
    let folder = tempfile::tempdir().unwrap();
    let script = format!("{SCRIPTS}/boto3_script.py");
    let run = |exports: &Exports| {
        let (code, said) = pasted(&exports.aws, folder.path(), &python, &[&script, "boto3-script"]);
        assert_eq!(code, 0, "{said}");
        said.lines().map(masked).collect::<Vec<_>>()
    };
    let (real, ours) = thread::scope(|scope| {
        let real = scope.spawn(|| run(&Exports::of(Pair::shared())));
        (real.join().unwrap(), run(&embedded))
    });
    running.signal("INT");
    assert!(real.len() > 150, "only {} calls", real.len());
    assert_same(&real, &ours);
}

#[test]
fn mc_is_told_the_same_by_the_sandbox_and_by_a_real_pair() {
    needs_minio!();
    let (running, embedded) = sandbox();
    let (real, ours) = thread::scope(|scope| {
        let real = scope.spawn(|| mc_script(&Exports::of(Pair::shared())));
        (real.join().unwrap(), mc_script(&embedded))
    });
    running.signal("INT");
    assert!(real.len() > 100, "only {} calls", real.len());
    assert_same(&real, &ours);
}

/// Makes all calls of the script; each with its exit code and what it said.
fn mc_script(exports: &Exports) -> Vec<String> {
    const BUCKET: &str = "mc-script";
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("FILE"), "hello\nworld\n").unwrap();
    fs::write(folder.path().join("BIG"), [vec![b'a'; 5 << 20], vec![b'b'; 100]].concat()).unwrap();
    let program = env::var("FIREDRILL_TEST_MC").unwrap();
    let mc = |arguments: &[&str]| {
        let fixed = ["--config-dir", "mc", "--no-color", "--disable-pager"];
        pasted(&exports.mc, folder.path(), &program, &[&fixed, arguments].concat())
    };
    let lines = |arguments: &[&str]| {
        let said = mc(&[&["--json"], arguments].concat()).1;
        said.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")).collect::<Vec<_>>()
    };
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let find = |word: &str| match word {
        "VERSION" => {
            text(&lines(&["ls", "--versions", "source/mc-script/report.txt"]).last().expect("a version")["versionId"])
        }
        "ARN" => text(&lines(&["replicate", "ls", "source/mc-script"])[0]["rule"]["Destination"]["Bucket"]),
        "RULE" => text(&lines(&["replicate", "ls", "source/mc-script"])[0]["rule"]["ID"]),
        "REMOTE" => format!("{}/{BUCKET}", exports.value("MC_HOST_target")),
        word => word.replace("BUCKET", BUCKET),
    };
    let (mut known, mut told): (Vec<(String, String)>, _) = (Vec::new(), Vec::new());
    let script = fs::read_to_string(Path::new(SCRIPTS).join("mc_script.txt")).unwrap();
    for line in script.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (twice, call) = line.strip_prefix("? ").map_or((false, line), |call| (true, call));
        let mut arguments = Vec::new();
        for word in words(call) {
            if known.iter().all(|(name, _)| *name != word) {
                known.push((word.clone(), find(&word)));
            }
            arguments.extend(known.iter().find(|(name, _)| *name == word).map(|(_, value)| value.clone()));
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if call == "wait" {
            wait_ended(|| mc(&["--json", "replicate", "resync", "status", "source/mc-script"]).1);
            continue;
        }
        told.push(said(call, mc(&arguments)));
        if twice {
            told.push(said(&format!("--json {call}"), mc(&[&["--json"], &arguments[..]].concat())));
        }
    }
    told
}

fn wait_ended(status: impl Fn() -> String) {
    let end = Instant::now() + Duration::from_secs(60);
    while !status().contains("Completed") {
        assert!(Instant::now() < end, "the resync does not end: {}", status());
        thread::sleep(Duration::from_millis(100));
    }
}

/// The words of a line; quotes hold one together.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().expect("a word").push(c),
        }
    }
    words
}

/// A call with its outcome, without what is measured and what comes in any order.
fn said(call: &str, (code, text): (i32, String)) -> String {
    let mut lines: Vec<String> = masked(&text).lines().map(str::to_owned).collect();
    if call.starts_with("cp ") || call.starts_with("put ") {
        // A table of sizes and speeds.
        lines.retain(|line| !line.starts_with(['┌', '│', '├', '└']));
    }
    if call.starts_with("stat ") {
        lines.sort();
    }
    if call.contains("resync status") {
        // Counters that lag.
        let digits = Regex::new(r"\d+(\.\d+)?( [KMG]i?B| B)? *").expect("a pattern");
        lines = lines.iter().map(|line| digits.replace_all(line, "N ").into_owned()).collect();
    }
    format!("{call}: {code}\n{}", lines.join("\n"))
}

fn masked(text: &str) -> String {
    let masks = [
        (r"\[minio_cache:[^\]]*\]", "[CACHE]"),
        (r"/[^` ]*/(FILE|BIG)\b", "[FILE]"),
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[UUID]"),
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( UTC|Z)", "[TIME]"),
        (r"http://[^:/ ]+:[^@ ]+@127\.0\.0\.1:\d+", "[SITE]"),
        (r"127\.0\.0\.1:\d+", "[HOST]"),
        (r"\b[0-9a-v]{20}\b", "[RULE]"),
        (r#""(RequestID|HostID|RequestId|HostId)":"[^"]*""#, "[ID]"),
        (r#""(speed|duration)":[0-9.]+"#, "[MEASURED]"),
    ];
    masks.iter().fold(text.to_owned(), |text, (pattern, mask)| {
        Regex::new(pattern).expect("a pattern").replace_all(&text, *mask).into_owned()
    })
}

#[track_caller]
fn assert_same(real: &[String], ours: &[String]) {
    assert_eq!(real.len(), ours.len(), "calls");
    let differing: Vec<String> = real
        .iter()
        .zip(ours)
        .filter(|(real, ours)| real != ours)
        .map(|(real, ours)| format!("- {real}\n+ {ours}\n"))
        .collect();
    assert!(differing.is_empty(), "{} calls differ (`-` real, `+` sandbox)\n{}", differing.len(), differing.join("\n"));
}

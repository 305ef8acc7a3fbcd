//! The person at the terminal, and who and where we are.

use std::{
    io::{BufRead, IsTerminal, Write},
    os::unix::fs::MetadataExt,
};

/// Whether a person can be asked: both sides are terminals, and this is no CI job.
pub(super) fn has_person() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal() && env("CI").is_none_or(|ci| ci != "true")
}

/// Asks for one line. The reading thread is left behind when the answer comes from elsewhere first.
pub(super) async fn ask(prompt: &str) -> Option<String> {
    let mut err = std::io::stderr();
    let _ = write!(err, "{prompt}");
    let _ = err.flush();
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        let _ = send.send(read.ok().filter(|n| *n > 0).map(|_| line.trim().to_owned()));
    });
    receive.await.ok().flatten()
}

/// Whether SIGHUP was to be ignored when the program began, as under `nohup`: then it stays so.
pub(super) fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // SIGHUP is signal 1, the lowest bit.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// The user and the host, for the journal.
pub(super) fn who_and_where() -> (String, String) {
    let user = env("USER").or_else(|| env("LOGNAME")).or_else(account).unwrap_or_else(|| "unknown".into());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .or_else(|| env("HOSTNAME"))
        .unwrap_or_else(|| "unknown".into());
    (user, host)
}

/// The name of the account that this process runs under, where the environment does not tell (cron, CI).
fn account() -> Option<String> {
    let id = std::fs::metadata("/proc/self").ok()?.uid().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    let fields = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let name = fields.into_iter().find(|fields| fields.get(2) == Some(&id.as_str()))?.first()?.to_string();
    Some(name)
}

#[expect(clippy::disallowed_methods, reason = "who runs this, and whether in CI, only the environment tells")]
pub(super) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

//! The edge of the network: what the program makes of connections, certificates and answers that are not as they
//! should be. Green only over equal data, no change twice, no credentials to strangers, and always an end.

mod changes;
mod reads;
mod recovery;
mod redirects;
mod sizes;
mod throttling;
mod tls;

use std::time::Duration;

use firedrill::{
    sandbox::Access,
    secret::Secret,
    site::{SiteSpec, Value},
};

use crate::{
    case::{Firedrill, Outcome},
    client,
    proxy::{Proxy, Recorded},
    sandbox::Sandbox,
};

/// The bucket of every scenario.
const BUCKET: &str = "invoices";

/// The sandbox's pair with a proxy in front of each site.
struct Scene {
    sandbox: Sandbox,
    source: Proxy,
    target: Proxy,
}

impl Scene {
    fn start(scenario: &str) -> Self {
        let sandbox = Sandbox::start(scenario);
        let (source, target) =
            (Proxy::start(&sandbox.pair.source.endpoint), Proxy::start(&sandbox.pair.target.endpoint));
        Self { sandbox, source, target }
    }

    /// The program with both sites in a `sites.yaml`; `more` is said of each.
    fn firedrill(&self, more: &str) -> Firedrill {
        self.behind(&self.source.endpoint(), more)
    }

    /// The same with another address for the source, of which alone `more` is said.
    fn behind(&self, source: &str, more: &str) -> Firedrill {
        let pair = &self.sandbox.pair;
        let text = format!(
            "sites:\n  src: {}\n  dst: {}\n",
            entry(source, "SRC_SECRET", &pair.source, more),
            entry(&self.target.endpoint(), "DST_SECRET", &pair.target, "timeouts: { connect: 2s, request: 2s }"),
        );
        Firedrill::new()
            .file("sites.yaml", &text)
            .env("SRC_SECRET", &pair.source.secret_key)
            .env("DST_SECRET", &pair.target.secret_key)
    }

    /// The input that names the remote target: the source knows the target by its own address, not by the proxy's.
    fn arn(&self) -> String {
        let (status, rules) = signed(&self.sandbox.pair.source, "GET", &format!("/{BUCKET}?replication="));
        let arn = rules.split("<Bucket>").nth(1).and_then(|rest| rest.split('<').next());
        format!("arn={}", arn.unwrap_or_else(|| panic!("{status} {rules}")))
    }

    /// By listings of the test's own, past the proxies.
    fn differences(&self) -> Vec<String> {
        let [source, target] = [&self.sandbox.pair.source, &self.sandbox.pair.target].map(listing);
        assert!(!source.is_empty(), "nothing to compare");
        let lacks = |name: &str, of: &[String], other: &[String]| -> Vec<String> {
            of.iter().filter(|line| !other.contains(line)).map(|line| format!("only on the {name}: {line}")).collect()
        };
        let mut all = lacks("source", &source, &target);
        all.extend(lacks("target", &target, &source));
        all
    }
}

/// `firedrill verify`, whose every check goes on when another one fails.
fn verify(drill: Firedrill) -> Outcome {
    drill.args(["verify", &format!("src/{BUCKET}"), &format!("dst/{BUCKET}")]).run()
}

/// A run that compares all versions, and does nothing else.
fn compare(drill: Firedrill) -> Firedrill {
    let text = format!(
        "format: 1\nrunbook: own\nsummary: A comparison\nkind: verify\nroles:\n  source: {{ description: S }}\n  \
         target: {{ description: T }}\nsteps:\n  \
         - {{ id: compare, uses: versions.compare, with: {{ bucket: {BUCKET}, before: now }} }}\n"
    );
    drill.file("own.yaml", &text).args(["run", "own.yaml", "--site", "source=src", "--site", "target=dst"])
}

fn recover(scene: &Scene, drill: &Firedrill) -> Firedrill {
    let (source, target, arn) = (format!("src/{BUCKET}"), format!("dst/{BUCKET}"), scene.arn());
    drill.clone().args(["recover", &source, &target, "--confirm-target", "dst", "-i", "settle=5s", "-i", &arn])
}

fn entry(endpoint: &str, secret: &str, access: &Access, more: &str) -> String {
    let key = &access.access_key;
    format!("{{ endpoint: \"{endpoint}\", access_key: \"{key}\", secret_key: {{ env: {secret} }}, {more} }}")
}

/// Every version of the bucket, as key, id, `ETag` and size stand in the listing; none when it does not exist.
fn listing(access: &Access) -> Vec<String> {
    let field = |part: &str, name: &str| {
        let begin = part.find(&format!("<{name}>")).map(|at| at + name.len() + 2);
        begin.and_then(|at| part[at..].split('<').next()).unwrap_or_default().to_owned()
    };
    let (status, text) = signed(access, "GET", &format!("/{BUCKET}?versions="));
    assert!(status == 200 || status == 404, "{status} {text}");
    assert!(!text.contains("<IsTruncated>true"), "more than a page");
    let parts = text.split("<Version>").flat_map(|part| part.split("<DeleteMarker>")).skip(1);
    parts.map(|part| ["Key", "VersionId", "ETag", "Size"].map(|name| field(part, name)).join(" ")).collect()
}

/// One signed request past the proxies.
fn signed(access: &Access, method: &str, path: &str) -> (u16, String) {
    client::signed(&Sandbox::server("elsewhere", access), method, path)
}

/// A site behind an address, for calls of the library.
fn spec(endpoint: &str, access: &Access) -> SiteSpec {
    SiteSpec {
        alias: "src".into(),
        endpoint: endpoint.parse().unwrap(),
        nodes: Vec::new(),
        region: "us-east-1".into(),
        path_style: true,
        access_key: Value::Literal(Secret::new(access.access_key.as_str())),
        secret_key: Value::Literal(Secret::new(access.secret_key.as_str())),
        session_token: None,
        ca_bundle: None,
        pin: None,
        insecure: false,
        connect_timeout: Duration::from_secs(2),
        request_timeout: Duration::from_secs(2),
        max_requests_per_second: None,
        drills: false,
    }
}

/// Listings of versions.
fn lists(request: &Recorded) -> bool {
    request.has_query("versions")
}

//! Whom the program trusts, and that it sends nothing to anyone else.

use std::thread;

use super::{Scene, compare};
use crate::{
    link::Link,
    pair::{Pair, Server, needs_minio},
    proxy::{
        Proxy,
        tls::{Authority, Certificate, Front, Handshake, Valid},
    },
};

/// A way to reach the source by TLS, and what must come of it.
struct Case {
    name: &'static str,
    certificate: Certificate,
    handshake: Handshake,
    /// Of the site, in `sites.yaml`.
    more: String,
    code: i32,
    says: &'static str,
}

const HOST: &str = "127.0.0.1";

#[test]
fn only_a_certificate_that_is_trusted_gets_a_request() {
    let scene = Scene::start("healthy");
    let [ours, theirs] = ["ours", "theirs"].map(Authority::new);
    // A CA that was made anew under its old name.
    let anew = Authority::new("ours");
    let bundle = "ca_bundle: ca.pem".to_owned();
    let case = |name, certificate, more: &str, code, says| Case {
        name,
        certificate,
        handshake: Handshake::Whole,
        more: more.to_owned(),
        code,
        says,
    };
    let pinned = |certificate: &Certificate| format!("pin: \"{}\"", certificate.fingerprint());
    let stranger = ours.issue("other.example", Valid::NotAnyMore);
    let alone = Certificate::self_signed("other.example");
    let (pin, own_pin) = (pinned(&stranger), pinned(&alone));
    let other_pin = pinned(&Certificate::self_signed(HOST));
    let mut cases = vec![
        case("private CA", ours.issue(HOST, Valid::Now), &bundle, 0, "no difference"),
        case("pinned, though expired and of another host", stranger, &pin, 0, "no difference"),
        case("self-signed and pinned", alone, &own_pin, 0, "no difference"),
        case(
            "another one pinned",
            ours.issue(HOST, Valid::Now),
            &other_pin,
            5,
            "if it was renewed on purpose, pin the",
        ),
        case("no bundle", ours.issue(HOST, Valid::Now), "", 5, "name its issuer in a CA bundle, or pin"),
        case("unknown CA", theirs.issue(HOST, Valid::Now), &bundle, 5, "name its issuer in a CA bundle, or pin"),
        case("CA made anew", anew.issue(HOST, Valid::Now), &bundle, 5, "put the present one into the CA bundle"),
        case("expired", ours.issue(HOST, Valid::NotAnyMore), &bundle, 5, "renew it, and check this machine's clock"),
        case("not yet valid", ours.issue(HOST, Valid::NotYet), &bundle, 5, "check this machine's clock, and when it"),
        case("another host", ours.issue("other.example", Valid::Now), &bundle, 5, "name the site as its certificate"),
    ];
    for (name, handshake, says) in [
        ("handshake cut", Handshake::Cut, "the server closed the connection"),
        ("plain text on a TLS port", Handshake::Plain, "does the server speak plain http?"),
        ("handshake never answered", Handshake::Silent, "no answer within 1s"),
    ] {
        cases.push(Case { handshake, ..case(name, ours.issue(HOST, Valid::Now), &bundle, 5, says) });
    }
    thread::scope(|scope| {
        for case in &cases {
            let (scene, pem) = (&scene, ours.pem());
            scope.spawn(move || {
                // Each has a proxy of its own behind it, to see what gets through.
                let behind = Proxy::start(&scene.sandbox.pair.source.endpoint);
                let front = Front::start(&behind.endpoint(), &case.certificate, case.handshake);
                let request = if case.handshake == Handshake::Silent { "1s" } else { "20s" };
                let more = format!("timeouts: {{ request: {request} }}, {}", case.more);
                let drill = scene.behind(&front.endpoint(), &more).file("ca.pem", &pem);
                let outcome = compare(drill).run();
                let Case { name, code, says, .. } = case;
                assert_eq!(outcome.code, *code, "{name}\n{}\n{}", outcome.stdout, outcome.stderr);
                outcome.says(says);
                assert!(front.accepted() > 0, "{name}: nothing came");
                assert_eq!(behind.requests().is_empty(), *code != 0, "{name}: {:?}", behind.requests());
            });
        }
    });
}

#[test]
fn trusting_anyone_takes_two_words() {
    let scene = Scene::start("healthy");
    let front = Front::start(&scene.source.endpoint(), &Certificate::self_signed("other.example"), Handshake::Whole);
    let drill = scene.behind(&front.endpoint(), "insecure: true");
    compare(drill.clone()).run().exit(3).says("--allow-insecure");
    assert_eq!(front.accepted(), 0, "a connection was made");
    let arn = scene.arn();
    let args = ["verify", "src/invoices", "dst/invoices", "--allow-insecure", "-i", &arn];
    drill.args(args).run().exit(0).says("no difference");
    let requests = scene.source.requests().len();
    scene.behind(&front.endpoint(), "").args(args).run().exit(4).says("TLS").says("or pin its SHA-256");
    assert_eq!(scene.source.requests().len(), requests, "the flag alone was enough");
}

#[test]
fn plain_http_to_a_tls_port_is_told() {
    let scene = Scene::start("healthy");
    let front = Front::start(&scene.source.endpoint(), &Certificate::self_signed("127.0.0.1"), Handshake::Whole);
    let drill = scene.behind(&front.endpoint().replace("https", "http"), "");
    compare(drill).run().exit(5).says("or https?");
    assert!(scene.source.requests().is_empty());
}

#[test]
fn real_sites_are_recovered_over_tls_of_a_private_authority() {
    needs_minio!();
    let pair = Pair::shared();
    let link = Link::damaged(pair, "over-tls");
    let ours = Authority::new("ours");
    let certificate = ours.issue(HOST, Valid::Now);
    let front = |proxy: &Proxy| Front::start(&proxy.endpoint(), &certificate, Handshake::Whole);
    let (source, target) = (front(&link.source), front(&link.target));
    let entry = |front: &Front, server: &Server, trust: &str| {
        let (endpoint, key, secret) = (front.endpoint(), &server.access_key, server.alias);
        format!("{{ endpoint: \"{endpoint}\", access_key: \"{key}\", secret_key: {{ env: {secret} }}, {trust} }}")
    };
    let pin = format!("pin: \"{}\"", certificate.fingerprint());
    let sites = format!(
        "sites:\n  src: {}\n  dst: {}\n",
        entry(&source, &pair.source, "ca_bundle: ca.pem"),
        entry(&target, &pair.target, &pin)
    );
    // The source knows the target by another address.
    let arn = format!("arn={}", link.arn);
    let run = link
        .recover(&["-i", "settle=20s", "-i", &arn])
        .file("sites.yaml", &sites)
        .file("ca.pem", &ours.pem())
        .env(pair.source.alias, &pair.source.secret_key)
        .env(pair.target.alias, &pair.target.secret_key);
    link.assert_rebuilt(run.run());
    assert_eq!(link.starts(), 1);
    assert!(source.accepted() > 0 && target.accepted() > 0);
}

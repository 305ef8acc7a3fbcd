//! Sites that are down, the wrong way round, no MinIO, or resynced as a whole.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use super::{Bench, Expected, stock};
use crate::{
    pair::{Options, Pair, Rule, needs_minio},
    seed,
};

#[test]
fn a_swapped_direction_is_refused() {
    needs_minio!();
    let pair = Pair::shared();
    for (bucket, two_way, with) in
        [("pre-swapped", false, &["replication_configured"][..]), ("pre-swapped-both", true, &[][..])]
    {
        pair.replicate(bucket, &Rule { two_way, ..Rule::default() });
        stock(&pair.source, bucket);
        pair.wait_replicated(bucket);
        // What was lost: the target's versions, in a way that the source is not told of.
        pair.lose_bucket("target", bucket);
        pair.make_bucket("target", bucket, false);
        if two_way {
            pair.add_rule("target", bucket, &pair.source.remote(bucket), &Rule::default());
        }
        let right = Bench::new(pair, bucket);
        let swapped = Bench {
            source: pair.target.at(&pair.target.endpoint()),
            target: pair.source.at(&pair.source.endpoint()),
            ..Bench::new(pair, bucket)
        };
        let before = right.state();
        let says = ["is empty", "is the direction right?"];
        let expected = Expected { id: "direction", says: &says, with };
        swapped.verify(&[]).refused(&expected);
        swapped.recover(&[]).refused(&expected).sent_nothing();
        assert_eq!(right.state(), before);
    }
}

#[test]
fn a_target_that_holds_more_is_refused() {
    needs_minio!();
    let pair = Pair::shared();
    let bench = Bench::stocked(pair, "pre-more", &Rule::default());
    seed::put(&pair.target, "pre-more", "only here", b"x");
    let says = ["the target holds more than the source", "4 versions against 3", "is the direction right?"];
    bench.both_refuse(&Expected { id: "direction", says: &says, ..Expected::default() });
}

#[test]
fn a_site_that_is_down_is_refused() {
    needs_minio!();
    let pair = Pair::own(&Options::default());
    let bench = Bench::stocked(&pair, "down", &Rule::default());
    let before = bench.state();
    for (role, server) in [("target", &pair.target), ("source", &pair.source)] {
        server.kill();
        let detail = format!("{role} `{role}` at {} does not answer", server.endpoint());
        let says = [detail.as_str(), "start it"];
        let expected = Expected { id: "site_online", says: &says, with: &["target_online"] };
        let seen = bench.verify(&[]);
        seen.refused(&expected);
        if role == "target" {
            seen.has("fail", &Expected { id: "target_online", says: &[], ..Expected::default() });
        }
        bench.recover(&[]).refused(&expected).sent_nothing();
        server.start();
        assert_eq!(bench.state(), before, "{role} down");
    }
}

/// Answers everything as a web server with one page does, until the test ends.
fn web_server() -> u16 {
    const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: web\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\
        Connection: close\r\n\r\n<p>welcome</p>\r\n";
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut head = [0; 16_384];
                let _ = stream.read(&mut head);
                let _ = stream.write_all(PAGE);
            });
        }
    });
    port
}

#[test]
fn a_server_that_is_not_minio_is_refused() {
    needs_minio!();
    let pair = Pair::shared();
    let bench = Bench::stocked(pair, "pre-not-minio", &Rule::default());
    let web = format!("http://127.0.0.1:{}", web_server());
    let before = bench.state();
    let bench = Bench { target: pair.target.at(&web), ..bench };
    let expected = Expected {
        id: "minio_server",
        says: &["target `target` cannot be resynced", "mc mirror --preserve source/pre-not-minio target/pre-not-minio"],
        with: &[],
    };
    bench.verify(&[]).refused(&expected);
    bench.recover(&[]).refused(&expected).sent_nothing();
    assert_eq!(bench.state(), before);
}

#[test]
fn a_pair_under_site_replication_is_refused() {
    needs_minio!();
    let pair = Pair::own(&Options::default());
    pair.mc(&["admin", "replicate", "add", "source", "target"]);
    pair.make_bucket("source", "together", false);
    stock(&pair.source, "together");
    pair.wait_replicated("together");
    let says = ["is under site replication", "mc admin replicate resync start source target"];
    Bench::new(&pair, "together").both_refuse(&Expected { id: "site_replication", says: &says, ..Expected::default() });
}

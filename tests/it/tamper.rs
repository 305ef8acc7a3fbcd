//! Whatever is done to a journal is found: every byte, every line, every cut, counted.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use firedrill::audit;

use crate::case::Firedrill;

/// A finished run with findings and an artifact, as its process left it.
fn finished() -> (Firedrill, PathBuf, String) {
    let drill = Firedrill::new();
    let runbook = concat!(env!("CARGO_MANIFEST_DIR"), "/runbooks/verify_replica.yaml");
    let args = ["run", runbook, "--sandbox=partial_loss", "-i", "settle=1s", "--output", "json"];
    let red = drill.clone().args(args).run().exit(4).json();
    let journal = drill.run_folder().expect("a run").join("journal.jsonl");
    (drill, journal, red["head"].as_str().expect("a head").to_owned())
}

/// One way to change a journal, by a number below `count`.
struct Tampering<'a> {
    name: &'static str,
    count: usize,
    change: Box<dyn Fn(usize) -> Vec<u8> + Sync + 'a>,
}

/// Every way to change these bytes.
fn all(whole: &[u8]) -> Vec<Tampering<'_>> {
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let (bytes, count) = (whole.len(), lines.len());
    let order = {
        let lines = lines.clone();
        move |order: &[usize]| order.iter().map(|at| lines[*at]).collect::<Vec<_>>().concat()
    };
    let flips = [0x01, 0x20, 0x80];
    let with = |name, count, change: Box<dyn Fn(usize) -> Vec<u8> + Sync>| Tampering { name, count, change };
    let rows: Vec<usize> = (0..count).collect();
    vec![
        with("bytes flipped", bytes * flips.len(), {
            Box::new(move |n| {
                let mut changed = whole.to_vec();
                changed[n / flips.len()] ^= flips[n % flips.len()];
                changed
            })
        }),
        with("bytes removed", bytes, Box::new(move |n| [&whole[..n], &whole[n + 1..]].concat())),
        with("bytes added", bytes + 1, Box::new(move |n| [&whole[..n], b" ", &whole[n..]].concat())),
        // From the empty file to all but the last byte: whole lines and torn ones.
        with("ends cut off", bytes, Box::new(move |n| whole[..n].to_vec())),
        with("beginnings cut off", bytes - 1, Box::new(move |n| whole[n + 1..].to_vec())),
        with("lines removed", count, {
            let (order, rows) = (order.clone(), rows.clone());
            Box::new(move |n| order(&[&rows[..n], &rows[n + 1..]].concat()))
        }),
        with("lines doubled", count, {
            let (order, rows) = (order.clone(), rows.clone());
            Box::new(move |n| order(&[&rows[..=n], &rows[n..]].concat()))
        }),
        with("lines swapped", count * (count - 1) / 2, {
            let pairs: Vec<(usize, usize)> = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))).collect();
            let order = order.clone();
            Box::new(move |n| {
                let mut rows = rows.clone();
                rows.swap(pairs[n].0, pairs[n].1);
                order(&rows)
            })
        }),
        with("lines moved to the end", count - 1, {
            Box::new(move |n| {
                let mut rows: Vec<usize> = (0..count).collect();
                let row = rows.remove(n);
                rows.push(row);
                order(&rows)
            })
        }),
    ]
}

#[test]
fn no_change_of_a_journal_escapes() {
    let (drill, path, head) = finished();
    let whole = fs::read(&path).unwrap();
    audit::journal(&whole, Some(&head)).unwrap();
    let (mut tried, mut undetected, mut chain_alone) = (0, Vec::new(), 0);
    let mut counts = BTreeMap::new();
    for tampering in all(&whole) {
        let next = AtomicUsize::new(0);
        let search = || {
            let (mut escaped, mut by_chain) = (Vec::new(), 0);
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= tampering.count {
                    return (escaped, by_chain);
                }
                let changed = (tampering.change)(n);
                assert_ne!(changed, whole, "{} {n} changes nothing", tampering.name);
                // Once without and once with the head that the run printed: the chain is verified in both.
                match audit::journal(&changed, None) {
                    Err(_) => by_chain += 1,
                    Ok(found) if found.journal.head != head || found.journal.torn_bytes > 0 => {
                        assert!(audit::journal(&changed, Some(&head)).is_err(), "{} {n}", tampering.name);
                    }
                    Ok(_) => escaped.push(format!("{} {n}", tampering.name)),
                }
            }
        };
        let found = thread::scope(|scope| {
            let workers: Vec<_> = (0..2).map(|_| scope.spawn(search)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
        });
        let by_chain: usize = found.iter().map(|(_, by_chain)| by_chain).sum();
        undetected.extend(found.into_iter().flat_map(|(escaped, _)| escaped));
        counts.insert(tampering.name, (tampering.count, by_chain));
        tried += tampering.count;
        chain_alone += by_chain;
    }
    println!("a journal of {} bytes: {tried} changes, {} undetected", whole.len(), undetected.len());
    for (name, (count, by_chain)) in &counts {
        println!("  {name}: {count}, of these {by_chain} by the chain alone, the rest by the head");
    }
    assert_eq!(undetected, [""; 0]);
    assert!(tried > 50_000 && chain_alone > tried * 3 / 4, "{tried}, {chain_alone}");

    // A sample through the program, which reads the same file.
    for tampering in all(&whole) {
        for n in [0, tampering.count / 2, tampering.count - 1] {
            fs::write(&path, (tampering.change)(n)).unwrap();
            let verify = drill.clone().args(["audit", "verify", path.to_str().unwrap(), "--head", &head]).run();
            verify.exit(6).says("does not verify");
        }
    }
    fs::write(&path, &whole).unwrap();
    drill.clone().args(["audit", "verify", "latest", "--head", &head]).run().exit(0);
}

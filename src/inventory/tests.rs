use std::io::{Seek, Write};

use super::*;
use crate::{
    compare::Stream,
    version::{Kind, Metadata, Page, Version},
};

fn version(key: &str, n: i64, metadata: Option<Metadata>) -> Version {
    Version {
        key: key.to_owned(),
        version_id: if n % 7 == 0 { "null".to_owned() } else { format!("80269a05-3453-429d-8c88-{n:012}") },
        kind: if n % 5 == 0 { Kind::DeleteMarker } else { Kind::Object },
        is_latest: n % 3 == 0,
        last_modified: Timestamp::from_millisecond(1_700_000_000_000 + n).unwrap(),
        etag: if n % 5 == 0 { String::new() } else { format!("e7891c01b93e2dbb2d52274c7e9c7f{:02}-{n}", n % 100) },
        size: n.unsigned_abs() * 1_000,
        metadata,
    }
}

fn versions(count: i64) -> Vec<Version> {
    let metadata =
        Metadata { headers: vec![("x-amz-meta-a".into(), "\"ü\n".into())], tags: vec![("k".into(), "v".into())] };
    (0..count).map(|n| version(&format!("k\n\"{n:06}"), n, (n % 4 == 0).then(|| metadata.clone()))).collect()
}

fn written(versions: &[Version]) -> Vec<u8> {
    let header = Header::new("dr", "https://dr.example".into(), "invoices", "", Timestamp::UNIX_EPOCH);
    let mut writer = Writer::begin(Vec::new(), &header).unwrap();
    for versions in versions.chunks(700) {
        let mut page = Page::default();
        for version in versions {
            page.push(&version.entry()).unwrap();
        }
        writer.page(&page).unwrap();
    }
    writer.end().unwrap().0
}

fn open(bytes: &[u8]) -> Result<Reader, Unreadable> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    Reader::open(file)
}

async fn read(reader: &mut Reader) -> Vec<Version> {
    let mut all = Vec::new();
    while let Some(page) = reader.next_page().await.unwrap() {
        all.extend(page.iter().map(|entry| entry.to_version()));
    }
    all
}

#[tokio::test]
async fn what_was_written_is_read() {
    for count in [0, 1, 999, 1_000, 1_001, 2_500] {
        let all = versions(count);
        let mut reader = open(&written(&all)).unwrap();
        assert_eq!((reader.header.bucket.as_str(), reader.trailer.versions), ("invoices", count.unsigned_abs()));
        assert!(read(&mut reader).await == all, "{count}");
    }
    let mut reader = open(&written(&versions(2_500))).unwrap();
    reader.prefix = "k\n\"0024".into();
    assert_eq!(read(&mut reader).await.len(), 100);
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let bytes = written(&versions(60));
    open(&bytes).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert!(open(&damaged).is_err(), "bit {bit} of byte {at} of {}", bytes.len());
        }
        assert!(open(&bytes[..at]).is_err(), "cut to {at} of {}", bytes.len());
    }
    let twice = [bytes.clone(), bytes.clone()].concat();
    let longer = [bytes, vec![b'\n']].concat();
    assert!(open(&twice).is_err() && open(&longer).is_err());
}

#[test]
fn the_place_of_the_damage_is_told() {
    let bytes = written(&versions(3_000));
    let half = bytes.len() / 2;
    let why = |bytes: &[u8]| open(bytes).map(|_| ()).unwrap_err().to_string();
    let cut = why(&bytes[..half]);
    assert!(cut.starts_with(&format!("it is cut off or damaged at its end, byte {half}: line ")), "{cut}");
    let mut damaged = bytes.clone();
    damaged[half] ^= 0xff;
    assert!(why(&damaged).starts_with("it is damaged within its first "), "{}", why(&damaged));
    assert_eq!(why(b"key,version\n"), "it is no inventory, or damaged in its first 10 bytes");
}

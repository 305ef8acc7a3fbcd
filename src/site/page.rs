//! One page of a version listing, read while it comes: versions and delete markers in the one order they come in.

mod scan;

use std::{borrow::Cow, str};

use percent_encoding::percent_decode_str;

use self::scan::{Cursor, Stop, Tag};
use crate::version::{self, Entry, Kind, Metadata, Page, Token};

/// What is longer and has no end yet is looked at again when it has doubled, and not with each piece.
const SHORT: usize = 64 << 10;

/// Where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// As the server wants to see it again.
    pub(crate) key: String,
    pub(crate) version_id: String,
}

/// What stands at the head of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    Last,
    More(Next),
}

#[derive(Debug)]
pub(crate) enum Unusable {
    /// The root element is another one.
    NotAListing,
    Broken(String),
}

impl<E: ToString> From<E> for Unusable {
    fn from(error: E) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Reads a page that was asked for with `encoding-type=url`, piece by piece.
pub(crate) struct Reader {
    /// What came and is not read yet.
    rest: Vec<u8>,
    /// It is read on when there is so much of it.
    enough: usize,
    stage: Stage,
    /// Known before the first version, when the server says it first as MinIO does.
    head: Option<Head>,
    truncated: bool,
    said: bool,
    next: Next,
    page: Page,
    last: Last,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Before,
    Inside,
    After,
}

/// What the version before had, as it was written: much of it is the same again.
#[derive(Default)]
struct Last {
    key: Vec<u8>,
    owner: Vec<u8>,
}

impl Reader {
    /// For about so many versions.
    pub(crate) fn new(versions: usize) -> Self {
        Self {
            rest: Vec::new(),
            enough: 0,
            stage: Stage::Before,
            head: None,
            truncated: false,
            said: false,
            next: Next { key: String::new(), version_id: String::new() },
            page: Page::with_capacity(versions),
            last: Last::default(),
        }
    }

    /// Reads on, as far as it can be. How long the whole may be is for the caller to say.
    pub(crate) fn feed(&mut self, chunk: &[u8]) -> Result<(), Unusable> {
        self.rest.extend_from_slice(chunk);
        if self.rest.len() >= self.enough { self.read_on() } else { Ok(()) }
    }

    fn read_on(&mut self) -> Result<(), Unusable> {
        let rest = std::mem::take(&mut self.rest);
        let read = self.read(&rest);
        self.rest = rest;
        self.rest.drain(..read?);
        let length = self.rest.len();
        self.enough = if length > SHORT { length * 2 } else { 0 };
        Ok(())
    }

    /// Where the next page begins, as soon as it is known.
    pub(crate) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// The whole page, and where the next one begins.
    pub(crate) fn end(mut self) -> Result<(Page, Head), Unusable> {
        self.read_on()?;
        if self.stage != Stage::After {
            return Err("it ends in the middle".into());
        }
        if !self.said {
            return Err("it does not say whether more follows".into());
        }
        let told = self.head.take();
        self.say()?;
        let head = self.head.unwrap_or(Head::Last);
        if told.is_some_and(|told| told != head) {
            return Err("it says two things about the page after it".into());
        }
        Ok((self.page, head))
    }

    /// Reads whole elements; how many bytes they were.
    fn read(&mut self, bytes: &[u8]) -> Result<usize, Unusable> {
        let mut cursor = Cursor::new(bytes);
        let mut read = 0;
        while self.stage != Stage::After {
            match self.element(&mut cursor) {
                Ok(()) => read = cursor.at(),
                Err(Stop::More) => return Ok(read),
                Err(Stop::Broken(why)) => return Err(Unusable::Broken(why)),
                Err(Stop::NotAListing) => return Err(Unusable::NotAListing),
            }
        }
        // Nothing after the root element matters.
        Ok(bytes.len())
    }

    fn element(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        let name = match (self.stage, cursor.tag()?) {
            (Stage::Before, Tag::Open(b"ListVersionsResult")) => {
                self.stage = Stage::Inside;
                return Ok(());
            }
            (Stage::Before, Tag::Open(_) | Tag::Empty(_)) => return Err(Stop::NotAListing),
            (Stage::Before, Tag::Close(_)) => return Err(Stop::broken("it is no XML document")),
            (_, Tag::Close(_)) => {
                self.stage = Stage::After;
                return Ok(());
            }
            (_, Tag::Empty(_)) => return Ok(()),
            (_, Tag::Open(name)) => name,
        };
        match name {
            b"Version" => self.version(cursor, Kind::Object),
            b"DeleteMarker" => self.version(cursor, Kind::DeleteMarker),
            b"IsTruncated" => {
                // Nothing but a clear word ends a listing: what came garbled would hide the rest of the bucket.
                self.truncated = match &*cursor.text(name)? {
                    b"true" => true,
                    b"false" => false,
                    _ => return Err(Stop::broken("it does not say whether more follows")),
                };
                self.said = true;
                Ok(())
            }
            b"NextKeyMarker" => {
                self.next.key = decode(&cursor.string(name)?)?.into_owned();
                Ok(())
            }
            b"NextVersionIdMarker" => {
                self.next.version_id = cursor.string(name)?.into_owned();
                Ok(())
            }
            _ => cursor.skip(),
        }
    }

    /// Takes what was said about the next page as the last word.
    fn say(&mut self) -> Result<(), Stop> {
        if self.truncated && self.next.key.is_empty() {
            return Err(Stop::broken("it says that more follows, and not from where"));
        }
        self.head = Some(if self.truncated { Head::More(self.next.clone()) } else { Head::Last });
        Ok(())
    }

    fn version(&mut self, cursor: &mut Cursor<'_>, kind: Kind) -> Result<(), Stop> {
        if self.head.is_none() && self.said {
            self.say()?;
        }
        let mut key = None;
        let (mut id, mut etag): (Cow<'_, [u8]>, Cow<'_, [u8]>) = (Cow::Borrowed(b""), Cow::Borrowed(b""));
        let (mut is_latest, mut modified_ms, mut size) = (false, None, 0);
        let mut metadata: Option<Metadata> = None;
        loop {
            let name = match cursor.tag()? {
                Tag::Open(name) => name,
                Tag::Empty(_) => continue,
                Tag::Close(b"Version" | b"DeleteMarker") => break,
                Tag::Close(_) => return Err(Stop::broken("its elements are not nested")),
            };
            match name {
                b"Key" => key = Some(cursor.text(name)?),
                b"VersionId" => id = cursor.text(name)?,
                b"IsLatest" => is_latest = &*cursor.text(name)? == b"true",
                b"LastModified" => modified_ms = Some(scan::time(&cursor.text(name)?)?),
                b"ETag" => etag = cursor.etag(name)?,
                b"Size" => size = scan::size(&cursor.text(name)?)?,
                b"Owner" => cursor.skip_again(&mut self.last.owner)?,
                b"UserMetadata" => headers(cursor, metadata.get_or_insert_default())?,
                b"UserTags" => metadata.get_or_insert_default().tags = tags(&cursor.string(name)?)?,
                _ => cursor.skip()?,
            }
        }
        let (Some(key), Some(modified_ms)) = (key.filter(|key| !key.is_empty()), modified_ms) else {
            return Err(Stop::broken("a version has no key or no time"));
        };
        let version_id = match version::uuid(&id) {
            Some(bytes) => Token::Uuid(bytes),
            None if id.is_empty() => Token::Text("null"),
            None => Token::of(text(&id)?),
        };
        let etag = match version::md5(&etag) {
            Some(bytes) => Token::Md5(bytes),
            None => Token::of(text(&etag)?),
        };
        let mut entry =
            Entry { key: "", version_id, kind, is_latest, modified_ms, etag, size, metadata: metadata.as_ref() };
        // The versions of a key follow one another.
        if *key == *self.last.key && !self.page.is_empty() {
            return self.page.push_to_last(&entry).map_err(Stop::from);
        }
        let decoded = decode(text(&key)?)?;
        entry.key = &decoded;
        self.page.push(&entry)?;
        self.last.key.clear();
        self.last.key.extend_from_slice(&key);
        Ok(())
    }
}

/// One element for each header, named after it.
fn headers(cursor: &mut Cursor<'_>, metadata: &mut Metadata) -> Result<(), Stop> {
    loop {
        let (name, value) = match cursor.tag()? {
            Tag::Open(name) => (name, cursor.string(name)?),
            Tag::Empty(name) => (name, Cow::Borrowed("")),
            Tag::Close(_) => break,
        };
        metadata.headers.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value.into_owned()));
    }
    metadata.headers.sort();
    Ok(())
}

fn text(bytes: &[u8]) -> Result<&str, Stop> {
    str::from_utf8(bytes).map_err(|_| Stop::broken("it is not UTF-8"))
}

/// Undoes `encoding-type=url`: `+` is a space, and only then come the `%XX`.
fn decode(text: &str) -> Result<Cow<'_, str>, Stop> {
    if memchr::memchr2(b'+', b'%', text.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(text));
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    let decoded = decoded.map_err(|_| Stop::Broken(format!("the name `{text}` is not UTF-8")))?;
    Ok(Cow::Owned(decoded.into_owned()))
}

fn tags(query: &str) -> Result<Vec<(String, String)>, Stop> {
    let mut tags = Vec::new();
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        tags.push((decode(key)?.into_owned(), decode(value)?.into_owned()));
    }
    tags.sort();
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;
    use crate::version::Version;

    const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
        <ListVersionsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>data</Name><Prefix></Prefix>";
    const OWNER: &str =
        "<Owner><ID>02d6</ID><DisplayName>minio</DisplayName></Owner><StorageClass>STANDARD</StorageClass>";

    /// The versions, each on its own, and what was said about the next page.
    #[derive(Debug, PartialEq)]
    struct Parsed {
        versions: Vec<Version>,
        next: Option<(String, String)>,
    }

    /// Read in pieces of so many bytes.
    fn read(document: &[u8], piece: usize) -> Result<Parsed, Unusable> {
        let mut reader = Reader::new(10);
        for chunk in document.chunks(piece.max(1)) {
            reader.feed(chunk)?;
        }
        let (page, head) = reader.end()?;
        let next = match head {
            Head::Last => None,
            Head::More(next) => Some((next.key, next.version_id)),
        };
        Ok(Parsed { versions: page.iter().map(|entry| entry.to_version()).collect(), next })
    }

    fn parse(document: &[u8]) -> Result<Parsed, Unusable> {
        read(document, usize::MAX)
    }

    fn page(rest: &str) -> Result<Parsed, Unusable> {
        parse(format!("{HEAD}{rest}</ListVersionsResult>").as_bytes())
    }

    fn last(rest: &str) -> Result<Parsed, Unusable> {
        page(&format!("{rest}<IsTruncated>false</IsTruncated>"))
    }

    fn version(key: &str, rest: &str) -> String {
        format!(
            "<Version><Key>{key}</Key><LastModified>2026-11-23T18:29:22.573Z</LastModified>\
             <ETag>&#34;e789&#34;</ETag><Size>74</Size>{OWNER}<IsLatest>true</IsLatest><VersionId>v1</VersionId>{rest}\
             </Version>"
        )
    }

    #[test]
    fn versions_and_markers_keep_their_one_order() {
        let marker = format!(
            "<DeleteMarker><Key>o1.bin</Key><LastModified>2026-11-23T18:29:24.074Z</LastModified><ETag></ETag><Size>0</Size>\
             {OWNER}<IsLatest>false</IsLatest><VersionId>bdb8</VersionId></DeleteMarker>"
        );
        let (first, last) = (version("o1.bin", ""), version("o2.bin", ""));
        let page = page(&format!(
            "<KeyMarker></KeyMarker><NextKeyMarker>o1.bin[minio_cache:v2,return:]</NextKeyMarker>\
             <NextVersionIdMarker>80269a05</NextVersionIdMarker><MaxKeys>3</MaxKeys><IsTruncated>true</IsTruncated>\
             {first}{marker}{last}"
        ))
        .unwrap();
        let kinds: Vec<_> = page.versions.iter().map(|v| (v.key.as_str(), v.kind)).collect();
        assert_eq!(kinds, [("o1.bin", Kind::Object), ("o1.bin", Kind::DeleteMarker), ("o2.bin", Kind::Object)]);
        assert_eq!(
            page.versions[0],
            Version {
                key: "o1.bin".into(),
                version_id: "v1".into(),
                kind: Kind::Object,
                is_latest: true,
                last_modified: "2026-11-23T18:29:22.573Z".parse().unwrap(),
                etag: "e789".into(),
                size: 74,
                metadata: None,
            }
        );
        assert_eq!(page.versions[1].etag, "");
        assert_eq!(page.next, Some(("o1.bin[minio_cache:v2,return:]".into(), "80269a05".into())));
    }

    #[test]
    fn names_are_decoded_once_with_the_plus_before_the_percent() {
        let keys = ["a+b/%C3%BC%2B%252F%3F.txt", "%01", "%F0%9F%A6%80", "quote%22%26%3C", "end++"];
        let all: String = keys.iter().map(|k| version(k, "")).collect();
        let page = page(&format!("{all}<IsTruncated>false</IsTruncated>")).unwrap();
        let read: Vec<_> = page.versions.iter().map(|v| v.key.as_str()).collect();
        assert_eq!(read, ["a b/ü+%2F?.txt", "\u{1}", "🦀", "quote\"&<", "end  "]);
        assert_eq!(page.next, None);
    }

    proptest! {
        #[test]
        fn any_name_is_read_as_it_was_written(key in "[^\\x00]{1,40}") {
            let written = utf8_percent_encode(&key, NON_ALPHANUMERIC).to_string().replace("%20", "+");
            prop_assert_eq!(&last(&version(&written, "")).unwrap().versions[0].key, &key);
        }

        #[test]
        fn no_answer_makes_it_panic(body in "(<|/|>|&#1;|ListVersionsResult|Version|Key|a| |%|&lt;|x=\"){0,30}") {
            let _ = parse(body.as_bytes());
            let _ = page(&body);
        }

        #[test]
        fn the_pieces_in_which_it_comes_do_not_matter(
            keys in proptest::collection::vec("[a-c+]{1,3}|[a-z/]{1,20}", 0..6), piece in 1_usize..60,
            inside in "<x><!-- > --><y a='>'/></x>|<Owner><ID>1</ID></Owner>|<!-- <Version> -->|<ETag>\"q\"</ETag>|",
        ) {
            let versions: String = keys.iter().map(|key| version(key, &inside)).collect();
            let document = format!("{HEAD}<IsTruncated>false</IsTruncated>{versions}</ListVersionsResult>");
            let (whole, pieces) = (parse(document.as_bytes()), read(document.as_bytes(), piece));
            prop_assert_eq!(whole.as_ref().unwrap(), &pieces.unwrap());
            prop_assert_eq!(whole.unwrap().versions.len(), keys.len());
        }
    }

    #[test]
    fn a_version_may_be_very_long() {
        let long = format!("<UserMetadata><x-a>{}</x-a></UserMetadata>", "a".repeat(3 * SHORT));
        let versions = version("a", &long) + &version("b", "") + &version("c", &long);
        let document = format!("{HEAD}<IsTruncated>false</IsTruncated>{versions}</ListVersionsResult>");
        for piece in [1_000, SHORT, usize::MAX] {
            let keys: Vec<_> = read(document.as_bytes(), piece).unwrap().versions.into_iter().map(|v| v.key).collect();
            assert_eq!(keys, ["a", "b", "c"], "{piece}");
        }
    }

    #[test]
    fn the_next_page_is_known_before_the_versions() {
        let mut reader = Reader::new(10);
        let head = "<NextKeyMarker>a+b[minio_cache:v2,return:]</NextKeyMarker><NextVersionIdMarker>v</NextVersionIdMarker>\
                    <IsTruncated>true</IsTruncated>";
        reader.feed(format!("{HEAD}{head}").as_bytes()).unwrap();
        assert_eq!(reader.head(), None);
        reader.feed(b"<Version><Key>a").unwrap();
        let next = Next { key: "a b[minio_cache:v2,return:]".into(), version_id: "v".into() };
        assert_eq!(reader.head(), Some(&Head::More(next)));
    }

    #[test]
    fn all_that_xml_allows_is_understood() {
        let strange = "<!-- a > b --><s3:Version xmlns:s3='x>y'\n><Key>a<![CDATA[+]]>&#98;</Key ><ETag>&quot;e&quot;</ETag>\
                       <LastModified><?pi > ?>2026-11-23T18:29:22Z</LastModified><Size/><Owner/><VersionId/></s3:Version>";
        let page = page(&format!("{strange}<IsTruncated>false</IsTruncated>")).unwrap();
        let version = &page.versions[0];
        assert_eq!((version.key.as_str(), version.etag.as_str(), version.version_id.as_str()), ("a b", "e", "null"));
    }

    #[test]
    fn headers_and_tags_are_sorted_and_in_lower_case() {
        let rest = "<UserMetadata><X-Amz-Meta-B>two&#x1;</X-Amz-Meta-B><content-type>text/plain</content-type>\
                    </UserMetadata><UserTags>b=1%2B1&amp;a=x+y</UserTags><Internal><K>4</K><M>2</M></Internal>";
        let page = last(&version("k", rest)).unwrap();
        let metadata = page.versions[0].metadata.as_ref().unwrap();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(metadata.headers, [pair("content-type", "text/plain"), pair("x-amz-meta-b", "two\u{1}")]);
        assert_eq!(metadata.tags, [pair("a", "x y"), pair("b", "1+1")]);
    }

    #[test]
    fn a_page_that_does_not_say_where_the_next_one_begins_is_an_error() {
        let said = page("<IsTruncated>true</IsTruncated>");
        assert!(matches!(said, Err(Unusable::Broken(why)) if why.contains("not from where")));
    }

    #[test]
    fn only_a_clear_word_ends_a_listing() {
        assert!(page("<IsTruncated>false</IsTruncated>").is_ok());
        for garbled in ["", "<IsTruncated>frue</IsTruncated>", "<IsTruncated/>", "<IsTruncatee>true</IsTruncatee>"] {
            let said = page(garbled);
            assert!(matches!(said, Err(Unusable::Broken(why)) if why.contains("whether more follows")), "{garbled}");
        }
    }

    #[test]
    fn what_is_no_listing_is_told_apart_from_a_broken_one() {
        assert!(matches!(parse(b"<ListBucketResult></ListBucketResult>"), Err(Unusable::NotAListing)));
        for broken in [&b"<ListVersionsResult><Version><Key>a</Key>"[..], b"", b"{}", b"<ListVersionsResult>"] {
            assert!(matches!(parse(broken), Err(Unusable::Broken(_))));
        }
        assert!(last("<Version><Key>a</Key></Version>").is_err());
        assert!(last(&version("%ff", "")).is_err());
    }
}

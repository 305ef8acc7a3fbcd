//! One page of a version listing, read with a pull parser: versions and delete markers in the one order they come in.

use std::borrow::Cow;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use quick_xml::{Reader, events::Event};

use super::xml;
use crate::version::{Kind, Metadata, Version};

/// A page, and where the next one begins.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) versions: Vec<Version>,
    /// Key and version id to go on after, as the server wants to see them again; `None` on the last page.
    pub(crate) next: Option<(String, String)>,
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

/// Reads a page that was asked for with `encoding-type=url`.
pub(crate) fn parse(document: &[u8]) -> Result<Page, Unusable> {
    let mut parser = Parser { reader: Reader::from_reader(document) };
    // `<a/>` is told as `<a></a>`.
    parser.reader.config_mut().expand_empty_elements = true;
    match parser.next()? {
        Token::Open(name) if name == "ListVersionsResult" => {}
        Token::Open(_) => return Err(Unusable::NotAListing),
        Token::Close => return Err("it is no complete XML document".into()),
    }
    let mut page = Page { versions: Vec::with_capacity(1000), next: None };
    let (mut truncated, mut key, mut version_id) = (None, String::new(), String::new());
    while let Token::Open(name) = parser.next()? {
        match name.as_str() {
            "Version" => page.versions.push(parser.version(Kind::Object)?),
            "DeleteMarker" => page.versions.push(parser.version(Kind::DeleteMarker)?),
            "IsTruncated" => truncated = Some(parser.text()?),
            "NextKeyMarker" => key = decode(&parser.text()?)?,
            "NextVersionIdMarker" => version_id = parser.text()?,
            _ => parser.skip()?,
        }
    }
    // Nothing but a clear word ends a listing: what came garbled would hide the rest of the bucket.
    let truncated = match truncated.as_deref() {
        Some("true") => true,
        Some("false") => false,
        Some(_) | None => return Err("it does not say whether more follows".into()),
    };
    if truncated {
        if key.is_empty() {
            return Err("it says that more follows, and not from where".into());
        }
        page.next = Some((key, version_id));
    }
    Ok(page)
}

struct Parser<'a> {
    reader: Reader<&'a [u8]>,
}

enum Token {
    Open(String),
    /// The end of the element that is being read.
    Close,
}

impl Parser<'_> {
    /// The next child, or the end of its parent; text between is skipped.
    fn next(&mut self) -> Result<Token, Unusable> {
        loop {
            match self.reader.read_event()? {
                Event::Start(tag) => return Ok(Token::Open(xml::local_name(tag.local_name().as_ref()))),
                Event::End(_) => return Ok(Token::Close),
                Event::Eof => return Err("it ends in the middle".into()),
                Event::Text(_)
                | Event::CData(_)
                | Event::GeneralRef(_)
                | Event::Empty(_)
                | Event::Comment(_)
                | Event::Decl(_)
                | Event::PI(_)
                | Event::DocType(_) => {}
            }
        }
    }

    /// The text of the element just opened, to its end; elements inside are skipped.
    fn text(&mut self) -> Result<String, Unusable> {
        let mut text = String::new();
        loop {
            match self.reader.read_event()? {
                Event::Text(part) => text.push_str(&part.decode()?),
                Event::CData(part) => text.push_str(&part.decode()?),
                Event::GeneralRef(reference) => text.push_str(&xml::resolve(&reference)?),
                Event::Start(_) => self.skip()?,
                Event::End(_) => return Ok(text),
                Event::Eof => return Err("it ends in the middle".into()),
                Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
    }

    /// Goes past the end of the element just opened.
    fn skip(&mut self) -> Result<(), Unusable> {
        let mut depth = 1_u32;
        while depth > 0 {
            match self.next()? {
                Token::Open(_) => depth = depth.saturating_add(1),
                Token::Close => depth -= 1,
            }
        }
        Ok(())
    }

    fn version(&mut self, kind: Kind) -> Result<Version, Unusable> {
        let mut version = Version {
            key: String::new(),
            version_id: String::new(),
            kind,
            is_latest: false,
            last_modified: Timestamp::UNIX_EPOCH,
            etag: String::new(),
            size: 0,
            metadata: None,
        };
        let mut dated = false;
        while let Token::Open(name) = self.next()? {
            match name.as_str() {
                "Key" => version.key = decode(&self.text()?)?,
                "VersionId" => version.version_id = self.text()?,
                "IsLatest" => version.is_latest = self.text()? == "true",
                "LastModified" => {
                    let text = self.text()?;
                    version.last_modified = text.parse().map_err(|_| format!("`{text}` is not a time"))?;
                    dated = true;
                }
                "ETag" => self.text()?.trim_matches('"').clone_into(&mut version.etag),
                "Size" => {
                    let text = self.text()?;
                    version.size = text.trim().parse().map_err(|_| format!("`{text}` is not a size"))?;
                }
                "UserMetadata" => self.headers(version.metadata.get_or_insert_default())?,
                "UserTags" => {
                    let tags = tags(&self.text()?)?;
                    version.metadata.get_or_insert_default().tags = tags;
                }
                _ => self.skip()?,
            }
        }
        if version.key.is_empty() || !dated {
            return Err("a version has no key or no time".into());
        }
        if version.version_id.is_empty() {
            version.version_id = "null".into();
        }
        Ok(version)
    }

    /// One element for each header, named after it.
    fn headers(&mut self, metadata: &mut Metadata) -> Result<(), Unusable> {
        while let Token::Open(name) = self.next()? {
            metadata.headers.push((name.to_ascii_lowercase(), self.text()?));
        }
        metadata.headers.sort();
        Ok(())
    }
}

/// Undoes `encoding-type=url`: `+` is a space, and only then come the `%XX`.
fn decode(text: &str) -> Result<String, String> {
    let spaced = if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    percent_decode_str(&spaced)
        .decode_utf8()
        .map(Cow::into_owned)
        .map_err(|_| format!("the name `{text}` is not UTF-8"))
}

fn tags(query: &str) -> Result<Vec<(String, String)>, String> {
    let mut tags = Vec::new();
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        tags.push((decode(key)?, decode(value)?));
    }
    tags.sort();
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
        <ListVersionsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>data</Name><Prefix></Prefix>";
    const OWNER: &str =
        "<Owner><ID>02d6</ID><DisplayName>minio</DisplayName></Owner><StorageClass>STANDARD</StorageClass>";

    fn page(rest: &str) -> Result<Page, Unusable> {
        parse(format!("{HEAD}{rest}</ListVersionsResult>").as_bytes())
    }

    fn last(rest: &str) -> Result<Page, Unusable> {
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

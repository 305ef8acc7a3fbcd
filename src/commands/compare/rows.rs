//! All differences on stdout, one after the other while they are found: as CSV, or as lines of JSON.

use std::io::{self, BufWriter, Stdout, Write};

use crate::{
    cli::RowForm,
    compare::{Difference, Side},
    failure::Failure,
};

const COLUMNS: &str = "class,key,version_id,detail,source_kind,source_etag,source_size,source_last_modified,\
                       target_kind,target_etag,target_size,target_last_modified\r\n";

/// Rows that go to stdout. After the first that cannot be written there are no more.
pub(super) struct Rows {
    out: BufWriter<Stdout>,
    form: RowForm,
    failed: Option<io::Error>,
}

impl Rows {
    pub(super) fn stdout(form: RowForm) -> Self {
        let mut out = BufWriter::new(io::stdout());
        let begun = match form {
            RowForm::Csv => out.write_all(COLUMNS.as_bytes()),
            RowForm::Jsonl => Ok(()),
        };
        Self { out, form, failed: begun.err() }
    }

    /// Writes one more; fails when nobody can read it, so that nothing more is asked of the sites. [`Rows::end`] says why.
    pub(super) fn row(&mut self, difference: &Difference) -> Result<(), Failure> {
        if self.failed.is_none() {
            let written = match self.form {
                RowForm::Csv => self.out.write_all(csv(difference).as_bytes()),
                RowForm::Jsonl => serde_json::to_writer(&mut self.out, difference)
                    .map_err(io::Error::from)
                    .and_then(|()| self.out.write_all(b"\n")),
            };
            self.failed = written.err();
        }
        if self.failed.is_none() { Ok(()) } else { Err(Failure::refused("the differences cannot be written")) }
    }

    pub(super) fn end(mut self) -> io::Result<()> {
        match self.failed {
            Some(failed) => Err(failed),
            None => self.out.flush(),
        }
    }
}

/// A record of RFC 4180, with its end.
fn csv(difference: &Difference) -> String {
    let Difference { class, key, version_id, detail, source, target } = difference;
    let mut record = [class.as_str(), key, version_id, detail].map(field).join(",");
    for side in [source, target] {
        let fields = side.as_ref().map_or_else(Default::default, fields);
        for text in fields {
            record.push(',');
            record.push_str(&field(&text));
        }
    }
    record + "\r\n"
}

/// Kind, `ETag`, size and modification time.
fn fields(side: &Side) -> [String; 4] {
    let Side { kind, etag, size, last_modified } = side;
    [kind.as_str().to_owned(), etag.clone(), size.to_string(), last_modified.to_string()]
}

/// A field, in quotes when it has what would end it. The text is as it is: what looks like a formula is data.
fn field(text: &str) -> String {
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{compare::Class, version::Kind};

    #[test]
    fn a_record_has_each_key_as_it_is() {
        let side = Side {
            kind: Kind::Object,
            etag: "e-2".into(),
            size: 7,
            last_modified: jiff::Timestamp::from_millisecond(1_500).unwrap(),
        };
        let key = "=a \"b\",\r\nc".to_owned();
        let (class, version_id, detail) = (Class::Missing, "null".to_owned(), "not on the target".to_owned());
        let difference = Difference { class, key, version_id, detail, source: Some(side), target: None };
        let wanted =
            "missing,\"=a \"\"b\"\",\r\nc\",null,not on the target,object,e-2,7,1970-01-01T00:00:01.5Z,,,,\r\n";
        assert_eq!(csv(&difference), wanted);
        assert_eq!(COLUMNS.split(',').count(), 12);
    }
}

//! Whether the target can encrypt and decrypt what the source has, and the link keeps it secret.

use super::{
    bucket::{setting_matches, settings},
    checks::{Answer, Outcome, Said, Severity, fail, pass, unknown, warn},
    facts::Facts,
    inventory::Sample,
    need::{denied, told},
    rules::registered,
};
use crate::{failure::Class, steps::bucket_prepare::alignment::Setting};

pub(super) fn encryption_matches(facts: &Facts) -> Answer {
    let said = keys_answer(facts).and_then(|keys| {
        let (source, target) = settings(facts, "default encryption")?;
        let bucket = setting_matches(facts, &source, &target, Setting::Encryption, "default encryption");
        Ok(worse(keys, bucket))
    });
    // Only what is encrypted is lost without its key; when that could not be told either, it must be found out.
    let nothing =
        matches!((default(facts), &facts.sample), (Ok(None), Ok(sample)) if !sample.encrypted() && sample.blind == 0);
    let severity = nothing.then_some(Severity::Should);
    said.map(|s| Said { severity, ..s }).map_err(|s| Said { severity, ..s })
}

fn default(facts: &Facts) -> Result<Option<&str>, ()> {
    facts.source.encryption.as_ref().map(|e| e.as_ref().map(|e| e.algorithm.as_str())).map_err(|_| ())
}

/// Whether the target has a KMS, and in it every key that the source's objects name.
fn keys_answer(facts: &Facts) -> Answer {
    let (source, target) = (&facts.source, &facts.target);
    let default = facts.of_bucket(source, &source.encryption, "default encryption")?;
    let sample = seen(facts)?;
    if default.is_none() && !sample.encrypted() {
        return Ok(pass(format!("nothing is encrypted ({} objects looked at)", sample.objects)));
    }
    let needs_kms = default.is_some() || sample.sse_s3 + sample.sse_kms > 0;
    if needs_kms {
        match told(target, &target.info, "the state of the KMS")?.kms_online {
            Some(true) => {}
            Some(false) => {
                return Ok(fail(
                    format!("the KMS of target `{}` is offline", target.alias),
                    format!("bring it back: `mc admin kms key status {}`", target.alias),
                ));
            }
            None => {
                return Ok(fail(
                    format!("target `{}` has no KMS: nothing encrypted can be replicated to it", target.alias),
                    "give it the source's KMS, with the same keys",
                ));
            }
        }
    }
    let mut there = Vec::new();
    for (key, answer) in &facts.target_keys {
        match answer {
            Ok(()) => there.push(key.as_str()),
            Err(why) if why.class() == Some(Class::Refused) && !denied(why) => {
                return Ok(fail(
                    format!(
                        "objects of the source are encrypted with key `{key}`, which target `{}` does not have: {why}",
                        target.alias
                    ),
                    "give both sites the same KMS keys (the key itself, not only its name)",
                ));
            }
            Err(_) => {
                told(target, answer, &format!("whether it has the key `{key}`"))?;
            }
        }
    }
    let keys = if there.is_empty() { "SSE-S3".to_owned() } else { format!("keys {}", there.join(", ")) };
    Ok(pass(format!("the target can encrypt: {keys}")))
}

/// The sample, if the server let it see anything.
fn seen(facts: &Facts) -> Result<&Sample, Said> {
    let sample = facts.of_bucket(&facts.source, &facts.sample, "how objects are encrypted")?;
    if sample.blind > 0 {
        return Err(unknown(
            format!("the headers of {} of {} sampled objects were not shown", sample.blind, sample.objects),
            format!("let the account of `{}` read objects: `s3:GetObject`", facts.source.alias),
        ));
    }
    Ok(sample)
}

fn worse(one: Said, other: Said) -> Said {
    let rank = |said: &Said| match said.outcome {
        Outcome::Pass => 0,
        Outcome::Warn => 1,
        Outcome::Unknown => 2,
        Outcome::Fail => 3,
    };
    if rank(&other) > rank(&one) { other } else { one }
}

pub(super) fn sse_c(facts: &Facts) -> Answer {
    let sample = seen(facts)?;
    if sample.sse_c == 0 {
        return Ok(pass(format!("no object with a customer's key ({} looked at)", sample.objects)));
    }
    let found = format!("{} of {} sampled objects are encrypted with a customer's key", sample.sse_c, sample.objects);
    if facts.asked.bucket != facts.asked.target_bucket {
        return Ok(fail(
            format!("{found}: their replicas cannot be read, because the bucket names differ"),
            "replicate to a bucket of the same name, or have their owners copy them with their keys",
        ));
    }
    match &facts.target.encryption {
        Ok(Some(_)) => Ok(fail(
            format!("{found}: their replicas cannot be read, because the target bucket has a default encryption"),
            format!("`mc encrypt clear {}/{}` for the recovery", facts.target.alias, facts.asked.target_bucket),
        )),
        Ok(None) | Err(_) => Ok(warn(
            format!(
                "{found}: a resync counts them as failed although it copies them, and nobody but their owner can read them"
            ),
            "have their owners read a few of them on the target afterwards",
        )),
    }
}

pub(super) fn tls(facts: &Facts) -> Answer {
    facts.of_bucket(&facts.source, &facts.remote_targets, "the remote target")?;
    let link = registered(facts).map(|target| target.secure);
    let plain: Vec<_> = [&facts.source, &facts.target]
        .into_iter()
        .filter(|site| site.endpoint.starts_with("http://"))
        .map(|site| format!("this machine to {} `{}`", site.role, site.alias))
        .chain((link == Some(false)).then(|| "source to target".to_owned()))
        .collect();
    if plain.is_empty() {
        return Ok(pass("every link is encrypted"));
    }
    let detail = format!("plain http from {}", plain.join(", "));
    let remedy = "serve both sites over https, and change the remote target; or accept it: `--accept tls=\"reason\"`";
    let sample = facts.sample.as_ref();
    let encrypted = matches!(facts.source.encryption, Ok(Some(_))) || sample.is_ok_and(Sample::encrypted);
    if link == Some(false) && encrypted {
        return Ok(fail(format!("{detail}, and objects are encrypted: they cross the network in the clear"), remedy));
    }
    if link == Some(false) && (facts.source.encryption.is_err() || sample.map_or(true, |s| s.blind > 0)) {
        return Ok(unknown(format!("{detail}; whether objects are encrypted could not be told"), remedy));
    }
    Ok(warn(detail, remedy))
}

#[cfg(test)]
mod tests {
    use super::super::{
        checks::Outcome::{Fail, Pass, Unknown, Warn},
        made_up::{down, facts, lost_target, outcome, refused},
    };
    use super::*;
    use crate::site::s3::Encryption;

    fn kms() -> Facts {
        let mut facts = facts();
        let default = Some(Encryption { algorithm: "aws:kms".into(), kms_key: Some("blue".into()) });
        facts.source.encryption = Ok(default.clone());
        facts.target.encryption = Ok(default);
        facts.sample = Ok(Sample { objects: 9, sse_kms: 9, kms_keys: ["blue".to_owned()].into(), ..Sample::default() });
        facts.target_keys = [("blue".to_owned(), Ok(()))].into();
        facts
    }

    #[test]
    fn every_key_must_answer_on_the_target() {
        assert_eq!(outcome(encryption_matches, &facts()), Pass);
        assert_eq!(outcome(encryption_matches, &kms()), Pass);
        let mut lacking = kms();
        lacking.target_keys = [("blue".to_owned(), Err(refused("XMinioKMSKeyNotFound", 404)))].into();
        assert_eq!(outcome(encryption_matches, &lacking), Fail);
        lacking.target_keys = [("blue".to_owned(), Err(down()))].into();
        assert_eq!(outcome(encryption_matches, &lacking), Unknown);
        lacking.target_keys = [("blue".to_owned(), Err(refused("AccessDenied", 403)))].into();
        assert_eq!(outcome(encryption_matches, &lacking), Unknown);
    }

    #[test]
    fn the_target_needs_a_kms_that_works() {
        for (state, expected) in [(None, Fail), (Some(false), Fail), (Some(true), Pass)] {
            let mut facts = kms();
            facts.target.info.as_mut().unwrap().kms_online = state;
            assert_eq!(outcome(encryption_matches, &facts), expected, "{state:?}");
        }
        let mut silent = kms();
        silent.target.info = Err(down());
        assert_eq!(outcome(encryption_matches, &silent), Unknown);
    }

    #[test]
    fn default_encryption_is_equal_or_prepared() {
        let mut none = kms();
        none.target.encryption = Ok(None);
        assert_eq!(outcome(encryption_matches, &none), Fail);
        none.asked.before_prepare = true;
        assert_eq!(outcome(encryption_matches, &none), Warn);
        assert_eq!(outcome(encryption_matches, &lost_target(true)), Warn);
    }

    #[test]
    fn unknown_counts_unless_nothing_is_encrypted() {
        let mut unclear = facts();
        unclear.sample = Err(down());
        assert_eq!(encryption_matches(&unclear).unwrap_err().severity, None);
        let mut plain = facts();
        plain.target.encryption = Err(down());
        let said = encryption_matches(&plain).unwrap_err();
        assert_eq!((said.outcome, said.severity), (Unknown, Some(Severity::Should)));
    }

    #[test]
    fn a_sample_that_saw_nothing_is_unknown() {
        let mut blind = facts();
        blind.sample = Ok(Sample { objects: 5, blind: 5, ..Sample::default() });
        assert_eq!(outcome(encryption_matches, &blind), Unknown);
        assert_eq!(outcome(sse_c, &blind), Unknown);
    }

    #[test]
    fn customers_keys_warn_or_fail() {
        assert_eq!(outcome(sse_c, &facts()), Pass);
        let mut some = facts();
        some.sample.as_mut().unwrap().sse_c = 2;
        assert_eq!(outcome(sse_c, &some), Warn);
        let mut renamed = some.clone();
        renamed.asked.target_bucket = "copy".to_owned().try_into().unwrap();
        assert_eq!(outcome(sse_c, &renamed), Fail);
        some.target.encryption = Ok(Some(Encryption { algorithm: "AES256".into(), kms_key: None }));
        assert_eq!(outcome(sse_c, &some), Fail);
        some.sample = Err(down());
        assert_eq!(outcome(sse_c, &some), Unknown);
    }

    #[test]
    fn plain_http_warns_and_fails_for_encrypted_objects() {
        assert_eq!(outcome(tls, &facts()), Pass);
        let mut operator = facts();
        operator.target.endpoint = "http://b.example".into();
        assert_eq!(outcome(tls, &operator), Warn);
        let mut link = kms();
        link.remote_targets.as_mut().unwrap()[0].secure = false;
        assert_eq!(outcome(tls, &link), Fail);
        link.source.encryption = Ok(None);
        link.sample = Ok(Sample::default());
        assert_eq!(outcome(tls, &link), Warn);
        link.sample = Err(down());
        assert_eq!(outcome(tls, &link), Unknown);
        link.remote_targets = Err(down());
        assert_eq!(outcome(tls, &link), Unknown);
    }
}

//! Runbooks that are refused: `tests/cases/invalid/NAME.yaml` and what is said about it in `NAME.err`.
//! `UPDATE=1` writes the `.err` files anew.

use std::{env, fs, path::Path};

use firedrill::{
    check::load,
    problem::{Level, Problem, render, to_json},
    tree::parse_bytes,
};

use crate::toys::TOYS;

#[test]
fn every_invalid_runbook_is_refused_as_its_golden_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/invalid");
    let mut cases: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    cases.sort();
    assert!(cases.len() >= 35, "only {} cases in {}", cases.len(), folder.display());
    let mut wrong = Vec::new();
    for case in cases {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = fs::read(&case).unwrap();
        let problems = problems(&bytes);
        let said = render(&name, &String::from_utf8_lossy(&bytes), &problems, false);
        let golden = case.with_extension("err");
        if env::var_os("UPDATE").is_some() {
            fs::write(&golden, &said).unwrap();
        }
        if !problems.iter().any(|problem| problem.level == Level::Error) {
            wrong.push(format!("{name} was accepted"));
        }
        for problem in problems.iter().filter(|problem| problem.help.is_none()) {
            wrong.push(format!("{name}: no way out of: {}", problem.what));
        }
        let wanted = fs::read_to_string(&golden).unwrap_or_default();
        if said != wanted {
            wrong.push(format!("{name}\n--- wanted\n{wanted}--- said\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_right_is_accepted_and_what_nothing_uses_is_a_warning() {
    let text = include_str!("../cases/ok/language.yaml");
    let (runbook, warnings) =
        load(text, TOYS).unwrap_or_else(|problems| panic!("{}", render("language.yaml", text, &problems, false)));
    assert_eq!((runbook.steps.len(), runbook.finally.len()), (6, 1));
    let said = render("language.yaml", text, &warnings, false);
    assert!(said.contains("warning: nothing uses the input `spare`"), "{said}");
    assert!(said.contains("warning: no step uses the role `witness`"), "{said}");
    assert_eq!(warnings.len(), 2, "{said}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    /// Whatever is written into a runbook, it is accepted, or refused with places that can be shown.
    #[test]
    fn no_text_makes_the_check_panic(edits in proptest::collection::vec((0_usize..4000, 0_usize..12, ".{0,3}|[{}\\[\\]\"'|&*:, \\n-]{0,4}"), 1..5)) {
        let mut text = include_str!("../cases/ok/language.yaml").to_owned();
        for (at, length, put) in edits {
            let start = text.floor_char_boundary(at.min(text.len()));
            let end = text.floor_char_boundary((start + length).min(text.len())).max(start);
            text.replace_range(start..end, &put);
        }
        let problems = problems(text.as_bytes());
        render("x.yaml", &text, &problems, false);
        to_json("x.yaml", &text, &problems);
    }
}

fn problems(bytes: &[u8]) -> Vec<Problem> {
    match parse_bytes(bytes) {
        Err(problem) => vec![problem],
        Ok((text, _)) => load(text, TOYS).map_or_else(|problems| problems, |(_, warnings)| warnings),
    }
}

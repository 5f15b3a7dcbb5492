//! The stack's template and this code say the same: metrics in dashboard and alarms, and the ledger's table.
//!
//! What lives here: the parts of `infra/stack.yaml` that are written by code, each between two marks, and the tests that
//! they are up to date and complete. What may not: the rest of the template.
//!
//! `MUSTER_INFRA=write cargo test -p muster-core --test infra` writes the parts in place; without it, a difference is a
//! failure.
//!
//! Invariant: no name of a metric is written in the template by hand.

mod accounts;
mod alarms;
mod dashboard;
mod ledger;

use std::fmt::Write as _;
use std::path::PathBuf;

/// The variable that lets these tests write.
const WRITE: &str = "MUSTER_INFRA";

fn template() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../infra/stack.yaml")
}

/// Where a part begins and ends in the template's text: the bytes between its two marks' lines.
fn part(text: &str, name: &str) -> std::ops::Range<usize> {
    let find = |mark: &str| {
        let mark = format!("# {mark} generated: {name}\n");
        let mut found = text.match_indices(&mark);
        let (at, mark) = found.next().unwrap_or_else(|| panic!("infra/stack.yaml has no line `{}`", mark.trim_end()));
        assert!(found.next().is_none(), "infra/stack.yaml has `{}` twice", mark.trim_end());
        (at, at + mark.len())
    };
    let (begin, end) = (find("begin").1, find("end").0);
    let end = text[..end].rfind('\n').map_or(0, |at| at + 1);
    assert!(begin <= end, "infra/stack.yaml: {name} ends before it begins");
    begin..end
}

fn parts() -> [(&'static str, String); 2] {
    [("ledger", ledger::render()), ("watch", format!("{}\n{}", dashboard::render(), alarms::render()))]
}

/// The first line that differs, for people.
fn difference(there: &str, wanted: &str) -> String {
    let mut told = String::new();
    for (number, (there, wanted)) in there.lines().zip(wanted.lines()).enumerate() {
        if there != wanted {
            let _ = write!(told, "line {} of the part\n  is     {there}\n  not    {wanted}", number + 1);
            return told;
        }
    }
    format!("it has {} lines, not {}", there.lines().count(), wanted.lines().count())
}

#[test]
fn the_template_is_up_to_date() {
    let path = template();
    let mut text = std::fs::read_to_string(&path).unwrap();
    let mut wrong = Vec::new();
    for (name, wanted) in parts() {
        let at = part(&text, name);
        if text[at.clone()] != wanted {
            wrong.push(format!("{name}: {}", difference(&text[at.clone()], &wanted)));
            text.replace_range(at, &wanted);
        }
    }
    #[expect(clippy::disallowed_methods, reason = "a person says so, and not what is tested")]
    let word = std::env::var(WRITE);
    match word {
        Ok(word) if word == "write" => std::fs::write(&path, text).unwrap(),
        _ => assert!(
            wrong.is_empty(),
            "{} is not what this code makes of the constants. Write it with {WRITE}=write, and review the change.\n{}",
            path.display(),
            wrong.join("\n")
        ),
    }
}

/// By hand there is none outside the parts, so that none can drift.
#[test]
fn no_metric_is_named_by_hand() {
    let text = std::fs::read_to_string(template()).unwrap();
    let at = part(&text, "watch");
    for metric in muster_core::metric::ALL {
        let by_hand = [&text[..at.start], &text[at.end..]].iter().any(|text| text.contains(metric.name));
        assert!(!by_hand, "infra/stack.yaml names {} outside of what is generated", metric.name);
    }
}

//! Errors of TOML itself, told with file, line and key like all others.
//!
//! What lives here: finding the key around a broken line. What may not: the rules of the configuration.
//!
//! Invariant: nothing right of an `=` reaches a message.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::DeTable;

use super::diagnostic::Findings;
use super::limits::SYNTAX_ERRORS_MAX;

/// Parses the text. `None` if it is too broken to judge further.
pub(super) fn read<'t>(text: &'t str, findings: &mut Findings) -> Option<Spanned<DeTable<'t>>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut places: Vec<_> =
        errors.iter().map(|error| (error.span().map_or(0, |s| s.start), error.message())).collect();
    places.sort_by_key(|(start, _)| *start);
    let mut broken = false;
    let mut told = 0;
    let mut last_line = 0;
    let mut run = BTreeSet::new();
    for (start, text_of_error) in places {
        let line = findings.line_of(start);
        let twice = text_of_error.starts_with("duplicate key");
        broken |= !twice;
        // A quote or bracket left open makes every line below it wrong in the same ways: one of them says it.
        if line > last_line + 1 {
            run.clear();
        }
        let echo = line == last_line || !run.insert(text_of_error);
        last_line = line;
        if echo || told >= SYNTAX_ERRORS_MAX {
            continue;
        }
        told += 1;
        let key = key_at(text, line);
        if twice {
            findings.error_at(line, key, "this key or table is there twice", "keep one of the two");
        } else {
            let message = format!("this is not TOML: {}", text_of_error.lines().next().unwrap_or("bad syntax"));
            findings.error_at(line, key, message, "correct the line; see toml.io for the syntax");
        }
    }
    (!broken).then_some(table)
}

/// The dotted path of the key on a line, as far as headers and the left side of `=` tell.
fn key_at(text: &str, line: u32) -> String {
    let mut header = String::new();
    let mut lists: Vec<(String, usize)> = Vec::new();
    let mut key = String::new();
    for (number, content) in (1_u32..=line).zip(text.lines()) {
        let content = content.trim();
        key.clear();
        if let Some(name) = content.strip_prefix("[[").and_then(|rest| rest.split("]]").next()) {
            match lists.iter_mut().find(|(known, _)| known == name.trim()) {
                Some((_, count)) => *count += 1,
                None => lists.push((name.trim().to_owned(), 0)),
            }
            header = indexed(name.trim(), &lists);
        } else if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            header = indexed(name.trim(), &lists);
        } else if number == line {
            let left = content.split('=').next().unwrap_or("").trim();
            let bare = !left.is_empty() && left.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            if bare && content.contains('=') {
                key.push_str(left);
            }
        }
    }
    match (header.is_empty(), key.is_empty()) {
        (_, true) => header,
        (true, false) => key,
        (false, false) => format!("{header}.{key}"),
    }
}

/// The name with the index of the list of tables it begins with: `pool.sizes` as `pool[1].sizes`.
fn indexed(name: &str, lists: &[(String, usize)]) -> String {
    let within = lists.iter().filter_map(|(list, last)| {
        let rest = name.strip_prefix(list.as_str())?;
        (rest.is_empty() || rest.starts_with('.')).then_some((list, last, rest))
    });
    let found = within.min_by_key(|(list, ..)| list.len()).map(|(list, last, rest)| format!("{list}[{last}]{rest}"));
    let name = found.unwrap_or_else(|| name.to_owned());
    name.chars().filter(|c| !c.is_control()).take(super::limits::SHOWN_CHARS_MAX).collect()
}

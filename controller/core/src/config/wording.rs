//! Texts inside sentences: quoting, lists, "did you mean".
//!
//! What lives here: how foreign text is shown, and which known word is nearest to it. What may not: sentences.
//!
//! Invariant: what comes out is short and holds no control character, whatever came in.

use super::limits::{SHOWN_CHARS_MAX, SHOWN_TEXTS_MAX};

/// `text` in back-quotes, cut and escaped.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::from("`");
    for c in text.chars().take(SHOWN_CHARS_MAX) {
        match c {
            '`' => out.push('\''),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        out.push_str("...");
    }
    out.push('`');
    out
}

/// All of `texts` in back-quotes, with commas; the rest of a long list is counted.
pub(super) fn list<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let mut shown = Vec::new();
    let mut more = 0_usize;
    for text in texts {
        if shown.len() < SHOWN_TEXTS_MAX {
            shown.push(quote(text.as_ref()));
        } else {
            more += 1;
        }
    }
    let mut out = shown.join(", ");
    if more > 0 {
        out.push_str(&format!(" and {more} more"));
    }
    out
}

/// The known word nearest to `word`, if one is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.chars().nth(SHOWN_CHARS_MAX).is_some() {
        return None;
    }
    let word = word.to_lowercase();
    let reach = (word.chars().count() / 3).max(1);
    let scored = known.into_iter().map(|k| (distance(&word, &k.to_lowercase()), k));
    scored.filter(|(d, _)| *d <= reach).min_by_key(|(d, _)| *d).map(|(_, k)| k)
}

/// "did you mean `x`?", or `otherwise`.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>, otherwise: String) -> String {
    match nearest(word, known) {
        Some(near) => format!("did you mean {}?", quote(near)),
        None => otherwise,
    }
}

/// Edits between two words: insert, delete, replace, swap of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_foreign_text_safely() {
        assert_eq!(quote("a`b\n\u{1b}"), "`a'b\\n\\u{1b}`");
        assert!(quote(&"x".repeat(1_000)).len() < 80);
        assert!(list(vec!["x"; 30]).ends_with("and 18 more"));
    }

    #[test]
    fn finds_the_word_that_was_meant() {
        let known = ["instance_types", "image", "idle", "labels", "os"];
        assert_eq!(nearest("instance_type", known), Some("instance_types"));
        assert_eq!(nearest("lables", known), Some("labels"));
        assert_eq!(nearest("ios", known), Some("os"));
        assert_eq!(nearest("price", known), None);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("ab", "ba"), 1);
    }
}

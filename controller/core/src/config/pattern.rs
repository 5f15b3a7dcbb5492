//! Patterns of repositories and of instance types.
//!
//! What lives here: patterns with `*`. What may not: what a match allows.
//!
//! Invariant: letters match whatever their case.

use std::fmt;

use wildmatch::WildMatch;

macro_rules! pattern {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            text: String,
            matcher: WildMatch,
        }

        impl $name {
            /// Takes the pattern as it is.
            pub fn new(text: &str) -> $name {
                $name { text: text.to_owned(), matcher: WildMatch::new_case_insensitive(text) }
            }

            /// Whether `text` matches.
            pub fn matches(&self, text: &str) -> bool {
                self.matcher.matches(text)
            }

            /// The pattern as written.
            pub fn as_str(&self) -> &str {
                &self.text
            }

            /// Whether everything that `other` matches is matched by this one too.
            pub fn covers(&self, other: &$name) -> bool {
                self.matcher.matches(&other.text)
            }

            /// Whether some text is matched by both.
            pub fn meets(&self, other: &$name) -> bool {
                meet(&self.text.to_lowercase(), &other.text.to_lowercase())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.text)
            }
        }
    };
}

pattern! {
    /// Repositories, such as `acme/*`, `acme/api`, `*/*` or `*`.
    RepositoryPattern
}

pattern! {
    /// EC2 instance types, such as `c7i.*` or `c7i.large`.
    TypePattern
}

/// Whether two patterns match a text in common: a walk over both, row by row, with `*` for any text and `?` for a letter.
fn meet(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // `row[j]`: what is left of `a` and `b[j..]` match a text in common.
    let mut row: Vec<bool> = (0..=b.len()).map(|j| b[j..].iter().all(|letter| *letter == '*')).collect();
    for letter in a.iter().rev() {
        let mut next = vec![*letter == '*' && row[b.len()]; b.len() + 1];
        for j in (0..b.len()).rev() {
            next[j] = match (*letter, b[j]) {
                ('*', _) | (_, '*') => row[j] || next[j + 1] || (*letter == '*' && b[j] == '*' && row[j + 1]),
                (one, other) => (one == other || one == '?' || other == '?') && row[j + 1],
            };
        }
        row = next;
    }
    row[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_meet_if_some_name_fits_both() {
        let meets = |a: &str, b: &str| {
            let (a, b) = (RepositoryPattern::new(a), RepositoryPattern::new(b));
            assert_eq!(a.meets(&b), b.meets(&a));
            a.meets(&b)
        };
        for (a, b) in
            [("acme/a*", "acme/*b"), ("*", "acme/api"), ("Acme/API", "acme/api"), ("a*c", "ab*"), ("a?c", "abc")]
        {
            assert!(meets(a, b), "{a} {b}");
        }
        for (a, b) in [("acme/a*", "acme/b*"), ("acme/api", "acme/web"), ("*/x", "*/y"), ("a?", "a"), ("", "a")] {
            assert!(!meets(a, b), "{a} {b}");
        }
    }
}

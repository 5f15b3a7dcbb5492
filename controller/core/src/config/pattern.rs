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

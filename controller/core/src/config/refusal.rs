//! Why no class serves a job.
//!
//! What lives here: the refusals, their order and their sentences. What may not: the search for a class (`resolve.rs`).
//!
//! Invariant: the order of the kinds is the order in which a job is judged; across pools the furthest one wins.

use std::fmt;

use super::FleetConfig;
use super::catalog::{Entry, UNKNOWN};
use super::market::MarketPolicy;
use super::resolve::Token;
use super::wording::{list, nearest, quote};

/// The kinds of refusal, in the order in which a job is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalKind {
    /// No pool is open to the repository.
    RepositoryNotAllowed,
    /// The repository is public and no pool takes public repositories.
    PublicRepository,
    /// The job names no label, and no pool serves such jobs.
    NoLabels,
    /// The job asks for a machine of GitHub's own. Ignored quietly.
    GithubHosted,
    /// No pool has the labels.
    NoPool,
    /// The pool does not have the size.
    SizeNotAllowed,
    /// The pool does not allow the raw instance type.
    InstanceTypeNotAllowed,
    /// The pool does not offer the market.
    MarketNotAllowed,
}

/// A job that no class serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub(super) kind: RefusalKind,
    pub(super) why: String,
}

impl Refusal {
    /// The kind, as an enum.
    pub fn refusal_kind(&self) -> RefusalKind {
        self.kind
    }

    /// The kind as a word: metric dimension, `outcome` of `explain`, `reason` in the ledger.
    pub fn kind(&self) -> &'static str {
        self.kind.as_str()
    }

    /// One sentence for the developer and the admin: what was asked for, and the remedy.
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl RefusalKind {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            RefusalKind::RepositoryNotAllowed => "repository_not_allowed",
            RefusalKind::PublicRepository => "public_repository",
            RefusalKind::NoLabels => "no_labels",
            RefusalKind::GithubHosted => "github_hosted",
            RefusalKind::NoPool => "no_pool",
            RefusalKind::SizeNotAllowed => "size_not_allowed",
            RefusalKind::InstanceTypeNotAllowed => "instance_type_not_allowed",
            RefusalKind::MarketNotAllowed => "market_not_allowed",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.why)
    }
}

/// A job that no class serves, with all that is needed to say why.
pub(super) struct Judge<'a> {
    pub(super) config: &'a FleetConfig,
    pub(super) tokens: &'a [Token<'a>],
    pub(super) repository: &'a str,
    pub(super) public: bool,
}

/// Where GitHub's own machines' names begin.
const HOSTED: [&str; 3] = ["ubuntu-", "windows-", "macos-"];

impl Judge<'_> {
    /// The refusal that got furthest; of equals, of the pool that is judged first.
    pub(super) fn refusal(&self) -> Refusal {
        let entries = self.config.catalog.entries.iter();
        let judged = entries.map(|entry| (self.kind(entry), entry));
        let furthest = judged.reduce(|best, next| if next.0 > best.0 { next } else { best });
        match furthest {
            Some((kind, entry)) => Refusal { kind, why: self.sentence(kind, entry) },
            None => Refusal { kind: RefusalKind::NoPool, why: "the configuration has no pool".to_owned() },
        }
    }

    fn kind(&self, entry: &Entry) -> RefusalKind {
        let pool = &self.config.pools[entry.pool];
        if !pool.is_open_to(self.repository) {
            RefusalKind::RepositoryNotAllowed
        } else if self.public && !pool.public_repositories {
            RefusalKind::PublicRepository
        } else if self.tokens.is_empty() {
            RefusalKind::NoLabels
        } else if self.tokens.iter().all(|token| HOSTED.iter().any(|start| token.lower.starts_with(start))) {
            RefusalKind::GithubHosted
        } else if self.tokens.iter().any(|token| self.sort(entry, token) == Sort::Foreign) {
            RefusalKind::NoPool
        } else if self.named(entry, Sort::ForeignSize).next().is_some() || self.distinct(entry, Sort::Size) > 1 {
            RefusalKind::SizeNotAllowed
        } else if self.named(entry, Sort::ForeignType).next().is_some()
            || self.distinct(entry, Sort::Size) + self.distinct(entry, Sort::Type) > 1
        {
            RefusalKind::InstanceTypeNotAllowed
        } else {
            RefusalKind::MarketNotAllowed
        }
    }

    /// What a label is to a pool.
    fn sort(&self, entry: &Entry, token: &Token<'_>) -> Sort {
        let config = self.config;
        let known = token.number != UNKNOWN;
        if known && entry.base.contains(&token.number) {
            Sort::Own
        } else if known && entry.sizes.contains(&token.number) {
            Sort::Size
        } else if known && entry.markets.contains(&token.number) {
            Sort::Market
        } else if known && config.catalog.entries.iter().any(|other| other.sizes.contains(&token.number)) {
            Sort::ForeignSize
        } else if MarketPolicy::parse(&token.lower).is_some() {
            Sort::ForeignMarket
        } else if token.is_type {
            let allowed = config.raw_size(&config.pools[entry.pool], &token.lower).is_some();
            if allowed { Sort::Type } else { Sort::ForeignType }
        } else if known && config.catalog.entries.iter().any(|other| other.base.contains(&token.number)) {
            Sort::Foreign
        } else if self.has_stem_of_a_size(&token.lower) {
            Sort::ForeignSize
        } else {
            Sort::Foreign
        }
    }

    /// Whether a size is called the same but for its numbers, as `cpu-64` beside `cpu-2`.
    fn has_stem_of_a_size(&self, label: &str) -> bool {
        let stem = stem(label);
        let sizes = || self.config.pools.iter().filter(|pool| pool.adds_labels).flat_map(|pool| &pool.sizes);
        stem.contains('#') && stem != "#" && sizes().any(|size| self::stem(&size.name.to_lowercase()) == stem)
    }

    fn named(&self, entry: &Entry, sort: Sort) -> impl Iterator<Item = &str> {
        self.tokens.iter().filter(move |token| self.sort(entry, token) == sort).map(|token| token.text)
    }

    /// How many different labels of this sort the job names.
    fn distinct(&self, entry: &Entry, sort: Sort) -> usize {
        let named = self.tokens.iter().filter(|token| self.sort(entry, token) == sort);
        named.map(|token| &token.lower).collect::<std::collections::BTreeSet<_>>().len()
    }

    fn sentence(&self, kind: RefusalKind, entry: &Entry) -> String {
        let pool = &self.config.pools[entry.pool];
        let name = quote(pool.name.as_str());
        let repository = quote(self.repository);
        let labels = list(self.tokens.iter().map(|token| token.text));
        let sizes = list(pool.sizes.iter().map(|size| &size.name));
        match kind {
            RefusalKind::RepositoryNotAllowed => {
                format!("no pool is open to the repository {repository}: add it to `repositories` of a pool")
            }
            RefusalKind::PublicRepository => format!(
                "{repository} is public, and no pool that is open to it takes public repositories: \
                 set `public_repositories = true` on a pool made for code that nobody reviewed"
            ),
            RefusalKind::NoLabels => "the job names no label, only a runner group: name labels in `runs-on`, or set \
                 `serves_group_jobs = true` on one pool"
                .to_owned(),
            RefusalKind::GithubHosted => {
                format!(
                    "{labels}: a machine of GitHub's own is asked for; nothing to do unless a pool has such a label"
                )
            }
            RefusalKind::NoPool => self.no_pool_sentence(&labels),
            RefusalKind::SizeNotAllowed => match self.named(entry, Sort::ForeignSize).next() {
                Some(size) => format!(
                    "pool {name} has no size {} (labels {labels}): name one of {sizes}, or add the size to the pool",
                    quote(size)
                ),
                None => format!("{labels}: more than one size is named, and no runner has two: name one of {sizes}"),
            },
            RefusalKind::InstanceTypeNotAllowed => match self.named(entry, Sort::ForeignType).next() {
                Some(kind) if pool.raw_size(kind).is_some() => format!(
                    "pool {name} allows the instance type {} (labels {labels}), but the budget has no price for it: \
                     add it as a size with `usd_per_hour`, or name one of {sizes}",
                    quote(kind)
                ),
                Some(kind) => format!(
                    "pool {name} ({}, {}) does not allow the instance type {} (labels {labels}): name a size, one of \
                     {sizes}, or let the pool's `instance_type_labels` match it",
                    pool.os,
                    pool.arch,
                    quote(kind)
                ),
                None => format!("{labels}: a runner is of one size or instance type, not of several: name only one"),
            },
            RefusalKind::MarketNotAllowed => {
                let markets = list(pool.markets.iter().map(|market| market.as_str()));
                match self.named(entry, Sort::ForeignMarket).next() {
                    Some(market) => format!(
                        "pool {name} does not offer {} (labels {labels}): name one of {markets}, or add it to the \
                         pool's `markets`",
                        quote(market)
                    ),
                    None => format!("{labels}: more than one market is named: name one of {markets}"),
                }
            }
        }
    }

    fn no_pool_sentence(&self, labels: &str) -> String {
        let catalog = &self.config.catalog;
        let known = |token: &&Token<'_>| token.number != UNKNOWN;
        let Some(odd) = self.tokens.iter().find(|token| !known(token)) else {
            return format!("no open pool has all of the labels {labels}: name labels of one pool, or add such a pool");
        };
        let near = nearest(&odd.lower, catalog.labels.iter().map(|label| &**label));
        let near = near.map(|near| format!("; did you mean {}?", quote(near))).unwrap_or_default();
        format!(
            "no open pool has all of the labels {labels}, and none has {}: correct `runs-on`, or add a pool{near}",
            quote(odd.text)
        )
    }
}

/// What a label is to a pool.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// One of the pool's labels.
    Own,
    /// One of its sizes.
    Size,
    /// A raw type that it allows.
    Type,
    /// One of its markets.
    Market,
    /// A size that it does not have.
    ForeignSize,
    /// A raw type that it does not allow.
    ForeignType,
    /// A market that it does not offer.
    ForeignMarket,
    /// Anything else.
    Foreign,
}

/// The text with every run of digits as one `#`.
fn stem(text: &str) -> String {
    let mut stem = String::new();
    for c in text.chars() {
        let c = if c.is_ascii_digit() { '#' } else { c };
        if c != '#' || !stem.ends_with('#') {
            stem.push(c);
        }
    }
    stem
}

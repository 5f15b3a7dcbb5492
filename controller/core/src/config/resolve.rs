//! From a job's labels to its runner class.
//!
//! What lives here: the search. What may not: the sentences of a refusal (`refusal.rs`).
//!
//! Invariant: the labels of the class found contain every label that the job names, whatever the case of the letters.

use std::borrow::Cow;
use std::sync::Arc;

use super::FleetConfig;
use super::catalog::{Entry, LabelNo, UNKNOWN, class_of};
use super::class::Class;
use super::instance_type;
use super::market::MarketPolicy;
use super::pool::{Pool, Size};
use super::refusal::{Judge, Refusal};

/// What became of a job's labels.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// This class serves the job.
    Class(Arc<Class>),
    /// No class serves it.
    Refused(Refusal),
}

impl Resolution {
    /// The class, if one serves the job.
    pub fn class(&self) -> Option<&Arc<Class>> {
        match self {
            Resolution::Class(class) => Some(class),
            Resolution::Refused(_) => None,
        }
    }

    /// The refusal, if no class serves the job.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Resolution::Class(_) => None,
            Resolution::Refused(refusal) => Some(refusal),
        }
    }
}

/// A job's label, looked up.
pub(super) struct Token<'a> {
    /// As the job names it.
    pub(super) text: &'a str,
    /// In lower case.
    pub(super) lower: Cow<'a, str>,
    pub(super) number: LabelNo,
    /// Whether it looks like an EC2 instance type.
    pub(super) is_type: bool,
}

/// What a pool makes of a job's labels. Built only if it covers them all.
#[derive(Clone, Copy)]
struct Fit<'a> {
    size: Option<Named<'a>>,
    market: Option<usize>,
}

#[derive(Clone, Copy, PartialEq)]
enum Named<'a> {
    /// Index of a size.
    Size(usize),
    /// A raw instance type, in lower case.
    Type(&'a str),
}

impl FleetConfig {
    /// The class that serves a job with these labels from `repository` (`owner/name`), or why none does.
    ///
    /// A pool must be open to the repository and its visibility, and its labels with one size (or allowed raw instance
    /// type) and one market must contain all that the job names. Of several such pools the higher priority wins, then
    /// the order of the file. A size or market that the job does not name is the pool's default.
    pub fn resolve<L: AsRef<str>>(&self, labels: &[L], repository: &str, public: bool) -> Resolution {
        let tokens = self.tokens(labels);
        for entry in &self.catalog.entries {
            let Some(fit) = self.fit(entry, &tokens) else { continue };
            let pool = &self.pools[entry.pool];
            if !self.is_open(pool, repository, public) {
                continue;
            }
            let market = fit.market.unwrap_or(pool.default_market());
            let class = match fit.size {
                None => self.configured(entry, pool.default_size, market),
                Some(Named::Size(size)) => self.configured(entry, size, market),
                Some(Named::Type(name)) => match self.raw_class(pool, name, pool.markets[market]) {
                    Some(class) => class,
                    None => continue,
                },
            };
            return Resolution::Class(class);
        }
        Resolution::Refused(Judge { config: self, tokens: &tokens, repository, public }.refusal())
    }

    /// The other classes whose labels cover the job, in pools that are open to it: GitHub may hand the job to any of
    /// their runners. Empty if no class serves the job. In the order in which pools are judged.
    pub fn also<L: AsRef<str>>(&self, labels: &[L], repository: &str, public: bool) -> Vec<Arc<Class>> {
        let resolution = self.resolve(labels, repository, public);
        let Some(chosen) = resolution.class() else {
            return Vec::new();
        };
        let tokens = self.tokens(labels);
        let mut also = Vec::new();
        for entry in &self.catalog.entries {
            let pool = &self.pools[entry.pool];
            let Some(fit) = self.fit(entry, &tokens).filter(|_| self.is_open(pool, repository, public)) else {
                continue;
            };
            let markets = (0..pool.markets.len()).filter(|market| fit.market.is_none_or(|named| named == *market));
            let markets: Vec<usize> = markets.collect();
            match fit.size {
                None | Some(Named::Size(_)) => {
                    let sizes =
                        (0..pool.sizes.len()).filter(|size| fit.size.is_none_or(|named| named == Named::Size(*size)));
                    also.extend(sizes.flat_map(|s| markets.iter().map(move |m| self.configured(entry, s, *m))));
                }
                Some(Named::Type(name)) => {
                    also.extend(markets.iter().filter_map(|m| self.raw_class(pool, name, pool.markets[*m])));
                }
            }
        }
        also.retain(|class| class.id != chosen.id);
        also
    }

    fn configured(&self, entry: &Entry, size: usize, market: usize) -> Arc<Class> {
        self.catalog.classes[entry.first_class + size * entry.markets.len() + market].clone()
    }

    pub(super) fn is_open(&self, pool: &Pool, repository: &str, public: bool) -> bool {
        (!public || pool.public_repositories) && pool.is_open_to(repository)
    }

    fn tokens<'a, L: AsRef<str>>(&self, labels: &'a [L]) -> Vec<Token<'a>> {
        let labels = labels.iter().map(AsRef::as_ref);
        labels
            .map(|text| {
                let plain = text.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase());
                let lower = if plain { Cow::Borrowed(text) } else { Cow::Owned(text.to_lowercase()) };
                let number = self.catalog.label_no(&lower);
                let is_type = lower.contains('.') && instance_type::is_like(&lower);
                Token { text, lower, number, is_type }
            })
            .collect()
    }

    /// How the pool covers the labels, if it does.
    fn fit<'a>(&self, entry: &Entry, tokens: &'a [Token<'_>]) -> Option<Fit<'a>> {
        let mut fit = Fit { size: None, market: None };
        if tokens.is_empty() && !self.pools[entry.pool].serves_group_jobs {
            return None;
        }
        for token in tokens {
            if token.number != UNKNOWN {
                if entry.base.contains(&token.number) {
                    continue;
                }
                if let Some(market) = entry.markets.iter().position(|label| *label == token.number) {
                    if fit.market.replace(market).is_some_and(|other| other != market) {
                        return None;
                    }
                    continue;
                }
            }
            let configured = entry.sizes.iter().position(|label| *label == token.number && *label != UNKNOWN);
            let named = match configured {
                Some(size) => Named::Size(size),
                None if token.is_type && self.raw_size(&self.pools[entry.pool], &token.lower).is_some() => {
                    Named::Type(&token.lower)
                }
                None => return None,
            };
            if fit.size.replace(named).is_some_and(|other| other != named) {
                return None;
            }
        }
        Some(fit)
    }

    /// A raw type as a size, if the pool allows it and a budget has a price for it.
    pub(super) fn raw_size(&self, pool: &Pool, name: &str) -> Option<Size> {
        let size = pool.raw_size(name)?;
        let markets = || pool.markets.iter().flat_map(|policy| policy.markets());
        let priced = markets().all(|market| size.usd_per_hour.of(*market).is_some());
        (priced || self.fleet.budget_usd_per_hour.is_none()).then_some(size)
    }

    pub(super) fn raw_class(&self, pool: &Pool, name: &str, market: MarketPolicy) -> Option<Arc<Class>> {
        let size = self.raw_size(pool, name)?;
        Some(Arc::new(class_of(pool, &size, market, true, &self.catalog.by_shape)))
    }
}

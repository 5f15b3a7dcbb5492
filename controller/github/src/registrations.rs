//! The list of all registrations, page by page.
//!
//! What lives here: reading it, as cheaply as GitHub lets us. What may not: what is wrong with it.
//!
//! Invariant: a page that GitHub says has not changed is the one that was read last.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use http::{Method, StatusCode};
use muster_core::ids::{RunnerId, RunnerName};
use muster_core::ports::{GithubError, Listed};

use crate::budget::Purpose;
use crate::github::{RestGithub, told};
use crate::runners::{RunnerAnswer, RunnerPage};
use crate::transport::Ask;

/// GitHub's largest page.
const PAGE: usize = 100;
/// Pages that one list may have: twice GitHub's limit of runners in a group (GitHub Actions limits, 10,000).
const PAGES_MAX: usize = 200;

/// A page as it was last read.
#[derive(Clone)]
struct Page {
    tag: Option<(String, u64)>,
    total: usize,
    listed: Vec<Listed>,
}

/// The pages as they were last read, by their number.
#[derive(Default)]
pub(crate) struct Pages(Mutex<BTreeMap<usize, Page>>);

impl Pages {
    fn take(&self) -> BTreeMap<usize, Page> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, pages: BTreeMap<usize, Page>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = pages;
    }
}

impl From<RunnerAnswer> for Listed {
    fn from(runner: RunnerAnswer) -> Listed {
        // Whatever GitHub may call it one day: somebody is there, unless it is offline.
        let online = runner.status != "offline";
        // What is no release is as good as none: the list is read for other things too.
        let release = runner.version.and_then(|text| text.parse().ok());
        Listed { id: RunnerId(runner.id), name: RunnerName::new(runner.name), online, busy: runner.busy, release }
    }
}

impl RestGithub {
    pub(crate) async fn list_registrations(&self) -> Result<Vec<Listed>, GithubError> {
        let (mut known, mut read) = (self.pages.take(), BTreeMap::new());
        let mut all: BTreeMap<RunnerId, Listed> = BTreeMap::new();
        for number in 1..=PAGES_MAX {
            let page = self.page(number, known.remove(&number)).await?;
            all.extend(page.listed.iter().map(|listed| (listed.id, listed.clone())));
            let (is_last, total) = (page.listed.len() < PAGE, page.total);
            read.insert(number, page);
            // Runners go while the list is read, but not whole pages of them.
            if is_last && all.len() + PAGE < total {
                return Err(GithubError::Unknown(format!("page {number} ends a list of {total} after {}", all.len())));
            }
            if is_last || all.len() >= total {
                self.pages.keep(read);
                return Ok(all.into_values().collect());
            }
        }
        Err(GithubError::Unknown(format!("more than {PAGES_MAX} pages of registrations")))
    }

    async fn page(&self, number: usize, known: Option<Page>) -> Result<Page, GithubError> {
        let path = format!("{}?per_page={PAGE}&page={number}", self.runners());
        let tag = known.as_ref().and_then(|page| page.tag.as_ref());
        let ask = Ask { method: Method::GET, path: &path, body: None, known: tag.map(|(text, _)| &**text) };
        let answer = self.ask_of(&ask, Purpose::Witness, tag.map(|(_, app)| *app)).await.map_err(told)?;
        match (answer.status, known) {
            (StatusCode::NOT_MODIFIED, Some(page)) => Ok(page),
            (status, _) if status.is_success() => {
                let unreadable = |why| GithubError::Unknown(format!("page {number} of the registrations: {why}"));
                let page: RunnerPage = answer.json().map_err(unreadable)?;
                let tag = answer.tag().map(str::to_owned).zip(answer.app);
                Ok(Page { tag, total: page.total_count, listed: page.runners.into_iter().map(Listed::from).collect() })
            }
            _ => Err(GithubError::Rejected(format!("{}; asked for the registrations", answer.told()))),
        }
    }
}

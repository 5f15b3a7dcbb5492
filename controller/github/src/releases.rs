//! Runner releases: which ones GitHub offers, and when it stops taking one.
//!
//! What lives here: the two questions. What may not: what an image has, and what follows.
//!
//! Invariant: a refusal of either is about nothing else. Only GitHub Enterprise Cloud tells of an end.

use http::{Method, StatusCode};
use muster_core::ports::GithubError;
use muster_core::release::{Release, Retirement};
use muster_core::time::Timestamp;
use serde::Deserialize;

use crate::answer::Answer;
use crate::budget::Purpose;
use crate::github::{RestGithub, told};

/// What a file of a release is called, as in `actions-runner-linux-x64-2.336.0.tar.gz`.
#[derive(Deserialize)]
struct ApplicationAnswer {
    filename: String,
}

#[derive(Deserialize)]
struct RetirementAnswer {
    registration_deprecates_at: Option<String>,
    runtime_deprecates_at: Option<String>,
}

/// The release in a file's name: all that is told of it.
fn release_of(filename: &str) -> Option<Release> {
    let name = [".tar.gz", ".zip"].iter().find_map(|ending| filename.strip_suffix(ending))?;
    name.rsplit('-').next()?.parse().ok()
}

impl RestGithub {
    /// The newest releases that GitHub offers the owner, each once, the newest first.
    pub(crate) async fn offered_releases(&self) -> Result<Vec<Release>, GithubError> {
        let answer = self.read_aside(&format!("{}/downloads", self.runners())).await?;
        if !answer.status.is_success() {
            return Err(GithubError::Rejected(format!("{}; asked for the runner's downloads", answer.told())));
        }
        let unreadable = |why| GithubError::Unknown(format!("the runner's downloads: {why}"));
        let all: Vec<ApplicationAnswer> = answer.json().map_err(unreadable)?;
        let mut releases: Vec<Release> = all.iter().filter_map(|one| release_of(&one.filename)).collect();
        releases.sort_unstable();
        releases.dedup();
        releases.reverse();
        match releases.is_empty() {
            true => Err(GithubError::Unknown("no download of the runner has a release in its name".to_owned())),
            false => Ok(releases),
        }
    }

    /// When GitHub stops taking a release; `None` if it does not tell us.
    pub(crate) async fn end_of(&self, release: Release) -> Result<Option<Retirement>, GithubError> {
        let answer = self.read_aside(&format!("{}/deprecations/{release}", self.runners())).await?;
        match answer.status {
            status if status.is_success() => {
                let unreadable = |why| GithubError::Unknown(format!("the end of runner release {release}: {why}"));
                let told: RetirementAnswer = answer.json().map_err(unreadable)?;
                let instant = |text: Option<String>| text.as_deref().and_then(Timestamp::parse);
                let registration = instant(told.registration_deprecates_at);
                Ok(Some(Retirement { registration, runtime: instant(told.runtime_deprecates_at) }))
            }
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => Ok(None),
            _ => {
                Err(GithubError::Rejected(format!("{}; asked for the end of runner release {release}", answer.told())))
            }
        }
    }

    async fn read_aside(&self, path: &str) -> Result<Answer, GithubError> {
        let (method, body) = (Method::GET, None);
        self.ask(method, path, body, Purpose::Aside).await.map_err(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_read_off_the_files_name() {
        let of = |name: &str| release_of(name).map(|release| release.to_string());
        assert_eq!(of("actions-runner-linux-x64-2.336.0.tar.gz").as_deref(), Some("2.336.0"));
        assert_eq!(of("actions-runner-win-arm64-2.336.0.zip").as_deref(), Some("2.336.0"));
        for other in ["", "actions-runner-linux-x64.tar.gz", "actions-runner-2.336.0.tar.xz", "2.336.0-beta.zip"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}

//! Registrations: made, looked up, removed.
//!
//! Invariant: a POST without an answer is not repeated. What it may have left is looked for by name and removed, and the
//! error says what came of that.

use http::{Method, StatusCode};
use muster_core::ids::{RunnerId, RunnerName};
use muster_core::machine::Removal;
use muster_core::ports::{GithubError, MintRequest, Minted};
use serde::Deserialize;
use serde_json::json;

use crate::answer::Answer;
use crate::app::Trouble;
use crate::budget::Purpose;
use crate::github::{RestGithub, told};
use crate::owner;
use crate::transport::Ask;

/// Where the runner works, beside its own files: GitHub's default.
const WORK_FOLDER: &str = "_work";
/// Looks for what a lost answer may have left.
const LOOKS_MAX: usize = 3;

#[derive(Deserialize)]
struct Registered {
    runner: Identified,
    encoded_jit_config: String,
}

#[derive(Deserialize)]
struct Identified {
    id: i64,
}

#[derive(Deserialize)]
pub(crate) struct RunnerPage {
    pub(crate) total_count: usize,
    pub(crate) runners: Vec<RunnerAnswer>,
}

/// A registration in GitHub's list. Words that GitHub may add to (`status`) stay words.
#[derive(Deserialize)]
pub(crate) struct RunnerAnswer {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) busy: bool,
    pub(crate) version: Option<String>,
}

impl RunnerAnswer {
    /// Whether a listener has it: then somebody has its configuration, and it is not what a lost answer left.
    fn is_taken(&self) -> bool {
        self.busy || self.status != "offline"
    }
}

/// What became of a registration that nobody has the configuration of.
enum Cleaned {
    /// There was none when it was looked for.
    Absent,
    /// It was there, and is gone.
    Removed(i64),
    /// It is in use.
    Taken(i64),
    /// It may still be there.
    Failed(String),
}

impl RestGithub {
    pub(crate) fn runners(&self) -> String {
        format!("{}/actions/runners", owner::base(&self.owner))
    }

    pub(crate) async fn mint_runner(&self, request: &MintRequest) -> Result<Minted, GithubError> {
        let group = self.group(&request.runner_group).await?;
        let body = json!({
            "name": request.name.as_str(),
            "runner_group_id": group,
            "labels": request.labels.iter().map(|label| &**label).collect::<Vec<&str>>(),
            "work_folder": WORK_FOLDER,
        });
        let path = format!("{}/generate-jitconfig", self.runners());
        let answer = match self.ask(Method::POST, &path, Some(&body), Purpose::Work).await {
            Ok(answer) => answer,
            Err(Trouble::Unknown(why)) => return Err(self.lost(&request.name, &why).await),
            Err(trouble @ (Trouble::Limited(_) | Trouble::Refused(_) | Trouble::Unsent(_))) => {
                return Err(told(trouble));
            }
        };
        match answer.status {
            status if status.is_success() => match answer.json::<Registered>() {
                Ok(registered) if !registered.encoded_jit_config.is_empty() => {
                    let config = registered.encoded_jit_config.into_bytes();
                    Ok(Minted { id: RunnerId(registered.runner.id), config })
                }
                Ok(_) => Err(self.lost(&request.name, "the configuration in the answer is empty").await),
                Err(why) => Err(self.lost(&request.name, &why).await),
            },
            StatusCode::CONFLICT => Err(self.conflict(&request.name).await),
            status => {
                if status == StatusCode::NOT_FOUND || status == StatusCode::UNPROCESSABLE_ENTITY {
                    // The group may have been removed since it was listed.
                    self.groups.forget().await;
                }
                Err(GithubError::Rejected(format!(
                    "{}; asked to register {} in runner group \"{}\" of the {}",
                    answer.told(),
                    request.name,
                    request.runner_group,
                    owner::told(&self.owner)
                )))
            }
        }
    }

    /// A mint whose outcome is not known.
    async fn lost(&self, name: &RunnerName, why: &str) -> GithubError {
        let after = match self.clean_up(name).await {
            Cleaned::Absent => format!("no registration {name} was there afterwards"),
            Cleaned::Removed(id) => format!("its registration {id} was there and is removed"),
            Cleaned::Taken(id) => format!("its registration {id} is in use by another, and stays"),
            Cleaned::Failed(why) => format!("a registration {name} may be left: {why}"),
        };
        GithubError::Unknown(format!("{why}; {after}"))
    }

    /// GitHub has a runner of that name already: what an earlier request left, for names are used once.
    async fn conflict(&self, name: &RunnerName) -> GithubError {
        match self.clean_up(name).await {
            Cleaned::Taken(id) => GithubError::Rejected(format!("runner {name} exists already ({id}) and is in use")),
            Cleaned::Removed(id) => {
                GithubError::Unknown(format!("runner {name} existed already; its registration {id} is removed"))
            }
            Cleaned::Absent => GithubError::Unknown(format!("runner {name} existed already, and is not listed")),
            Cleaned::Failed(why) => GithubError::Unknown(format!("runner {name} exists already, and may stay: {why}")),
        }
    }

    /// Looks for a registration by name and removes it, within [`crate::Patience::clean_up`].
    async fn clean_up(&self, name: &RunnerName) -> Cleaned {
        match tokio::time::timeout(self.patience.clean_up, self.find_and_remove(name)).await {
            Ok(cleaned) => cleaned,
            Err(_) => Cleaned::Failed(format!("it was not removed within {:?}", self.patience.clean_up)),
        }
    }

    async fn find_and_remove(&self, name: &RunnerName) -> Cleaned {
        let mut outcome = Cleaned::Absent;
        for look in 0..LOOKS_MAX {
            if look > 0 {
                tokio::time::sleep(self.patience.look_again).await;
            }
            outcome = match self.find(name).await {
                Ok(None) => Cleaned::Absent,
                Ok(Some(found)) if found.is_taken() => return Cleaned::Taken(found.id),
                Ok(Some(found)) => match self.delete(RunnerId(found.id), Purpose::CleanUp).await {
                    Ok(Removal::Gone) => return Cleaned::Removed(found.id),
                    Ok(Removal::Busy) => return Cleaned::Taken(found.id),
                    Err(error) => Cleaned::Failed(error.to_string()),
                },
                Err(error) => Cleaned::Failed(error.to_string()),
            };
        }
        outcome
    }

    async fn find(&self, name: &RunnerName) -> Result<Option<RunnerAnswer>, GithubError> {
        let path = format!("{}?name={}&per_page=100", self.runners(), owner::escaped(name.as_str()));
        let answer = self.ask(Method::GET, &path, None, Purpose::CleanUp).await.map_err(told)?;
        if !answer.status.is_success() {
            return Err(GithubError::Rejected(answer.told()));
        }
        let page: RunnerPage = answer.json().map_err(GithubError::Unknown)?;
        Ok(page.runners.into_iter().find(|runner| runner.name == name.as_str()))
    }

    pub(crate) async fn remove_runner(&self, runner: RunnerId) -> Result<Removal, GithubError> {
        self.delete(runner, Purpose::Work).await
    }

    async fn delete(&self, runner: RunnerId, purpose: Purpose) -> Result<Removal, GithubError> {
        let path = format!("{}/{runner}", self.runners());
        let answer = self.ask(Method::DELETE, &path, None, purpose).await.map_err(told)?;
        match answer.status {
            status if status.is_success() => Ok(Removal::Gone),
            StatusCode::UNPROCESSABLE_ENTITY => Ok(Removal::Busy),
            StatusCode::NOT_FOUND => self.absent(runner, &answer, purpose).await,
            _ => Err(GithubError::Rejected(format!("{}; asked to remove registration {runner}", answer.told()))),
        }
    }

    /// GitHub knows no such runner. It says the same of what an App may not see, and a machine is ended on this word: so
    /// the App that was told so must be seen to see the runners.
    async fn absent(&self, runner: RunnerId, told_absent: &Answer, purpose: Purpose) -> Result<Removal, GithubError> {
        let unseen = match self.apps.iter().find(|app| Some(app.id()) == told_absent.app) {
            Some(app) if app.sees() => return Ok(Removal::Gone),
            Some(app) => {
                let path = format!("{}?per_page=1", self.runners());
                let answer = app.call(&Ask::get(&path), purpose).await.map_err(told)?;
                if answer.status.is_success() {
                    return Ok(Removal::Gone);
                }
                answer.told()
            }
            None => told_absent.told(),
        };
        Err(GithubError::Rejected(format!(
            "GitHub shows no registration {runner}, and none of the {} at all ({unseen}): check its name and the App's {}",
            owner::told(&self.owner),
            owner::permission(&self.owner)
        )))
    }
}

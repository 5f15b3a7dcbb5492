//! The outside as the shell sees it: what the metadata service says, and calls of the door with all that they need.
//!
//! Invariant: a proof is made anew for every request.

use std::cell::RefCell;
use std::rc::Rc;

use muster_core::config::RunnerOptions;
use muster_core::ids::{InstanceId, ShapeId};
use muster_core::protocol::{AgentState, ClaimRequest, PrewarmedRequest, ReportRequest, SessionProof};
use muster_seal::{KeyPair, SealPurpose};
use reqwest::Client;

use crate::clock::Clock;
use crate::door::{Door, NotTaken};
use crate::identity::{self, Proof, RoleCredentials};
use crate::kept::Kept;
use crate::life::{Answer, Ask, Standing};
use crate::metadata::{Metadata, UserData};
use crate::words;

/// How long a claim may be held back, in seconds.
const CLAIM_WAIT_S: u32 = 25;

/// What a runner is started with. A secret: no `Debug`.
pub(super) struct Granted {
    pub(super) config: String,
    /// Empty from a door that is too old to know of them.
    pub(super) options: RunnerOptions,
}

/// What a call has brought. Secrets: no `Debug`.
pub(super) struct Told {
    pub(super) answer: Answer,
    pub(super) session: Option<SessionProof>,
    pub(super) granted: Option<Box<Granted>>,
}

impl From<NotTaken> for Told {
    fn from(not_taken: NotTaken) -> Told {
        words::log(&not_taken.why);
        Told { answer: not_taken.answer, session: None, granted: None }
    }
}

fn gives_up(why: String) -> Told {
    Told { answer: Answer::Final(why), session: None, granted: None }
}

fn later(why: &str) -> Told {
    words::log(why);
    Told { answer: Answer::Unavailable(None), session: None, granted: None }
}

/// Where and what the machine is.
#[derive(Clone)]
struct Place {
    data: UserData,
    region: String,
    door: Door,
}

/// The outside.
pub(super) struct Outside {
    metadata: Metadata,
    client: Client,
    clock: Rc<Clock>,
    place: RefCell<Option<Place>>,
    credentials: RefCell<Option<RoleCredentials>>,
}

impl Outside {
    pub(super) fn new(metadata: Metadata, client: Client, clock: Rc<Clock>) -> Outside {
        Outside { metadata, client, clock, place: RefCell::new(None), credentials: RefCell::new(None) }
    }

    pub(super) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Reads what is not known yet, and where the machine stands.
    pub(super) async fn learn(&self) -> Result<Standing, String> {
        if self.place.borrow().is_none() {
            // The first request gets the token that all others need.
            let data = self.metadata.user_data().await.map_err(|e| note(&e))?;
            let region = self.metadata.region().await.map_err(|e| note(&e))?;
            let door = Door::new(self.client.clone(), &data.door);
            words::log(&format!("fleet {}, shape {}, door {}", data.fleet, data.shape, data.door));
            *self.place.borrow_mut() = Some(Place { data, region, door });
        }
        self.metadata.standing().await.map_err(|e| note(&e))
    }

    /// The door, once its address is known.
    pub(super) fn door(&self) -> Option<Door> {
        self.place.borrow().as_ref().map(|place| place.door.clone())
    }

    async fn proof(&self, place: &Place) -> Result<Proof, Told> {
        match self.metadata.credentials().await {
            Ok(fresh) => *self.credentials.borrow_mut() = Some(fresh),
            // It may have been switched off by now; those that are known live for hours.
            Err(e) => words::log(&e.to_string()),
        }
        let Some(credentials) = self.credentials.borrow().clone() else {
            return Err(later("there are no credentials to prove an identity with: has the instance a profile?"));
        };
        let at = self.clock.date();
        identity::prove(&credentials, &place.region, &place.data.audience, at).map_err(|e| gives_up(e.to_string()))
    }

    pub(super) async fn call(&self, ask: Ask, kept: Kept) -> Told {
        let Some(place) = self.place.borrow().clone() else { return later("the door's address is not known yet") };
        let done = match ask {
            Ask::Prewarmed => self.prewarmed(&place).await,
            Ask::Claim { later } => self.claim(&place, &kept, later).await,
            Ask::Report { state, wait_s, seen_order } => self.report(&place, &kept, (state, wait_s, seen_order)).await,
        };
        done.unwrap_or_else(|told| told)
    }

    async fn prewarmed(&self, place: &Place) -> Result<Told, Told> {
        let request = PrewarmedRequest { proof: self.proof(place).await?, shape: ShapeId::new(&*place.data.shape) };
        match place.door.prewarmed(&request, &self.clock).await {
            Err(not_taken) if not_taken.proof_refused => {
                let request = PrewarmedRequest { proof: self.proof(place).await?, ..request };
                place.door.prewarmed(&request, &self.clock).await?;
            }
            other => other?,
        }
        Ok(Told { answer: Answer::Heard { config: false, order: None }, session: None, granted: None })
    }

    async fn claim(&self, place: &Place, kept: &Kept, later: bool) -> Result<Told, Told> {
        let keys = kept.keys().map_err(|e| gives_up(e.to_string()))?;
        let former = kept.session.clone().filter(|_| later);
        let proof = match &former {
            Some(_) => Proof::new(),
            None => self.proof(place).await?,
        };
        let mut request = ClaimRequest {
            proof,
            former,
            nonce: kept.nonce().to_owned(),
            public_key: keys.public_hex(),
            wait_s: CLAIM_WAIT_S,
            agent: Some(env!("CARGO_PKG_VERSION").to_owned()),
        };
        let answer = match place.door.claim(&request, &self.clock).await {
            // Our clock may have been wrong, and has been put right by the refusal.
            Err(not_taken) if not_taken.proof_refused && request.former.is_none() => {
                words::log("the proof was refused; once more, by the door's own time");
                request.proof = self.proof(place).await?;
                place.door.claim(&request, &self.clock).await?
            }
            other => other?,
        };
        let of = (&answer.instance, answer.session);
        let token = open(&keys, SealPurpose::Session, of, &answer.sealed_session)?;
        let granted = grant(&keys, of, answer.sealed_config.as_deref(), answer.options.clone())?;
        let session = SessionProof { instance: answer.instance.clone(), session: answer.session, token };
        Ok(Told { answer: Answer::Claimed { config: granted.is_some() }, session: Some(session), granted })
    }

    async fn report(
        &self,
        place: &Place,
        kept: &Kept,
        (state, wait_s, seen_order): (AgentState, u32, u32),
    ) -> Result<Told, Told> {
        let Some(from) = kept.session.clone() else { return Err(gives_up("there is no session".to_owned())) };
        let of = (&from.instance, from.session);
        let request = ReportRequest { from: from.clone(), state, wait_s, seen_order };
        let answer = place.door.report(&request, &self.clock).await?;
        let keys = kept.keys().map_err(|e| gives_up(e.to_string()))?;
        let granted = grant(&keys, of, answer.sealed_config.as_deref(), answer.options)?;
        let answer = Answer::Heard { config: granted.is_some(), order: answer.order };
        Ok(Told { answer, session: None, granted })
    }
}

fn note(error: &dyn std::error::Error) -> String {
    words::log(&error.to_string());
    error.to_string()
}

fn grant(
    keys: &KeyPair,
    of: (&InstanceId, u32),
    sealed: Option<&str>,
    options: Option<RunnerOptions>,
) -> Result<Option<Box<Granted>>, Told> {
    let Some(sealed) = sealed else { return Ok(None) };
    let config = open(keys, SealPurpose::RunnerConfig, of, sealed)?;
    Ok(Some(Box::new(Granted { config, options: options.unwrap_or_default() })))
}

fn open(keys: &KeyPair, purpose: SealPurpose, of: (&InstanceId, u32), sealed: &str) -> Result<String, Told> {
    let bytes = keys.open(purpose, of.0, of.1, sealed).map_err(|e| gives_up(e.to_string()))?;
    String::from_utf8(bytes).map_err(|_| gives_up("what was sealed is no text".to_owned()))
}

//! GitHub as a runner and a scaler see it: registrations, a queue of jobs, long polls, and a deletion that may be wrong.
//!
//! It keeps the books on jobs: what was delivered, acquired and finished, and what was lost by whose fault.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A long poll.
const POLL: Duration = Duration::from_millis(400);

/// A job.
#[derive(Clone, Debug, Default)]
pub(crate) struct Job {
    /// Milliseconds: delivered to acquired, acquired to forked, forked to exec'd.
    pub(crate) gaps: [u64; 3],
    /// Milliseconds that it takes.
    pub(crate) takes: u64,
    /// What it runs.
    pub(crate) script: Option<String>,
}

/// What a registration's listener is told instead of being let in, or instead of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trick {
    Conflict,
    Deprecated,
    Broken,
    Update,
    Refresh,
    /// It listens, and never gets anything.
    Ghost,
    /// It shows nothing of a job but its processes.
    Mute,
}

#[derive(Debug, Default)]
struct Registration {
    connected: bool,
    connected_at: Option<Instant>,
    deleted: bool,
    tricks: VecDeque<Trick>,
    job: Option<Job>,
    got: bool,
    acquired: bool,
}

/// The books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Books {
    pub(crate) queued: u32,
    pub(crate) acquired: u32,
    pub(crate) done: u32,
    pub(crate) failed: u32,
    /// Acquired, and its runner ended before the job did.
    pub(crate) killed: u32,
    /// Delivered, not acquired, and its runner ended or lost its registration.
    pub(crate) stranded: u32,
    /// Sent and never read: GitHub gives it to another.
    pub(crate) returned: u32,
}

#[derive(Debug, Default)]
struct State {
    registrations: BTreeMap<u64, Registration>,
    next: u64,
    queue: VecDeque<Job>,
    books: Books,
    tricks: VecDeque<Trick>,
    /// Deletions succeed whatever runs: what GitHub says of busy runners is minutes old.
    blind: bool,
}

pub(crate) struct Github {
    address: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

impl Github {
    pub(crate) fn serve() -> Arc<Github> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let github = Arc::new(Github { address, state: Mutex::default(), changed: Condvar::new() });
        let serving = github.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let github = serving.clone();
                std::thread::spawn(move || github.converse(&stream));
            }
        });
        github
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    /// A registration, and its configuration.
    pub(crate) fn mint(&self) -> (u64, String) {
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        let tricks = std::mem::take(&mut state.tricks);
        state.registrations.insert(id, Registration { tricks, ..Registration::default() });
        (id, format!("{}/{id}", self.address))
    }

    /// How many there were.
    pub(crate) fn minted(&self) -> u64 {
        self.state().next
    }

    /// What awaits the next registration.
    pub(crate) fn plan(&self, tricks: &[Trick]) {
        self.state().tricks = tricks.iter().copied().collect();
    }

    pub(crate) fn queue(&self, job: Job) {
        let mut state = self.state();
        state.books.queued += 1;
        state.queue.push_back(job);
        drop(state);
        self.changed.notify_all();
    }

    /// Takes back what nobody has got.
    pub(crate) fn take_back(&self) {
        let mut state = self.state();
        let left = u32::try_from(state.queue.len()).expect("few");
        state.queue.clear();
        state.books.queued -= left;
    }

    /// Whether this registration's runner has acquired a job.
    pub(crate) fn has_acquired(&self, id: u64) -> bool {
        self.state().registrations.get(&id).is_some_and(|one| one.acquired)
    }

    pub(crate) fn be_blind(&self) {
        self.state().blind = true;
    }

    pub(crate) fn books(&self) -> Books {
        self.state().books
    }

    pub(crate) fn listening(&self, id: u64) -> bool {
        self.state().registrations.get(&id).is_some_and(|one| one.connected)
    }

    /// When its runner made its first request.
    pub(crate) fn connected_at(&self, id: u64) -> Option<Instant> {
        self.state().registrations.get(&id).and_then(|one| one.connected_at)
    }

    pub(crate) fn has_got(&self, id: u64) -> bool {
        self.state().registrations.get(&id).is_some_and(|one| one.got)
    }

    /// Removes a registration. `false`: it is busy (422).
    pub(crate) fn delete(&self, id: u64) -> bool {
        let mut state = self.state();
        let blind = state.blind;
        let Some(one) = state.registrations.get_mut(&id) else { return true };
        if one.acquired && !blind {
            return false;
        }
        one.deleted = true;
        drop(state);
        self.changed.notify_all();
        true
    }

    fn converse(&self, stream: &TcpStream) {
        let mut lines = BufReader::new(stream);
        let mut id = None;
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap_or(0) == 0 {
                break;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(about) = words.last().and_then(|last| last.parse().ok()) else { break };
            id = Some(about);
            let answer = match words[0] {
                "connect" => self.connect(about),
                "poll" => self.poll(about),
                "got" => self.change(about, |one, _| one.got = true),
                "acquire" => self.acquire(about),
                "done" => self.done(about, words[1] == "Succeeded"),
                _ => break,
            };
            if writeln!(&*stream, "{answer}").is_err() {
                break;
            }
        }
        if let Some(id) = id {
            self.gone(id);
        }
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Registration, &mut Books)) -> String {
        let mut state = self.state();
        let State { registrations, books, .. } = &mut *state;
        if let Some(one) = registrations.get_mut(&id) {
            change(one, books);
        }
        "ok".to_owned()
    }

    fn connect(&self, id: u64) -> String {
        let mut state = self.state();
        let Some(one) = state.registrations.get_mut(&id).filter(|one| !one.deleted) else { return "gone".to_owned() };
        one.connected_at = Some(Instant::now());
        let word = match one.tricks.front() {
            Some(Trick::Conflict) => "conflict",
            Some(Trick::Deprecated) => "deprecated",
            Some(Trick::Broken) => "broken",
            Some(Trick::Mute) => {
                one.connected = true;
                "mute"
            }
            Some(Trick::Update | Trick::Refresh | Trick::Ghost) | None => {
                one.connected = true;
                return "ok".to_owned();
            }
        };
        one.tricks.pop_front();
        word.to_owned()
    }

    fn poll(&self, id: u64) -> String {
        let until = Instant::now() + POLL;
        let mut state = self.state();
        loop {
            let State { registrations, queue, .. } = &mut *state;
            let Some(one) = registrations.get_mut(&id).filter(|one| !one.deleted) else { return "gone".to_owned() };
            match one.tricks.front() {
                Some(Trick::Update) => {
                    one.tricks.pop_front();
                    return "update".to_owned();
                }
                Some(Trick::Refresh) => {
                    one.tricks.pop_front();
                    return "refresh".to_owned();
                }
                Some(Trick::Ghost | Trick::Conflict | Trick::Deprecated | Trick::Broken | Trick::Mute) => {}
                None => {
                    if let Some(job) = queue.pop_front() {
                        let [a, b, c] = job.gaps;
                        one.job = Some(job);
                        return format!("job {a} {b} {c}");
                    }
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return "none".to_owned();
            }
            state = self.changed.wait_timeout(state, left).expect("not poisoned").0;
        }
    }

    fn acquire(&self, id: u64) -> String {
        let mut state = self.state();
        let State { registrations, books, .. } = &mut *state;
        let Some(one) = registrations.get_mut(&id) else { return "no".to_owned() };
        let Some(job) = one.job.clone().filter(|_| !one.deleted) else {
            // Somebody has removed the registration of a runner that had the message.
            if one.job.take().is_some() {
                books.stranded += 1;
            }
            return "no".to_owned();
        };
        one.acquired = true;
        books.acquired += 1;
        format!("ok {} {}", job.takes, job.script.unwrap_or_default())
    }

    fn done(&self, id: u64, good: bool) -> String {
        self.change(id, |one, books| {
            if one.job.take().is_some() {
                books.done += 1;
                books.failed += u32::from(!good);
            }
            one.acquired = false;
            one.deleted = true;
        })
    }

    /// The listener's connection is over.
    fn gone(&self, id: u64) {
        let mut state = self.state();
        let State { registrations, books, queue, .. } = &mut *state;
        let Some(one) = registrations.get_mut(&id) else { return };
        one.connected = false;
        match one.job.take() {
            Some(_) if one.acquired => books.killed += 1,
            Some(_) if one.got => books.stranded += 1,
            Some(job) => {
                books.returned += 1;
                queue.push_back(job);
            }
            None => {}
        }
        drop(state);
        self.changed.notify_all();
    }
}

//! How work reaches the connections: inline, or through one writer thread and one reader thread.
//!
//! The writer gathers what waits into one transaction (group commit): its cost, a sync of the disk, is shared by everyone
//! who waited for the last one. Each piece of work stands in a savepoint of its own, so that one that fails takes nothing
//! along.
//!
//! Invariant: nobody is answered before the transaction that holds his write is committed, and the file is found where it
//! was opened.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use muster_core::ports::StoreError;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::place::Place;
use super::trouble::Outcome;

/// How many calls may wait for a thread. Beyond it the caller is refused at once: the door answers 503, and GitHub's
/// delivery is found and fetched later.
const WAITING_MAX: usize = 10_000;
/// How many writes share one transaction.
const GROUP_MAX: usize = 1_000;

const _: () = assert!(GROUP_MAX <= WAITING_MAX);

/// The connections of one ledger.
#[derive(Debug)]
pub(super) struct Engine {
    path: PathBuf,
    mode: Mode,
}

/// A connection; and in a process that writes, where its file must stand.
#[derive(Debug)]
pub(super) struct Held {
    // In this order: the lock is released after the connection is closed.
    pub(super) conn: Connection,
    pub(super) place: Option<Place>,
}

#[derive(Debug)]
enum Mode {
    Direct(Mutex<Held>),
    // In this order: the writer's connection is closed last and tidies up.
    Threads { reader: Worker, writer: Worker },
}

impl Engine {
    /// Work is done inline; a lock makes it one at a time.
    pub(super) fn direct(path: &Path, held: Held) -> Engine {
        Engine { path: path.to_owned(), mode: Mode::Direct(Mutex::new(held)) }
    }

    /// Work is done by two threads.
    pub(super) fn threads(path: &Path, reader: Held, writer: Held) -> std::io::Result<Engine> {
        let reader = Worker::start("muster-ledger-r", path, reader, read_loop)?;
        let writer = Worker::start("muster-ledger-w", path, writer, write_loop)?;
        Ok(Engine { path: path.to_owned(), mode: Mode::Threads { reader, writer } })
    }

    /// Does work that only reads, on one consistent view.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    {
        match &self.mode {
            Mode::Direct(held) => self.inline(held, TransactionBehavior::Deferred, work),
            Mode::Threads { reader, .. } => reader.call(work).await,
        }
    }

    /// Does work that writes. When it returns `Ok`, what was written is as durable as the connection promises. The work
    /// is done even if the future is dropped once it was polled.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    {
        match &self.mode {
            Mode::Direct(held) => self.inline(held, TransactionBehavior::Immediate, work),
            Mode::Threads { writer, .. } => writer.call(work).await,
        }
    }

    fn inline<T>(
        &self,
        held: &Mutex<Held>,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Connection) -> Outcome<T>,
    ) -> Result<T, StoreError> {
        // A panic in the middle of work has rolled its transaction back.
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        transact(&mut held, behavior, work).map_err(|failure| failure.told(&self.path))
    }
}

fn transact<T>(
    held: &mut Held,
    behavior: TransactionBehavior,
    work: impl FnOnce(&Connection) -> Outcome<T>,
) -> Outcome<T> {
    let writes = matches!(behavior, TransactionBehavior::Immediate);
    let place = &mut held.place;
    // Before, so that nothing is written in vain, and nobody goes on with what is in no file any more; and after, so that
    // what is answered is in the file of this name.
    place.as_mut().map_or(Ok(()), Place::check)?;
    let transaction = held.conn.transaction_with_behavior(behavior)?;
    let done = work(&transaction)?;
    transaction.commit()?;
    if writes {
        place.as_mut().map_or(Ok(()), Place::check)?;
    }
    Ok(done)
}

/// A piece of work on its way to a thread and back.
trait Request: Send {
    /// Does it, and keeps the outcome. Says whether it went well; an error means that it has cost the whole transaction.
    fn run(&mut self, conn: &Connection) -> Outcome<bool>;
    /// Answers the caller: with the outcome, or with what spoilt the transaction.
    fn answer(self: Box<Self>, path: &Path, spoilt: Option<&str>);
}

struct Call<T, F> {
    work: Option<F>,
    outcome: Option<Outcome<T>>,
    to: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: FnOnce(&Connection) -> Outcome<T> + Send> Request for Call<T, F> {
    fn run(&mut self, conn: &Connection) -> Outcome<bool> {
        let Some(work) = self.work.take() else { return Ok(false) };
        match work(conn) {
            // After a full disk or a failed read SQLite may end the transaction itself.
            Err(failure) if conn.is_autocommit() => Err(failure),
            outcome => {
                let good = outcome.is_ok();
                self.outcome = Some(outcome);
                Ok(good)
            }
        }
    }

    fn answer(self: Box<Self>, path: &Path, spoilt: Option<&str>) {
        let unavailable = |why: &str| Err(StoreError::Unavailable(why.to_owned()));
        let answer = match (spoilt, self.outcome) {
            (Some(why), _) => unavailable(why),
            (None, Some(outcome)) => outcome.map_err(|failure| failure.told(path)),
            (None, None) => unavailable("the work was not done"),
        };
        // Nobody may be waiting any more; the work is done all the same.
        let _ = self.to.send(answer);
    }
}

/// A thread with a connection and a row of calls before it.
#[derive(Debug)]
struct Worker {
    calls: Option<SyncSender<Box<dyn Request>>>,
    thread: Option<JoinHandle<()>>,
}

type Loop = fn(&Receiver<Box<dyn Request>>, &mut Held, &Path);

impl Worker {
    fn start(name: &str, path: &Path, mut held: Held, run: Loop) -> std::io::Result<Worker> {
        let (calls, waiting) = sync_channel(WAITING_MAX);
        let path = path.to_owned();
        let thread = Builder::new().name(name.to_owned()).spawn(move || run(&waiting, &mut held, &path))?;
        Ok(Worker { calls: Some(calls), thread: Some(thread) })
    }

    async fn call<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    {
        let ended = || StoreError::Unavailable("the ledger's thread has ended".to_owned());
        let (to, answer) = oneshot::channel();
        let calls = self.calls.as_ref().ok_or_else(ended)?;
        match calls.try_send(Box::new(Call { work: Some(work), outcome: None, to })) {
            Ok(()) => answer.await.map_err(|_| ended())?,
            Err(TrySendError::Full(_)) => {
                Err(StoreError::Unavailable(format!("overloaded: {WAITING_MAX} calls wait for the ledger")))
            }
            Err(TrySendError::Disconnected(_)) => Err(ended()),
        }
    }
}

impl Drop for Worker {
    /// Lets the thread finish what waits, and waits for it.
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to tell: its callers were told that it ended.
            let _ = thread.join();
        }
    }
}

fn read_loop(waiting: &Receiver<Box<dyn Request>>, held: &mut Held, path: &Path) {
    while let Ok(mut request) = waiting.recv() {
        let read = transact(held, TransactionBehavior::Deferred, |conn| request.run(conn));
        let spoilt = read.err().map(|failure| failure.told(path).to_string());
        request.answer(path, spoilt.as_deref());
    }
}

fn write_loop(waiting: &Receiver<Box<dyn Request>>, held: &mut Held, path: &Path) {
    let mut group: Vec<Box<dyn Request>> = Vec::new();
    while let Ok(first) = waiting.recv() {
        group.push(first);
        let mut begun = false;
        let written = transact(held, TransactionBehavior::Immediate, |conn| {
            begun = true;
            let mut next = 0;
            while let Some(request) = group.get_mut(next) {
                apart(conn, request.as_mut())?;
                next += 1;
                if next == group.len() && next < GROUP_MAX {
                    group.extend(waiting.try_iter().take(GROUP_MAX - next));
                }
            }
            Ok(())
        });
        if !begun {
            // The file is not to be had, and it took long to find out: nobody waits for that in turn.
            group.extend(waiting.try_iter().take(WAITING_MAX));
        }
        let spoilt = written.err().map(|failure| failure.told(path).to_string());
        for request in group.drain(..) {
            request.answer(path, spoilt.as_deref());
        }
    }
}

/// Does one piece of work so that, if it fails, the others in the transaction stand. An error means that the whole
/// transaction is lost.
fn apart(conn: &Connection, request: &mut dyn Request) -> Outcome<()> {
    let run = |sql| -> Outcome<()> { Ok(conn.prepare_cached(sql)?.execute([]).map(|_| ())?) };
    run("SAVEPOINT apart")?;
    if !request.run(conn)? {
        run("ROLLBACK TO apart")?;
    }
    run("RELEASE apart")
}

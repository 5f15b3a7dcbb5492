//! The server: one thread, one port on loopback, until it is dropped.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::control::control;
use super::fault::{Fault, What, strike};
use super::openapi::{Description, Operation};
use super::reading::{link, tag};
use super::routes::{Ask, Reply, app_of_jwt, app_of_token, error, is_for_apps, permissions, reply};
use super::settings::is_free;
use super::world::{FakeSetup, Seen, World};

/// A GitHub that listens. Dropped, it ends; and panics if its description was broken.
pub struct FakeGithub {
    world: Arc<Mutex<World>>,
    address: SocketAddr,
    url: String,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeGithub {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start(setup: FakeSetup) -> FakeGithub {
        FakeGithub::start_on(setup, 0)
    }

    /// Starts one on a port of loopback.
    ///
    /// # Panics
    /// If it cannot listen there.
    pub fn start_on(setup: FakeSetup, port: u16) -> FakeGithub {
        let base = setup.base_path.clone();
        let world = Arc::new(Mutex::new(World::new(setup)));
        let (stop, stopped) = oneshot::channel::<Infallible>();
        let (tell, told) = mpsc::channel();
        let shared = world.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port on loopback");
                let _ = tell.send(listener.local_addr().expect("a listener has an address"));
                tokio::select! {
                    () = accept(listener, shared) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = told.recv().expect("the fake GitHub listens");
        FakeGithub { world, address, url: format!("http://{address}{base}"), stop: Some(stop), thread: Some(thread) }
    }

    /// The base of its REST interface.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its state, to look at and to change. Nothing is answered while it is held.
    pub fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    /// The private key of an App.
    ///
    /// # Panics
    /// If there is no such App.
    pub fn key(&self, app: u64) -> Vec<u8> {
        self.world().apps[&app].key.pem().to_vec()
    }

    /// Lets something go wrong.
    pub fn fail(&self, fault: Fault) {
        self.world().faults.push(fault);
    }

    /// The requests that came, as `METHOD /path`.
    pub fn seen(&self) -> Vec<String> {
        self.world().seen.iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
    }
}

impl Drop for FakeGithub {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().is_none_or(|thread| thread.join().is_ok());
        if !thread::panicking() {
            assert!(ended, "the fake GitHub has panicked");
            let wrong = self.world().take_wrong();
            assert!(wrong.is_empty(), "against GitHub's description:\n{}", wrong.join("\n"));
        }
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, world: Arc<Mutex<World>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let world = world.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, world.clone()));
            // A connection that is closed under our hands, or on purpose, is no news.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// A reply, and what it needs before it goes out.
struct Prepared {
    reply: Reply,
    headers: Vec<(String, String)>,
    what: Option<What>,
    app: Option<u64>,
    seen: usize,
}

async fn answer(request: Request<Incoming>, world: Arc<Mutex<World>>) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let (method, path) = (parts.method.as_str().to_owned(), parts.uri.path().to_owned());
    let query = parts.uri.query().unwrap_or("").to_owned();
    if let Some(what) = path.strip_prefix("/_fake/") {
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let done = control(&mut lock(&world), &method, what, &body);
        let status = if done.is_some() { 200 } else { 400 };
        return respond(status, Vec::new(), done.unwrap_or(json!({ "ok": false })).to_string().into_bytes());
    }
    let header = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    let (base, whole) = (lock(&world).setup.base_path.clone(), parts.uri.path_and_query().map_or("", |p| p.as_str()));
    let seen = Seen {
        method: method.clone(),
        path: whole.strip_prefix(&*base).unwrap_or(whole).to_owned(),
        app: None,
        status: None,
        user_agent: header("user-agent"),
        version: header("x-github-api-version"),
    };
    let operation = path.strip_prefix(&*base).and_then(|path| Description::get().operation(&method, path));
    let Some(operation) = operation else {
        let mut world = lock(&world);
        world.wrong.push(format!("{method} {path}: GitHub describes no such operation"));
        world.seen.push(Seen { status: Some(404), ..seen });
        return respond(404, Vec::new(), json!({ "message": "Not Found" }).to_string().into_bytes());
    };
    let said =
        Said { query: &query, body: &body, authorization: header("authorization"), known: header("if-none-match") };
    let prepared = prepare(&mut lock(&world), seen, &operation, &said);
    let Prepared { reply: (status, value), headers, what, app, seen } = prepared;
    let mut out = value.map(|value| value.to_string().into_bytes()).unwrap_or_default();
    let mut exempt = matches!(what, Some(What::Changed { described: false, .. }));
    let mut cut = false;
    match what {
        Some(What::Slow(span)) => tokio::time::sleep(span).await,
        Some(What::Truncated) => {
            out.truncate(out.len() / 2);
            exempt = true;
        }
        Some(What::LostBefore | What::LostAfter) => cut = true,
        Some(What::Answer { .. } | What::Changed { .. }) | None => {}
    }
    {
        let mut world = lock(&world);
        if let Some(app) = app {
            world.ended(app);
        }
        if !cut {
            world.seen[seen].status = Some(status);
            if !exempt {
                let wrong = Description::get().answer(&operation, status, &out);
                world.wrong.extend(wrong.into_iter().map(|wrong| format!("answer to {method} {path}: {wrong}")));
            }
        }
    }
    if cut {
        // hyper closes the connection.
        return Err(io::Error::other("lost on purpose"));
    }
    respond(status, headers, out)
}

/// What a request says besides its path.
struct Said<'a> {
    query: &'a str,
    body: &'a [u8],
    authorization: String,
    /// `If-None-Match`.
    known: String,
}

/// Checks the request, counts it, lets a fault strike, and does what is asked.
fn prepare(world: &mut World, mut seen: Seen, operation: &Operation, said: &Said<'_>) -> Prepared {
    let (query, body) = (said.query, said.body);
    let wrong = Description::get().request(operation, query, body);
    world.wrong.extend(wrong.into_iter().map(|wrong| format!("{} {}: {wrong}", seen.method, seen.path)));
    if seen.user_agent.is_empty() || seen.version.is_empty() {
        world.wrong.push(format!("{} {}: no User-Agent or no X-GitHub-Api-Version", seen.method, seen.path));
    }
    let token = said.authorization.strip_prefix("Bearer ").unwrap_or("");
    let who = if is_for_apps(operation) {
        app_of_jwt(world, token)
    } else {
        app_of_token(world, token).ok_or_else(|| "Bad credentials".to_owned())
    };
    seen.app = who.as_ref().ok().copied();
    let (method, path) = (seen.method.clone(), seen.path.clone());
    world.seen.push(seen);
    let mut prepared =
        Prepared { reply: (0, None), headers: Vec::new(), what: None, app: None, seen: world.seen.len() - 1 };
    let mut over = None;
    if let Ok(app) = who
        && !is_for_apps(operation)
        && !is_free(operation)
    {
        over = world.count(app, &method).err();
        prepared.app = Some(app);
    }
    let date = jiff::Timestamp::from_second(i64::try_from(world.now().as_secs()).unwrap_or(0)).unwrap_or_default();
    prepared.headers.push(("date".to_owned(), date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()));
    let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let ask = Ask { method: &method, operation, query, body: &body, permissions: permissions(world, token) };
    prepared.what = strike(&mut world.faults, &method, &path);
    prepared.reply = match (&prepared.what, who, over) {
        (Some(What::Answer { status, headers, body }), _, _) => {
            prepared.headers.extend(headers.iter().cloned());
            (*status, Some(body.clone()))
        }
        (Some(What::LostBefore), _, _) => (0, None),
        (_, Err(message), _) => error(401, &message),
        (_, _, Some(message)) => error(403, message),
        (_, Ok(app), None) => reply(world, app, &ask),
    };
    if let (Some(What::Changed { pointer, value, .. }), (_, Some(body))) = (&prepared.what, &mut prepared.reply)
        && let Some(place) = body.pointer_mut(pointer)
    {
        *place = value.clone();
    }
    if let (200, Some(body)) = &prepared.reply
        && method == "GET"
    {
        prepared.headers.extend(link(body, &ask).map(|link| ("link".to_owned(), link)));
        if let Some(app) = prepared.app {
            let tag = tag(app, body);
            if tag == said.known {
                prepared.reply = (304, None);
                world.uncount(app);
            }
            prepared.headers.push(("etag".to_owned(), tag));
        }
    }
    if let Some(app) = prepared.app {
        let rate = world.rate(app).into_iter();
        // What a fault says of the limits is meant so.
        let rate: Vec<_> = rate.filter(|(name, _)| prepared.headers.iter().all(|(said, _)| said != name)).collect();
        prepared.headers.extend(rate.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    prepared
}

fn respond(status: u16, headers: Vec<(String, String)>, body: Vec<u8>) -> io::Result<Response<Full<Bytes>>> {
    let mut response = Response::builder().status(status);
    if !body.is_empty() {
        response = response.header("content-type", "application/json; charset=utf-8");
    }
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Full::new(Bytes::from(body))).map_err(io::Error::other)
}

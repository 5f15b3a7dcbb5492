//! What stands in front of a GitHub in an enterprise: TLS with a certificate of its own authority, and a proxy.
//!
//! What lives here: bytes. What may not: anything of GitHub's.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// The longest head of a request to a proxy.
const HEAD_MAX: usize = 8_192;

/// A thread that serves connections on loopback until it is dropped.
struct Served {
    address: SocketAddr,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn start<F: Future<Output = ()> + Send + 'static>(each: impl Fn(TcpStream) -> F + Send + 'static) -> Served {
        let (stop, stopped) = oneshot::channel::<Infallible>();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port on loopback");
                let _ = tell.send(listener.local_addr().expect("a listener has an address"));
                let accept = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(each(stream));
                    }
                };
                tokio::select! {
                    () = accept => {}
                    _ = stopped => {}
                }
            });
        });
        Served { address: told.recv().expect("it listens"), stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// TLS in front of a server that has none, with a certificate of an authority that nobody knows.
pub struct TlsFront {
    served: Served,
    authority: String,
}

impl TlsFront {
    /// Passes on to `to` what comes for one of these names.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start(names: &[&str], to: SocketAddr) -> TlsFront {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let own = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("names");
        let certificate = params.signed_by(&own, &authority).expect("a certificate");
        let key = PrivateKeyDer::try_from(own.serialize_der()).expect("a key in PKCS#8");
        let config =
            ServerConfig::builder_with_provider(Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions of TLS")
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .expect("a certificate and its key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let served = Served::start(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                // Who does not trust the certificate goes away.
                let Ok(mut inside) = acceptor.accept(stream).await else { return };
                let Ok(mut behind) = TcpStream::connect(to).await else { return };
                let _ = copy_bidirectional(&mut inside, &mut behind).await;
            }
        });
        TlsFront { served, authority: authority.pem() }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.served.address
    }

    /// The authority's certificate, in PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

/// A proxy that opens tunnels to the hosts that it knows.
pub struct ConnectProxy {
    served: Served,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ConnectProxy {
    /// `hosts` are authorities such as `ghe.example:443`, and where they really are.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start(hosts: &[(&str, SocketAddr)]) -> ConnectProxy {
        let hosts: BTreeMap<String, SocketAddr> = hosts.iter().map(|(host, at)| ((*host).to_owned(), *at)).collect();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (hosts, heard) = (Arc::new(hosts), asked.clone());
        let served = Served::start(move |stream| tunnel(stream, hosts.clone(), heard.clone()));
        ConnectProxy { served, asked }
    }

    /// What to name in `HTTPS_PROXY`.
    pub fn url(&self) -> String {
        format!("http://{}", self.served.address)
    }

    /// The authorities that tunnels were asked to.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn tunnel(mut stream: TcpStream, hosts: Arc<BTreeMap<String, SocketAddr>>, asked: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_MAX {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split_whitespace();
    let (Some("CONNECT"), Some(authority)) = (words.next(), words.next()) else { return };
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(authority.to_owned());
    let behind = match hosts.get(authority) {
        Some(address) => TcpStream::connect(address).await.ok(),
        None => None,
    };
    let Some(mut behind) = behind else {
        let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
        return;
    };
    if stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.is_ok() {
        let _ = copy_bidirectional(&mut stream, &mut behind).await;
    }
}

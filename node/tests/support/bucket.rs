//! An S3-compatible store with one bucket, on loopback: `s3s`, which checks every signature, over a
//! folder. It can be told to refuse, and to break answers off.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::host::MultiDomain;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// The bucket.
pub const BUCKET: &str = "kept";
/// Whose it is.
pub const KEY: &str = "AKIDOFTHETESTS";
/// What they sign with.
pub const SECRET: &str = "the-secret-of-the-tests";

/// Bytes of an answer before it is broken off.
const CUT_AFTER: usize = 3_000_000;

/// A store that runs until it is dropped.
pub struct Served {
    /// The base of its addresses.
    pub endpoint: String,
    /// Where it listens.
    pub address: SocketAddr,
    folder: TempDir,
    faults: Arc<Faults>,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct Faults {
    refuse: AtomicU32,
    cut: AtomicU32,
    cuts: AtomicU32,
}

impl Served {
    /// With an empty bucket.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("a bucket");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("threads");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("bound");
        let mut service = S3ServiceBuilder::new(FileSystem::new(folder.path()).expect("a folder"));
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let hosts = [address.to_string(), format!("store.test:{}", address.port())];
        service.set_host(MultiDomain::new(&hosts).expect("names of hosts"));
        let (service, faults) = (service.build(), Arc::new(Faults::default()));
        runtime.spawn(serve(listener, service, faults.clone()));
        let endpoint = format!("http://{address}");
        Self { endpoint, address, folder, faults, runtime: Some(runtime) }
    }

    /// Has it answer the next requests with 503.
    pub fn refuse(&self, requests: u32) {
        self.faults.refuse.store(requests, Ordering::SeqCst);
    }

    /// Has it break the next answers off that are long.
    pub fn cut(&self, answers: u32) {
        self.faults.cut.store(answers, Ordering::SeqCst);
    }

    /// How many were broken off.
    pub fn cuts(&self) -> u32 {
        self.faults.cuts.load(Ordering::SeqCst)
    }

    /// Parts of uploads that were neither finished nor given up.
    pub fn parts(&self) -> usize {
        let listed = std::fs::read_dir(self.folder.path()).expect("readable");
        let names = listed.map(|entry| entry.expect("readable").file_name());
        names.filter(|name| name.to_string_lossy().contains(".part-")).count()
    }

    /// What a process of Rotary has in its environment to reach it.
    pub fn environment(&self) -> [(&'static str, &str); 3] {
        [
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
        ]
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(listener: std::net::TcpListener, service: S3Service, faults: Arc<Faults>) {
    let listener = TcpListener::from_std(listener).expect("a socket");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (service, faults) = (service.clone(), faults.clone());
        let answer = service_fn(move |request| answered(service.clone(), faults.clone(), request));
        tokio::spawn(async move {
            let served = hyper::server::conn::http1::Builder::new();
            // Whoever breaks off has what they wanted, or asks again.
            let _ = served.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

fn one_of(left: &AtomicU32) -> bool {
    let less = |left: u32| left.checked_sub(1);
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
}

async fn answered(
    service: S3Service,
    faults: Arc<Faults>,
    request: Request<Incoming>,
) -> Result<Response<s3s::Body>, Infallible> {
    if one_of(&faults.refuse) {
        let mut refusal = Response::new(s3s::Body::empty());
        *refusal.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return Ok(refusal);
    }
    let is_read = *request.method() == Method::GET;
    let answer = service.call(request.map(s3s::Body::from)).await.expect("the store answers");
    if !is_read || faults.cut.load(Ordering::SeqCst) == 0 {
        return Ok(answer);
    }
    let (head, body) = answer.into_parts();
    let bytes = body.collect().await.expect("a file").to_bytes();
    if bytes.len() <= CUT_AFTER || !one_of(&faults.cut) {
        return Ok(Response::from_parts(head, bytes.to_vec().into()));
    }
    faults.cuts.fetch_add(1, Ordering::SeqCst);
    let pieces: [Result<Frame<Bytes>, std::io::Error>; 2] =
        [Ok(Frame::data(bytes.slice(..CUT_AFTER))), Err(std::io::Error::other("it breaks off"))];
    let body = StreamBody::new(futures::stream::iter(pieces));
    Ok(Response::from_parts(head, s3s::Body::http_body(body)))
}

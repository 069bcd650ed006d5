//! A bucket of an S3-compatible store. Requests are formed and signed by `rusty-s3`, and sent from
//! here: each attempt is bounded in time, and made again, later each time, where the store may yet
//! do it. What it says no with is told in its own words, but for anything that is a key.

use std::future::Future;
use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode, Url};
use rusty_s3::actions::{ListObjectsV2, S3Action};
use rusty_s3::{Bucket as Address, Credentials};
use tokio::runtime::{Builder, Runtime};

use super::bucket_read::Download;
use super::bucket_write::Upload;
use super::{Access, OBJECTS_MAX, Object, Store, StoreError, Writing, too_many};

/// How long what is signed is good for.
pub(super) const SIGNED_FOR: Duration = Duration::from_secs(900);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a store may say nothing.
const SILENCE: Duration = Duration::from_secs(120);
/// How often something is tried.
pub(super) const ATTEMPTS: u32 = 6;
/// The pause after the first attempt; it doubles with each.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes of an answer that is not an object.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of a refusal that are told.
const TOLD_BYTES_MAX: usize = 300;

/// A bucket, and where in it.
pub(super) struct Bucket {
    name: String,
    line: Arc<Line>,
    /// Without a slash at its end; empty for the whole bucket.
    prefix: String,
}

/// The way to a bucket.
pub(super) struct Line {
    name: String,
    pub(super) address: Address,
    pub(super) credentials: Credentials,
    client: Client,
    errands: Errands,
}

/// Has requests made on a thread of their own, so that whoever waits may be on any thread.
struct Errands(Option<Runtime>);

impl Drop for Errands {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Bucket {
    pub(super) fn open(name: &str, place: &str, access: &Access) -> Result<Self, StoreError> {
        let wrong = |what: String| StoreError::new(name, what);
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let prefix = prefix.trim_matches('/').to_owned();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let is_strange = |part: &str| part.is_empty() || part == "." || part == "..";
        let is_wrong = bucket.is_empty()
            || !place.bytes().all(is_plain)
            || !prefix.is_empty() && prefix.split('/').any(is_strange);
        if is_wrong {
            let what = "s3://BUCKET/PREFIX, of letters, digits, `-`, `_`, `.` and `/`";
            return Err(wrong(what.to_owned()));
        }
        let endpoint = access.endpoint();
        let base: Url =
            endpoint.parse().map_err(|error| wrong(format!("the endpoint {endpoint}: {error}")))?;
        let (owned, region) = (bucket.to_owned(), access.region().to_owned());
        let address = Address::new(base, access.style(), owned, region)
            .map_err(|error| wrong(format!("the endpoint {endpoint}: {error}")))?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("backup-store")
            .enable_all()
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        // From here on it may be dropped anywhere.
        let errands = Errands(Some(runtime));
        let line = Line {
            name: format!("s3://{bucket}"),
            address,
            credentials: access.credentials()?,
            client: client(access)?,
            errands,
        };
        Ok(Self { name: name.trim_end_matches('/').to_owned(), line: Arc::new(line), prefix })
    }

    fn key(&self, name: &str) -> String {
        match self.prefix.as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        }
    }

    /// A page of the list of what begins so, and where the next one begins.
    fn page(
        &self,
        first: &str,
        after: Option<String>,
    ) -> Result<(Vec<Object>, Option<String>), StoreError> {
        let within = self.key("");
        let (line, prefix) = (self.line.clone(), self.key(first));
        let answer = self.line.wait(async move {
            let mut asked = ListObjectsV2::new(&line.address, Some(&line.credentials));
            asked.with_prefix(prefix);
            if let Some(after) = after {
                asked.with_continuation_token(after);
            }
            let answer = line.ask("", Method::GET, || asked.sign(SIGNED_FOR), Bytes::new());
            line.text("", answer.await?).await
        })?;
        let parsed = ListObjectsV2::parse_response(&answer);
        let page = parsed.map_err(|error| self.line.error("", error))?;
        let objects = page.contents.into_iter().filter_map(|object| {
            let name = object.key.strip_prefix(&within)?.to_owned();
            Some(Object { name, bytes: object.size.unwrap_or(0) })
        });
        Ok((objects.collect(), page.next_continuation_token))
    }
}

impl Bucket {
    /// Every object whose name begins so.
    fn beginning(&self, first: &str) -> Result<Vec<Object>, StoreError> {
        let (mut found, mut next) = (Vec::new(), None);
        loop {
            let (page, after) = self.page(first, next)?;
            found.extend(page);
            if found.len() > OBJECTS_MAX {
                return Err(too_many(self.name()));
            }
            match after {
                Some(after) => next = Some(after),
                None => return Ok(found),
            }
        }
    }
}

impl Store for Bucket {
    fn name(&self) -> &str {
        &self.name
    }

    fn list(&self) -> Result<Vec<Object>, StoreError> {
        self.beginning("")
    }

    fn list_of(&self, run: &str) -> Result<Vec<Object>, StoreError> {
        self.beginning(&format!("{run}/"))
    }

    fn read(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        Ok(Box::new(Download::begin(self.line.clone(), self.key(name))?))
    }

    fn write(&self, name: &str) -> Result<Box<dyn Writing>, StoreError> {
        Ok(Box::new(Upload::begin(self.line.clone(), self.key(name))))
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        let (line, key) = (self.line.clone(), self.key(name));
        self.line.wait(async move {
            let asked = line.address.delete_object(Some(&line.credentials), &key);
            let done = line.ask(&key, Method::DELETE, || asked.sign(SIGNED_FOR), Bytes::new());
            done.await.map(drop)
        })
    }
}

fn client(access: &Access) -> Result<Client, StoreError> {
    let mut client = Client::builder()
        .user_agent(concat!("Rotary/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .redirect(reqwest::redirect::Policy::none());
    if let Some(path) = &access.authority {
        let wrong = |what: String| StoreError::new(path.display().to_string(), what);
        let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let found =
            Certificate::from_pem_bundle(&text).map_err(|error| wrong(error.to_string()))?;
        for certificate in found {
            client = client.add_root_certificate(certificate);
        }
    }
    #[cfg(test)]
    if let Some((name, address)) = &access.host {
        client = client.resolve(name, *address);
    }
    client.build().map_err(|error| StoreError::new("the client of the bucket", error))
}

impl Line {
    /// Has something done, and waits for it.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (done, answer) = mpsc::sync_channel(1);
        let runtime = self.errands.0.as_ref().expect("it ends with this line");
        runtime.spawn(async move {
            // Whoever waited is still there: it blocks.
            let _ = done.send(work.await);
        });
        let gone = |_| Err(self.error("", "the request was given up"));
        answer.recv().unwrap_or_else(gone)
    }

    pub(super) fn error(&self, key: &str, what: impl std::fmt::Display) -> StoreError {
        let name = match key {
            "" => self.name.clone(),
            key => format!("{}/{key}", self.name),
        };
        StoreError::new(name, self.without_keys(what.to_string()))
    }

    /// A text in which nothing is a key, whoever wrote it.
    fn without_keys(&self, mut text: String) -> String {
        let token = self.credentials.token().unwrap_or_default();
        for hidden in [self.credentials.secret(), token, self.credentials.key()] {
            if !hidden.is_empty() {
                text = text.replace(hidden, "...");
            }
        }
        text
    }

    /// Sends a request, which is signed anew each time, until the store says something final.
    pub(super) async fn ask(
        &self,
        key: &str,
        method: Method,
        sign: impl Fn() -> Url,
        body: Bytes,
    ) -> Result<Response, StoreError> {
        self.ask_with(key, |client| client.request(method.clone(), sign()).body(body.clone())).await
    }

    /// The same, of any form.
    pub(super) async fn ask_with(
        &self,
        key: &str,
        make: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<Response, StoreError> {
        let mut attempt = 1;
        loop {
            let (what, may_yet) = match make(&self.client).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) => {
                    let status = answer.status();
                    (self.refusal(answer).await, may_yet(status))
                }
                // Its address has the signature.
                Err(error) => (whole(&error.without_url()), true),
            };
            if !may_yet || attempt == ATTEMPTS {
                return Err(self.error(key, what));
            }
            tracing::debug!(key, attempt, what, "a request to the store of backups is repeated");
            pause(attempt).await;
            attempt += 1;
        }
    }

    /// What a store says no with: the code and the words of its answer, if it has such.
    async fn refusal(&self, answer: Response) -> String {
        let status = answer.status();
        let text = self.text("", answer).await.unwrap_or_default();
        let between = |name: &str| {
            let after = text.split_once(&format!("<{name}>"))?.1;
            after.split_once(&format!("</{name}>")).map(|(found, _)| found)
        };
        let said = [between("Code"), between("Message")].into_iter().flatten();
        let said: String =
            said.collect::<Vec<_>>().join(": ").chars().take(TOLD_BYTES_MAX).collect();
        match said.is_empty() {
            true => format!("the store answers {status}"),
            false => format!("the store answers {status}, {said}"),
        }
    }

    /// The text of an answer, which is bounded.
    pub(super) async fn text(&self, key: &str, mut answer: Response) -> Result<String, StoreError> {
        let mut bytes = Vec::new();
        loop {
            let piece = answer.chunk().await;
            let piece = piece.map_err(|error| self.error(key, whole(&error.without_url())))?;
            let Some(piece) = piece else { break };
            bytes.extend_from_slice(&piece);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(self.error(key, "the store's answer is too long"));
            }
        }
        String::from_utf8(bytes).map_err(|error| self.error(key, error))
    }
}

/// The pause after an attempt.
pub(super) async fn pause(attempt: u32) {
    tokio::time::sleep(PAUSE * (1 << (attempt - 1).min(6))).await;
}

fn may_yet(status: StatusCode) -> bool {
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    status.is_server_error() || passing.contains(&status)
}

/// An error with all of its causes.
pub(super) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::backup::store::served::{BUCKET, KEY, SECRET, Served};
    use crate::config::{Backup, BucketStyle};

    fn access(served: &Served, secret: &str, style: BucketStyle) -> Access {
        let section = Backup { endpoint: served.endpoint.clone(), style, ..Backup::default() };
        let said = |name: &str| match name {
            "AWS_ACCESS_KEY_ID" => Some(KEY.to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some(secret.to_owned()),
            _ => None,
        };
        Access::with(&section, said)
    }

    fn bucket(served: &Served) -> Bucket {
        opened(&access(served, SECRET, BucketStyle::Auto))
    }

    fn opened(access: &Access) -> Bucket {
        let place = format!("{BUCKET}/in/here");
        Bucket::open(&format!("s3://{place}"), &place, access).expect("it is one")
    }

    fn put(store: &Bucket, name: &str, bytes: &[u8]) {
        let mut file = store.write(name).expect("begun");
        file.write_all(bytes).expect("taken");
        file.finish().expect("finished");
    }

    fn read(store: &Bucket, name: &str) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let mut from = store.read(name).map_err(|error| error.to_string())?;
        from.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    /// More than two parts, no two pieces of it alike.
    fn large() -> Vec<u8> {
        (0..5 * 1024 * 1024u32).flat_map(u32::to_le_bytes).collect()
    }

    #[test]
    fn objects_are_written_listed_read_and_removed() {
        let served = Served::start();
        let store = bucket(&served);
        assert_eq!(store.list().expect("empty"), Vec::new());
        put(&store, "run/small", b"one");
        put(&store, "run/none", b"");
        put(&store, "run/large", &large());
        let mut found = store.list().expect("listed");
        found.sort_by(|one, other| one.name.cmp(&other.name));
        let object = |name: &str, bytes| Object { name: name.to_owned(), bytes };
        let all = [("run/large", 20 << 20), ("run/none", 0), ("run/small", 3)];
        assert_eq!(found, all.map(|(name, bytes)| object(name, bytes)));
        put(&store, "runs/other", b"two");
        assert_eq!(store.list_of("runs").expect("listed"), [object("runs/other", 3)]);
        assert_eq!(store.list_of("run").expect("listed").len(), 3, "a name is a whole one");
        store.remove("runs/other").expect("removed");
        assert_eq!(read(&store, "run/small").expect("there"), b"one");
        assert!(read(&store, "run/large").expect("there") == large());
        store.remove("run/large").expect("removed");
        assert_eq!(store.list().expect("listed").len(), 2);
        let none = read(&store, "run/large").expect_err("gone");
        assert!(none.contains("s3://kept/in/here/run/large: the store answers 404"), "{none}");
    }

    #[test]
    fn what_fails_for_a_while_is_tried_again_and_what_breaks_off_goes_on() {
        let served = Served::start();
        let store = bucket(&served);
        served.refuse(2);
        put(&store, "run/a", b"one");
        let mut file = store.write("run/b").expect("begun");
        for piece in large().chunks(1 << 20) {
            served.refuse(1);
            file.write_all(piece).expect("taken");
        }
        file.finish().expect("finished");
        served.cut(3);
        assert!(read(&store, "run/b").expect("it goes on") == large());
        assert_eq!(served.cuts(), 3, "each broke off");
        served.refuse(u32::MAX);
        let refused = read(&store, "run/a").expect_err("for ever");
        assert!(refused.contains("the store answers 503"), "{refused}");
    }

    #[test]
    fn what_is_given_up_never_was_and_a_wrong_key_is_told_without_one() {
        let served = Served::start();
        let store = bucket(&served);
        let mut file = store.write("run/a").expect("begun");
        file.write_all(&large()).expect("taken");
        drop(file);
        assert_eq!(store.list().expect("listed"), Vec::new());
        assert_eq!(served.parts(), 0, "its parts went with it");
        let stranger = opened(&access(&served, "another-secret", BucketStyle::Auto));
        let refused = stranger.list().expect_err("signed by nobody").to_string();
        assert!(refused.contains("SignatureDoesNotMatch"), "{refused}");
        for hidden in [KEY, SECRET, "another-secret", "X-Amz"] {
            assert!(!refused.contains(hidden), "{refused}");
        }
    }

    #[test]
    fn a_bucket_may_be_in_the_name_of_the_host() {
        let served = Served::start();
        let mut access = access(&served, SECRET, BucketStyle::Host);
        access.host = Some((format!("{BUCKET}.store.test"), served.address));
        access.endpoint = format!("http://store.test:{}", served.address.port());
        let by_host = opened(&access);
        put(&by_host, "run/a", b"one");
        assert_eq!(read(&by_host, "run/a").expect("there"), b"one");
        assert_eq!(read(&bucket(&served), "run/a").expect("the same one"), b"one");
    }

    #[test]
    fn a_place_in_a_bucket_is_of_plain_letters() {
        let access = Access::default();
        for place in ["", "/x", "b/../c", "b/a b", "b/x//y", "b/%2e%2e"] {
            let refused = Bucket::open("it", place, &access).map(drop).expect_err(place);
            assert!(refused.to_string().contains("s3://BUCKET/PREFIX"), "{place}: {refused}");
        }
    }
}

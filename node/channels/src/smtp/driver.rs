//! The socket to a relay, TLS, and every wait.

use std::sync::Arc;
use std::time::Duration;

use rotary_proto::MailAddress;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::dialog::{Account, Dialog, Next, Security, Wrong};
use super::reply::{BadReply, Replies, Reply};

/// What it may take until a relay is ready for an envelope, and then for a mail.
const DIALOG_MAX: Duration = Duration::from_secs(60);
/// What writing a mail may take.
const WRITE_MAX: Duration = Duration::from_secs(60);
/// What a relay may take to answer a whole mail. RFC 5321 has ten minutes, because who gives up
/// sooner may send it twice; here nothing is sent twice.
const ANSWER_MAX: Duration = Duration::from_secs(120);
/// What saying good-bye may take.
const QUIT_MAX: Duration = Duration::from_secs(1);

/// Where mails are handed over.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Its name or address, for TLS as well.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// This node's name.
    pub hello: String,
    /// How the connection is kept from strangers.
    pub security: Security,
    /// Who this node is to the relay.
    pub account: Option<Account>,
    /// Whom TLS believes.
    pub roots: Arc<RootCertStore>,
}

/// Before the dot: the relay has taken nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The network, or what is on the other side of it.
    #[error("the relay cannot be reached: {0}")]
    Io(#[from] std::io::Error),
    /// It took too long.
    #[error("the relay did not answer in time")]
    Late,
    /// It speaks something else.
    #[error(transparent)]
    Bad(#[from] BadReply),
    /// It said no, or lacks something.
    #[error(transparent)]
    Wrong(#[from] Wrong),
    /// Its name is none that TLS could check.
    #[error("{0}: no name of a relay for TLS")]
    Name(#[from] InvalidDnsNameError),
}

impl Failed {
    /// What the relay said, if it said no.
    pub const fn code(&self) -> Option<u16> {
        match self {
            Self::Wrong(Wrong::No { reply, .. }) => Some(reply.code),
            _ => None,
        }
    }

    /// Whether the relay refused for good, as against for this time.
    pub fn is_final(&self) -> bool {
        self.code().is_some_and(|code| code / 100 == 5)
    }
}

/// After the dot.
#[derive(Debug)]
pub enum Ended {
    /// The relay answered: it took the mail if that is a yes, and did not otherwise.
    Answered(Reply),
    /// No answer came, so nobody can know.
    Unknown(Failed),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A relay that waits for an envelope.
pub struct Connection {
    stream: Box<dyn Stream>,
    replies: Replies,
    dialog: Dialog,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.dialog.fmt(f)
    }
}

/// The authorities that this machine believes.
///
/// # Errors
/// `Io` if it has none.
pub fn roots() -> Result<RootCertStore, Failed> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(std::io::Error::other("this machine believes no authority of TLS").into());
    }
    Ok(roots)
}

impl Relay {
    /// Connects, and says who is there. Nothing of any mail is said.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn connect(&self) -> Result<Connection, Failed> {
        let until = Instant::now() + DIALOG_MAX;
        let ready = timeout_at(until, self.open());
        ready.await.map_err(|_| Failed::Late)?
    }

    async fn open(&self) -> Result<Connection, Failed> {
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
        socket.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match self.security {
            Security::Tls => self.secure(Box::new(socket)).await?,
            Security::Off | Security::StartTls => Box::new(socket),
        };
        let dialog = Dialog::new(&self.hello, self.security, self.account.clone());
        let mut connection = Connection { stream, replies: Replies::default(), dialog };
        let reply = connection.reply().await?;
        let next = connection.dialog.take(reply)?;
        if connection.follow(next).await? {
            return Ok(connection);
        }
        // What came in plain after the relay's word was put there by somebody else.
        if !connection.replies.is_empty() {
            return Err(BadReply::Malformed.into());
        }
        connection.stream = self.secure(connection.stream).await?;
        let next = connection.dialog.secured();
        connection.follow(next).await?;
        Ok(connection)
    }

    async fn secure(&self, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, Failed> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks the versions that are on by default")
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        let name = ServerName::try_from(self.host.clone())?;
        Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
    }
}

impl Connection {
    /// Hands over everything of a mail but the dot. The relay has taken nothing yet.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn offer(
        &mut self,
        from: &MailAddress,
        to: &MailAddress,
        mail: &[u8],
    ) -> Result<(), Failed> {
        let next = self.dialog.begin(from, to);
        let until = Instant::now() + DIALOG_MAX;
        timeout_at(until, self.follow(next)).await.map_err(|_| Failed::Late)??;
        let until = Instant::now() + WRITE_MAX;
        timeout_at(until, self.write(mail)).await.map_err(|_| Failed::Late)?
    }

    /// Writes the dot that ends the mail, and waits for what the relay says to it.
    pub async fn finish(mut self) -> Ended {
        let until = Instant::now() + ANSWER_MAX;
        let answered = timeout_at(until, async {
            self.write(b".\r\n").await?;
            self.reply().await
        });
        match answered.await {
            Ok(Ok(reply)) => {
                self.leave().await;
                Ended::Answered(reply)
            }
            Ok(Err(failed)) => Ended::Unknown(failed),
            Err(_) => Ended::Unknown(Failed::Late),
        }
    }

    /// Says good-bye. Whether it is heard does not matter.
    pub async fn leave(mut self) {
        let _ = timeout_at(Instant::now() + QUIT_MAX, self.write(b"QUIT\r\n")).await;
    }

    /// Says what is to be said until the relay waits; whether that is so, as against for TLS.
    async fn follow(&mut self, mut next: Next) -> Result<bool, Failed> {
        loop {
            match next {
                Next::Say(line) => self.write(&line).await?,
                Next::Secure => return Ok(false),
                Next::Ready => return Ok(true),
            }
            let reply = self.reply().await?;
            next = self.dialog.take(reply)?;
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        Ok(())
    }

    async fn reply(&mut self) -> Result<Reply, Failed> {
        let mut piece = [0; 1_024];
        loop {
            if let Some(reply) = self.replies.take()? {
                return Ok(reply);
            }
            let read = self.stream.read(&mut piece).await?;
            if read == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
            self.replies.put(&piece[..read]);
        }
    }
}

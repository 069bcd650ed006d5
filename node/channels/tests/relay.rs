//! A mail handed to relays of this test's making, over real sockets: in plain, under TLS from the
//! beginning and after STARTTLS, and to relays that say no or nothing at each stage.

use std::sync::Arc;

use rotary_channels::mail::Mail;
use rotary_channels::smtp::{Account, Ended, Failed, Relay, Security};
use rotary_proto::{MailAddress, Wall};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What a relay does at a line: what it answers, or that it hangs up.
type Script = fn(&str) -> Option<&'static str>;

fn address(text: &str) -> MailAddress {
    MailAddress::new(text).expect("valid")
}

fn friendly(line: &str) -> Option<&'static str> {
    Some(match line.split([' ', ':']).next().unwrap_or_default() {
        "EHLO" => "250-relay\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n",
        "STARTTLS" => "220 go\r\n",
        "AUTH" => "235 in\r\n",
        "DATA" => "354 go\r\n",
        "." => "250 taken\r\n",
        _ => "250 ok\r\n",
    })
}

struct Fake {
    port: u16,
    roots: RootCertStore,
    heard: JoinHandle<Vec<String>>,
}

async fn fake(security: Security, script: Script) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("they belong together");
    let tls = TlsAcceptor::from(Arc::new(tls));
    let heard = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.expect("a client");
        let mut heard = Vec::new();
        match security {
            Security::Off => talk(socket, script, true, &mut heard).await,
            Security::Tls => {
                let Ok(stream) = tls.accept(socket).await else { return heard };
                talk(stream, script, true, &mut heard).await;
            }
            Security::StartTls => {
                let mut socket = socket;
                talk(&mut socket, script, true, &mut heard).await;
                let Ok(stream) = tls.accept(socket).await else { return heard };
                talk(stream, script, false, &mut heard).await;
            }
        }
        heard
    });
    Fake { port, roots, heard }
}

/// Answers line by line until TLS is to begin, or either side hangs up.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    script: Script,
    greets: bool,
    heard: &mut Vec<String>,
) {
    let mut stream = BufReader::new(stream);
    let mut in_mail = false;
    if greets {
        let Some(greeting) = script("").map(|_| "220 relay\r\n") else { return };
        stream.write_all(greeting.as_bytes()).await.expect("written");
    }
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim_end().to_owned();
        heard.push(line.clone());
        if in_mail && line != "." {
            continue;
        }
        let Some(answer) = script(&line) else { return };
        in_mail = answer.starts_with("354");
        // The client may be gone.
        let _ = stream.write_all(answer.as_bytes()).await;
        if line == "STARTTLS" {
            return;
        }
    }
}

async fn send(fake: &Fake, security: Security, account: Option<Account>) -> Result<Ended, Failed> {
    let relay = Relay {
        host: "localhost".to_owned(),
        port: fake.port,
        hello: "node-1".to_owned(),
        security,
        account,
        roots: Arc::new(fake.roots.clone()),
    };
    let (from, to) = (address("help@north.example"), address("ana@example.com"));
    let mail = Mail {
        from: &from,
        to: &to,
        subject: "Hello",
        id: "<ef_1.2.16@north.example>".to_owned(),
        references: Vec::new(),
        date: Wall(0),
        text: "Good day",
    };
    let mut connection = relay.connect().await?;
    connection.offer(&from, &to, &mail.bytes()).await?;
    Ok(connection.finish().await)
}

fn is_taken(ended: Result<Ended, Failed>) -> bool {
    matches!(ended, Ok(Ended::Answered(reply)) if reply.code == 250)
}

#[tokio::test]
async fn a_mail_is_taken_however_it_is_kept_from_strangers() {
    for security in [Security::Off, Security::Tls, Security::StartTls] {
        let fake = fake(security, friendly).await;
        let account = Account { user: "u".to_owned(), password: "p".to_owned() };
        let ended = send(&fake, security, Some(account)).await;
        assert!(is_taken(ended), "{security:?}");
        let heard = fake.heard.await.expect("it ran");
        for line in ["AUTH PLAIN AHUAcA==", "MAIL FROM:<help@north.example>"] {
            assert_eq!(heard.iter().filter(|heard| *heard == line).count(), 1, "{heard:?}");
        }
        for line in ["RCPT TO:<ana@example.com>", "Message-ID: <ef_1.2.16@north.example>", "."] {
            assert!(heard.iter().any(|heard| heard == line), "{heard:?}");
        }
        let hellos = heard.iter().filter(|line| *line == "EHLO node-1").count();
        assert_eq!(hellos, if security == Security::StartTls { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_relay_that_is_somebody_else_is_told_nothing() {
    for security in [Security::Tls, Security::StartTls] {
        let mut fake = fake(security, friendly).await;
        fake.roots = RootCertStore::empty();
        assert!(matches!(send(&fake, security, None).await, Err(Failed::Io(_))));
        let heard = fake.heard.await.expect("it ran");
        assert!(heard.iter().all(|line| !line.starts_with("MAIL")), "{heard:?}");
    }
}

#[tokio::test]
async fn before_the_dot_a_failure_is_certain_and_after_it_an_answer_is() {
    let later: Script =
        |line| if line.starts_with("RCPT") { Some("451 later\r\n") } else { friendly(line) };
    let never: Script =
        |line| if line.starts_with("RCPT") { Some("550 no\r\n") } else { friendly(line) };
    let gone: Script = |line| if line.starts_with("DATA") { None } else { friendly(line) };
    for (script, code, is_final) in
        [(later, Some(451), false), (never, Some(550), true), (gone, None, false)]
    {
        let fake = fake(Security::Off, script).await;
        let failed = send(&fake, Security::Off, None).await.expect_err("before the dot");
        assert_eq!((failed.code(), failed.is_final()), (code, is_final), "{failed}");
    }
    let refused: Script = |line| if line == "." { Some("554 spam\r\n") } else { friendly(line) };
    let fake_one = fake(Security::Off, refused).await;
    let ended = send(&fake_one, Security::Off, None).await.expect("the dot was written");
    assert!(matches!(ended, Ended::Answered(reply) if reply.code == 554));
    let silent: Script = |line| if line == "." { None } else { friendly(line) };
    let fake_two = fake(Security::Off, silent).await;
    let ended = send(&fake_two, Security::Off, None).await.expect("the dot was written");
    assert!(matches!(ended, Ended::Unknown(Failed::Io(_))));
}

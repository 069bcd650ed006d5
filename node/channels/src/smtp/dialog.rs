//! What is said to a relay, and what its replies mean: a machine of replies in and lines out.
//!
//! ```text
//!  greeting -> EHLO [-> STARTTLS -> (TLS) -> EHLO] [-> AUTH] -> ready
//!  ready -> MAIL FROM -> RCPT TO -> DATA -> ready for the mail
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rotary_proto::MailAddress;

use super::reply::Reply;

/// How the connection is kept from strangers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    Off,
    /// TLS from the first byte on.
    Tls,
    /// TLS after a plain beginning; a relay that does not offer it is not used.
    StartTls,
}

/// Who the relay takes mail from.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// Shows the name only.
impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Account({})", self.user)
    }
}

/// What the driver does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Write this, then wait for a reply.
    Say(Vec<u8>),
    /// Begin TLS, then [`Dialog::secured`].
    Secure,
    /// Nothing is to be said: the relay waits for an envelope, or for the mail.
    Ready,
}

/// Why the relay is of no use, at least for this mail. It has taken nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It said no.
    #[error("to {to} the relay said {} {}", reply.code, reply.lines.join(" "))]
    No {
        /// What it was asked.
        to: &'static str,
        /// What it said.
        reply: Reply,
    },
    /// It lacks something that this node was told to insist on.
    #[error("the relay does not offer {0}")]
    Lacks(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Hello,
    Upgrade,
    Login,
    Ready,
    From,
    To,
    Data,
}

impl Stage {
    const fn word(self) -> &'static str {
        match self {
            Self::Greeting => "a connection",
            Self::Hello => "EHLO",
            Self::Upgrade => "STARTTLS",
            Self::Login => "AUTH",
            Self::Ready => "nothing",
            Self::From => "MAIL",
            Self::To => "RCPT",
            Self::Data => "DATA",
        }
    }
}

/// One side of a connection to a relay.
#[derive(Debug)]
pub struct Dialog {
    hello: String,
    security: Security,
    account: Option<Account>,
    stage: Stage,
    secure: bool,
    to: Option<MailAddress>,
}

impl Dialog {
    /// Before the relay's greeting. `hello` is this node's name; what a command cannot hold of it
    /// is left out.
    pub fn new(hello: &str, security: Security, account: Option<Account>) -> Self {
        let hello: String = hello.chars().filter(char::is_ascii_graphic).take(255).collect();
        let hello = if hello.is_empty() { "localhost".to_owned() } else { hello };
        let secure = security == Security::Tls;
        Self { hello, security, account, stage: Stage::Greeting, secure, to: None }
    }

    /// Takes a reply in.
    ///
    /// # Errors
    /// [`Wrong`]; nothing more is to be said then but QUIT.
    pub fn take(&mut self, reply: Reply) -> Result<Next, Wrong> {
        let expected = match self.stage {
            Stage::Greeting | Stage::Upgrade => reply.code == 220,
            Stage::Login => reply.code == 235,
            Stage::Data => reply.code == 354,
            Stage::Hello | Stage::From | Stage::To => reply.is_yes(),
            Stage::Ready => false,
        };
        if !expected {
            return Err(Wrong::No { to: self.stage.word(), reply });
        }
        match self.stage {
            Stage::Greeting => Ok(self.say_hello()),
            Stage::Hello => self.after_hello(&reply),
            Stage::Upgrade => Ok(Next::Secure),
            Stage::Login | Stage::Data | Stage::Ready => Ok(self.ready()),
            Stage::From => {
                let to = self.to.take();
                let to = to.as_ref().map_or("", MailAddress::as_str);
                Ok(self.say(Stage::To, format!("RCPT TO:<{to}>\r\n")))
            }
            Stage::To => Ok(self.say(Stage::Data, "DATA\r\n".to_owned())),
        }
    }

    /// TLS has begun: what was said before it counts no more.
    pub fn secured(&mut self) -> Next {
        self.secure = true;
        self.say_hello()
    }

    /// Begins a mail.
    pub fn begin(&mut self, from: &MailAddress, to: &MailAddress) -> Next {
        self.to = Some(to.clone());
        self.say(Stage::From, format!("MAIL FROM:<{from}>\r\n"))
    }

    fn say(&mut self, stage: Stage, line: String) -> Next {
        self.stage = stage;
        Next::Say(line.into_bytes())
    }

    const fn ready(&mut self) -> Next {
        self.stage = Stage::Ready;
        Next::Ready
    }

    fn say_hello(&mut self) -> Next {
        self.say(Stage::Hello, format!("EHLO {}\r\n", self.hello))
    }

    fn after_hello(&mut self, reply: &Reply) -> Result<Next, Wrong> {
        let upper: Vec<String> =
            reply.lines.iter().skip(1).map(|line| line.to_ascii_uppercase()).collect();
        if self.security == Security::StartTls && !self.secure {
            if !upper.iter().any(|line| line.trim() == "STARTTLS") {
                return Err(Wrong::Lacks("STARTTLS"));
            }
            return Ok(self.say(Stage::Upgrade, "STARTTLS\r\n".to_owned()));
        }
        let Some(Account { user, password }) = &self.account else { return Ok(self.ready()) };
        let plain = |line: &String| {
            let mut words = line.split([' ', '=']);
            words.next() == Some("AUTH") && words.any(|word| word == "PLAIN")
        };
        if !upper.iter().any(plain) {
            return Err(Wrong::Lacks("AUTH PLAIN"));
        }
        let secret = BASE64.encode(format!("\0{user}\0{password}"));
        Ok(self.say(Stage::Login, format!("AUTH PLAIN {secret}\r\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, lines: &[&str]) -> Reply {
        Reply { code, lines: lines.iter().map(|line| (*line).to_owned()).collect() }
    }

    fn said(next: Result<Next, Wrong>) -> String {
        match next {
            Ok(Next::Say(bytes)) => String::from_utf8(bytes).expect("ASCII"),
            other => format!("{other:?}"),
        }
    }

    fn address(text: &str) -> MailAddress {
        MailAddress::new(text).expect("valid")
    }

    fn account() -> Option<Account> {
        Some(Account { user: "ana".to_owned(), password: "secret".to_owned() })
    }

    #[test]
    fn a_mail_goes_from_greeting_to_data() {
        let mut dialog = Dialog::new("node-1", Security::StartTls, account());
        assert_eq!(said(dialog.take(reply(220, &["hi"]))), "EHLO node-1\r\n");
        let hello = reply(250, &["relay", "SIZE 1000", "STARTTLS"]);
        assert_eq!(said(dialog.take(hello)), "STARTTLS\r\n");
        assert_eq!(dialog.take(reply(220, &["go"])), Ok(Next::Secure));
        assert_eq!(said(Ok(dialog.secured())), "EHLO node-1\r\n");
        let hello = reply(250, &["relay", "auth LOGIN PLAIN"]);
        assert_eq!(said(dialog.take(hello)), "AUTH PLAIN AGFuYQBzZWNyZXQ=\r\n");
        assert_eq!(dialog.take(reply(235, &["in"])), Ok(Next::Ready));
        let begun = dialog.begin(&address("a@b.c"), &address("d@e.f"));
        assert_eq!(said(Ok(begun)), "MAIL FROM:<a@b.c>\r\n");
        assert_eq!(said(dialog.take(reply(250, &["ok"]))), "RCPT TO:<d@e.f>\r\n");
        assert_eq!(said(dialog.take(reply(251, &["ok"]))), "DATA\r\n");
        assert_eq!(dialog.take(reply(354, &["go"])), Ok(Next::Ready));
    }

    #[test]
    fn a_relay_without_what_is_insisted_on_is_not_used() {
        let hello = || reply(250, &["STARTTLS", "AUTH LOGIN", "SIZE"]);
        let after_hello = |security, account| {
            let mut dialog = Dialog::new("a\r\nb", security, account);
            assert_eq!(said(dialog.take(reply(220, &["hi"]))), "EHLO ab\r\n");
            dialog.take(hello())
        };
        assert_eq!(after_hello(Security::StartTls, None), Err(Wrong::Lacks("STARTTLS")));
        assert_eq!(after_hello(Security::Tls, account()), Err(Wrong::Lacks("AUTH PLAIN")));
        assert_eq!(after_hello(Security::Off, None), Ok(Next::Ready));
    }

    #[test]
    fn a_no_says_to_what() {
        let mut dialog = Dialog::new("", Security::Off, None);
        let busy = dialog.take(reply(421, &["busy"])).expect_err("a no");
        assert_eq!(busy.to_string(), "to a connection the relay said 421 busy");
        let mut dialog = Dialog::new("", Security::Off, None);
        dialog.take(reply(220, &["hi"])).expect("EHLO");
        assert!(dialog.take(reply(500, &["what?"])).is_err());
        assert!(!format!("{:?}", account()).contains("secret"));
    }
}

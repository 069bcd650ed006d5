//! A mail as bytes (RFC 5322), in ASCII whatever it says.
//!
//! The header is made of values that cannot hold a line break (`rotary_proto::mail`), or is encoded
//! so that none is left (RFC 2047). The body is base64, so that no line of it begins with a dot,
//! none is too long, and relays have nothing to rewrite.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rotary_proto::mail::is_message_id;
use rotary_proto::{MailAddress, Wall};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// Bytes of text in one encoded word: 60 in base64, 72 with what is around it.
const WORD_BYTES_MAX: usize = 45;
/// Bytes of text in one line of a body: 76 in base64.
const LINE_BYTES: usize = 57;

/// What one mail says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail<'a> {
    /// Whom it is from.
    pub from: &'a MailAddress,
    /// Whom it goes to.
    pub to: &'a MailAddress,
    /// What it is about; what no header may hold is replaced by spaces.
    pub subject: &'a str,
    /// Its own id, `<left@right>`.
    pub id: String,
    /// The ids of the mails before it in its conversation, oldest first; it answers the last. What
    /// is no id is left out.
    pub references: Vec<String>,
    /// When it was written.
    pub date: Wall,
    /// Its words.
    pub text: &'a str,
}

impl Mail<'_> {
    /// Its bytes, every line ended by CR LF, without the line that ends it on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = String::with_capacity(self.text.len() * 3 / 2 + 1_024);
        let mut header = |name: &str, value: &str| {
            debug_assert!(!value.replace("\r\n ", "").contains(['\r', '\n']), "one line: {name}");
            out.extend([name, ": ", value, "\r\n"]);
        };
        header("From", &format!("<{}>", self.from));
        header("To", &format!("<{}>", self.to));
        header("Subject", &encoded(self.subject));
        header("Date", &date(self.date));
        if is_message_id(&self.id) {
            header("Message-ID", &self.id);
        }
        let known: Vec<&str> =
            self.references.iter().map(String::as_str).filter(|id| is_message_id(id)).collect();
        if let Some(last) = known.last() {
            header("In-Reply-To", last);
            header("References", &known.join("\r\n "));
        }
        header("MIME-Version", "1.0");
        header("Content-Type", "text/plain; charset=utf-8");
        header("Content-Transfer-Encoding", "base64");
        out.push_str("\r\n");
        for line in self.lines().chunks(LINE_BYTES) {
            out.extend([BASE64.encode(line).as_str(), "\r\n"]);
        }
        out.into_bytes()
    }

    /// The words with every line ended as mail has it.
    fn lines(&self) -> Vec<u8> {
        let mut lines = Vec::with_capacity(self.text.len() + 64);
        for line in self.text.lines() {
            lines.extend_from_slice(line.as_bytes());
            lines.extend_from_slice(b"\r\n");
        }
        lines
    }
}

/// A time as RFC 5322 has it; what no calendar has is shown as its beginning.
fn date(wall: Wall) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(wall.0) * 1_000_000);
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc2822).unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 +0000".to_owned())
}

/// A text as a header may hold it: as it is, or in encoded words.
fn encoded(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let clean = clean.trim();
    let plain = clean.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if plain && clean.len() <= 64 && !clean.contains("=?") {
        return clean.to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in clean.chars() {
        if word.len() + c.len_utf8() > WORD_BYTES_MAX {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    let encoded: Vec<String> =
        words.iter().map(|word| format!("=?utf-8?B?{}?=", BASE64.encode(word))).collect();
    encoded.join("\r\n ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> MailAddress {
        MailAddress::new(text).expect("valid")
    }

    fn text(mail: &Mail) -> String {
        String::from_utf8(mail.bytes()).expect("ASCII")
    }

    #[test]
    fn a_mail_is_what_the_standard_says() {
        let (from, to) = (address("help@north.example"), address("ana@example.com"));
        let mail = Mail {
            from: &from,
            to: &to,
            subject: "Where is it?",
            id: "<ef_1.10.16@north.example>".to_owned(),
            references: vec!["<1@example.com>".to_owned(), "<ef_1.9.16@north.example>".to_owned()],
            date: Wall(1_700_000_000_123),
            text: "On its way.\nAna",
        };
        let expected = "From: <help@north.example>\r\n\
            To: <ana@example.com>\r\n\
            Subject: Where is it?\r\n\
            Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n\
            Message-ID: <ef_1.10.16@north.example>\r\n\
            In-Reply-To: <ef_1.9.16@north.example>\r\n\
            References: <1@example.com>\r\n <ef_1.9.16@north.example>\r\n\
            MIME-Version: 1.0\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\
            Content-Transfer-Encoding: base64\r\n\
            \r\n\
            T24gaXRzIHdheS4NCkFuYQ0K\r\n";
        assert_eq!(text(&mail), expected);
        let first = Mail { references: Vec::new(), ..mail };
        assert!(!text(&first).contains("In-Reply-To"));
    }

    #[test]
    fn a_subject_in_any_script_is_encoded_by_word() {
        assert_eq!(encoded("Où?"), "=?utf-8?B?T8O5Pw==?=");
        let long = encoded(&"你好".repeat(40));
        assert!(long.split("\r\n ").all(|word| word.len() <= 75 && word.is_ascii()));
        assert!(long.split("\r\n ").count() > 5);
        assert_eq!(encoded("=?utf-8?Q?x?="), "=?utf-8?B?PT91dGYtOD9RP3g/PQ==?=");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// Whatever is said, the header has the lines it has, and no line ends the mail.
        #[test]
        fn nothing_said_becomes_a_header(
            subject in "(\\PC|[\r\n:.]){0,80}",
            words in "(\\PC|[\r\n.]){0,200}",
            id in "(\\PC|[\r\n<>@]){0,20}",
        ) {
            let (from, to) = (address("help@north.example"), address("ana@example.com"));
            let references = vec![id.clone()];
            let mail = Mail {
                from: &from,
                to: &to,
                subject: &subject,
                id,
                references,
                date: Wall(0),
                text: &words,
            };
            let said = text(&mail);
            let (head, body) = said.split_once("\r\n\r\n").expect("a header and a body");
            let names = ["From: ", "To: ", "Subject: ", "Date: ", "Message-ID: ", "In-Reply-To: ",
                "References: ", "MIME-Version: ", "Content-Type: ", "Content-Transfer-Encoding: "];
            for line in head.split("\r\n").filter(|line| !line.starts_with(' ')) {
                let known = names.iter().filter(|name| line.starts_with(**name)).count();
                prop_assert_eq!(known, 1, "{:?}", line);
            }
            prop_assert!(!said.replace("\r\n", "").contains(['\r', '\n']));
            let plain = |line: &str| line.len() <= 76 && !line.starts_with('.') && line.is_ascii();
            prop_assert!(body.split("\r\n").all(plain));
        }
    }
}

//! What a mail needs beside its words: whom it goes to, and what it answers.
//!
//! Everything here ends up in the header of a mail, so every form is narrow: nothing that passes
//! can hold a line break, and with it a header of its own.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::limits;
use crate::values::{BadValue, Sealed};

/// An address of a mailbox: `local@domain`, in ASCII, the local part without quotes (a dot-atom of
/// RFC 5322). At most [`limits::MAIL_ADDRESS_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct MailAddress(String);

impl MailAddress {
    /// That address, if it is one.
    ///
    /// # Errors
    /// [`BadValue`] naming the rule that was broken.
    pub fn new(text: impl Into<String>) -> Result<Self, BadValue> {
        let text = text.into();
        let max = limits::MAIL_ADDRESS_BYTES_MAX;
        let halves = text.split_once('@').filter(|_| text.len() <= max);
        if halves.is_some_and(|(local, domain)| is_local(local) && is_domain(domain)) {
            return Ok(Self(text));
        }
        let rule = format!("name@example.com, in ASCII and unquoted, at most {max} bytes");
        Err(BadValue::new("mail address", rule))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands behind the `@`.
    pub fn domain(&self) -> &str {
        self.0.split_once('@').map_or("", |(_, domain)| domain)
    }
}

/// A dot-atom of at most 64 bytes.
fn is_local(text: &str) -> bool {
    let atext = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    text.len() <= 64 && text.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(atext))
}

/// A name of hosts: labels of letters, digits and inner hyphens.
fn is_domain(text: &str) -> bool {
    text.split('.').all(|label| {
        let sized = (1..=63).contains(&label.len());
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        sized && plain && !label.starts_with('-') && !label.ends_with('-')
    })
}

impl fmt::Display for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for MailAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// The id of a mail, as its header has it: `<left@right>`, printable ASCII, at most
/// [`limits::MAIL_ID_BYTES_MAX`] bytes.
pub fn is_message_id(text: &str) -> bool {
    let inner = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>');
    text.len() <= limits::MAIL_ID_BYTES_MAX
        && inner.is_some_and(|inner| {
            let halves = inner.split_once('@');
            let whole = halves.is_some_and(|(left, right)| !left.is_empty() && !right.is_empty());
            whole && inner.bytes().all(plain)
        })
}

/// Whom an e-mail conversation is with. It is in the log and the journal, not in hot state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MailParty {
    /// The customer's address; under the null key a [`MailAddress`].
    pub address: Sealed,
    /// What answers have for a subject; at most [`limits::PERSONAL_NAME_BYTES_MAX`] bytes, on one
    /// line.
    pub subject: Sealed,
    /// The `Message-ID` of the mail that the conversation began with, for answers to refer to.
    #[serde(default)]
    pub message_id: Option<Sealed>,
}

impl MailParty {
    /// Whether it is within its bounds.
    ///
    /// # Errors
    /// [`BadValue`] naming the field.
    pub fn check(&self) -> Result<(), BadValue> {
        self.address.check_name("mail.address")?;
        if let Some(text) = self.address.text() {
            MailAddress::new(text).map_err(|bad| BadValue::new("mail.address", bad.rule))?;
        }
        self.subject.check_name("mail.subject")?;
        if self.subject.text().is_some_and(|text| text.chars().any(char::is_control)) {
            return Err(BadValue::new("mail.subject", "no control characters, so no line breaks"));
        }
        let Some(id) = &self.message_id else { return Ok(()) };
        id.check_name("mail.message_id")?;
        if id.text().is_some_and(|text| !is_message_id(text)) {
            return Err(BadValue::new("mail.message_id", "<left@right>, in printable ASCII"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(address: &str, subject: &str, id: Option<&str>) -> MailParty {
        let sealed = |text| Sealed::plain(text).expect("short");
        MailParty { address: sealed(address), subject: sealed(subject), message_id: id.map(sealed) }
    }

    #[test]
    fn an_address_is_narrow() {
        for good in ["ana@example.com", "a.b+c@x-y.example", "o'neil@localhost", "1@1.2"] {
            assert_eq!(MailAddress::new(good).expect(good).as_str(), good);
        }
        let long = format!("a@{}.com", "x.".repeat(limits::MAIL_ADDRESS_BYTES_MAX));
        let bad =
            ["", "ana", "@b", "a@", "a@b@c", "a b@c", "a@b c", "<a@b>", "a@-b", "a@b-", &long];
        let injected = ["a@b\r\nBcc: c@d", "a\n@b", ".a@b", "a..b@c", "\"a\"@b", "é@b", "a@b."];
        for bad in bad.into_iter().chain(injected) {
            assert!(MailAddress::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(MailAddress::new("a@b.c").expect("good").domain(), "b.c");
    }

    #[test]
    fn a_party_is_checked_by_field() {
        let good = party("ana@example.com", "Where is it? 你好", Some("<1@example.com>"));
        assert_eq!(good.check(), Ok(()));
        for (bad, field) in [
            (party("ana", "s", None), "mail.address"),
            (party("a@b", "s\r\nBcc: x@y", None), "mail.subject"),
            (party("a@b", "", None), "mail.subject"),
            (party("a@b", "s", Some("<a@b> <c@d>")), "mail.message_id"),
            (party("a@b", "s", Some("<a@b\r\n>")), "mail.message_id"),
            (party("a@b", "s", Some("a@b")), "mail.message_id"),
        ] {
            assert_eq!(bad.check().expect_err(field).field, field);
        }
        let sealed = Sealed { format: 0, key: 7, bytes: vec![0xff] };
        let hidden = MailParty { address: sealed.clone(), subject: sealed, message_id: None };
        assert_eq!(hidden.check(), Ok(()), "what is under a key is its holder's");
    }
}

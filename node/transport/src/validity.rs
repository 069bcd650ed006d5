//! Until when a certificate is good: the end of its validity, read from its bytes (RFC 5280, 4.1).
//!
//! What verifies certificates only says whether one is good at some time; operators want to know
//! how long it will be.

use rustls::pki_types::CertificateDer;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The last second, counted from 1970, at which every certificate of a chain is good; nothing for
/// an empty chain, or one that has something else than a certificate.
pub fn chain_ends_s(chain: &[CertificateDer<'_>]) -> Option<u64> {
    let ends: Option<Vec<u64>> = chain.iter().map(|one| ends_s(one)).collect();
    ends?.into_iter().min()
}

fn ends_s(certificate: &[u8]) -> Option<u64> {
    let (certificate, _) = value(certificate, SEQUENCE)?;
    let (mut signed, _) = value(certificate, SEQUENCE)?;
    if let Some((_, rest)) = value(signed, VERSION) {
        signed = rest;
    }
    // Its number, the algorithm it is signed with, and who signed it.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, signed) = value(signed, tag)?;
    }
    let (validity, _) = value(signed, SEQUENCE)?;
    let (_, _, end) = any(validity)?;
    let (tag, end, _) = any(end)?;
    seconds(tag, end)
}

/// The first value, if it has that tag, and what follows it.
fn value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, value, rest) = any(bytes)?;
    (found == tag).then_some((value, rest))
}

/// The tag and the bytes of the first value, and what follows it.
fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = bytes.split_first_chunk()?;
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        // At most three bytes say how long it is: no certificate has 16 MiB.
        let (more, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        if more.len() > 3 {
            return None;
        }
        (more.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)), rest)
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

/// Reads `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`; a time before 1970 is 0.
fn seconds(tag: u8, text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let (year, rest) = number(digits, 2)?;
            (if year < 50 { 2_000 + year } else { 1_900 + year }, rest)
        }
        (GENERALIZED_TIME, 14) => number(digits, 4)?,
        _ => return None,
    };
    let (month, rest) = number(rest, 2)?;
    let (day, rest) = number(rest, 2)?;
    let (hour, rest) = number(rest, 2)?;
    let (minute, rest) = number(rest, 2)?;
    let (second, _) = number(rest, 2)?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_since_1970(year, month, day);
    u64::try_from(((days * 24 + hour) * 60 + minute) * 60 + second).map_or(Some(0), Some)
}

fn number(digits: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (digits, rest) = digits.split_at_checked(count)?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((number, rest))
}

/// Days from the first of 1970 to a date, by years that begin in March, so that the odd day of a
/// leap year is the last of its year.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (century, of_century) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    century * 146_097 + of_century * 365 + of_century / 4 - of_century / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn until(year: i32, month: u8, day: u8) -> CertificateDer<'static> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(["node".to_owned()]).expect("a name");
        params.not_after = date_time_ymd(year, month, day);
        params.self_signed(&key).expect("it signs").der().clone()
    }

    #[test]
    fn the_end_is_read_in_both_forms() {
        for (date, end_s) in [
            ((2026, 11, 23), 1_795_392_000),
            ((2048, 2, 29), 2_466_547_200),
            // From 2050 on, years have four digits.
            ((2100, 3, 1), 4_107_542_400),
            ((4096, 1, 1), 67_090_118_400),
        ] {
            let (year, month, day) = date;
            let one = until(year, month, day);
            assert_eq!(chain_ends_s(std::slice::from_ref(&one)), Some(end_s), "{date:?}");
            let chain = [one, until(4096, 1, 1)];
            assert_eq!(chain_ends_s(&chain), Some(end_s), "the first that ends");
        }
        assert_eq!(chain_ends_s(&[]), None);
    }

    #[test]
    fn what_is_cut_or_changed_is_no_end_and_no_panic() {
        let whole = until(2026, 11, 23);
        for length in 0..whole.len() {
            // What is cut is shorter than its first length says.
            assert_eq!(ends_s(&whole[..length]), None, "{length}");
        }
        let mut bytes = whole.to_vec();
        for at in 0..bytes.len().min(160) {
            for change in [1, 0x40, 0x80, 0xff] {
                bytes[at] ^= change;
                let _ = ends_s(&bytes);
                bytes[at] ^= change;
            }
        }
    }
}

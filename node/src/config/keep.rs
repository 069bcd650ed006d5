//! How long something is kept: `forever`, or a number and its unit, as in `30d`.
//!
//! What is not kept is gone, so nothing is guessed: a number without a unit is refused, and so is
//! `m`, which may be a minute or a month.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The shortest time: less is more likely a slip than a wish.
const SHORTEST: Duration = Duration::from_secs(60);
/// The longest time: a century.
const LONGEST: Duration = Duration::from_secs(36_500 * 24 * 3_600);
/// The units and their seconds, the longest first.
const UNITS: [(&str, u64); 5] =
    [("w", 7 * 24 * 3_600), ("d", 24 * 3_600), ("h", 3_600), ("min", 60), ("s", 1)];
const FOREVER: &str = "forever";

/// A time that something is kept, 1 minute to a century; `None` is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Keep(pub(crate) Option<Duration>);

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == FOREVER {
            return Ok(Self(None));
        }
        let digits = text.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start();
        let seconds = UNITS.into_iter().find(|(name, _)| *name == unit).map(|(_, each)| each);
        let (Ok(number), Some(each)) = (number.parse::<u64>(), seconds) else {
            return Err(format!(
                "`{text}` is no time to keep things: `{FOREVER}`, or a number and one of s, min, \
                 h, d, w, as in `30d`"
            ));
        };
        let keep = Duration::from_secs(number.saturating_mul(each));
        if (SHORTEST..=LONGEST).contains(&keep) {
            return Ok(Self(Some(keep)));
        }
        Err(format!("{text} is not between 1min and 36500d; `{FOREVER}` keeps everything"))
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(keep) = self.0 else { return f.write_str(FOREVER) };
        let seconds = keep.as_secs();
        let fits = UNITS.into_iter().find(|(_, each)| seconds.is_multiple_of(*each));
        let (unit, each) = fits.expect("every whole number is a multiple of one second");
        write!(f, "{}{unit}", seconds / each)
    }
}

impl Serialize for Keep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Keep;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time with its unit, as in \"30d\", or \"forever\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Keep, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        let seconds = |text: &str| text.parse::<Keep>().map(|keep| keep.0.map(|k| k.as_secs()));
        assert_eq!(seconds("forever"), Ok(None));
        let known = [("60s", 60), ("1min", 60), ("36h", 129_600), ("30d", 2_592_000)];
        for (text, expected) in known.into_iter().chain([(" 2 w ", 1_209_600)]) {
            assert_eq!(seconds(text), Ok(Some(expected)), "{text}");
        }
        for text in ["", "0", "30", "d", "6m", "6M", "1.5d", "-1d", "30d 4h", "never", "1 month"] {
            let error = seconds(text).expect_err(text);
            assert!(error.contains("as in `30d`"), "{text}: {error}");
        }
        for text in ["0d", "59s", "36501d", "18446744073709551615w"] {
            let error = seconds(text).expect_err(text);
            assert!(error.contains("not between 1min and 36500d"), "{text}: {error}");
        }
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        for text in ["forever", "90s", "1min", "36h", "30d", "2w", "36500d"] {
            assert_eq!(text.parse::<Keep>().expect("valid").to_string(), text);
        }
    }
}

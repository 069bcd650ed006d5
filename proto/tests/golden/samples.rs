//! Samples of an enum, none of its variants forgotten. Shared like `kept.rs` beside it.

/// The samples of one enum, in the order of its variants, each with its variant's name.
///
/// The generated `match` has an arm for each listed variant and no other, so an enum that gains a
/// variant does not compile here until the variant has a sample.
macro_rules! samples {
    ($type:ident { $($variant:ident => $sample:expr),+ $(,)? }) => {{
        fn variant(value: &$type) -> &'static str {
            match value {
                $($type::$variant { .. } => stringify!($variant),)+
            }
        }
        let samples = vec![$((stringify!($variant), $sample)),+];
        for (name, sample) in &samples {
            assert_eq!(variant(sample), *name, "a sample stands under another variant's name");
        }
        samples
    }};
}
pub(crate) use samples;

//! Random numbers that are the same on every machine and in every version.
//!
//! The generator is xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom number
//! generators", ACM TOMS 47:4, 2021), seeded by SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), as
//! its authors advise. Each purpose has a stream of its own, so that a change of one law leaves
//! what the others draw as it was: runs that differ in one option are compared on the same day.

/// One stream of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    state: [u64; 4],
}

impl Stream {
    /// The stream of `seed` for one purpose.
    pub(crate) fn new(seed: u64, purpose: &str) -> Self {
        let mixed = purpose.bytes().fold(seed, |mixed, byte| {
            let mut mixer = mixed ^ u64::from(byte);
            split_mix(&mut mixer)
        });
        let mut mixer = mixed;
        Self { state: std::array::from_fn(|_| split_mix(&mut mixer)) }
    }

    /// The next 64 bits.
    fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number from 0 up to, not including, 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number from 0 up to, not including, `bound`; the bias of 2^-32 at most is far below what
    /// any run can show.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// An exponential time of that mean, by inversion.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

/// The next number of SplitMix64.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generators_give_their_published_numbers() {
        let mut seed = 1_234_567;
        let mixed: [u64; 3] = std::array::from_fn(|_| split_mix(&mut seed));
        assert_eq!(
            mixed,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
        let mut stream = Stream { state: [1, 2, 3, 4] };
        let drawn: [u64; 4] = std::array::from_fn(|_| stream.next());
        assert_eq!(drawn, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }

    #[test]
    fn streams_differ_by_purpose_and_by_seed() {
        let first = |seed, purpose| Stream::new(seed, purpose).next();
        assert_eq!(first(1, "patience"), first(1, "patience"));
        assert_ne!(first(1, "patience"), first(1, "arrivals"));
        assert_ne!(first(1, "patience"), first(2, "patience"));
    }

    #[test]
    fn an_exponential_time_has_its_mean_and_its_tail() {
        let mut stream = Stream::new(7, "law");
        let drawn: Vec<f64> = (0..100_000).map(|_| stream.exponential(180.0)).collect();
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        let tail = drawn.iter().filter(|time| **time > 360.0).count() as f64 / 100_000.0;
        assert!((mean - 180.0).abs() < 2.0, "{mean}");
        assert!((tail - (-2.0_f64).exp()).abs() < 0.005, "{tail}");
    }

    #[test]
    fn every_number_below_a_bound_is_as_likely() {
        let mut stream = Stream::new(3, "site");
        let mut counts = [0_u32; 4];
        (0..40_000).for_each(|_| counts[stream.below(4) as usize] += 1);
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 400), "{counts:?}");
    }
}

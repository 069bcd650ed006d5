//! Bytes of an IPv4 packet: whose it is, and turning over a bit of what it carries.

use std::net::Ipv4Addr;
use std::ops::Range;

/// Protocol numbers of IPv4.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// From and to, of an IPv4 packet; nothing of any other.
pub(super) fn addresses(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    if packet.first()? >> 4 != 4 {
        return None;
    }
    let at = |from: usize| packet.get(from..from + 4)?.try_into().ok().map(<[u8; 4]>::into);
    Some((at(12)?, at(16)?))
}

/// What a UDP or TCP packet carries, and where its checksum is. Nothing of later fragments.
fn payload(packet: &[u8]) -> Option<(Range<usize>, usize)> {
    addresses(packet)?;
    let head = usize::from(packet[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]])).min(packet.len());
    let whole = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff == 0;
    let (skip, checksum) = match packet[9] {
        UDP => (8, 6),
        TCP => (usize::from(*packet.get(head + 12)? >> 4) * 4, 16),
        _ => return None,
    };
    let carried = head + skip..total;
    let sane = head >= 20 && carried.start > head + checksum + 1 && !carried.is_empty();
    (whole && sane).then_some((carried, head + checksum))
}

/// Turns over one bit of what a UDP or TCP packet carries: the one that `dice` says. Says whether
/// there was one. With `mend` the checksum is made to fit, so that the receiver's kernel does not
/// drop the packet.
pub(super) fn flip(packet: &mut [u8], dice: u64, mend: bool) -> bool {
    let Some((carried, checksum)) = payload(packet) else { return false };
    let start = carried.start;
    let at = start + (dice / 8) as usize % carried.len();
    // The sums are of 16-bit words, counted from the transport header, whose length is even.
    let word_at = at - (at - start) % 2;
    let word = |packet: &[u8]| {
        u16::from_be_bytes([packet[word_at], packet.get(word_at + 1).copied().unwrap_or(0)])
    };
    let before = word(packet);
    packet[at] ^= 1 << (dice % 8);
    let after = word(packet);
    let sum = u16::from_be_bytes([packet[checksum], packet[checksum + 1]]);
    let unused = packet[9] == UDP && sum == 0;
    if mend && !unused {
        let fixed = updated(sum, before, after);
        let fixed = if packet[9] == UDP && fixed == 0 { 0xffff } else { fixed };
        packet[checksum..checksum + 2].copy_from_slice(&fixed.to_be_bytes());
    }
    true
}

/// The checksum after one of its words changed (RFC 1624, equation 3).
fn updated(sum: u16, before: u16, after: u16) -> u16 {
    let mut total = u32::from(!sum) + u32::from(!before) + u32::from(after);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A UDP packet with right checksums, as a kernel makes it.
    pub(crate) fn udp(from: Ipv4Addr, to: Ipv4Addr, carried: &[u8]) -> Vec<u8> {
        let total = 28 + carried.len();
        let mut packet = vec![0x45, 0];
        packet.extend((total as u16).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, UDP, 0, 0]);
        packet.extend(from.octets());
        packet.extend(to.octets());
        packet.extend([0x1b, 0xaa, 0x1b, 0xaa]);
        packet.extend(((8 + carried.len()) as u16).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(carried);
        let sum = !fold(&packet);
        packet[26..28].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    /// The sum of the pseudo header and all behind it: all ones in a whole packet.
    pub(crate) fn fold(packet: &[u8]) -> u16 {
        let mut bytes = packet[12..20].to_vec();
        bytes.extend([0, packet[9]]);
        bytes.extend(((packet.len() - 20) as u16).to_be_bytes());
        bytes.extend(&packet[20..]);
        let words = bytes.chunks(2).map(|two| [two[0], two.get(1).copied().unwrap_or(0)]);
        let mut total: u32 = words.map(|two| u32::from(u16::from_be_bytes(two))).sum();
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        total as u16
    }

    const A: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

    #[test]
    fn addresses_are_of_ipv4_only() {
        assert_eq!(addresses(&udp(A, B, b"x")), Some((A, B)));
        assert_eq!(addresses(&[0x60; 40]), None);
        assert_eq!(addresses(&[0x45; 19]), None);
        assert_eq!(addresses(&[]), None);
    }

    proptest! {
        #[test]
        fn a_mended_flip_changes_one_bit_and_the_sum_still_fits(
            carried in prop::collection::vec(any::<u8>(), 1..200), dice: u64,
        ) {
            let before = udp(A, B, &carried);
            let mut after = before.clone();
            prop_assert!(flip(&mut after, dice, true));
            let changed = before[28..].iter().zip(&after[28..]).map(|(a, b)| (a ^ b).count_ones());
            prop_assert_eq!(changed.sum::<u32>(), 1);
            prop_assert_eq!(&before[..26], &after[..26]);
            prop_assert_eq!(fold(&after), 0xffff);
            let mut raw = before.clone();
            prop_assert!(flip(&mut raw, dice, false));
            prop_assert!(fold(&raw) != 0xffff, "without mending the sum is wrong");
        }

        #[test]
        fn no_bytes_make_it_panic(mut packet in prop::collection::vec(any::<u8>(), 0..80), d: u64) {
            addresses(&packet);
            flip(&mut packet, d, true);
            if let Some(first) = packet.first_mut() {
                *first = 0x40 | (*first & 15);
            }
            if let Some(protocol) = packet.get_mut(9) {
                *protocol = if d % 2 == 0 { TCP } else { UDP };
            }
            flip(&mut packet, d, d % 3 == 0);
        }
    }
}

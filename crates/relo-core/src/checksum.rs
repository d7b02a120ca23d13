//! xxHash64: a checksum that costs less than reading the memory that it is of.
//!
//! It finds damage, not deceit. The specification is that of xxHash 0.1.1 by Yann Collet; the seed is 0.

const PRIMES: [u64; 5] = [
    0x9e37_79b1_85eb_ca87,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x85eb_ca77_c2b2_ae63,
    0x27d4_eb2f_1656_67c5,
];

/// The checksum of some bytes.
pub(crate) fn xxh64(bytes: &[u8]) -> u64 {
    let [p1, p2, p3, p4, p5] = PRIMES;
    let mut stripes = bytes.chunks_exact(32);
    let mut sum = if bytes.len() < 32 {
        p5
    } else {
        let mut lanes = [p1.wrapping_add(p2), p2, 0, 0u64.wrapping_sub(p1)];
        for stripe in &mut stripes {
            for (lane, word) in lanes.iter_mut().zip(stripe.chunks_exact(8)) {
                *lane = round(*lane, word64(word));
            }
        }
        let [a, b, c, d] = lanes;
        let turned = [a.rotate_left(1), b.rotate_left(7), c.rotate_left(12), d.rotate_left(18)];
        let sum = turned.into_iter().fold(0u64, u64::wrapping_add);
        lanes.iter().fold(sum, |sum, &lane| (sum ^ round(0, lane)).wrapping_mul(p1).wrapping_add(p4))
    };
    sum = sum.wrapping_add(bytes.len() as u64);
    let mut words = stripes.remainder().chunks_exact(8);
    for word in &mut words {
        sum = (sum ^ round(0, word64(word))).rotate_left(27).wrapping_mul(p1).wrapping_add(p4);
    }
    let mut rest = words.remainder();
    if let Some((&[a, b, c, d], after)) = rest.split_first_chunk::<4>() {
        let word = u64::from(u32::from_le_bytes([a, b, c, d]));
        sum = (sum ^ word.wrapping_mul(p1)).rotate_left(23).wrapping_mul(p2).wrapping_add(p3);
        rest = after;
    }
    for &byte in rest {
        sum = (sum ^ u64::from(byte).wrapping_mul(p5)).rotate_left(11).wrapping_mul(p1);
    }
    sum = (sum ^ sum >> 33).wrapping_mul(p2);
    sum = (sum ^ sum >> 29).wrapping_mul(p3);
    sum ^ sum >> 32
}

#[inline]
fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(PRIMES[1])).rotate_left(31).wrapping_mul(PRIMES[0])
}

#[inline]
fn word64(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_reference_implementation() {
        let check = |text: &str, want: u64| assert_eq!(xxh64(text.as_bytes()), want, "{text}");
        check("", 0xef46_db37_51d8_e999);
        check("a", 0xd24e_c4f1_a98c_6e5b);
        check("abc", 0x44bc_2cf5_ad77_0999);
        check("Nobody inspects the spammish repetition", 0xfbce_a83c_8a37_8bf1);
    }

    #[test]
    fn every_byte_counts() {
        let bytes: Vec<u8> = (0..100).collect();
        for len in [1, 3, 4, 7, 8, 31, 32, 33, 100] {
            let whole = xxh64(&bytes[..len]);
            for at in 0..len {
                let mut other = bytes[..len].to_vec();
                other[at] ^= 0x10;
                assert_ne!(xxh64(&other), whole, "{at} of {len}");
            }
        }
    }
}

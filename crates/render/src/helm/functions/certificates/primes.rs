//! Random numbers and primes, and the keys that are made of them (RSA, DSA).

use num_bigint::BigUint;

use crate::helm::functions::random::Random;

/// Rounds of the Miller–Rabin test. Random candidates of 512 bits and more pass four of them with a probability below 2^-100
/// (FIPS 186-4, table C.2); a few more cost little.
const ROUNDS: usize = 8;

/// Candidates are divided by the primes below this before the expensive test.
const SMALL: u32 = 4000;

/// What an RSA key has for public exponent.
const EXPONENT: u32 = 65_537;

/// Numbers of an RSA key.
pub(super) struct Rsa {
    pub(super) modulus: BigUint,
    pub(super) public: BigUint,
    pub(super) private: BigUint,
    pub(super) first: BigUint,
    pub(super) second: BigUint,
}

/// Numbers of a DSA key (FIPS 186-4).
pub(super) struct Dsa {
    pub(super) p: BigUint,
    pub(super) q: BigUint,
    pub(super) g: BigUint,
    pub(super) public: BigUint,
    pub(super) private: BigUint,
}

/// A random number with exactly so many bits: the top one is set.
fn number(random: &mut Random, bits: u64) -> BigUint {
    let bytes = usize::try_from(bits.div_ceil(8)).unwrap_or_default();
    let mut number = BigUint::from_bytes_be(&random.bytes(bytes)) >> (bytes as u64 * 8).saturating_sub(bits);
    number.set_bit(bits.saturating_sub(1), true);
    number
}

/// A random number from 1 to `bound` - 1.
pub(super) fn below(random: &mut Random, bound: &BigUint) -> BigUint {
    let bytes = usize::try_from(bound.bits().div_ceil(8)).unwrap_or_default();
    // Eight bytes more than needed make the remainder as good as even.
    let number = BigUint::from_bytes_be(&random.bytes(bytes + 8));
    let one = BigUint::from(1_u8);
    if *bound <= one { one } else { number % (bound - &one) + one }
}

fn small_primes() -> Vec<u32> {
    let is_prime = |number: &u32| {
        (2..*number).take_while(|divisor| divisor * divisor <= *number).all(|divisor| number % divisor != 0)
    };
    (3..SMALL).filter(is_prime).collect()
}

/// The remainder of a division by a small number.
fn remainder(number: &BigUint, divisor: u32) -> u32 {
    (number % divisor).to_u32_digits().first().copied().unwrap_or_default()
}

fn is_prime(random: &mut Random, candidate: &BigUint) -> bool {
    let (one, two) = (BigUint::from(1_u8), BigUint::from(2_u8));
    let above = candidate - &one;
    let Some(twos) = above.trailing_zeros() else { return false };
    let odd = &above >> twos;
    (0..ROUNDS).all(|round| {
        let base = if round == 0 { two.clone() } else { below(random, &above) };
        let mut power = base.modpow(&odd, candidate);
        if power == one || power == above {
            return true;
        }
        for _ in 1..twos {
            power = power.modpow(&two, candidate);
            if power == above {
                return true;
            }
        }
        false
    })
}

/// The first prime among `start`, `start + step`, …, that satisfies `fits`; `None` when it has too many bits.
fn search(random: &mut Random, start: &BigUint, step: &BigUint, fits: impl Fn(&BigUint) -> bool) -> Option<BigUint> {
    let primes = small_primes();
    let steps: Vec<u32> = primes.iter().map(|prime| remainder(step, *prime)).collect();
    let mut remainders: Vec<u32> = primes.iter().map(|prime| remainder(start, *prime)).collect();
    let bits = start.bits();
    let mut candidate = start.clone();
    while candidate.bits() == bits {
        if remainders.iter().all(|remainder| *remainder != 0) && fits(&candidate) && is_prime(random, &candidate) {
            return Some(candidate);
        }
        candidate += step;
        for ((remainder, step), prime) in remainders.iter_mut().zip(&steps).zip(&primes) {
            *remainder = (*remainder + step) % prime;
        }
    }
    None
}

/// A random prime with so many bits, the two highest of them set, that `fits`.
fn prime(random: &mut Random, bits: u64, fits: impl Fn(&BigUint) -> bool + Copy) -> BigUint {
    loop {
        let mut start = number(random, bits);
        start.set_bit(0, true);
        start.set_bit(bits.saturating_sub(2), true);
        if let Some(found) = search(random, &start, &BigUint::from(2_u8), fits) {
            return found;
        }
    }
}

/// A key whose modulus has so many bits.
pub(super) fn rsa(random: &mut Random, bits: u64) -> Rsa {
    let (one, public) = (BigUint::from(1_u8), BigUint::from(EXPONENT));
    // The exponent is prime: it has an inverse unless it divides.
    let fits = |prime: &BigUint| remainder(&(prime - 1_u8), EXPONENT) != 0;
    loop {
        let first = prime(random, bits / 2, fits);
        let second = prime(random, bits - bits / 2, fits);
        let order = (&first - &one) * (&second - &one);
        if first == second {
            continue;
        }
        if let Some(private) = public.modinv(&order) {
            return Rsa { modulus: &first * &second, public, private, first, second };
        }
    }
}

/// A key with parameters of its own: 2048 and 256 bits.
pub(super) fn dsa(random: &mut Random) -> Dsa {
    const P_BITS: u64 = 2048;
    const Q_BITS: u64 = 256;
    let one = BigUint::from(1_u8);
    let q = prime(random, Q_BITS, |_| true);
    let step = &q << 1_u8;
    let p = loop {
        let mut start = number(random, P_BITS);
        start.set_bit(P_BITS - 2, true);
        start = &start - (&start % &step) + &one;
        if let Some(found) = search(random, &start, &step, |_| true) {
            break found;
        }
    };
    let exponent = (&p - &one) / &q;
    let generator = (2_u8..=u8::MAX).map(|base| BigUint::from(base).modpow(&exponent, &p)).find(|power| *power != one);
    let g = generator.unwrap_or(one);
    let private = below(random, &q);
    Dsa { public: g.modpow(&private, &p), p, q, g, private }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn primes_are_told_from_products() {
        let mut random = Random::new([1; 32]);
        // 2^127 - 1 and 2^89 - 1 are prime (Mersenne); 561 and 3215031751 deceive weaker tests.
        for (number, expected) in [
            ((BigUint::from(1_u8) << 127) - 1_u8, true),
            ((BigUint::from(1_u8) << 89) - 1_u8, true),
            ((BigUint::from(1_u8) << 101) - 1_u8, false),
            (BigUint::from(561_u32), false),
            (BigUint::from(3_215_031_751_u64), false),
        ] {
            assert_eq!(is_prime(&mut random, &number), expected, "{number}");
        }
    }

    #[test]
    fn an_rsa_key_undoes_what_it_did_and_has_the_size_that_was_asked_for() {
        let key = rsa(&mut Random::new([2; 32]), 1024);
        assert_eq!(key.modulus.bits(), 1024);
        let message = BigUint::from(123_456_789_u32);
        let sealed = message.modpow(&key.public, &key.modulus);
        assert_eq!(sealed.modpow(&key.private, &key.modulus), message);
        assert_eq!(&key.first * &key.second, key.modulus);
    }

    #[test]
    fn the_order_of_a_dsa_generator_is_q() {
        let key = dsa(&mut Random::new([3; 32]));
        let one = BigUint::from(1_u8);
        assert_eq!((key.p.bits(), key.q.bits()), (2048, 256));
        assert_eq!((&key.p - &one) % &key.q, BigUint::ZERO);
        assert!(key.g > one && key.g.modpow(&key.q, &key.p) == one);
    }
}

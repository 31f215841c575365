//! Elliptic curves of NIST (FIPS 186-4, D.1.2), with signatures whose secret number follows from key and message (RFC 6979): the
//! same render gives the same certificate. The time that this takes depends on the key, which is harmless where keys come
//! from a seed or from the values of the chart that is rendered.

use std::sync::OnceLock;

use num_bigint::BigUint;
use ring::{digest, hmac};

/// A curve y² = x³ - 3x + b over a prime field.
pub(super) struct Curve {
    /// Bytes of a coordinate.
    pub(super) size: usize,
    /// Encoded identifier.
    pub(super) identifier: &'static [u8],
    /// The prime of the field.
    prime: BigUint,
    /// How many points there are.
    pub(super) order: BigUint,
    generator: (BigUint, BigUint),
    pub(super) digest: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
    /// Encoded identifier of a signature with this curve and its digest.
    pub(super) signature: &'static [u8],
}

fn parse(digits: &str) -> BigUint {
    BigUint::parse_bytes(digits.as_bytes(), 16).unwrap_or_default()
}

/// P-256 with SHA-256.
pub(super) fn p256() -> &'static Curve {
    static CURVE: OnceLock<Curve> = OnceLock::new();
    CURVE.get_or_init(|| Curve {
        size: 32,
        identifier: &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        prime: parse("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"),
        order: parse("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
        generator: (
            parse("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"),
            parse("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"),
        ),
        digest: &digest::SHA256,
        hmac: hmac::HMAC_SHA256,
        signature: &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
    })
}

/// P-384 with SHA-384.
pub(super) fn p384() -> &'static Curve {
    static CURVE: OnceLock<Curve> = OnceLock::new();
    CURVE.get_or_init(|| Curve {
        size: 48,
        identifier: &[0x2b, 0x81, 0x04, 0x00, 0x22],
        prime: parse(concat!(
            "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe",
            "ffffffff0000000000000000ffffffff",
        )),
        order: parse(concat!(
            "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf",
            "581a0db248b0a77aecec196accc52973",
        )),
        generator: (
            parse(concat!(
                "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a38",
                "5502f25dbf55296c3a545e3872760ab7",
            )),
            parse(concat!(
                "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c0",
                "0a60b1ce1d7e819d7a431d7c90ea0e5f",
            )),
        ),
        digest: &digest::SHA384,
        hmac: hmac::HMAC_SHA384,
        signature: &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03],
    })
}

/// A point in Jacobian coordinates; Z = 0 is the point at infinity.
#[derive(Clone)]
struct Point {
    x: BigUint,
    y: BigUint,
    z: BigUint,
}

// === impl Curve ===

impl Curve {
    fn times(&self, left: &BigUint, right: &BigUint) -> BigUint {
        left * right % &self.prime
    }

    fn minus(&self, left: &BigUint, right: &BigUint) -> BigUint {
        if left >= right { left - right } else { left + &self.prime - right }
    }

    fn infinity() -> Point {
        Point { x: BigUint::from(1_u8), y: BigUint::from(1_u8), z: BigUint::ZERO }
    }

    fn doubled(&self, point: &Point) -> Point {
        let (two, three, four) = (BigUint::from(2_u8), BigUint::from(3_u8), BigUint::from(4_u8));
        if point.z == BigUint::ZERO || point.y == BigUint::ZERO {
            return Self::infinity();
        }
        let z_squared = self.times(&point.z, &point.z);
        // a = -3: 3x² + a·z⁴ = 3(x - z²)(x + z²)
        let slope = self.times(&self.minus(&point.x, &z_squared), &(&point.x + &z_squared));
        let slope = self.times(&three, &slope);
        let y_squared = self.times(&point.y, &point.y);
        let s = self.times(&four, &self.times(&point.x, &y_squared));
        let x = self.minus(&self.times(&slope, &slope), &self.times(&two, &s));
        let eight = self.times(&BigUint::from(8_u8), &self.times(&y_squared, &y_squared));
        let y = self.minus(&self.times(&slope, &self.minus(&s, &x)), &eight);
        let z = self.times(&two, &self.times(&point.y, &point.z));
        Point { x, y, z }
    }

    fn sum(&self, left: &Point, right: &Point) -> Point {
        if left.z == BigUint::ZERO {
            return right.clone();
        }
        if right.z == BigUint::ZERO {
            return left.clone();
        }
        let (z1, z2) = (self.times(&left.z, &left.z), self.times(&right.z, &right.z));
        let (u1, u2) = (self.times(&left.x, &z2), self.times(&right.x, &z1));
        let s1 = self.times(&left.y, &self.times(&z2, &right.z));
        let s2 = self.times(&right.y, &self.times(&z1, &left.z));
        if u1 == u2 {
            return if s1 == s2 { self.doubled(left) } else { Self::infinity() };
        }
        let (h, r) = (self.minus(&u2, &u1), self.minus(&s2, &s1));
        let h_squared = self.times(&h, &h);
        let h_cubed = self.times(&h, &h_squared);
        let v = self.times(&u1, &h_squared);
        let x = self.minus(&self.times(&r, &r), &h_cubed);
        let x = self.minus(&x, &self.times(&BigUint::from(2_u8), &v));
        let y = self.minus(&self.times(&r, &self.minus(&v, &x)), &self.times(&s1, &h_cubed));
        let z = self.times(&h, &self.times(&left.z, &right.z));
        Point { x, y, z }
    }

    /// A multiple of the generator, as its two coordinates; `None` for the point at infinity.
    fn multiple(&self, factor: &BigUint) -> Option<(BigUint, BigUint)> {
        let generator = Point { x: self.generator.0.clone(), y: self.generator.1.clone(), z: BigUint::from(1_u8) };
        let mut point = Self::infinity();
        for bit in (0..factor.bits()).rev() {
            point = self.doubled(&point);
            if factor.bit(bit) {
                point = self.sum(&point, &generator);
            }
        }
        let inverse = point.z.modinv(&self.prime)?;
        let squared = self.times(&inverse, &inverse);
        Some((self.times(&point.x, &squared), self.times(&point.y, &self.times(&squared, &inverse))))
    }

    /// A number in as many bytes as a coordinate has.
    pub(super) fn bytes(&self, number: &BigUint) -> Vec<u8> {
        let digits = number.to_bytes_be();
        let mut out = vec![0; self.size.saturating_sub(digits.len())];
        out.extend_from_slice(&digits);
        out
    }

    /// The public key of a private one, not compressed; `None` when the private key is not from 1 to the order.
    pub(super) fn public(&self, private: &BigUint) -> Option<Vec<u8>> {
        if *private >= self.order {
            return None;
        }
        let (x, y) = self.multiple(private)?;
        Some([&[4], self.bytes(&x).as_slice(), &self.bytes(&y)].concat())
    }

    /// Signs a message: the numbers r and s.
    pub(super) fn sign(&self, private: &BigUint, message: &[u8]) -> Option<(BigUint, BigUint)> {
        let hashed = digest::digest(self.digest, message);
        // Digest and order have the same number of bits.
        let z = BigUint::from_bytes_be(hashed.as_ref()) % &self.order;
        let mut secrets = Secrets::new(self, private, &z);
        // The probability that one does not do is about 2^-256.
        (0..8).find_map(|_| {
            let secret = secrets.next(self);
            let r = self.multiple(&secret)?.0 % &self.order;
            let s = secret.modinv(&self.order)? * (&z + &r * private) % &self.order;
            (r != BigUint::ZERO && s != BigUint::ZERO).then_some((r, s))
        })
    }
}

/// The secret numbers of signatures: RFC 6979, section 3.2.
struct Secrets {
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Secrets {
    fn new(curve: &Curve, private: &BigUint, z: &BigUint) -> Self {
        let mut secrets = Self { key: vec![0; curve.size], value: vec![1; curve.size] };
        for round in [0, 1] {
            let message = [secrets.value.as_slice(), &[round], &curve.bytes(private), &curve.bytes(z)].concat();
            secrets.turn(curve, &message);
        }
        secrets
    }

    fn mac(&self, curve: &Curve, message: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(curve.hmac, &self.key), message).as_ref().to_vec()
    }

    fn turn(&mut self, curve: &Curve, message: &[u8]) {
        self.key = self.mac(curve, message);
        self.value = self.mac(curve, &self.value);
    }

    fn next(&mut self, curve: &Curve) -> BigUint {
        loop {
            self.value = self.mac(curve, &self.value);
            let found = BigUint::from_bytes_be(&self.value);
            let is_fit = found != BigUint::ZERO && found < curve.order;
            if is_fit {
                return found;
            }
            let message = [self.value.as_slice(), &[0]].concat();
            self.turn(curve, &message);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use ring::{
        rand::SystemRandom,
        signature::{self, EcdsaKeyPair, UnparsedPublicKey},
    };

    use super::*;

    #[test]
    fn signatures_are_those_of_the_appendix_of_rfc_6979() {
        let curve = p256();
        let private = parse("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
        let public = curve.public(&private).unwrap();
        assert!(public.starts_with(&[4, 0x60, 0xfe, 0xd4, 0xba, 0x25, 0x5a, 0x9d]));
        let (r, s) = curve.sign(&private, b"sample").unwrap();
        assert_eq!(r, parse("efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"));
        assert_eq!(s, parse("f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"));
    }

    #[test]
    fn another_implementation_accepts_keys_and_signatures() {
        for (curve, signing, verifying) in [
            (p256(), &signature::ECDSA_P256_SHA256_FIXED_SIGNING, &signature::ECDSA_P256_SHA256_FIXED),
            (p384(), &signature::ECDSA_P384_SHA384_FIXED_SIGNING, &signature::ECDSA_P384_SHA384_FIXED),
        ] {
            for private in [BigUint::from(1_u8), BigUint::from(987_654_321_u64) << 130, &curve.order - 1_u8] {
                let public = curve.public(&private).unwrap();
                EcdsaKeyPair::from_private_key_and_public_key(
                    signing,
                    &curve.bytes(&private),
                    &public,
                    &SystemRandom::new(),
                )
                .unwrap();
                let (r, s) = curve.sign(&private, b"message").unwrap();
                let signed = [curve.bytes(&r), curve.bytes(&s)].concat();
                UnparsedPublicKey::new(verifying, &public).verify(b"message", &signed).unwrap();
            }
        }
    }

    #[test]
    fn zero_and_numbers_beyond_the_order_are_no_private_keys() {
        for curve in [p256(), p384()] {
            assert!(curve.public(&BigUint::ZERO).is_none());
            assert!(curve.public(&curve.order).is_none());
        }
    }
}

//! SCRAM (RFC 5802, RFC 7677): the password is proved, and not sent.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{digest, hmac, pbkdf2, rand::SecureRandom as _};

/// Kafka's own least, and more than any broker asks for.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=16_777_216;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

pub(super) struct Scram {
    hash: Hash,
    /// Without the part about channel binding, of which there is none.
    first_bare: String,
    nonce: String,
}

/// The answer to the server's challenge.
pub(super) struct Proven {
    pub(super) message: String,
    /// Only who knows the password's hash can sign like that.
    server_key: hmac::Key,
    signed: String,
}

impl Hash {
    fn key(self, key: &[u8]) -> hmac::Key {
        let algorithm = match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::Key::new(algorithm, key)
    }

    fn hmac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        hmac::sign(&self.key(key), text).as_ref().to_vec()
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }

    fn salted(self, password: &str, salt: &[u8], iterations: std::num::NonZeroU32) -> Vec<u8> {
        let (algorithm, length) = match self {
            Self::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
            Self::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, digest::SHA512_OUTPUT_LEN),
        };
        let mut salted = vec![0; length];
        pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut salted);
        salted
    }
}

impl Scram {
    /// A text that nobody can guess.
    pub(super) fn nonce() -> Result<String, &'static str> {
        let mut bytes = [0; 24];
        let filled = ring::rand::SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| "the system has no random numbers")?;
        Ok(STANDARD.encode(bytes))
    }

    pub(super) fn new(hash: Hash, user: &str, nonce: &str) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { hash, first_bare: format!("n={user},r={nonce}"), nonce: nonce.to_owned() }
    }

    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    pub(super) fn prove(&self, password: &str, challenge: &[u8]) -> Result<Proven, &'static str> {
        let challenge =
            str::from_utf8(challenge).map_err(|_| "a SCRAM challenge that is no text")?;
        let field = |name: &str| challenge.split(',').find_map(|field| field.strip_prefix(name));
        let nonce = field("r=").filter(|nonce| nonce.starts_with(&self.nonce));
        let nonce = nonce.ok_or("a SCRAM challenge for somebody else")?;
        let salt = field("s=").and_then(|salt| STANDARD.decode(salt).ok());
        let salt = salt.ok_or("a SCRAM challenge without a salt")?;
        let iterations = field("i=").and_then(|count| count.parse::<std::num::NonZeroU32>().ok());
        let iterations = iterations
            .filter(|count| ITERATIONS.contains(&count.get()))
            .ok_or("a SCRAM challenge with an impossible number of iterations")?;
        let salted = self.hash.salted(password, &salt, iterations);
        let client_key = self.hash.hmac(&salted, b"Client Key");
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{challenge},{without_proof}", self.first_bare);
        let signature = self.hash.hmac(&self.hash.digest(&client_key), signed.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let server_key = self.hash.hmac(&salted, b"Server Key");
        Ok(Proven {
            message: format!("{without_proof},p={}", STANDARD.encode(proof)),
            server_key: self.hash.key(&server_key),
            signed,
        })
    }
}

impl Proven {
    /// The server must know the password, too.
    pub(super) fn check(&self, answer: &[u8]) -> Result<(), &'static str> {
        let answer = str::from_utf8(answer).ok().and_then(|text| text.strip_prefix("v="));
        let signature = answer.and_then(|text| STANDARD.decode(text.trim_end()).ok());
        let signature = signature.ok_or("a SCRAM answer without a signature")?;
        hmac::verify(&self.server_key, self.signed.as_bytes(), &signature)
            .map_err(|_| "the broker does not know the password: it is not the one it says")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677.
    #[test]
    fn the_exchange_is_that_of_the_standard() {
        let scram = Scram::new(Hash::Sha256, "user", "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                         s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proven = scram.prove("pencil", challenge.as_bytes()).unwrap();
        assert_eq!(
            proven.message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(proven.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
        assert!(proven.check(b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_err());
        assert!(proven.check(b"e=other-error").is_err());
    }

    #[test]
    fn a_challenge_that_is_none_is_named() {
        let scram = Scram::new(Hash::Sha512, "a=b,c", "abc");
        assert_eq!(scram.first(), "n,,n=a=3Db=2Cc,r=abc");
        let refused = |challenge: &str| scram.prove("p", challenge.as_bytes()).err().unwrap();
        assert!(refused("r=abd,s=AAAA,i=4096").contains("somebody else"));
        assert!(refused("r=abc1,s=!,i=4096").contains("salt"));
        assert!(refused("r=abc1,s=AAAA,i=1").contains("iterations"));
        assert!(scram.prove("p", b"r=abc1,s=AAAA,i=4096").is_ok());
    }
}

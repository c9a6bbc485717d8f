//! The encryption of cosign's private keys: scrypt and NaCl's secretbox in a JSON object, as
//! go-securesystemslib's package `encrypted` defines it.

use base64::{Engine, engine::general_purpose::STANDARD};
use crypto_secretbox::{KeyInit, Nonce, XSalsa20Poly1305, aead::Aead};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{KeyError, clip};

pub(super) const SALT_BYTES: usize = 32;
pub(super) const NONCE_BYTES: usize = 24;

const KDF: &str = "scrypt";
const CIPHER: &str = "nacl/secretbox";

/// log2 of N in new keys: go-securesystemslib's `Standard`, which cosign writes (64 MiB, 0.1 s).
const LOG_N: u8 = 16;
/// What may be read: `Legacy`, `Standard` and `OWASP`, no others. The largest takes 128 MiB, so a
/// hostile key file cannot exhaust memory or time. cosign has the same list.
const ACCEPTED_LOG_N: std::ops::RangeInclusive<u8> = 15..=17;
const R: u32 = 8;
const P: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    #[serde(rename = "N")]
    n: u64,
    r: u64,
    p: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Encrypts `plaintext`. Salt and nonce must be fresh random bytes for every call.
pub(super) fn seal(
    plaintext: &[u8],
    password: &[u8],
    salt: &[u8; SALT_BYTES],
    nonce: &[u8; NONCE_BYTES],
) -> Result<Vec<u8>, KeyError> {
    let ciphertext = secretbox(password, salt, LOG_N)?
        .encrypt(Nonce::from_slice(nonce), plaintext)
        .map_err(|_| KeyError::BadEncryption("cannot encrypt".into()))?;
    let sealed = Sealed {
        kdf: Kdf {
            name: KDF.into(),
            params: Params {
                n: 1 << LOG_N,
                r: R.into(),
                p: P.into(),
            },
            salt: STANDARD.encode(salt),
        },
        cipher: Cipher {
            name: CIPHER.into(),
            nonce: STANDARD.encode(nonce),
        },
        ciphertext: STANDARD.encode(ciphertext),
    };
    serde_json::to_vec(&sealed).map_err(|error| KeyError::BadEncryption(error.to_string()))
}

/// Decrypts what [`seal`] or cosign wrote.
pub(super) fn open(sealed: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    // Line and column only: serde's message could quote the content.
    let sealed: Sealed = serde_json::from_slice(sealed).map_err(|error| {
        KeyError::BadEncryption(format!(
            "unexpected JSON at line {} column {}",
            error.line(),
            error.column()
        ))
    })?;
    if sealed.kdf.name != KDF {
        return Err(unknown("key derivation", &sealed.kdf.name));
    }
    if sealed.cipher.name != CIPHER {
        return Err(unknown("cipher", &sealed.cipher.name));
    }
    let log_n = accepted_log_n(&sealed.kdf.params)?;
    let salt = decode(&sealed.kdf.salt, "salt")?;
    let nonce = decode(&sealed.cipher.nonce, "nonce")?;
    let ciphertext = decode(&sealed.ciphertext, "ciphertext")?;
    if nonce.len() != NONCE_BYTES {
        return Err(KeyError::BadEncryption(format!(
            "a nonce of {} bytes, expected {NONCE_BYTES}",
            nonce.len()
        )));
    }
    secretbox(password, &salt, log_n)?
        .decrypt(Nonce::from_slice(&nonce), ciphertext.as_slice())
        .map(Zeroizing::new)
        .map_err(|_| KeyError::WrongPassword)
}

fn accepted_log_n(params: &Params) -> Result<u8, KeyError> {
    ACCEPTED_LOG_N
        .into_iter()
        .find(|log_n| params.n == 1 << log_n)
        .filter(|_| params.r == u64::from(R) && params.p == u64::from(P))
        .ok_or(KeyError::ScryptParameters {
            n: params.n,
            r: params.r,
            p: params.p,
        })
}

fn secretbox(password: &[u8], salt: &[u8], log_n: u8) -> Result<XSalsa20Poly1305, KeyError> {
    let unusable = || KeyError::BadEncryption("unusable scrypt parameters".into());
    let params = scrypt::Params::new(log_n, R, P).map_err(|_| unusable())?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(password, salt, &params, key.as_mut_slice()).map_err(|_| unusable())?;
    XSalsa20Poly1305::new_from_slice(key.as_slice()).map_err(|_| unusable())
}

fn decode(text: &str, what: &str) -> Result<Vec<u8>, KeyError> {
    STANDARD
        .decode(text)
        .map_err(|_| KeyError::BadEncryption(format!("the {what} is not base64")))
}

fn unknown(what: &str, name: &str) -> KeyError {
    KeyError::BadEncryption(format!("unknown {what} `{}`", clip(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An object as in a key file, with a ciphertext that no password opens.
    fn object(n: &str, r: &str, nonce: &str) -> String {
        format!(r#"{{"kdf":{{"name":"scrypt","params":{{"N":{n},"r":{r},"p":1}},"salt":"AAAA"}},"#,)
            + &format!(
                r#""cipher":{{"name":"nacl/secretbox","nonce":"{nonce}"}},"ciphertext":"AAAA"}}"#
            )
    }

    const NONCE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn the_layout_is_that_of_cosign() {
        let sealed = seal(b"secret", b"pw", &[1; SALT_BYTES], &[2; NONCE_BYTES]).unwrap();
        let json = String::from_utf8(sealed.clone()).unwrap();
        let start = format!(
            r#"{{"kdf":{{"name":"scrypt","params":{{"N":65536,"r":8,"p":1}},"salt":"{}"}},"#,
            STANDARD.encode([1; 32])
        ) + &format!(
            r#""cipher":{{"name":"nacl/secretbox","nonce":"{}"}},"ciphertext":""#,
            STANDARD.encode([2; 24])
        );
        assert!(json.starts_with(&start), "{json}");
        assert_eq!(open(&sealed, b"pw").unwrap().as_slice(), b"secret");
        assert!(matches!(open(&sealed, b"Pw"), Err(KeyError::WrongPassword)));
    }

    #[test]
    fn costly_parameters_are_refused_before_they_cost() {
        for (n, r) in [
            ("1073741824", "8"),
            ("18446744073709551615", "8"),
            ("65536", "1048576"),
            ("65537", "8"),
            ("1", "8"),
            ("0", "0"),
            ("262144", "8"),
        ] {
            let result = open(object(n, r, NONCE).as_bytes(), b"");
            assert!(
                matches!(result, Err(KeyError::ScryptParameters { .. })),
                "N={n} r={r}"
            );
        }
    }

    #[test]
    fn what_is_not_the_format_is_refused() {
        let good = object("32768", "8", NONCE);
        assert!(matches!(
            open(good.as_bytes(), b""),
            Err(KeyError::WrongPassword)
        ));
        for bad in [
            String::new(),
            "null".to_owned(),
            "[]".to_owned(),
            good.replace("\"scrypt\"", "\"pbkdf2\""),
            good.replace("nacl/secretbox", "aes"),
            good.replace("32768", "-1"),
            good.replace("32768", "1e99"),
            good.replace("\"p\":1", "\"p\":1,\"q\":1"),
            good.replace(NONCE, "AAAA"),
            good.replace(NONCE, "%"),
            good.replace("\"ciphertext\":\"AAAA\"", "\"ciphertext\":null"),
            format!("{good}x"),
        ] {
            let result = open(bad.as_bytes(), b"");
            assert!(matches!(result, Err(KeyError::BadEncryption(_))), "{bad}");
        }
    }
}

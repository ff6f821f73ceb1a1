//! A token issuer for one machine: its key, its JWKS document, and the tokens that it signs.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// An RSA key that signs tokens.
#[derive(Debug)]
pub struct Issuer {
    key: KeyPair,
    kid: String,
}

/// The subject of a token.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A user with this role in the account of an installation.
    User {
        /// `user_role`.
        role: String,
    },
    /// The subject is Vercel itself, not a user.
    System,
}

/// The claims of a token.
#[derive(Clone, Debug)]
pub struct Token {
    /// `iss`.
    pub issuer: String,
    /// `aud`.
    pub audience: String,
    /// `account_id`.
    pub account: String,
    /// `installation_id`. `None` is sent as null, which only a system token may have.
    pub installation: Option<String>,
    /// The subject.
    pub subject: Subject,
    /// How long the token is valid.
    pub expires: Duration,
}

impl Token {
    /// The token's claims, issued now.
    #[must_use]
    pub fn claims(&self) -> Value {
        self.claims_at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// The token's claims, issued at the time `now`, which counts from the Unix epoch.
    #[must_use]
    pub fn claims_at(&self, now: Duration) -> Value {
        let now = now.as_secs();
        let mut claims = json!({
            "iss": self.issuer,
            "aud": self.audience,
            "account_id": self.account,
            "sub": "account:5e1f",
            "installation_id": self.installation,
            "iat": now,
            "nbf": now,
            "exp": now.saturating_add(self.expires.as_secs()),
        });
        if let Subject::User { role } = &self.subject {
            claims["sub"] = json!("account:5e1f:user:c0de");
            claims["user_id"] = json!("user_local");
            claims["user_role"] = json!(role);
        }
        claims
    }
}

impl Issuer {
    /// Makes an issuer with a new key.
    ///
    /// # Errors
    ///
    /// If the operating system gives no random bytes.
    pub fn generate() -> anyhow::Result<Self> {
        let key = KeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("no key was made"))?;
        Ok(Self::with_key(key))
    }

    /// The issuer whose key is in a file. If the file does not exist, this function writes the file, with a
    /// new key. Only the file's owner can read it. No process sees an incomplete file, even if two processes
    /// write it at the same time.
    ///
    /// # Errors
    ///
    /// If the file cannot be written, or holds no key.
    pub fn in_file(path: &Path) -> anyhow::Result<Self> {
        if !path.exists() {
            Self::generate()?.save(path).with_context(|| format!("{}", path.display()))?;
        }
        let pkcs8 = fs::read(path).with_context(|| format!("{}", path.display()))?;
        let key = KeyPair::from_pkcs8(&pkcs8)
            .map_err(|_| anyhow!("{} holds no key; delete it", path.display()))?;
        Ok(Self::with_key(key))
    }

    fn save(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let pkcs8: Pkcs8V1Der<'_> =
            self.key.as_der().map_err(|_| io::Error::other("the key cannot be written"))?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let draft = path.with_extension(format!("{}.draft", std::process::id()));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(pkcs8.as_ref())?;
        file.sync_all()?;
        // The key of the first process that links its draft counts. All other processes use this key.
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => fs::remove_file(&draft),
        }
    }

    fn with_key(key: KeyPair) -> Self {
        let n = URL_SAFE_NO_PAD.encode(modulus(&key));
        Self { key, kid: format!("local-{}", &n[..8]) }
    }

    /// The key's id.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public key.
    #[must_use]
    pub fn jwk(&self) -> Value {
        json!({
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.kid,
            "n": URL_SAFE_NO_PAD.encode(modulus(&self.key)),
            "e": URL_SAFE_NO_PAD.encode(
                self.key.public_key().exponent().big_endian_without_leading_zero()
            ),
        })
    }

    /// The public key, as the text of a PEM file.
    ///
    /// # Panics
    ///
    /// Never: an RSA key can be encoded.
    #[must_use]
    pub fn public_key_pem(&self) -> String {
        let der: PublicKeyX509Der<'_> =
            self.key.public_key().as_der().expect("an RSA key can be written down");
        let text = STANDARD.encode(der.as_ref());
        let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
        let lines = lines.map(|line| line.into_owned() + "\n").collect::<String>();
        format!("-----BEGIN PUBLIC KEY-----\n{lines}-----END PUBLIC KEY-----\n")
    }

    /// The JWKS document.
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk()] })
    }

    /// Signs claims.
    ///
    /// # Panics
    ///
    /// If the operating system gives no random bytes.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with_header(&json!({ "alg": "RS256", "typ": "JWT", "kid": self.kid }), claims)
    }

    /// Signs claims, with any header.
    ///
    /// # Panics
    ///
    /// If the operating system gives no random bytes.
    #[must_use]
    pub fn sign_with_header(&self, header: &Value, claims: &Value) -> String {
        self.sign_bytes(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    /// Signs any bytes as the header and the payload. The header and the payload need not be JSON.
    ///
    /// # Panics
    ///
    /// If the operating system gives no random bytes.
    #[must_use]
    pub fn sign_bytes(&self, header: &[u8], payload: &[u8]) -> String {
        let encode = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        let message = format!("{}.{}", encode(header), encode(payload));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .expect("an RSA key signs any message");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn modulus(key: &KeyPair) -> Vec<u8> {
    key.public_key().modulus().big_endian_without_leading_zero().to_vec()
}

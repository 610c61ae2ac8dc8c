//! How the connection to a broker is protected, and who asks.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::scram::{Hash, Scram};
use crate::config::KafkaSource as Config;

/// As the client's properties want it.
#[derive(Clone, Debug, Default)]
pub(super) struct Security {
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) login: Option<Login>,
}

#[derive(Clone)]
pub(super) struct Login {
    mechanism: Mechanism,
    user: String,
    password: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mechanism {
    Plain,
    Scram(Hash),
}

const MECHANISMS: [(&str, Mechanism); 3] = [
    ("PLAIN", Mechanism::Plain),
    ("SCRAM-SHA-256", Mechanism::Scram(Hash::Sha256)),
    ("SCRAM-SHA-512", Mechanism::Scram(Hash::Sha512)),
];

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({:?})", self.mechanism)
    }
}

impl Security {
    /// The properties that it reads.
    pub(super) const PROPERTIES: [&str; 11] = [
        "security.protocol",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.username",
        "sasl.password",
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.certificate.pem",
        "ssl.key.location",
        "ssl.key.pem",
    ];

    /// `None` where the properties ask for what only librdkafka can, or are wrong: that says why.
    pub(super) fn of(config: &Config) -> Option<Self> {
        let get = |name: &str| config.properties.get(name).map(|value| value.expose().to_owned());
        let protocol =
            get("security.protocol").map_or_else(|| "plaintext".to_owned(), |p| p.to_lowercase());
        let (is_tls, is_sasl) = match protocol.as_str() {
            "plaintext" => (false, false),
            "ssl" => (true, false),
            "sasl_plaintext" => (false, true),
            "sasl_ssl" => (true, true),
            _ => return None,
        };
        let login = if is_sasl {
            let mechanism = get("sasl.mechanism").or_else(|| get("sasl.mechanisms"))?;
            let (_, mechanism) = MECHANISMS.into_iter().find(|(name, _)| *name == mechanism)?;
            let (user, password) = (get("sasl.username")?, get("sasl.password")?);
            Some(Login { mechanism, user, password })
        } else {
            None
        };
        let tls = if is_tls { Some(Arc::new(tls(&get)?)) } else { None };
        Some(Self { tls, login })
    }
}

/// PEM from a file, or from the property itself.
fn pem(get: &impl Fn(&str) -> Option<String>, file: &str, text: &str) -> Option<Option<Vec<u8>>> {
    match (get(file), get(text)) {
        (Some(path), None) => std::fs::read(Path::new(&path)).ok().map(Some),
        (None, Some(text)) => Some(Some(text.into_bytes())),
        (None, None) => Some(None),
        (Some(_), Some(_)) => None,
    }
}

fn tls(get: &impl Fn(&str) -> Option<String>) -> Option<ClientConfig> {
    // Without them, OpenSSL knows where the system's are.
    let authorities = pem(get, "ssl.ca.location", "ssl.ca.pem")??;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&authorities) {
        roots.add(certificate.ok()?).ok()?;
    }
    if roots.is_empty() {
        return None;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots);
    let certificate = pem(get, "ssl.certificate.location", "ssl.certificate.pem")?;
    let key = pem(get, "ssl.key.location", "ssl.key.pem")?;
    match (certificate, key) {
        (None, None) => Some(builder.with_no_client_auth()),
        (Some(certificate), Some(key)) => {
            let chain =
                CertificateDer::pem_slice_iter(&certificate).collect::<Result<_, _>>().ok()?;
            let key = PrivateKeyDer::from_pem_slice(&key).ok()?;
            builder.with_client_auth_cert(chain, key).ok()
        }
        _ => None,
    }
}

impl Login {
    pub(super) fn mechanism(&self) -> &'static str {
        let named = MECHANISMS.into_iter().find(|(_, mechanism)| *mechanism == self.mechanism);
        named.map_or("", |(name, _)| name)
    }

    /// Goes through the exchange: `ask` sends bytes and gives the answer. An error says what is wrong.
    pub(super) fn run<E: From<&'static str>>(
        &self,
        mut ask: impl FnMut(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        match self.mechanism {
            Mechanism::Plain => {
                let text = format!("\0{}\0{}", self.user, self.password);
                ask(text.as_bytes()).map(drop)
            }
            Mechanism::Scram(hash) => {
                let scram = Scram::new(hash, &self.user, &Scram::nonce()?);
                let answer = ask(scram.first().as_bytes())?;
                let proven = scram.prove(&self.password, &answer)?;
                let answer = ask(proven.message.as_bytes())?;
                Ok(proven.check(&answer)?)
            }
        }
    }
}

//! The requests: `GET /schemas/ids/{id}` and, for what a schema refers to,
//! `GET /subjects/{subject}/versions/{version}`.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use ureq::{
    Agent,
    tls::{Certificate, PemItem, RootCerts, TlsConfig},
};

use super::{Reference, Schema};
use crate::config::{Login, RegistrySettings};

/// For one request, from connecting to the last byte.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const CONNECT_MAX: Duration = Duration::from_secs(2);
const MAX_ANSWER_BYTES: u64 = 16 << 20;
/// Schemas that one may refer to, directly or not.
const MAX_REFERENCES: usize = 256;

/// Why there is no schema.
pub(super) enum Fault {
    /// The registry has none with this number.
    Unknown(String),
    /// It does not answer, or not as it should.
    Away(String),
}

pub(super) struct Client {
    agent: Agent,
    url: String,
    authorization: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    schema: String,
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    /// Some registries have null for none.
    references: Option<Vec<Name>>,
}

#[derive(Deserialize)]
struct Name {
    name: String,
    subject: String,
    version: i64,
}

#[derive(Deserialize)]
struct Refusal {
    error_code: Option<i64>,
    message: Option<String>,
}

impl Client {
    pub(super) fn new(settings: &RegistrySettings) -> Result<Self, Fault> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_global(Some(ANSWER_MAX));
        if let Some(path) = &settings.ca_file {
            let failed = |why: String| Fault::Away(format!("ca_file {}: {why}", path.display()));
            let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
            let certificates: Vec<Certificate<'static>> = ureq::tls::parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
                    Ok(_) => None,
                    Err(error) => Some(Err(failed(error.to_string()))),
                })
                .collect::<Result<_, _>>()?;
            config = config.tls_config(
                TlsConfig::builder()
                    .unversioned_rustls_crypto_provider(Arc::new(
                        rustls::crypto::ring::default_provider(),
                    ))
                    .root_certs(RootCerts::Specific(Arc::new(certificates)))
                    .build(),
            );
        }
        let authorization = settings.login.as_ref().map(|login| match login {
            Login::Basic { user, password } => {
                let login = format!("{user}:{}", password.expose());
                format!("Basic {}", base64(login.as_bytes()))
            }
            Login::Bearer(token) => format!("Bearer {}", token.expose()),
        });
        Ok(Self { agent: config.build().into(), url: settings.url.clone(), authorization })
    }

    pub(super) fn schema(&self, id: u32) -> Result<Schema, Fault> {
        let answer = self.get(&format!("/schemas/ids/{id}"))?;
        let mut references = Vec::new();
        let mut known = Vec::new();
        self.collect(answer.references.unwrap_or_default(), &mut known, &mut references)?;
        let kind = answer.kind.unwrap_or_else(|| "AVRO".to_owned());
        Ok(Schema { kind, text: answer.schema, references })
    }

    /// Collects what is referred to, what it refers to itself before it, and each once.
    fn collect(
        &self,
        names: Vec<Name>,
        known: &mut Vec<(String, i64)>,
        references: &mut Vec<Reference>,
    ) -> Result<(), Fault> {
        for Name { name, subject, version } in names {
            let key = (subject, version);
            // Also what is being collected: a circle ends here, and is for the parser to judge.
            if known.contains(&key) {
                continue;
            }
            if known.len() == MAX_REFERENCES {
                let message = format!("the schema refers to more than {MAX_REFERENCES} others");
                return Err(Fault::Unknown(message));
            }
            let path = format!("/subjects/{}/versions/{version}", encoded(&key.0));
            known.push(key);
            let answer = self.get(&path)?;
            self.collect(answer.references.unwrap_or_default(), known, references)?;
            references.push(Reference { name, text: answer.schema });
        }
        Ok(())
    }

    fn get(&self, path: &str) -> Result<Answer, Fault> {
        let url = format!("{}{path}", self.url);
        let mut request = self
            .agent
            .get(&url)
            .header("Accept", "application/vnd.schemaregistry.v1+json, application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let away = |error: ureq::Error| Fault::Away(format!("{url}: {error}"));
        let mut response = request.call().map_err(away)?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        let body = body.map_err(away)?;
        if status == 200 {
            return serde_json::from_slice(&body).map_err(|error| {
                Fault::Away(format!("{url}: not an answer of a registry: {error}"))
            });
        }
        let refusal =
            serde_json::from_slice(&body).unwrap_or(Refusal { error_code: None, message: None });
        let message = refusal.message.unwrap_or_default();
        match (status, refusal.error_code) {
            // Subject, version or schema not found. A 404 without a code is some other server's.
            (404, Some(40_401..=40_403)) => Err(Fault::Unknown(message)),
            (404, _) => {
                Err(Fault::Away(format!("{url}: HTTP 404; is this the URL of a registry?")))
            }
            (401 | 403, _) => Err(Fault::Away(format!(
                "{url}: HTTP {status}: the login is missing, wrong or not allowed this"
            ))),
            _ => Err(Fault::Away(format!("{url}: HTTP {status} {message}"))),
        }
    }
}

/// A segment of a path.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * place) & 63) as usize).copied();
            let is_there = place <= chunk.len();
            out.push(char::from(digit.filter(|_| is_there).unwrap_or(b'=')));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_in_base64() {
        for (text, expected) in [("", ""), ("a", "YQ=="), ("ab", "YWI="), ("a:b", "YTpi")] {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }

    #[test]
    fn a_subject_may_have_any_name() {
        assert_eq!(encoded("orders-value"), "orders-value");
        assert_eq!(encoded("com.shop/ä b"), "com.shop%2F%C3%A4%20b");
    }
}

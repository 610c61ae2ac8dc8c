//! Connections: the pool, the session's settings, and how long each step may take.

use std::{path::Path, sync::Arc, time::Duration};

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio_postgres::config::{SslMode, TargetSessionAttrs};

use super::sqlstate::{Fault, PgError};
use crate::{error::Error, shutdown::Shutdown};

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a question to the catalog or the checkpoints may take; a lock is waited for 5 s.
const ASK_MAX: Duration = Duration::from_secs(10);

/// How often somebody who waits for an answer looks whether it is still wanted.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

const CHECKOUT_MAX: Duration = Duration::from_secs(20);

/// Settings of each session. The server's own bounds come second to the client's deadlines:
/// statement_timeout does not end a COPY that waits for data from the client. The search path is
/// fixed: with the default, "$user", public, the schema that tidegate makes would catch the tables of
/// a role of the same name. The isolation is fixed, as what a statement has waited for must show in the
/// next one, whatever the database's default is.
const SESSION: &str = "SET application_name = 'tidegate'; SET lock_timeout = '5s'; \
     SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '30s'; \
     SET search_path = public; SET default_transaction_isolation = 'read committed'; SET client_min_messages = 'warning'; SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'";

/// Connections beside those of the writers: for claims, audit, catalog and rollups.
pub const POOL_EXTRA: usize = 4;

/// Builds the pool of one sink: a connection for each writer and some more.
///
/// # Errors
/// When the URL or the CA file cannot be used.
pub fn pool(url: &str, ca_file: Option<&Path>, writers: usize) -> Result<Pool, Error> {
    // The parser's message repeats parts of the URL, which holds the password.
    let mut config: tokio_postgres::Config = url.parse().map_err(|_| {
        Error::config("the sink's url is not a postgres:// URL (not shown: it may hold a password)")
    })?;
    config.connect_timeout(CONNECT_MAX);
    config.keepalives_idle(Duration::from_secs(10));
    config.keepalives_interval(Duration::from_secs(5));
    config.keepalives_retries(3);
    // No tcp_user_timeout: it also counts the time in which a living server does not read, because a
    // trigger is slow, say. Each transaction has a deadline of its own.
    // A standby, or a primary that was demoted, is no place to write to.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = match (ca_file, config.get_ssl_mode()) {
        (Some(ca_file), SslMode::Prefer | SslMode::Require) => {
            config.ssl_mode(SslMode::Require);
            Manager::from_config(config, tls(ca_file)?, manager_config)
        }
        (None, SslMode::Require) => {
            return Err(Error::config(
                "sslmode=require needs the sink's ca_file: a certificate that nobody checks \
                 protects from nobody",
            ));
        }
        _ => {
            config.ssl_mode(SslMode::Disable);
            Manager::from_config(config, tokio_postgres::NoTls, manager_config)
        }
    };
    Pool::builder(manager)
        .max_size(writers + POOL_EXTRA)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(CONNECT_MAX))
        .create_timeout(Some(CONNECT_MAX * 2))
        .recycle_timeout(Some(CONNECT_MAX))
        .post_create(Hook::async_fn(|client, _| {
            Box::pin(async move { client.batch_execute(SESSION).await.map_err(HookError::Backend) })
        }))
        .build()
        .map_err(|error| Error::config(format!("cannot make the connection pool: {error}")))
}

fn tls(ca_file: &Path) -> Result<tokio_postgres_rustls::MakeRustlsConnect, Error> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::config(format!("cannot read the certificates in {}: {error}", ca_file.display()))
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).map_err(|e| failed(&e))? {
        roots.add(certificate.map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;
    }
    if roots.is_empty() {
        return Err(failed(&"no certificate in it"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(&e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(tokio_postgres_rustls::MakeRustlsConnect::new(config))
}

/// A connection of the pool.
///
/// # Errors
/// When there is none in time, or the server refuses.
pub async fn checkout(pool: &Pool) -> Result<Object, PgError> {
    // The pool's own bounds leave out the hook that sets up a new session.
    let connection = tokio::time::timeout(CHECKOUT_MAX, pool.get());
    let Ok(connection) = connection.await else {
        return Err(PgError::outage("connect", "no connection within the deadline"));
    };
    connection.map_err(|error| match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
            let mut error = PgError::from_driver(&error);
            // A failed log-in that is not about the credentials (too many connections, starting
            // up) is an outage; a database that is not there is a wrong configuration.
            if error.fault == Fault::Row {
                error.fault = Fault::Outage;
            }
            error
        }
        PoolError::Timeout(_) => PgError::outage("connect", "no connection within the deadline"),
        other => PgError::outage("io", other.to_string()),
    })
}

/// Asks on a connection of the pool, and ends it if it does not answer in time: a server that is
/// frozen keeps its connections open and says nothing. Nobody waits for an answer any more once the end
/// was asked for.
///
/// # Errors
/// What the question makes of the server's answer, or its silence.
pub async fn ask<T>(
    pool: &Pool,
    shutdown: &Shutdown,
    question: impl AsyncFnOnce(&mut Object) -> Result<T, PgError>,
) -> Result<T, PgError> {
    ask_while(pool, &mut || !shutdown.is_requested(), ASK_MAX, question).await
}

/// As `ask`, for an answer that may take up to `most`, while `go_on` says that it is still wanted.
///
/// # Errors
/// As for `ask`.
pub async fn ask_while<T>(
    pool: &Pool,
    go_on: &mut dyn FnMut() -> bool,
    most: Duration,
    question: impl AsyncFnOnce(&mut Object) -> Result<T, PgError>,
) -> Result<T, PgError> {
    let mut connection = unless_stopped(go_on, checkout(pool)).await?;
    let answer = unless_stopped(go_on, async {
        let asked = tokio::time::timeout(most, question(&mut connection)).await;
        asked.unwrap_or_else(|_| {
            let seconds = most.as_secs();
            Err(PgError::outage("timeout", format!("no answer within {seconds} s")))
        })
    })
    .await;
    if answer.is_err() {
        discard(connection);
    }
    answer
}

async fn unless_stopped<T>(
    go_on: &mut dyn FnMut() -> bool,
    answer: impl Future<Output = Result<T, PgError>>,
) -> Result<T, PgError> {
    let stopped = async {
        while go_on() {
            tokio::time::sleep(STOP_INTERVAL).await;
        }
    };
    tokio::select! {
        biased;
        answer = answer => answer,
        () = stopped => Err(PgError::outage("stopped", "the end was asked for")),
    }
}

/// Ends a connection for good: one that saw an error is never used again, because what is left
/// in it is unknown (an open transaction, an unread result).
pub fn discard(connection: Object) {
    drop(Object::take(connection));
}

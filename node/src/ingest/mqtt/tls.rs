//! TLS for sensors that can do it: with the operator's certificate, or one that the node makes for itself once.
//!
//! Invariant: the key never leaves its file (0600), and the certificate stays the same over restarts, so that a device
//! may pin its fingerprint, which `muster status` shows.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// Names of the files in the data directory.
const CERTIFICATE_NAME: &str = "mqtt-cert.pem";
const KEY_NAME: &str = "mqtt-key.pem";

/// Why TLS cannot be offered.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("{what} {path}: {source}")]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} holds no usable {what} in PEM: {detail}")]
    Pem {
        what: &'static str,
        path: PathBuf,
        detail: String,
    },
    #[error("mqtt_tls_cert and mqtt_tls_key belong together: set both or none")]
    Half,
    #[error("make a certificate: {0}")]
    Make(#[source] rcgen::Error),
    #[error("certificate and key do not fit TLS: {0}")]
    Refused(#[source] rustls::Error),
}

/// What the endpoint shows its clients.
#[derive(Clone)]
pub struct Tls {
    pub(super) acceptor: TlsAcceptor,
    /// SHA-256 of the certificate, as `AB:CD:…`.
    pub fingerprint: String,
}

impl Tls {
    /// Reads the operator's files, or those of the data directory, which are made at the first start.
    ///
    /// # Errors
    /// [`TlsError`], with the file.
    pub fn load(
        data_dir: &Path,
        certificate: Option<&Path>,
        key: Option<&Path>,
    ) -> Result<Tls, TlsError> {
        let (certificate, key) = match (certificate, key) {
            (Some(certificate), Some(key)) => (certificate.to_owned(), key.to_owned()),
            (None, None) => own(data_dir)?,
            _ => return Err(TlsError::Half),
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&certificate)
            .and_then(Iterator::collect)
            .map_err(|error| unusable("certificate", &certificate, &error))?;
        let Some(first) = chain.first() else {
            return Err(unusable(
                "certificate",
                &certificate,
                &"there is none in it",
            ));
        };
        let fingerprint = fingerprint(first);
        let secret = PrivateKeyDer::from_pem_file(&key)
            .map_err(|error| unusable("private key", &key, &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Refused)?
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .map_err(TlsError::Refused)?;
        Ok(Tls {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            fingerprint,
        })
    }
}

fn unusable(what: &'static str, path: &Path, detail: &dyn std::fmt::Display) -> TlsError {
    TlsError::Pem {
        what,
        path: path.to_owned(),
        detail: detail.to_string(),
    }
}

/// The node's own certificate. Devices pin it or trust it by its file: its names only help those that look at them.
fn own(data_dir: &Path) -> Result<(PathBuf, PathBuf), TlsError> {
    let (certificate, key) = (data_dir.join(CERTIFICATE_NAME), data_dir.join(KEY_NAME));
    // The key is written first: a certificate without one is of a start that was cut off.
    if !certificate.exists() || !key.exists() {
        let names = ["localhost", "127.0.0.1", "::1", "muster.local"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).map_err(TlsError::Make)?;
        write(&key, &made.signing_key.serialize_pem())?;
        write(&certificate, &made.cert.pem())?;
        tracing::info!(certificate = %certificate.display(), "made a certificate for MQTT over TLS");
    }
    Ok((certificate, key))
}

/// Puts a file in its place whole, readable for its owner alone.
fn write(path: &Path, text: &str) -> Result<(), TlsError> {
    let failed = |source| TlsError::File {
        what: "write",
        path: path.to_owned(),
        source,
    };
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, path))
        .map_err(failed)
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(certificate);
    let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let first = Tls::load(dir.path(), None, None).unwrap();
        let second = Tls::load(dir.path(), None, None).unwrap();
        assert_eq!(first.fingerprint, second.fingerprint);
        assert_eq!(first.fingerprint.len(), 32 * 3 - 1);
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(dir.path().join(KEY_NAME))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn files_that_do_not_fit_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cert.pem");
        fs::write(&file, "nothing").unwrap();
        let error = |certificate: Option<&Path>, key: Option<&Path>| {
            Tls::load(dir.path(), certificate, key)
                .err()
                .unwrap()
                .to_string()
        };
        assert!(error(Some(&file), Some(&file)).contains("cert.pem"));
        assert!(error(Some(&file), None).contains("mqtt_tls_key"));
    }
}

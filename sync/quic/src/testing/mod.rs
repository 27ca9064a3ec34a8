//! Other ends of a connection, for tests and measurements; only with the feature `testing`, never in the program.
//!
//! [`Foreign`] is a program of somebody else's: bytes on streams, whatever they mean. [`LightPeer`] is an engine on a
//! connection and nothing around it, so that one process can be a thousand peers of a node that is measured.

mod foreign;
mod light;
mod reading;

pub use foreign::{Foreign, ForeignStream, Shown};
pub use light::{Crowd, Light, LightPeer, LightSeen};

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, ResolvesClientCert};
use rustls::crypto::ring::{default_provider, sign::any_eddsa_type};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, Error as TlsError, SignatureScheme};

/// The TLS side of a client that shows what it likes; `None`: no key at all.
fn client(shown: Option<Shown<'_>>, alpn: &[u8]) -> Result<quinn::ClientConfig, String> {
    let told = |error: &dyn std::fmt::Display| format!("prepare tls: {error}");
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| told(&e))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let mut tls = match shown {
        Some(shown) => builder.with_client_cert_resolver(raw_key(&shown)?),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![alpn.to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).map_err(|e| told(&e))?;
    Ok(quinn::ClientConfig::new(Arc::new(crypto)))
}

fn raw_key(shown: &Shown<'_>) -> Result<Arc<dyn ResolvesClientCert>, String> {
    // RFC 8410: the DER of an Ed25519 private key and of a public one, up to the bytes of the key.
    let mut pkcs8 = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    pkcs8.extend_from_slice(&shown.signs_with.to_bytes());
    let mut spki = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".to_vec();
    spki.extend_from_slice(&shown.node.0);
    let signing = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8))
        .map_err(|error| format!("prepare tls: {error}"))?;
    Ok(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(
        CertifiedKey::new(vec![spki.into()], signing),
    ))))
}

fn any_port() -> SocketAddr {
    (std::net::Ipv4Addr::LOCALHOST, 0).into()
}

/// Takes anybody for a server.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

//! Who is at the other end: TLS 1.3 with raw public keys (RFC 7250), Ed25519 only (RFC 8410 encoding).
//!
//! Always: both ends prove possession of their node key, or there is no connection; a dialler that expects a certain
//! node shows its own identity only after that node has shown its own. What a node *may* do is not asked here: the
//! engine judges members, this file only names them.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error as TlsError, SignatureScheme,
};
use sync_engine::NodeId;

use crate::error::SyncError;

/// Protocol name of sync connections.
pub(crate) const ALPN_SYNC: &[u8] = b"muster/1";
/// Protocol name of enrolments.
pub(crate) const ALPN_JOIN: &[u8] = b"muster-join/1";
/// TLS wants a server name; nodes have none, and the name is never sent (`enable_sni` is off).
pub(crate) const SERVER_NAME: &str = "muster";

/// `SubjectPublicKeyInfo` of an Ed25519 key up to the 32 key bytes (RFC 8410 §4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// `OneAsymmetricKey` version 1 of an Ed25519 key up to the 32 seed bytes (RFC 8410 §7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The node id inside a raw public key, if it is an Ed25519 key in its one DER form.
pub(crate) fn node_of_spki(spki: &[u8]) -> Option<NodeId> {
    let key = spki.strip_prefix(&SPKI_PREFIX)?;
    Some(NodeId(key.try_into().ok()?))
}

/// The node id that the other end of an established connection has proven.
pub(crate) fn node_of_connection(connection: &quinn::Connection) -> Option<NodeId> {
    let identity = connection.peer_identity()?;
    let certificates = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    node_of_spki(certificates.first()?.as_ref())
}

/// The node's key in the forms that TLS wants.
#[derive(Clone)]
pub(crate) struct Identity {
    node: NodeId,
    certified: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
}

impl Identity {
    pub(crate) fn new(key: &SigningKey) -> Result<Self, SyncError> {
        let node = NodeId(key.verifying_key().to_bytes());
        let mut pkcs8 = PKCS8_PREFIX.to_vec();
        pkcs8.extend_from_slice(&key.to_bytes());
        let signing = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8))
            .map_err(SyncError::Tls)?;
        let mut spki = SPKI_PREFIX.to_vec();
        spki.extend_from_slice(&node.0);
        Ok(Self {
            node,
            certified: Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], signing)),
            provider: Arc::new(rustls::crypto::ring::default_provider()),
        })
    }

    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    /// The accepting side, for sync and for joins.
    pub(crate) fn server(&self) -> Result<quinn::crypto::rustls::QuicServerConfig, SyncError> {
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(SyncError::Tls)?
            .with_client_cert_verifier(Arc::new(AnyNode {
                algorithms: self.algorithms(),
            }))
            .with_cert_resolver(Arc::new(
                rustls::server::AlwaysResolvesServerRawPublicKeys::new(self.certified.clone()),
            ));
        config.alpn_protocols = vec![ALPN_SYNC.to_vec(), ALPN_JOIN.to_vec()];
        // Nothing resumes a session yet, so tickets would only cost bytes at the start of each one.
        config.send_tls13_tickets = 0;
        Ok(config.try_into()?)
    }

    /// The dialling side. The returned slot holds, after the attempt, the node that was found.
    pub(crate) fn client(
        &self,
        alpn: &[u8],
        expected: Option<NodeId>,
    ) -> Result<(quinn::crypto::rustls::QuicClientConfig, Arc<FoundNode>), SyncError> {
        let found = Arc::new(FoundNode::default());
        let verifier = ExpectedNode {
            expected,
            found: found.clone(),
            algorithms: self.algorithms(),
        };
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(SyncError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(
                rustls::client::AlwaysResolvesClientRawPublicKeys::new(self.certified.clone()),
            ));
        config.alpn_protocols = vec![alpn.to_vec()];
        config.enable_sni = false;
        config.resumption = rustls::client::Resumption::disabled();
        Ok((config.try_into()?, found))
    }

    fn algorithms(&self) -> WebPkiSupportedAlgorithms {
        self.provider.signature_verification_algorithms
    }
}

/// Which node answered a dial, for an error that names it.
#[derive(Debug, Default)]
pub(crate) struct FoundNode(Mutex<Option<NodeId>>);

impl FoundNode {
    pub(crate) fn get(&self) -> Option<NodeId> {
        *self.0.lock()
    }
}

/// A client may be anybody who has an Ed25519 key.
#[derive(Debug)]
struct AnyNode {
    algorithms: WebPkiSupportedAlgorithms,
}

/// A server must be the expected node, where one is expected.
#[derive(Debug)]
struct ExpectedNode {
    expected: Option<NodeId>,
    found: Arc<FoundNode>,
    algorithms: WebPkiSupportedAlgorithms,
}

fn node_or_refuse(
    end_entity: &CertificateDer<'_>,
    rest: &[CertificateDer<'_>],
) -> Result<NodeId, TlsError> {
    if !rest.is_empty() {
        return Err(CertificateError::BadEncoding.into());
    }
    node_of_spki(end_entity.as_ref()).ok_or_else(|| CertificateError::BadEncoding.into())
}

fn signature_valid(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, TlsError> {
    verify_tls13_signature_with_raw_key(
        message,
        &SubjectPublicKeyInfoDer::from(cert.as_ref()),
        dss,
        algorithms,
    )
}

/// TLS 1.2 is never offered, so its signatures never come.
fn no_tls12() -> TlsError {
    rustls::PeerIncompatible::Tls12NotOfferedOrEnabled.into()
}

impl ClientCertVerifier for AnyNode {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        node_or_refuse(end_entity, intermediates).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        signature_valid(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ServerCertVerifier for ExpectedNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let node = node_or_refuse(end_entity, intermediates)?;
        *self.found.0.lock() = Some(node);
        match self.expected {
            Some(expected) if expected != node => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        signature_valid(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tls_shows_exactly_the_node_id() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let identity = Identity::new(&key).unwrap();
        assert_eq!(
            node_of_spki(identity.certified.cert[0].as_ref()),
            Some(identity.node())
        );
        // ring derives the public key from the seed by itself: both libraries must agree on it.
        let derived = identity.certified.key.public_key().unwrap();
        assert_eq!(node_of_spki(derived.as_ref()), Some(identity.node()));
    }

    #[test]
    fn a_key_of_another_form_names_no_node() {
        let mut spki = SPKI_PREFIX.to_vec();
        spki.extend_from_slice(&[1; 31]);
        assert_eq!(node_of_spki(&spki), None);
        spki.extend_from_slice(&[1; 2]);
        assert_eq!(node_of_spki(&spki), None);
        assert_eq!(node_of_spki(&[0x30; 44]), None);
        assert_eq!(node_of_spki(&[]), None);
    }
}

//! A foreign program at the other end, written against the wire format alone: what it must not do costs it its
//! connection, and nobody else anything.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Member, Operation, dial, founder, joined, key, node_id};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, SendStream};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, ResolvesClientCert};
use rustls::crypto::ring::{default_provider, sign::any_eddsa_type};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, SignatureScheme};
use sync_engine::{CONTROL_FRAME_BYTES_MAX, LANE_FRAME_BYTES_MAX, Lane, ReasonCode};

/// Takes anybody for a server.
#[derive(Debug)]
struct Anybody {
    raw_keys: bool,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.raw_keys
    }
}

/// The raw public key of `shown`, with the private key of `signs`.
fn identity(shown: u8, signs: u8) -> Arc<dyn ResolvesClientCert> {
    let mut pkcs8 = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    pkcs8.extend_from_slice(&key(signs).to_bytes());
    let mut spki = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".to_vec();
    spki.extend_from_slice(&node_id(&key(shown)).0);
    let signing = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8)).unwrap();
    Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(
        CertifiedKey::new(vec![spki.into()], signing),
    )))
}

async fn connect(
    to: &Member,
    who: Option<Arc<dyn ResolvesClientCert>>,
    alpn: &[u8],
) -> Result<Connection, String> {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody { raw_keys: true }));
    let mut tls = match who {
        Some(who) => builder.with_client_cert_resolver(who),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![alpn.to_vec()];
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let connection = endpoint
        .connect_with(config, to.addr(), "any")
        .unwrap()
        .await
        .map_err(|e| e.to_string())?;
    // The server's verdict on a client comes after the client's handshake is complete.
    match tokio::time::timeout(Duration::from_millis(150), connection.closed()).await {
        Ok(error) => Err(error.to_string()),
        Err(_) => Ok(connection),
    }
}

/// The node 2, a member, as a program of our own: connected, with its control stream begun in order.
async fn member(to: &Member) -> (Connection, SendStream) {
    let connection = connect(to, Some(identity(2, 2)), b"muster/1")
        .await
        .unwrap();
    let mut control = connection.open_uni().await.unwrap();
    // Stream kind, length, and a preface: boot 5, no addresses, and a field of a later version.
    control.write_all(&[0, 0, 0, 0, 3, 5, 0, 77]).await.unwrap();
    (connection, control)
}

async fn node() -> Member {
    founder(
        &Operation::new(1),
        key(1),
        &[node_id(&key(2)), node_id(&key(3))],
        |_| {},
    )
    .await
}

async fn closed_with(connection: &Connection) -> (u64, String) {
    match tokio::time::timeout(Duration::from_secs(15), connection.closed())
        .await
        .unwrap()
    {
        ConnectionError::ApplicationClosed(close) => (
            close.error_code.into_inner(),
            String::from_utf8(close.reason.to_vec()).unwrap(),
        ),
        other => panic!("{other}"),
    }
}

const BAD_FRAME: u64 = ReasonCode::BadFrame.code() as u64;

#[tokio::test(flavor = "multi_thread")]
async fn without_the_private_key_nobody_gets_in() {
    let node = node().await;
    let refused = connect(&node, Some(identity(2, 4)), b"muster/1")
        .await
        .unwrap_err();
    println!("another's public key: {refused}");
    let refused = connect(&node, None, b"muster/1").await.unwrap_err();
    println!("no key: {refused}");
    assert!(
        connect(&node, Some(identity(2, 2)), b"other/1")
            .await
            .is_err()
    );
    assert!(
        connect(&node, Some(identity(2, 2)), b"muster/1")
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_longer_than_allowed_ends_the_connection_before_it_is_read() {
    let node = node().await;
    let (connection, mut control) = member(&node).await;
    control
        .write_all(&(CONTROL_FRAME_BYTES_MAX as u32 + 1).to_be_bytes())
        .await
        .unwrap();
    let (code, text) = closed_with(&connection).await;
    assert_eq!(code, BAD_FRAME, "{text}");

    let (connection, _control) = member(&node).await;
    let mut lane = connection.open_uni().await.unwrap();
    lane.write_all(&[1 + Lane::Life as u8]).await.unwrap();
    lane.write_all(&(LANE_FRAME_BYTES_MAX as u32 + 1).to_be_bytes())
        .await
        .unwrap();
    let (code, text) = closed_with(&connection).await;
    assert_eq!(code, BAD_FRAME, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_stream_of_one_kind_ends_the_connection() {
    let node = node().await;
    for kind in [0, 1 + Lane::Flash as u8] {
        let (connection, _control) = member(&node).await;
        let mut streams = Vec::new();
        for _ in 0..2 {
            // The first may be one too many, and the connection gone.
            if let Ok(mut stream) = connection.open_uni().await {
                let _ = stream.write_all(&[kind]).await;
                streams.push(stream);
            }
        }
        assert_eq!(closed_with(&connection).await.0, BAD_FRAME);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_any_stream_ends_only_that_connection() {
    let node = node().await;
    let honest = joined(&node, key(3), |config| {
        config.peers = vec![dial(node.id(), node.addr())]
    })
    .await;
    honest.until_live(&node).await;
    let noise = |length: usize| -> Vec<u8> { (0..length).map(|_| rand::random()).collect() };
    for kind in 0..8_u8 {
        let (connection, mut control) = member(&node).await;
        let mut lane;
        let stream = if kind == 0 {
            &mut control
        } else {
            lane = connection.open_uni().await.unwrap();
            lane.write_all(&[kind]).await.unwrap();
            &mut lane
        };
        // A connection that is closed meanwhile takes no more.
        for length in [1_usize, 2, 60, 2_000, 60_000] {
            for _ in 0..20 {
                let frame = noise(length);
                let _ = stream.write_all(&(frame.len() as u32).to_be_bytes()).await;
                let _ = stream.write_all(&frame).await;
            }
        }
        // What is not even a frame at the end.
        let _ = stream.write_all(&noise(5_000)).await;
        let (code, text) = closed_with(&connection).await;
        println!("noise on stream {kind}: {code} {text}");
        assert_ne!(code, u64::from(ReasonCode::Shutdown.code()));
    }
    honest.write(Lane::Life, &[100]);
    node.memory.until_count(Lane::Life, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_a_later_version_is_declined_and_the_connection_stays() {
    let node = node().await;
    let (connection, _control) = member(&node).await;
    let mut unknown = connection.open_uni().await.unwrap();
    unknown.write_all(&[200, 1, 2, 3]).await.unwrap();
    let stopped = tokio::time::timeout(Duration::from_secs(5), unknown.stopped())
        .await
        .unwrap()
        .unwrap();
    assert!(stopped.is_some());
    assert!(connection.close_reason().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_stream_must_be_control_and_must_begin_with_a_preface() {
    let node = node().await;
    for opening in [
        &[1_u8, 0, 0][..],
        &[0, 0, 0, 0, 2, 0xff, 0xff],
        &[0, 0xff, 0xff, 0xff, 0xff],
    ] {
        let connection = connect(&node, Some(identity(2, 2)), b"muster/1")
            .await
            .unwrap();
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(opening).await.unwrap();
        assert_eq!(closed_with(&connection).await.0, BAD_FRAME, "{opening:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_strangers_is_bounded_and_members_still_get_in() {
    let operation = Operation::new(1);
    let node = founder(&operation, key(1), &[node_id(&key(3))], |config| {
        config.limits.strangers_max = 3
    })
    .await;
    let mut busy = 0;
    let mut held = Vec::new();
    for number in 100..110_u8 {
        let connection = connect(&node, Some(identity(number, number)), b"muster/1")
            .await
            .unwrap();
        let mut control = connection.open_uni().await.unwrap();
        control.write_all(&[0, 0, 0, 0, 2, 5, 0]).await.unwrap();
        match tokio::time::timeout(Duration::from_millis(200), connection.closed()).await {
            Ok(ConnectionError::ApplicationClosed(close)) => {
                busy +=
                    u32::from(close.error_code.into_inner() == u64::from(ReasonCode::Busy.code()));
            }
            Ok(other) => panic!("{other}"),
            Err(_) => held.push((connection, control)),
        }
    }
    assert_eq!((held.len(), busy), (3, 7));
    let honest = joined(&node, key(3), |config| {
        config.peers = vec![dial(node.id(), node.addr())]
    })
    .await;
    honest.until_live(&node).await;
}

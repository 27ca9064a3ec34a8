//! The way to a broker: TCP, TLS where it is asked for, and the [`Cutter`] on what comes in.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use rumqttc::{MqttOptions, TlsConfiguration, default_socket_connect};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;

use super::cutter::Cutter;

/// Read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// How TLS with a broker is spoken.
#[derive(Clone)]
pub(super) struct BrokerTls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl BrokerTls {
    /// Trusts `certificates` (PEM), or those that the system trusts.
    ///
    /// # Errors
    /// Why it cannot be spoken, for people.
    pub(super) fn new(host: &str, certificates: Option<&[u8]>) -> Result<Self, String> {
        let config = match certificates {
            Some(pem) => Arc::new(trusting(pem)?),
            None => of_system()?,
        };
        let name = ServerName::try_from(host)
            .map_err(|_| format!("{host:?} is no name that a certificate can have"))?;
        Ok(BrokerTls {
            connector: config.into(),
            name: name.to_owned(),
        })
    }
}

fn trusting(pem: &[u8]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("ca_file: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("ca_file: {error}"))?;
    }
    if roots.is_empty() {
        return Err("ca_file holds no certificate in PEM".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn of_system() -> Result<Arc<ClientConfig>, String> {
    match TlsConfiguration::try_default_rustls() {
        Ok(TlsConfiguration::Rustls(config)) => Ok(config),
        Ok(_) => Err("the system's certificates are not there: name a ca_file".to_owned()),
        Err(error) => Err(format!(
            "the system's certificates cannot be read: {error}: name a ca_file"
        )),
    }
}

/// Has `options` reach the broker this way.
pub(super) fn reach_by(options: &mut MqttOptions, tls: Option<BrokerTls>) {
    match tls {
        None => options.set_socket_connector(|address, network| async move {
            Ok(Socket::new(default_socket_connect(address, network).await?))
        }),
        Some(tls) => options.set_socket_connector(move |address, network| {
            let BrokerTls { connector, name } = tls.clone();
            async move {
                let tcp = default_socket_connect(address, network).await?;
                Ok(Socket::new(connector.connect(name, tcp).await?))
            }
        }),
    };
}

/// A connection whose packets are cut as they come in.
struct Socket<S> {
    inner: S,
    cutter: Cutter,
    chunk: Box<[u8]>,
    /// Cut, and not asked for yet; at most a chunk and what the cutter puts in.
    ready: BytesMut,
}

impl<S> Socket<S> {
    fn new(inner: S) -> Self {
        Socket {
            inner,
            cutter: Cutter::new(),
            chunk: vec![0; CHUNK_BYTES].into(),
            ready: BytesMut::new(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.ready.is_empty() {
            let mut chunk = ReadBuf::new(&mut this.chunk);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut chunk))?;
            if chunk.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.cutter.feed(chunk.filled(), &mut this.ready);
        }
        let now = this.ready.len().min(into.remaining());
        into.put_slice(&this.ready.split_to(now));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

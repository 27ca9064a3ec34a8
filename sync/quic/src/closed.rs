//! Letting go of the UDP port at shutdown, at a moment that one can wait for.
//!
//! quinn frees its socket when the last handle and its own task are gone, which is some time after. A program that
//! restarts its sync on the same port, or a test that does, wants to know.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

/// Puts a socket that carries nothing in place of the endpoint's. To be called when no connection is left.
pub(crate) fn release(endpoint: &quinn::Endpoint, local_addr: SocketAddr) {
    // Once more, because an endpoint keeps its last socket beside the present one.
    for _ in 0..2 {
        if let Err(error) = endpoint.rebind_abstract(Arc::new(Closed { local_addr })) {
            tracing::debug!(%error, "udp port is freed later");
        }
    }
}

#[derive(Debug)]
struct Closed {
    local_addr: SocketAddr,
}

impl AsyncUdpSocket for Closed {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable)
    }

    fn try_send(&self, _transmit: &Transmit<'_>) -> io::Result<()> {
        Ok(())
    }

    fn poll_recv(
        &self,
        _cx: &mut Context<'_>,
        _bufs: &mut [IoSliceMut<'_>],
        _meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local_addr)
    }
}

#[derive(Debug)]
struct Writable;

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

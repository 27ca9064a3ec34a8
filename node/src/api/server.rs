//! Accepting connections and serving them until the node stops.
//!
//! Invariants: a bounded number of connections is open, so that strangers who connect and say nothing cannot take the
//! file descriptors that the store and sync need; a connection that does not send its request's head in time is closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Open connections: half of the usual 1,024 file descriptors of a process. A browser holds up to six.
const CONNECTIONS_MAX: usize = 512;

/// Time for a request's head, and for the next one on a connection that is kept open.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long answers in flight may take when the node stops; event streams end at once.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// A pause after an accept that failed for want of resources, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `closing` fires, then finishes what is in flight, for a bounded time.
pub async fn serve(listener: TcpListener, router: Router, closing: &CancellationToken) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    let accept = async {
        loop {
            // The semaphore is never closed; whoever connects meanwhile waits in the kernel's queue.
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
                return;
            };
            let (stream, remote) = next(&listener).await;
            let service = router
                .clone()
                .map_request(move |request: Request<Incoming>| {
                    let mut request = request.map(Body::new);
                    request.extensions_mut().insert(ConnectInfo(remote));
                    request
                });
            let service = TowerToHyperService::new(service);
            let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%remote, %error, "a connection ended badly");
                }
                drop(permit);
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = closing.cancelled() => {}
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(SHUTDOWN_GRACE) => {
            tracing::warn!("some requests were cut off: they took too long to finish");
        }
    }
}

async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                // Answers are small and people wait for them: Nagle's algorithm would hold them back.
                let _ = stream.set_nodelay(true);
                return (stream, remote);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

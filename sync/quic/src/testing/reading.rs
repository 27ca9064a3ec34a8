//! The reading half of a light peer: every stream that the node opens, frame by frame.

use quinn::{Connection, RecvStream};
use sync_engine::StreamKind;
use tokio::sync::mpsc;

use crate::wire::{self, Preface};

type Frames = mpsc::Sender<(StreamKind, Vec<u8>)>;

pub(super) async fn read_streams(connection: Connection, frames: Frames, deaf_to: Vec<StreamKind>) {
    while let Ok(mut stream) = connection.accept_uni().await {
        let Ok(Some(kind)) = wire::read_kind(&mut stream).await.map(wire::kind) else {
            continue;
        };
        let deaf = deaf_to.contains(&kind);
        let (frames, connection) = (frames.clone(), connection.clone());
        tokio::spawn(async move {
            if deaf {
                // Held and not read: a dropped stream would be declined.
                connection.closed().await;
                drop(stream);
            } else {
                read_frames(stream, kind, &frames).await;
            }
        });
    }
}

async fn read_frames(mut stream: RecvStream, kind: StreamKind, frames: &Frames) {
    if kind == StreamKind::Control && Preface::read(&mut stream).await.is_err() {
        return;
    }
    while let Ok(Some(length)) = wire::read_length(&mut stream, kind.frame_bytes_max()).await {
        let Ok(body) = wire::read_body(&mut stream, length, |_| {}).await else {
            return;
        };
        if length > 0 && frames.send((kind, body)).await.is_err() {
            return;
        }
    }
}

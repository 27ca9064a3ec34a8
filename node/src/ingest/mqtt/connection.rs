//! One client's socket: bytes to the protocol, messages to the store, PUBACKs back after the commit.
//!
//! All messages of one read are one batch; a few batches are on their way to the disk at once. One task does both
//! directions, so that there is nothing to lock and the order of PUBACKs is the order of `flights`.
//!
//! Invariants:
//! - A packet id is written only after `Submission::committed` of its batch returned, and after all earlier ones.
//! - The socket is not read while as much as [`super::Bounds`] allow is on its way, or while the store is stalled.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use futures::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::frame::Qos;
use super::protocol::{ConnectRequest, Protocol, Refusal, Step, Will, push_pubacks};
use super::sessions::Registration;
use crate::app::ingest::{Delivery, IngestSession, Message, SessionKey, Submission};

/// A read asks for this much at first, and for more while reads come back full: a thousand quiet sensors cost 4 MiB,
/// a busy one gets few system calls and large batches.
const READ_BYTES_MIN: usize = 4 * 1024;
const READ_BYTES_MAX: usize = 64 * 1024;

/// Messages of one batch: what a read of the smallest packets would hold is worth several commits.
const BATCH_MESSAGES_MAX: usize = 1024;

/// How much of the read buffer was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consumed {
    /// Every whole packet.
    All,
    /// A batch; there may be more.
    Part,
}

/// How a conversation ended.
#[derive(Debug)]
enum End {
    /// DISCONNECT came.
    Goodbye,
    /// The socket is closed or broken.
    Gone,
    KeepAlive,
    /// Another connection took the client identifier.
    TakenOver,
    /// The node stops.
    Shutdown,
    /// The client does not take what we send.
    WriteStuck,
    ConnectTimeout,
    Refused(Refusal),
}

/// Serves one socket until it ends.
pub(super) async fn run(mut stream: TcpStream, peer: SocketAddr, shared: &Shared) {
    let (reader, writer) = stream.split();
    let mut wire = Wire {
        reader,
        writer,
        read: BytesMut::new(),
        read_bytes: READ_BYTES_MIN,
        out: Vec::new(),
        write_timeout: shared.bounds.write_timeout,
    };
    let mut protocol = Protocol::new(shared.bounds.packet_bytes_max);
    let deadline = Instant::now() + shared.bounds.connect_timeout;
    let stop = shared.stop.child_token();
    let greeted = tokio::select! {
        () = stop.cancelled() => Err(End::Shutdown),
        greeted = timeout_at(deadline, greet(&mut wire, &mut protocol, peer, shared)) => {
            greeted.unwrap_or(Err(End::ConnectTimeout))
        }
    };
    let end = match greeted {
        Ok(request) => serve(&mut wire, protocol, request, peer, shared, stop).await,
        Err(end) => {
            report(&end, peer, "");
            end
        }
    };
    if let End::Refused(_) | End::TakenOver | End::Shutdown = end {
        // A refusal is worth a second's wait so that the client reads why.
        let _ = timeout(Duration::from_secs(1), async {
            let _ = wire.flush().await;
            let _ = wire.writer.shutdown().await;
        })
        .await;
    }
}

/// Reads CONNECT and decides about it. Nothing is answered yet if it is accepted: the connection before it under this
/// identifier has to end first.
async fn greet(
    wire: &mut Wire<'_>,
    protocol: &mut Protocol,
    peer: SocketAddr,
    shared: &Shared,
) -> Result<ConnectRequest, End> {
    loop {
        let (taken, step) = protocol
            .next(&wire.read, &mut wire.out)
            .map_err(End::Refused)?;
        if let Step::Connect(request) = step {
            wire.read.advance(taken);
            if !shared.admits(peer) {
                return Err(End::Refused(protocol.refuse_unauthorised(&mut wire.out)));
            }
            return Ok(request);
        }
        wire.read_more().await?;
    }
}

async fn serve(
    wire: &mut Wire<'_>,
    mut protocol: Protocol,
    request: ConnectRequest,
    peer: SocketAddr,
    shared: &Shared,
    stop: CancellationToken,
) -> End {
    let registration = if request.client_id.is_empty() {
        // Nobody can name this session again, so there is nobody to take it over from.
        None
    } else {
        Some(
            shared
                .sessions
                .register(&request.client_id, stop.clone())
                .await,
        )
    };
    let key = SessionKey {
        source: "mqtt".into(),
        client_id: (!request.client_id.is_empty()).then(|| request.client_id.clone()),
        clean: request.clean_session,
    };
    let (ingest, known) = shared.ingest.session(key);
    protocol.accept(known && !request.clean_session, &mut wire.out);
    tracing::debug!(%peer, client_id = request.client_id, keep_alive_s = request.keep_alive_s, "MQTT client connected");

    let mut conversation = Conversation {
        protocol,
        ingest,
        packet_ids: Vec::new(),
        flights: VecDeque::new(),
        flights_bytes: 0,
        unbatched_bytes: 0,
        registration,
    };
    let silence_max = match request.keep_alive_s {
        0 => shared.bounds.silence_max,
        // [MQTT-3.1.2-24]: one and a half times the keep-alive.
        seconds => Duration::from_millis(u64::from(seconds) * 1500),
    };
    let end = conversation.drive(wire, shared, silence_max, &stop).await;
    report(&end, peer, &request.client_id);
    conversation.finish(&end, request.will, shared).await;
    end
}

/// A batch on its way to the disk.
struct Flight {
    submission: Submission,
    /// Of its QoS 1 messages, in order.
    packet_ids: Vec<u16>,
    bytes: usize,
}

/// A client that was accepted.
struct Conversation {
    protocol: Protocol,
    ingest: IngestSession,
    packet_ids: Vec<u16>,
    flights: VecDeque<Flight>,
    flights_bytes: usize,
    unbatched_bytes: usize,
    /// Held until everything of this connection that may reach the store has, see [`super::sessions`].
    registration: Option<Registration>,
}

impl Conversation {
    async fn drive(
        &mut self,
        wire: &mut Wire<'_>,
        shared: &Shared,
        silence_max: Duration,
        stop: &CancellationToken,
    ) -> End {
        let ended = |()| {
            if shared.stop.is_cancelled() {
                End::Shutdown
            } else {
                End::TakenOver
            }
        };
        let mut heard_at = Instant::now();
        let mut may_read = true;
        loop {
            let consumed = if may_read {
                self.consume(wire)
            } else {
                Ok(Consumed::All)
            };
            self.batch();
            let flushed = tokio::select! {
                biased;
                flushed = wire.flush() => flushed,
                end = stop.cancelled().map(ended) => return end,
            };
            let more = match (flushed, consumed) {
                (Err(end), _) | (Ok(()), Err(end)) => return end,
                (Ok(()), Ok(consumed)) => consumed == Consumed::Part,
            };
            may_read = self.may_read(shared);
            if may_read && more {
                continue;
            }
            if !may_read {
                // Silence that we asked for is not the client's.
                heard_at = Instant::now();
            }
            let committed = async {
                match self.flights.front_mut() {
                    Some(flight) => flight.submission.committed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                end = stop.cancelled().map(ended) => return end,
                outcome = committed => match outcome {
                    Ok(()) => self.acknowledge(&mut wire.out),
                    Err(error) => {
                        tracing::error!(%error, "readings could not be stored");
                        return End::Gone;
                    }
                },
                read = wire.read_more(), if may_read => match read {
                    Ok(()) => heard_at = Instant::now(),
                    Err(end) => return end,
                },
                () = sleep_until(heard_at + silence_max), if may_read => return End::KeepAlive,
            }
            may_read = self.may_read(shared);
        }
    }

    /// Whether there is room for one more batch, and none that waits to reach the store.
    fn may_read(&self, shared: &Shared) -> bool {
        self.flights.len() < shared.bounds.in_flight_batches_max
            && self.flights_bytes < shared.bounds.in_flight_bytes_max
            && self
                .flights
                .back()
                .is_none_or(|flight| flight.submission.is_under_way())
    }

    /// Reads whole packets in the buffer, as many as make a batch.
    fn consume(&mut self, wire: &mut Wire<'_>) -> Result<Consumed, End> {
        let mut position = 0;
        let mut messages = 0;
        let outcome = loop {
            if messages == BATCH_MESSAGES_MAX {
                break Ok(Consumed::Part);
            }
            let (taken, step) = match self.protocol.next(&wire.read[position..], &mut wire.out) {
                Ok(next) => next,
                Err(refusal) => break Err(End::Refused(refusal)),
            };
            position += taken;
            match step {
                Step::NeedMore => break Ok(Consumed::All),
                Step::Publish(publish) => {
                    let delivery = match publish.qos {
                        Qos::One { packet_id, dup } => {
                            self.packet_ids.push(packet_id);
                            Delivery::AtLeastOnce {
                                packet_id,
                                redelivered: dup,
                            }
                        }
                        Qos::Zero | Qos::Two => Delivery::AtMostOnce,
                    };
                    self.ingest.message(Message {
                        topic: publish.topic,
                        payload: publish.payload,
                        delivery,
                        kept: false,
                    });
                    self.unbatched_bytes += taken;
                    messages += 1;
                }
                // The second cannot come: the protocol refuses it.
                Step::Answered | Step::Connect(_) => {}
                Step::Disconnect => break Err(End::Goodbye),
            }
        };
        wire.read.advance(position);
        outcome
    }

    /// Sends what was read to the store.
    fn batch(&mut self) {
        // Of one connection batches reach the store in order: behind one that waits, all wait.
        let in_order = self
            .flights
            .back()
            .is_none_or(|flight| flight.submission.is_under_way());
        if let Some(submission) = self.ingest.submit(in_order) {
            let bytes = std::mem::take(&mut self.unbatched_bytes);
            self.flights_bytes += bytes;
            self.flights.push_back(Flight {
                submission,
                packet_ids: std::mem::take(&mut self.packet_ids),
                bytes,
            });
        }
    }

    /// The front batch is on the disk: its PUBACKs, and those of whatever else is there by now, in one write.
    fn acknowledge(&mut self, out: &mut Vec<u8>) {
        loop {
            if let Some(flight) = self.flights.pop_front() {
                self.flights_bytes -= flight.bytes;
                push_pubacks(&flight.packet_ids, out);
            }
            if !self
                .flights
                .front_mut()
                .is_some_and(|flight| flight.submission.is_committed())
            {
                return;
            }
        }
    }

    /// The client is gone; what it sent may still reach the disk, unacknowledged.
    async fn finish(mut self, end: &End, will: Option<Will>, shared: &Shared) {
        if let (Some(will), false) = (will, matches!(end, End::Goodbye | End::Shutdown)) {
            self.ingest.message(Message {
                topic: &will.topic,
                payload: &will.payload,
                delivery: Delivery::AtMostOnce,
                kept: false,
            });
            self.batch();
        }
        // A newcomer under the same identifier waits for us, and sends again whatever was not acknowledged.
        if !matches!(end, End::TakenOver | End::Shutdown) {
            let stop = self
                .registration
                .as_ref()
                .map_or_else(CancellationToken::new, |r| r.stop.clone());
            let drained = async {
                for flight in &mut self.flights {
                    if flight.submission.committed().await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                _ = timeout(shared.bounds.drain_timeout, drained) => {}
            }
        }
        drop(self.registration);
    }
}

/// The socket with its buffers.
struct Wire<'a> {
    reader: ReadHalf<'a>,
    writer: WriteHalf<'a>,
    read: BytesMut,
    read_bytes: usize,
    out: Vec<u8>,
    write_timeout: Duration,
}

impl Wire<'_> {
    /// Waits for bytes; safe to drop before it is done.
    async fn read_more(&mut self) -> Result<(), End> {
        // An idle buffer goes back to its small size, so that a burst does not hold memory for ever.
        if self.read.is_empty() && self.read.capacity() > 2 * self.read_bytes {
            self.read = BytesMut::new();
        }
        self.read.reserve(self.read_bytes);
        match self.reader.read_buf(&mut self.read).await {
            Ok(0) | Err(_) => Err(End::Gone),
            Ok(n) => {
                if n >= self.read_bytes {
                    self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
                } else if n < self.read_bytes / 8 {
                    self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
                }
                Ok(())
            }
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let outcome = timeout(self.write_timeout, self.writer.write_all(&self.out)).await;
        self.out.clear();
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::WriteStuck),
        }
    }
}

/// One line for whoever wonders why a sensor is gone, and a count by reason.
fn report(end: &End, peer: SocketAddr, client_id: &str) {
    let reason = match end {
        End::Goodbye => "goodbye",
        End::Gone => "gone",
        End::KeepAlive => "keep-alive",
        End::TakenOver => "taken-over",
        End::Shutdown => "shutdown",
        End::WriteStuck => "write-stuck",
        End::ConnectTimeout => "connect-timeout",
        End::Refused(_) => "refused",
    };
    metrics::counter!("muster_mqtt_disconnects_total", "reason" => reason).increment(1);
    match end {
        End::Refused(refusal) => {
            tracing::warn!(%peer, client_id, "MQTT connection closed: {refusal}")
        }
        End::KeepAlive => {
            tracing::info!(%peer, client_id, "MQTT client silent for 1.5 × its keep-alive")
        }
        End::TakenOver => tracing::info!(%peer, client_id, "MQTT client connected anew elsewhere"),
        End::WriteStuck => {
            tracing::warn!(%peer, client_id, "MQTT client does not read its acknowledgements")
        }
        End::ConnectTimeout => tracing::info!(%peer, "no CONNECT in time"),
        End::Goodbye | End::Gone | End::Shutdown => {
            tracing::debug!(%peer, client_id, reason, "MQTT client left")
        }
    }
}

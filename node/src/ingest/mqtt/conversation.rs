//! A client that was let in: its packets to the store, answers back after the commit, messages out as it takes them.
//!
//! All messages of one read are one batch; a few batches are on their way to the disk at once. One task does both
//! directions, so that there is nothing to lock and the order of answers is the order of `flights`.
//!
//! Invariants:
//! - An answer (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK) is written only after the commit of its batch, and
//!   after all earlier ones.
//! - The socket is not read while as much as [`super::Bounds`] allow is on its way, while the store is stalled, or while
//!   the client is faster than its rate.

mod flight;
mod packets;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf as _;
use futures::FutureExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::connection::End;
use super::frame::Version;
use super::greet::{Guest, Places};
use super::limits::Rate;
use super::outgoing::push_ready;
use super::protocol::{Protocol, Step};
use super::sessions::Registration;
use super::wire::Wire;
use crate::app::mqtt::{Mqtt, Publisher, Ready, Rights, Session};
use flight::{Answers, Flight};

/// Messages of one batch: what a read of the smallest packets would hold is worth several commits.
const BATCH_MESSAGES_MAX: usize = 1024;

/// Outgoing messages taken at once, and bytes after which they are written first.
const READY_MAX: usize = 64;
const OUT_BYTES_MAX: usize = 64 * 1024;

/// How much of the read buffer was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consumed {
    /// Every whole packet.
    All,
    /// A batch; there may be more.
    Part,
}

/// See the module.
pub(super) struct Conversation<'a> {
    protocol: &'a mut Protocol,
    version: Version,
    mqtt: Mqtt,
    session: Arc<Session>,
    publisher: Publisher,
    answers: Answers,
    /// Messages of QoS 1 and 2 that are not answered for good.
    unsettled: usize,
    /// SUBACKs that wait for their commit. Until then no message is sent, though the standard would allow it (§3.8.4):
    /// a client hears first what it was granted, and a promise is on the disk before it is kept.
    subacks: usize,
    flights: VecDeque<Flight>,
    flights_bytes: usize,
    unbatched_bytes: usize,
    rate: Rate,
    held_back_until: Option<Instant>,
    /// There may be messages for the client.
    ready: bool,
    /// Given back with the connection.
    _places: Places,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(protocol: &'a mut Protocol, guest: Guest, shared: &Shared) -> Self {
        let version = protocol.version();
        let Guest { opened, places, .. } = guest;
        Conversation {
            protocol,
            version,
            mqtt: shared.mqtt.clone(),
            session: opened.session,
            publisher: opened.publisher,
            answers: Answers::default(),
            unsettled: 0,
            subacks: 0,
            flights: VecDeque::new(),
            flights_bytes: 0,
            unbatched_bytes: 0,
            rate: Rate::new(
                shared.bounds.messages_per_s_max,
                shared.bounds.bytes_per_s_max,
                Instant::now(),
            ),
            held_back_until: None,
            ready: true,
            _places: places,
        }
    }

    pub(super) fn protocol(&mut self) -> &mut Protocol {
        self.protocol
    }

    pub(super) async fn drive<S>(
        &mut self,
        wire: &mut Wire<S>,
        shared: &Shared,
        silence_max: Duration,
        stop: &CancellationToken,
    ) -> End
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
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
            self.send_ready(&mut wire.out);
            self.batch(&mut wire.out);
            // What waits for a place takes it meanwhile: a client that does not read must not keep others from it.
            let starting = async {
                if let Some(flight) = self.flights.front_mut() {
                    flight.submission.started().await;
                }
                std::future::pending().await
            };
            let flushed = tokio::select! {
                biased;
                flushed = wire.flush() => flushed,
                end = stop.cancelled().map(ended) => return end,
                () = starting => Ok(()),
            };
            let more = match (flushed, consumed) {
                (_, Err(end)) => return end,
                (Err(broken), _) => return broken.into(),
                (Ok(()), Ok(consumed)) => consumed == Consumed::Part,
            };
            may_read = self.may_read(shared);
            if (may_read && more) || (self.ready && self.subacks == 0) {
                continue;
            }
            if !may_read {
                // Silence that we asked for is not the client's.
                heard_at = Instant::now();
            }
            let held_back_until = self.held_back_until;
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
                    Ok(()) => self.answer(&mut wire.out),
                    Err(error) => {
                        tracing::error!(%error, "readings could not be stored");
                        return End::StoreClosed;
                    }
                },
                () = self.session.wait() => self.ready = true,
                read = wire.read_more(), if may_read => match read {
                    Ok(()) => heard_at = Instant::now(),
                    Err(broken) => return broken.into(),
                },
                () = until(held_back_until) => self.held_back_until = None,
                () = sleep_until(heard_at + silence_max), if may_read => return End::KeepAlive,
            }
            may_read = self.may_read(shared);
        }
    }

    /// Whether there is room for one more batch, none waits to reach the store, and the client is not too fast.
    fn may_read(&self, shared: &Shared) -> bool {
        self.held_back_until.is_none()
            && self.flights.len() < shared.bounds.in_flight_batches_max
            && self.flights_bytes < shared.bounds.in_flight_bytes_max
            && self
                .flights
                .back()
                .is_none_or(|flight| flight.submission.is_under_way())
    }

    /// Reads whole packets in the buffer, as many as make a batch.
    fn consume<S>(&mut self, wire: &mut Wire<S>) -> Result<Consumed, End> {
        let mut position = 0;
        let mut packets = 0;
        let outcome = loop {
            if packets == BATCH_MESSAGES_MAX || self.publisher.has_taken_long() {
                break Ok(Consumed::Part);
            }
            let step = match self.protocol.next(&wire.read[position..]) {
                Ok((_, Step::NeedMore)) => break Ok(Consumed::All),
                Ok((taken, step)) => {
                    position += taken;
                    packets += 1;
                    self.unbatched_bytes += taken;
                    step
                }
                Err(refusal) => break Err(End::Refused(refusal)),
            };
            let taken = match step {
                Step::Publish(publish) => self.publish(&publish),
                Step::Ping => {
                    wire.out.extend_from_slice(&[0xd0, 0]);
                    Ok(())
                }
                Step::Disconnect(goodbye) => break Err(End::Goodbye(goodbye)),
                other => {
                    self.control(other);
                    Ok(())
                }
            };
            if let Err(refusal) = taken {
                break Err(End::Refused(refusal));
            }
        };
        if packets > 0 {
            self.held_back_until = self
                .rate
                .took(packets as u64, position as u64, Instant::now());
        }
        wire.read.advance(position);
        outcome
    }

    /// Takes messages for the client, as many as are written at once.
    fn send_ready(&mut self, out: &mut Vec<u8>) {
        if !self.ready || self.subacks > 0 || out.len() >= OUT_BYTES_MAX {
            return;
        }
        let now_ms = self.mqtt.wall_ms();
        let mut changes = Vec::new();
        let ready = self.session.ready(now_ms, READY_MAX, &mut changes);
        self.ready = ready.len() == READY_MAX;
        for packet in &ready {
            let fits = push_ready(
                self.version,
                packet,
                now_ms,
                self.protocol.peer_packet_bytes_max(),
                out,
            );
            if fits {
                continue;
            }
            // [MQTT-3.1.2-25]: as if it had been delivered.
            metrics::counter!("muster_mqtt_outgoing_dropped_total", "reason" => "too-large")
                .increment(1);
            if let Ready::Publish {
                packet_id: Some(packet_id),
                ..
            } = packet
            {
                self.publisher.finished(*packet_id, false);
            }
        }
        self.publisher.store(changes);
    }

    /// Sends what was read to the store.
    fn batch(&mut self, out: &mut Vec<u8>) {
        // Of one connection batches reach the store in order: behind one that waits, all wait.
        let in_order = self
            .flights
            .back()
            .is_none_or(|flight| flight.submission.is_under_way());
        let answers = std::mem::take(&mut self.answers);
        let bytes = std::mem::take(&mut self.unbatched_bytes);
        if let Some(submission) = self.publisher.submit(in_order) {
            self.flights_bytes += bytes;
            self.flights.push_back(Flight {
                submission,
                answers,
                bytes,
            });
        } else if let Some(last) = self.flights.back_mut() {
            last.answers.append(answers);
        } else {
            self.settle(answers, out);
        }
    }

    /// The front batch is on the disk: its answers, and those of whatever else is there by now, in one write.
    fn answer(&mut self, out: &mut Vec<u8>) {
        loop {
            if let Some(flight) = self.flights.pop_front() {
                self.flights_bytes -= flight.bytes;
                self.settle(flight.answers, out);
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

    fn settle(&mut self, answers: Answers, out: &mut Vec<u8>) {
        out.extend_from_slice(&answers.bytes);
        self.unsettled = self.unsettled.saturating_sub(answers.settled);
        self.subacks -= answers.subacks;
    }

    /// The client is gone; what it sent may still reach the disk, unacknowledged. Answers what it was allowed, and
    /// whether it has used packet ids of QoS 2.
    pub(super) async fn finish(
        mut self,
        end: &End,
        registration: Option<&Registration>,
        shared: &Shared,
    ) -> (Rights, bool) {
        self.batch(&mut Vec::new());
        // A newcomer under the same identifier waits for us, and sends again whatever was not acknowledged.
        if !matches!(end, End::TakenOver | End::Shutdown | End::StoreClosed) {
            let taken_over = async {
                match registration {
                    Some(registration) => registration.stop.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            let drained = async {
                for flight in &mut self.flights {
                    if flight.submission.committed().await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = taken_over => {}
                _ = timeout(shared.bounds.drain_timeout, drained) => {}
            }
        }
        (
            self.publisher.rights().clone(),
            self.publisher.used_exactly_once(),
        )
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

//! Connections that come and go: which may stay, what the tables learn of it, and which have to make room.

use std::time::{Duration, Instant};

use sync_engine::{ConnId, Input, NodeId, ReasonCode};

use super::Driver;
use crate::dial;
use crate::events::Opened;
use crate::host::Host;
use crate::links::{Link, Meeting, newcomer_wins};
use crate::outgoing::Outgoing;
use crate::wire::{self, Preface};

/// What may come between the two ends of a race seeing each other: one handshake and a little more.
const RACE_MARGIN: Duration = Duration::from_secs(2);

impl<H: Host> Driver<H> {
    pub(super) fn opened(&mut self, opened: Opened) {
        let Opened {
            conn,
            peer,
            dialled,
            connection,
            control,
            preface,
            verdict,
        } = opened;
        let shared = self.shared.clone();
        let boot = preface.as_ref().map(|preface| preface.boot);
        if let Err((code, text)) = self.admit(peer, dialled, boot) {
            wire::close(&connection, code.code(), text);
            if dialled {
                shared.links.lock().unreserve(peer);
            }
            let _ = verdict.send(Err(text.into()));
            return;
        }
        let link = Link {
            conn,
            connection: connection.clone(),
            dialled,
            since: Instant::now(),
            boot,
        };
        shared.links.lock().opened(peer, link);
        shared.ledger.open(conn);
        shared.links_move();
        self.conns.insert(
            conn,
            (peer, Outgoing::new(&shared, conn, connection, control)),
        );
        let _ = verdict.send(Ok(()));
        self.feed(Input::Connected {
            conn,
            peer,
            dialled,
        });
        if let Some(preface) = preface {
            self.learn(peer, preface);
        }
    }

    /// Whether a new connection may stay; one that it replaces is closed here.
    fn admit(
        &mut self,
        peer: NodeId,
        dialled: bool,
        boot: Option<u64>,
    ) -> Result<(), (ReasonCode, &'static str)> {
        let shared = self.shared.clone();
        let existing = shared.links.lock().link(peer).cloned();
        if let Some(existing) = existing {
            let wins = newcomer_wins(
                shared.node,
                peer,
                Meeting {
                    dialled: existing.dialled,
                    boot: existing.boot,
                },
                existing.since.elapsed(),
                Meeting { dialled, boot },
                shared.limits.handshake + RACE_MARGIN,
            );
            if !wins {
                return Err((ReasonCode::Superseded, "connected already"));
            }
            wire::close(
                &existing.connection,
                ReasonCode::Superseded.code(),
                "replaced by a newer connection",
            );
            self.drop_conn(existing.conn, "replaced by a newer connection".into());
            return Ok(());
        }
        if self.conns.len() >= shared.limits.connections_max {
            return Err((ReasonCode::Busy, "as many connections as allowed here"));
        }
        let trust = shared.trust.load();
        if !dialled && !trust.is_member(peer) {
            let strangers = shared.links.lock().strangers(|node| trust.is_member(node));
            if strangers >= shared.limits.strangers_max {
                return Err((ReasonCode::Busy, "as many unknown nodes as allowed here"));
            }
        }
        Ok(())
    }

    /// A member told its addresses: the program may remember them, and this node dials them when the link is lost.
    pub(super) fn learn(&self, peer: NodeId, preface: Preface) {
        if preface.advertise.is_empty() || !self.shared.trust.load().is_member(peer) {
            return;
        }
        dial::learn(&self.shared, peer, &preface.advertise);
        self.calls.host().member_address(peer, preface.advertise);
    }

    /// The connection is gone: the table and the dialler learn it now, the engine with its next input.
    pub(super) fn drop_conn(&mut self, conn: ConnId, reason: String) {
        let Some((peer, _)) = self.conns.remove(&conn) else {
            return;
        };
        self.shared.ledger.close(conn);
        if self
            .shared
            .links
            .lock()
            .closed(peer, conn, Some(reason.clone()))
        {
            self.shared.links_move();
        }
        self.inputs.push_back(Input::Disconnected { conn, reason });
    }

    /// More waits for slow peers than there is memory for: those for whom most waits have to go.
    pub(super) fn shed(&mut self) {
        while let Some((conn, bytes)) = self.shared.ledger.to_shed() {
            let Some((peer, outgoing)) = self.conns.get(&conn) else {
                // It is ending already.
                self.shared.ledger.close(conn);
                continue;
            };
            let text = format!("{} KiB wait for a peer that is slow", bytes / 1024);
            tracing::warn!(%peer, bytes, "closed to free memory");
            wire::close(outgoing.connection(), ReasonCode::Busy.code(), &text);
            self.drop_conn(conn, text);
        }
        self.feed_all();
    }
}

//! From CONNECT to CONNACK: who the client is, what it may do, and which session it gets.
//!
//! Invariant: an identifier is taken from nobody before the newcomer has shown that it belongs to the same account.

use std::net::{IpAddr, SocketAddr};

use data_encoding::HEXLOWER;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::End;
use super::encode::{ConnackProperties, push_connack};
use super::frame::Version;
use super::limits::Place;
use super::packets::ConnectRequest;
use super::protocol::{Protocol, Step};
use super::refusal::Refusal;
use super::sessions::Registration;
use super::wire::Wire;
use super::{RECEIVE_MAXIMUM, Shared};
use crate::app::mqtt::{Denied, Ended, OpenRefused, OpenRequest, Opened, Receiver, Rights, Will};

/// A client that was let in.
pub(super) struct Guest {
    pub(super) opened: Opened,
    pub(super) client_id: String,
    pub(super) keep_alive_s: u16,
    pub(super) will: Option<Will>,
    /// Whose presence the connection shows.
    pub(super) device: Option<String>,
    /// Held until everything of this connection that may reach the store has, see [`super::sessions`].
    pub(super) registration: Option<Registration>,
    pub(super) places: Places,
}

/// Reads CONNECT. Nothing is answered yet if it is acceptable.
pub(super) async fn hear<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    protocol: &mut Protocol,
) -> Result<Box<ConnectRequest>, End> {
    loop {
        let (taken, step) = protocol.next(&wire.read).map_err(End::Refused)?;
        if let Step::Connect(request) = step {
            let _ = wire.read.split_to(taken);
            return Ok(request);
        }
        wire.read_more().await?;
    }
}

/// Decides about it, and answers it where the client is let in.
pub(super) async fn admit(
    request: Box<ConnectRequest>,
    peer: SocketAddr,
    shared: &Shared,
    stop: &CancellationToken,
    out: &mut Vec<u8>,
) -> Result<Guest, Refusal> {
    let rights = rights(&request, peer, shared)?;
    if let Some(will) = &request.will
        && !shared.mqtt.may_will(will, &rights)
    {
        return Err(Refusal::WillNotAuthorized);
    }
    let places = places(&rights, peer.ip(), shared)?;
    let mut client_id = request.client_id.clone();
    if !shared.mqtt.may_use(&client_id, &rights) {
        return Err(Refusal::Session(OpenRefused::Owner.to_string()));
    }
    // §3.1.3.1: a client of version 5 may leave it to the server. One that can come back has to know the name; without
    // a session to come back to it needs none here, and takes no place among those that are remembered.
    let assigned = (client_id.is_empty() && request.version == Version::V5)
        .then(|| format!("muster-{}", HEXLOWER.encode(&rand::random::<[u8; 10]>())));
    if let Some(assigned) = &assigned
        && request.session_expiry_s > 0
    {
        client_id.clone_from(assigned);
    }
    let registration = if client_id.is_empty() {
        // Nobody can name this session again, so there is nobody to take it over from.
        None
    } else {
        Some(shared.sessions.register(&client_id, stop.clone()).await)
    };
    let device = shared
        .mqtt
        .device_shown_by(&rights, request.will.as_ref())
        .map(str::to_owned);
    let opened = shared
        .mqtt
        .open(OpenRequest {
            client_id: client_id.clone(),
            rights,
            clean_start: request.clean_start,
            expiry_s: request.session_expiry_s,
            receiver: Receiver {
                receive_maximum: request.receive_maximum,
            },
            bridge: request.bridge,
            stop: stop.clone(),
        })
        .await
        .map_err(|refused| {
            if let OpenRefused::NotStored(error) = &refused {
                tracing::error!(%error, "an MQTT session could not be stored");
            }
            Refusal::Session(refused.to_string())
        })?;
    if let Some(credentials) = &request.credentials
        && shared
            .mqtt
            .authenticate(&credentials.name, &credentials.secret)
            .is_err()
    {
        // Its account was removed, or its device disabled, before there was a session that could be ended for it.
        opened.session.end(Ended::AccountGone);
    }
    let keep_alive_s = answer(&request, &opened, assigned.as_deref(), shared, out);
    let request = *request;
    Ok(Guest {
        opened,
        client_id,
        keep_alive_s,
        will: request.will,
        device,
        registration,
        places,
    })
}

fn answer(
    request: &ConnectRequest,
    opened: &Opened,
    assigned: Option<&str>,
    shared: &Shared,
    out: &mut Vec<u8>,
) -> u16 {
    let longest = shared.bounds.keep_alive_s_max;
    // A client of version 5 can be told (§3.2.2.3.14); one of version 3.1.1 without keep-alive is let be.
    let imposed = (request.version == Version::V5
        && (request.keep_alive_s == 0 || request.keep_alive_s > longest))
        .then_some(longest);
    let properties = ConnackProperties {
        session_expiry_s: (opened.expiry_s != request.session_expiry_s).then_some(opened.expiry_s),
        receive_maximum: RECEIVE_MAXIMUM,
        packet_bytes_max: u32::try_from(shared.bounds.packet_bytes_max).unwrap_or(u32::MAX),
        assigned_client_id: assigned,
        server_keep_alive_s: imposed,
    };
    push_connack(request.version, opened.present, &properties, out);
    imposed.unwrap_or(request.keep_alive_s)
}

fn rights(request: &ConnectRequest, peer: SocketAddr, shared: &Shared) -> Result<Rights, Refusal> {
    let Some(credentials) = &request.credentials else {
        return if shared.admits(peer) {
            Ok(Rights::Anyone)
        } else {
            Err(Refusal::NotAuthorized)
        };
    };
    if !shared.limits.may_try(peer.ip(), Instant::now()) {
        refused("rate");
        return Err(Refusal::TooManyAttempts);
    }
    shared
        .mqtt
        .authenticate(&credentials.name, &credentials.secret)
        .map_err(|denied| match denied {
            Denied::Secret => {
                refused("credentials");
                shared.limits.wrong_password(peer.ip(), Instant::now());
                Refusal::BadCredentials
            }
            Denied::Barred => {
                refused("barred");
                Refusal::Barred
            }
        })
}

fn refused(reason: &'static str) {
    metrics::counter!("muster_mqtt_logins_refused_total", "reason" => reason).increment(1);
}

/// Its places among the connections of its address and of its account.
pub(super) type Places = (Option<Place<IpAddr>>, Option<Place<String>>);

fn places(rights: &Rights, address: IpAddr, shared: &Shared) -> Result<Places, Refusal> {
    let bounds = &shared.bounds;
    // Everything on this machine comes from one address.
    let of_address = if address.to_canonical().is_loopback() {
        None
    } else {
        let place = shared
            .limits
            .connection_from(address, bounds.connections_of_address_max);
        Some(place.ok_or(Refusal::TooManyConnections("address"))?)
    };
    let of_account_max = match rights {
        Rights::Anyone => return Ok((of_address, None)),
        Rights::Device { .. } => bounds.connections_of_device_max,
        Rights::Gateway { .. } => bounds.connections_of_gateway_max,
    };
    let of_account = shared
        .limits
        .connection_of(rights.owner(), of_account_max)
        .ok_or(Refusal::TooManyConnections("account"))?;
    Ok((of_address, Some(of_account)))
}

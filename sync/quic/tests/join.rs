//! Enrolment over real sockets: who holds the code gets in, once; everybody else is told why not.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Member, Operation, founder, key, node_id};
use sync_quic::{Invite, JoinError, JoinRefusal, JoinReply, JoinRequest, join};

const SECRET: [u8; 16] = [0x5a; 16];
const TIMEOUT: Duration = Duration::from_secs(10);

/// An inviter with one open invitation, which also checks that the peer is who TLS says.
async fn inviter(operation: &Operation) -> (Member, Invite) {
    let hq = founder(operation, key(1), &[], |_| {}).await;
    let (memory, genesis, used) = (
        hq.memory.clone(),
        operation.genesis.clone(),
        AtomicBool::new(false),
    );
    *hq.memory.judge.lock() = Some(Box::new(move |peer, request: JoinRequest| {
        assert_eq!(peer, request.node);
        if !request.proves(&SECRET) {
            return Err(JoinRefusal::UnknownInvite);
        }
        if used.swap(true, Ordering::SeqCst) {
            return Err(JoinRefusal::Used);
        }
        Ok(JoinReply {
            genesis: genesis.clone(),
            trust_runs: memory.trust_runs(),
            inviter_name: format!("hq of {}", request.name),
            checkpoint: None,
            members: Vec::new(),
        })
    }));
    let invite = Invite {
        addresses: vec![hq.addr()],
        inviter: hq.id(),
        operation: operation.id(),
        secret: SECRET,
    };
    (hq, invite)
}

fn request() -> JoinRequest {
    JoinRequest::new("truck 7", None, "0.1.0")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_holder_of_a_code_joins_once() {
    let operation = Operation::new(1);
    let (hq, invite) = inviter(&operation).await;
    let invite: Invite = invite.code().parse().unwrap();
    let reply = join(&key(2), &invite, request(), TIMEOUT).await.unwrap();
    assert_eq!(reply.genesis, operation.genesis);
    assert_eq!(reply.inviter_name, "hq of truck 7");
    assert_eq!(reply.trust_runs, hq.memory.trust_runs());
    let again = join(&key(3), &invite, request(), TIMEOUT).await;
    assert!(
        matches!(again, Err(JoinError::Refused(JoinRefusal::Used))),
        "{again:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_refused() {
    let (_hq, mut invite) = inviter(&Operation::new(1)).await;
    invite.secret[0] ^= 1;
    let refused = join(&key(2), &invite, request(), TIMEOUT).await;
    assert!(
        matches!(refused, Err(JoinError::Refused(JoinRefusal::UnknownInvite))),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_address_does_not_stop_the_next_one() {
    let (_hq, mut invite) = inviter(&Operation::new(1)).await;
    // Bound and silent.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    invite.addresses.insert(0, silent.local_addr().unwrap());
    join(&key(2), &invite, request(), Duration::from_secs(3))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_at_the_address_is_named_and_gets_no_proof() {
    let (hq, mut invite) = inviter(&Operation::new(1)).await;
    invite.inviter = node_id(&key(9));
    match join(&key(2), &invite, request(), TIMEOUT).await {
        Err(JoinError::Unreachable { addresses }) => {
            assert!(addresses.contains(&hq.id().to_string()), "{addresses}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_genesis_of_another_operation_is_not_taken() {
    let (_hq, mut invite) = inviter(&Operation::new(1)).await;
    invite.operation = Operation::new(2).id();
    let refused = join(&key(2), &invite, request(), TIMEOUT).await;
    assert!(
        matches!(refused, Err(JoinError::OtherOperation { .. })),
        "{refused:?}"
    );
}

//! Who is no member, is one of another operation, or never says anything.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use sync_engine::{Lane, ReasonCode, Trust};
use sync_quic::testing::{Crowd, Foreign, Light, Shown};

use super::super::member::WAIT;
use super::super::runs::{another_operation, foreign_run};
use super::super::scene::Scene;
use super::{SYNC, engine, note, send_run};

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_half_open_handshakes_leave_a_node_serving_and_unchanged() {
    let scene = Scene::set().await;
    strangers_and_other_operations(&scene).await;
    silent_strangers(&scene).await;
    handshakes_that_never_end(&scene).await;
    datagrams_of_noise(&scene).await;
}

async fn strangers_and_other_operations(scene: &Scene) {
    let member = scene.attacker().await;
    // Another one's public key without the private one, and no key at all.
    let nobody = SigningKey::from_bytes(&[7; 32]);
    let liar = Shown {
        node: member.node(),
        signs_with: &nobody,
    };
    for shown in [Some(liar), None] {
        assert!(Foreign::dial(member.address, shown, SYNC).await.is_err());
    }
    // A key that nobody let in, with all that a member knows of the operation.
    let stranger = member.with_key(nobody);
    let light = Light::new(stranger.key.clone(), engine(&stranger));
    let light = Crowd::bind()
        .unwrap()
        .connect(stranger.address, light)
        .await
        .unwrap();
    let run = foreign_run(&stranger.key, Lane::Coordination, vec![note(&stranger, 1)]);
    send_run(&light, &run);
    let (code, text) = light.closed().await.unwrap();
    assert_eq!(code, ReasonCode::NotMember.code(), "{text}");
    scene.goes_on("a stranger").await;

    // A member that speaks for another operation.
    let before = scene.hq.refused("operation").await;
    let founder = SigningKey::from_bytes(&[66; 32]);
    let (genesis, grant) = another_operation(&founder);
    let mut elsewhere = Trust::new(genesis);
    elsewhere.insert(grant).unwrap();
    let life = member.dial(1, elsewhere).await;
    let refused = async {
        while scene.hq.refused("operation").await == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WAIT, refused).await.unwrap();
    life.sync.shutdown().await;
    scene.goes_on("another operation").await;
}

/// Strangers by the dozen that connect, and then say nothing.
async fn silent_strangers(scene: &Scene) {
    let member = scene.attacker().await;
    let mut silent = Vec::new();
    for number in 0..60_u8 {
        let key = SigningKey::from_bytes(&[180_u8.wrapping_add(number); 32]);
        if let Ok(foreign) = Foreign::dial(member.address, Some(Shown::of(&key)), SYNC).await {
            silent.push(foreign);
        }
    }
    scene
        .goes_on(&format!("{} silent strangers", silent.len()))
        .await;
}

/// First packets by the hundred whose senders never hear the answer: each holds a place among the handshakes until its
/// time is over, and a newcomer has to get past them.
async fn handshakes_that_never_end(scene: &Scene) {
    const CLIENTS: u8 = 200;
    let node = scene.attacker().await.address;
    let hole = BlackHole::before(node);
    let dials: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (to, key) = (hole.address, SigningKey::from_bytes(&[number; 32]));
            tokio::spawn(
                async move { Foreign::dial(to, Some(Shown::of(&key)), SYNC).await.is_ok() },
            )
        })
        .collect();
    tokio::time::timeout(WAIT, hole.carried(CLIENTS.into()))
        .await
        .unwrap();
    scene.goes_on("handshakes that never end").await;
    // A whole join, and a connection of who joined.
    let newcomer = scene.attacker().await;
    let life = newcomer.connect(1).await;
    life.sync.shutdown().await;
    for dial in dials {
        dial.abort();
    }
}

/// A socket in front of a node that carries datagrams towards it, and none back.
struct BlackHole {
    address: SocketAddr,
    carried: tokio::sync::watch::Receiver<usize>,
}

impl BlackHole {
    fn before(node: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (count, carried) = tokio::sync::watch::channel(0);
        std::thread::spawn(move || {
            let mut datagram = [0; 2048];
            // Ends when nobody has sent anything for long.
            socket.set_read_timeout(Some(WAIT)).unwrap();
            while let Ok((length, from)) = socket.recv_from(&mut datagram) {
                if from != node {
                    let _ = socket.send_to(&datagram[..length], node);
                    count.send_modify(|count| *count += 1);
                }
            }
        });
        Self { address, carried }
    }

    async fn carried(&self, least: usize) {
        let mut carried = self.carried.clone();
        carried.wait_for(|count| *count >= least).await.unwrap();
    }
}

/// Bytes that are no QUIC, in all sizes, from many ports; some look like the beginning of a handshake.
async fn datagrams_of_noise(scene: &Scene) {
    let node = scene.attacker().await.address;
    for _ in 0..50 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for length in (1..1_400_usize).step_by(7) {
            let mut datagram: Vec<u8> = (0..length).map(|_| rand::random()).collect();
            if length % 2 == 0 {
                // A long header of QUIC version 1 (RFC 9000 §17.2).
                let header = [0xc0, 0, 0, 0, 1, 8];
                let bytes = header.len().min(length);
                datagram[..bytes].copy_from_slice(&header[..bytes]);
            }
            let _ = socket.send_to(&datagram, node);
        }
    }
    scene.goes_on("datagrams of noise").await;
}

//! The other end that does nothing but acknowledge: what the load generator can do at most.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Reads of this size are what the generator's bursts come to.
const READ_BYTES: usize = 64 * 1024;

/// Listens on a thread of its own, which ends with the process.
///
/// # Errors
/// No port.
pub fn start() -> anyhow::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                // It ends with its publisher, whose own end says why.
                tokio::spawn(acknowledge(stream));
            }
            #[allow(unreachable_code)]
            anyhow::Ok(())
        })
    });
    Ok(address)
}

async fn acknowledge(mut stream: TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut read = vec![0; READ_BYTES];
    let mut held = 0;
    let mut out = Vec::new();
    loop {
        let n = stream.read(&mut read[held..]).await?;
        if n == 0 {
            return Ok(());
        }
        held += n;
        let mut from = 0;
        while let Some((kind, body, length)) = packet(&read[from..held])? {
            match kind & 0xf0 {
                0x10 => out.extend_from_slice(&[0x20, 2, 0, 0]),
                _ => out.extend_from_slice(&puback(body)?),
            }
            from += length;
        }
        read.copy_within(from..held, 0);
        held -= from;
        stream.write_all(&out).await?;
        out.clear();
    }
}

/// First byte, body, and length in all, of a whole packet of less than 16 KiB.
fn packet(bytes: &[u8]) -> anyhow::Result<Option<(u8, &[u8], usize)>> {
    let (header, length) = match *bytes {
        [_, low, ..] if low < 128 => (2, usize::from(low)),
        [_, low, high, ..] => {
            ensure!(high < 128, "a packet that the generator does not send");
            (3, usize::from(low & 0x7f) + usize::from(high) * 128)
        }
        _ => return Ok(None),
    };
    let body = bytes.get(header..header + length);
    Ok(body.map(|body| (bytes[0], body, header + length)))
}

fn puback(body: &[u8]) -> anyhow::Result<[u8; 4]> {
    let topic = body.first_chunk().context("a topic")?;
    let after = 2 + usize::from(u16::from_be_bytes(*topic));
    let id = body.get(after..after + 2).context("a packet id")?;
    Ok([0x40, 2, id[0], id[1]])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::ingest::load::{self, Plan};

    #[tokio::test]
    async fn the_sink_acknowledges_everything_in_order() {
        let plan = Plan::of_ten(Duration::from_millis(100), None, 1_772_366_400_000);
        let outcome = load::run(start().unwrap(), plan).await.unwrap();
        assert!(outcome.acknowledged > 1000, "{}", outcome.acknowledged);
    }
}

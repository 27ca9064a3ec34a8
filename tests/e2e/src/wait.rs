//! Waiting for conditions, never for times.

use std::future::Future;
use std::time::{Duration, Instant};

/// What anything in a test may take at most, on a machine that does other things too.
pub const PATIENCE: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(20);

/// Looks until there is an answer; an error of the look itself ends the wait.
///
/// # Errors
/// There was none within [`PATIENCE`].
pub async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => return Err(error.context(format!("while waiting until {what}"))),
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "waited {} s until {what}",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(LOOK).await;
    }
}

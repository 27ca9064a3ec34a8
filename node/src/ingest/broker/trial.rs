//! Whether a connection is worth anything: a broker that takes us, and refuses the subscription or sends what ends the
//! connection, has answered and still does nothing for anybody.

use std::time::Duration;

use tokio::sync::Notify;

/// A connection that has stood for so long, with all its subscriptions, stands: the network may be quiet.
const STANDS_AFTER: Duration = Duration::from_secs(30);

/// What one connection has done so far.
pub(super) struct Trial {
    subscribed: Notify,
    stored: Notify,
}

impl Trial {
    pub(super) fn new() -> Self {
        Trial {
            subscribed: Notify::new(),
            stored: Notify::new(),
        }
    }

    /// The broker has taken all subscriptions.
    pub(super) fn subscribed(&self) {
        self.subscribed.notify_one();
    }

    /// Something new that it brought is on the disk.
    pub(super) fn stored(&self) {
        self.stored.notify_one();
    }

    /// Answers when failures before this connection are over.
    pub(super) async fn passed(&self) {
        self.subscribed.notified().await;
        tokio::select! {
            () = self.stored.notified() => {}
            () = tokio::time::sleep(STANDS_AFTER) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_connection_passes_with_the_first_news_after_its_subscriptions() {
        let trial = Trial::new();
        trial.stored();
        assert!(trial.passed().now_or_never().is_none(), "not subscribed");
        trial.subscribed();
        assert!(trial.passed().now_or_never().is_some());

        let quiet = Trial::new();
        quiet.subscribed();
        assert!(quiet.passed().now_or_never().is_none(), "it may end yet");
    }
}

//! Mistakes that a build for tests makes when it is told to, so that the test that counts evaluations (tests/e2e) can show
//! that it notices them.

use std::time::Duration;

/// Readings that are evaluated again after a start: few, because those that are in blocks cannot be.
const AGAIN: i64 = 20;

/// How long effects then come after their cursor: long enough for a kill at any moment to fall in between now and then.
pub(super) const UNTIL_EFFECTS: Duration = Duration::from_millis(50);

/// Which mistakes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planted {
    /// After a start the newest readings are evaluated once more.
    pub(super) evaluates_again: bool,
    /// The cursor is committed first, and what it stands for in a transaction of its own.
    pub(super) cursor_before_effects: bool,
}

impl Planted {
    pub(super) fn from_environment() -> Self {
        let told = |name: &str, mistake: &str| {
            let told = cfg!(debug_assertions) && std::env::var_os(name).is_some();
            if told {
                tracing::error!("fault injection: {mistake}");
            }
            told
        };
        Planted {
            evaluates_again: told(
                "MUSTER_TEST_EVALUATES_AGAIN",
                "readings are evaluated again after a start",
            ),
            cursor_before_effects: told(
                "MUSTER_TEST_CURSOR_BEFORE_EFFECTS",
                "the cursor of the rules is committed before their effects",
            ),
        }
    }

    /// Where evaluation goes on that had come to `position`.
    pub(super) fn begin_at(self, position: i64) -> i64 {
        if self.evaluates_again {
            (position - AGAIN).max(0)
        } else {
            position
        }
    }
}

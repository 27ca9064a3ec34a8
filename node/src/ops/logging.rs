//! Log lines on standard error; standard output belongs to answers.

use tracing_subscriber::EnvFilter;

/// Starts logging with `tracing` filter directives (`info`, `node=debug,info`); `RUST_LOG` wins where it is set.
/// Unreadable directives fall back to `info` and say so.
pub fn start(directives: &str) {
    let wanted = std::env::var("RUST_LOG").unwrap_or_else(|_| directives.to_owned());
    // Its spans cost a tenth of loading a document, and nobody has asked for them who does not name it.
    let (filter, complaint) = match EnvFilter::try_new(format!("automerge=warn,{wanted}")) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("automerge=warn,info"), Some(error)),
    };
    // A second start in one process (tests) keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(true)
        .try_init();
    if let Some(error) = complaint {
        tracing::warn!(%error, wanted, "unreadable log filter, logging at info");
    }
}

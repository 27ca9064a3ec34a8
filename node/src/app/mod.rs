//! The use cases: the one place that authorises, commits and writes the audit record.

pub mod auth;
pub mod conflicts;
pub mod devices;
mod documents;
pub mod error;
pub mod events;
pub mod founding;
pub mod ingest;
pub mod readings;
pub mod rebuild;
pub mod records;
pub mod rules;
pub mod status;
pub mod sync;
pub mod types;

pub use error::AppError;
pub use types::*;

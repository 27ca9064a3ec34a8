//! A member that lies: whatever it sends is quarantined or refused and counted, honest work right behind it arrives,
//! and every honest node ends with the same picture, in whatever order things came and whoever was restarted meanwhile.

#![allow(clippy::unwrap_used)]

mod attacks;
mod authors;
mod changes;
mod health;
mod member;
mod process;
mod raw_readings;
mod receipts;
mod runs;
mod scene;
mod summaries;
mod world;

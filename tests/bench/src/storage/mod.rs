//! Readings at rest: how many bytes they take, how soon a chart of many of them is there, and how much a memory card is
//! written on for them.

pub mod bytes;
pub mod card;
pub mod charts;
pub mod device;
pub mod fill;

//! Whole nodes, several at a time, and what happens to them in the field.

mod bad_input;
mod brokers;
mod chain;
mod commands;
mod demo;
mod exactly_once;
mod formats;
mod full_disk;
mod kills;
mod log_inspect;
mod mqtt_clients;
mod power_cuts;
mod spine;

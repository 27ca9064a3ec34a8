//! The bugs that can be planted, and the switch.

/// Runs `f` without any planted bug: for the model, which must not believe what it is to find.
pub fn without<T>(f: impl FnOnce() -> T) -> T {
    f()
}

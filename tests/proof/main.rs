//! The promise, proven: programs that try hard to break it, in a binary of their own, because the longer runs are the
//! same programs with a larger number and are built with optimisation.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "the integration tests use the rest")]
mod common;
// Their points and planted mistakes are in no release.
#[cfg(debug_assertions)]
mod crash;
mod fuzz;
mod model;
#[cfg(debug_assertions)]
mod processes;
mod sim;

/// The programs that use all cores, and mind the time, run one after another: each holds this.
fn turn() -> std::sync::MutexGuard<'static, ()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

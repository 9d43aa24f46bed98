//! Places at which a test ends the process, and mistakes that a test plants. Neither is in a release.
//!
//! [`point!`] names a place before or after a commit or a call to the outside. [`mistake!`] asks whether this test
//! wants the code to be wrong in one of the ways that the design shows to break the promise. Both stand where the
//! real code does the real thing, so that what is tried is what is shipped. Without debug assertions the first is
//! nothing, the second is `false`, and [`armed`] does not exist: whatever named it outside of the two macros would
//! not compile, and no release has a switch that could be found.
//!
//! Who ends the process: `points::watch`, which tests call in a process of their own, and `stoppress serve` of a
//! debug build when `STOPPRESS_CRASH_AT` says `name@hit`. Who plants: `points::plant`, for one thread and the
//! stores that are opened on it, so that tests run side by side.

#[cfg(debug_assertions)]
mod armed;

#[cfg(debug_assertions)]
pub use armed::*;

/// A place with a name, at which a test can end the process.
macro_rules! point {
    ($name:literal) => {
        #[cfg(debug_assertions)]
        {
            $crate::points::reached($name);
        }
    };
}

/// Whether a test has planted this mistake; `false` in a release, where there are none.
macro_rules! mistake {
    ($name:ident) => {{
        #[cfg(debug_assertions)]
        {
            $crate::points::makes($crate::points::Mistake::$name)
        }
        #[cfg(not(debug_assertions))]
        {
            false
        }
    }};
}

pub(crate) use {mistake, point};

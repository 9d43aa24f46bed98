//! Cutoff calendars.

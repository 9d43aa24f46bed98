//! Zone data, chosen at run time.

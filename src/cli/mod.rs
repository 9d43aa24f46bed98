//! The commands, one file each.

<<<<<<< HEAD
pub mod cutoffs;
=======
pub mod simulate;
>>>>>>> lab

//! What the log has about an order.

use crate::domain::evidence::{Checkpoint, Entry};

/// The entries about an order, its batches and its transfer, and the checkpoints that cover them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidenced {
    /// In the order of the log.
    pub entries: Vec<Entry>,
    /// Earliest first.
    pub checkpoints: Vec<Checkpoint>,
}

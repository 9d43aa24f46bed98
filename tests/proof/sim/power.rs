//! The power goes: every gateway ends where it stands, and of the database there is what the disk was told to keep.

use std::path::Path;

use jiff::Timestamp;

use super::play::Play;
use super::replica::Source;

/// Copies what is left of a database when the power goes. SQLite appends to its log and moves that into the file now
/// and then; unless every commit waits for the disk, what is in the log may never have got there.
fn what_is_left(from: &Path, to: &Path, waits: bool) {
    std::fs::copy(from, to).expect("a copy");
    let log = |file: &Path| file.with_extension("db-wal");
    if waits && log(from).exists() {
        std::fs::copy(log(from), log(to)).expect("a copy of the log");
    }
}

impl Play {
    /// The power of everything goes that is not a lab, and comes back.
    pub(crate) fn lose_power(&mut self) {
        let Some(file) = self.file.clone() else { return };
        for nth in 0..self.replicas.len() {
            self.crash(nth);
        }
        let found = self.ask(self.store.durability());
        let waits =
            found.iter().any(|(name, value)| *name == "synchronous" && matches!(value.as_str(), "2" | "3"));
        let left = file.with_file_name(format!("{}.db", self.hub.state().told));
        what_is_left(&file, &left, waits);
        let url = format!("sqlite:{}", left.display());
        super::stores().block_on(self.store.close());
        let store = super::stores().block_on(stoppress::store::open(&url, Timestamp::UNIX_EPOCH));
        self.store = store.expect("a store that opens");
        self.source = Source::Shared(self.store.clone());
        self.file = Some(left);
        self.hub.forgets();
        self.look();
        let end = self.ask(self.store.log_end());
        let mut state = self.hub.state();
        state.tell("the power goes".to_owned());
        if end < self.oracle.seen {
            state
                .faults
                .push(format!("the log ends with entry {end}, and was read up to {}", self.oracle.seen));
        }
    }
}

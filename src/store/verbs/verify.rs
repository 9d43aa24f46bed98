//! Whether the log hangs together: every entry continues the one before it of its subject, and nothing that
//! was there at a checkpoint has vanished.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use crate::domain::event::{self, hex};
use crate::store::Result;
use crate::store::session::{Row, Session};
use crate::store::types::Verified;

/// How many breaks are named.
const BREAKS_MAX: usize = 20;

/// An entry as it is stored: its detail is hashed as text, not as what a parser makes of it.
struct Entry {
    seq: i64,
    subject: String,
    previous: String,
    hash: String,
    now: String,
}

fn entry(row: Row) -> Result<Entry> {
    let mut row = row.of("events");
    let (seq, at, subject, _lab) = (row.int()?, row.at()?, row.text()?, row.text()?);
    let (kind, actor, detail) = (row.text()?, row.text()?, row.text()?);
    let (previous, hash) = (row.text()?, row.text()?);
    let now = event::hash(&previous, at, &subject, &kind, &actor, &detail);
    Ok(Entry { seq, subject, previous, hash, now })
}

/// Checks the chain of every subject, every checkpoint, and that the newest entry of every subject is
/// there. `until` is the last number below which no entry can appear any more.
pub(in crate::store) async fn verify_events<S: Session>(s: &mut S, until: i64) -> Result<Verified> {
    let mut checkpoints = Vec::new();
    for mut row in s.fetch(s.sql().checkpoint_all, &[]).await? {
        checkpoints.push((row.at()?, row.int()?, row.text()?));
    }
    checkpoints.retain(|(_, seq, _)| *seq <= until);
    let mut checkpoints = checkpoints.into_iter().peekable();
    let mut found = Verified::default();
    let mut heads: HashMap<String, String> = HashMap::new();
    let mut sum = Sha256::new();
    let mut after = 0;
    let broken = |breaks: &mut Vec<String>, what: String| {
        if breaks.len() < BREAKS_MAX {
            breaks.push(what);
        }
    };
    loop {
        let rows = s.fetch(s.sql().event_after, &[after.into(), until.into(), 5_000.into()]).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let Entry { seq, subject, previous, hash, now } = entry(row)?;
            // A checkpoint whose own last entry is gone is behind us without having been compared.
            while let Some((at, missed, hash)) = checkpoints.next_if(|(_, last, _)| *last < seq) {
                let what = format!("checkpoint of {at}: its last event {missed} is missing");
                broken(&mut found.breaks, what);
                sum = Sha256::new_with_prefix(hash);
            }
            found.events += 1;
            after = seq;
            let head = heads.entry(subject).or_default();
            if *head != previous {
                let what = "an entry of its subject before it is missing or was changed";
                broken(&mut found.breaks, format!("event {seq}: {what}"));
            }
            if hash != now {
                broken(&mut found.breaks, format!("event {seq}: its content was changed"));
            }
            sum.update(hash.as_bytes());
            *head = hash;
            while let Some((at, seq, hash)) = checkpoints.next_if(|(_, last, _)| *last == seq) {
                found.checkpoints += 1;
                if hex(&std::mem::take(&mut sum).finalize()) != hash {
                    let what = "entries before it are missing or were changed";
                    broken(&mut found.breaks, format!("checkpoint of {at} at event {seq}: {what}"));
                }
                sum.update(hash.as_bytes());
            }
        }
    }
    for (at, seq, _) in checkpoints {
        broken(&mut found.breaks, format!("checkpoint of {at} at event {seq}: the log ends before it"));
    }
    for mut row in s.fetch(s.sql().event_heads_missing, &[(BREAKS_MAX as i64).into()]).await? {
        let subject = row.text()?;
        broken(&mut found.breaks, format!("{subject}: its newest entry is missing from the log"));
    }
    Ok(found)
}

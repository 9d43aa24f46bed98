//! The evidence about one order, as a bundle that stands on its own: whoever has it can check, without the
//! gateway and without its database, that nothing in it was changed and nothing left out.
//!
//! Every entry carries the six texts that its hash is made of, as they were hashed. The entries of a subject
//! form a chain; a checkpoint covers all entries of the gateway up to its own, and brings their hashes along,
//! so that it can be computed again. The seal is over the bundle as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::event::{self, hex};

/// The form of a bundle.
pub const FORMAT: &str = "stoppress-evidence/1";
/// The most hashes of other entries that a bundle brings along for its checkpoints.
pub const HASHES_MAX: usize = 50_000;

/// The evidence about one order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EvidenceBundle)]
pub struct Bundle {
    /// `stoppress-evidence/1`.
    pub format: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub made_at: Timestamp,
    /// By which program.
    pub made_by: String,
    /// How to check it, in words.
    pub how_to_verify: Vec<String>,
    /// The order as it stood then, with its verdict, its stop and the lab's reports. Numbers with a fraction are
    /// texts.
    #[schema(value_type = Object)]
    pub order: Value,
    /// What contradicted each other, and what a person decided about it.
    #[schema(value_type = Vec<Object>)]
    pub contradictions: Vec<Value>,
    /// The subjects: the order, the batches that it was in, the transfer that carried it.
    pub chains: Vec<Chain>,
    /// Everything that happened to them, in the order of the log.
    pub entries: Vec<Entry>,
    /// The checkpoints that cover the entries.
    pub checkpoints: Vec<Checkpoint>,
    /// SHA-256 of everything else, written as JSON with sorted names and without spaces.
    pub seal: String,
}

/// The chain of a subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EvidenceChain)]
pub struct Chain {
    /// The subject.
    pub subject: String,
    /// How many entries it has.
    pub entries: usize,
    /// The hash of the last one.
    pub head: String,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EvidenceEntry)]
pub struct Entry {
    /// Its number in the log.
    pub seq: i64,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The lab concerned; empty where none is. It is not part of the hash.
    pub lab: String,
    /// What was hashed: the hash of the subject's entry before (empty for its first), the instant in
    /// microseconds since 1970, the subject, what happened, who did it, and the detail as it is stored.
    #[schema(min_items = 6, max_items = 6)]
    pub hashed: [String; 6],
    /// The hash.
    pub hash: String,
    /// The number of the checkpoint that covers it; null if none did yet.
    pub checkpoint: Option<i64>,
}

impl Entry {
    fn subject(&self) -> &str {
        &self.hashed[2]
    }
}

/// A checkpoint over the whole log of the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EvidenceCheckpoint)]
pub struct Checkpoint {
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The number of the last entry that it covers.
    pub seq: i64,
    /// The hash of the checkpoint before; empty for the first.
    pub previous: String,
    /// The number and the hash of every entry between the two; null if there were too many to bring along.
    pub entries: Option<Vec<Covered>>,
    /// The hash.
    pub hash: String,
}

/// An entry under a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EvidenceCovered)]
pub struct Covered {
    /// Its number in the log.
    pub seq: i64,
    /// Its hash.
    pub hash: String,
}

/// How a bundle is checked, in words.
const HOW: [&str; 6] = [
    "An entry: put before each of the six texts in `hashed`, in UTF-8, its length in bytes as 8 bytes, the highest \
     first; SHA-256 of all of it, in lower-case hex, is `hash`.",
    "A chain: of each subject (the third text), the first text of an entry is the `hash` of the entry before, and \
     empty for the first. `chains` says how many there are, and the hash of the last: so none is missing.",
    "A checkpoint: SHA-256 of `previous` and of every `hash` in its `entries`, as texts one after the other, is `hash`. An \
     entry with a `checkpoint` stands among them, with its number and its hash. A checkpoint is made once a minute; \
     what happened since the last one has none yet.",
    "The bundle: SHA-256 of everything but `seal`, as JSON in UTF-8 with names sorted, without spaces, and with no \
     character escaped that need not be, is `seal`.",
    "What this proves: the entries are the same and complete for as long as the hash of a checkpoint is the one that \
     the gateway's database has, or that somebody wrote down at that time. Whoever could write a whole new history \
     could seal it as well; the checkpoint is where it would show.",
    "By machine: stoppress doctor --verify-evidence FILE",
];

/// The same value with numbers that have a fraction as texts: programs write these differently.
fn whole(value: Value) -> Value {
    match value {
        Value::Number(number) if !number.is_i64() && !number.is_u64() => Value::String(number.to_string()),
        Value::Array(values) => values.into_iter().map(whole).collect(),
        Value::Object(map) => map.into_iter().map(|(name, value)| (name, whole(value))).collect(),
        other => other,
    }
}

/// JSON with sorted names and without spaces.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            out.push('{');
            for (nth, (name, value)) in sorted.into_iter().enumerate() {
                if nth > 0 {
                    out.push(',');
                }
                let _ = write!(out, "{}:", Value::from(name.as_str()));
                canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(values) => {
            out.push('[');
            for (nth, value) in values.iter().enumerate() {
                if nth > 0 {
                    out.push(',');
                }
                canonical(value, out);
            }
            out.push(']');
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// The seal of a bundle, whatever seal it carries.
fn seal(bundle: &Value) -> String {
    let mut rest = bundle.clone();
    if let Some(map) = rest.as_object_mut() {
        map.remove("seal");
    }
    let mut text = String::new();
    canonical(&rest, &mut text);
    hex(&Sha256::digest(text.as_bytes()))
}

impl Bundle {
    /// A bundle of what is known about an order. The entries come in the order of the log.
    ///
    /// # Errors
    /// If a part of it cannot be written as JSON.
    pub fn new(
        (made_at, made_by): (Timestamp, String),
        order: Value,
        contradictions: Vec<Value>,
        entries: Vec<Entry>,
        checkpoints: Vec<Checkpoint>,
    ) -> Result<Self, serde_json::Error> {
        let mut chains: Vec<Chain> = Vec::new();
        for entry in &entries {
            if let Some(chain) = chains.iter_mut().find(|chain| chain.subject == entry.subject()) {
                chain.entries += 1;
                chain.head.clone_from(&entry.hash);
            } else {
                let (subject, head) = (entry.subject().to_owned(), entry.hash.clone());
                chains.push(Chain { subject, entries: 1, head });
            }
        }
        let mut bundle = Self {
            format: FORMAT.to_owned(),
            made_at,
            made_by,
            how_to_verify: HOW.iter().map(|text| (*text).to_owned()).collect(),
            order: whole(order),
            contradictions: contradictions.into_iter().map(whole).collect(),
            chains,
            entries,
            checkpoints,
            seal: String::new(),
        };
        bundle.seal = seal(&serde_json::to_value(&bundle)?);
        Ok(bundle)
    }

    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let said = |at: &str| match self.order.pointer(at) {
            None | Some(Value::Null) => "-".to_owned(),
            Some(Value::String(text)) => line(text),
            Some(other) => other.to_string(),
        };
        let _ = writeln!(out, "Evidence about order {} ({})", said("/reference"), said("/id"));
        let _ = writeln!(out, "made {} by {}, seal {}\n", self.made_at, self.made_by, self.seal);
        for (name, at) in [
            ("Platform", "/platform"),
            ("Lab", "/lab"),
            ("Region", "/region"),
            ("State", "/state"),
            ("Admitted", "/admitted_at"),
            ("Cutoff", "/window/closes_at"),
            ("Cutoff there", "/window/closes_at_local"),
            ("Can be stopped", "/verdict/can_stop"),
            ("Because", "/verdict/reason"),
            ("Until", "/verdict/until"),
            ("Stop", "/stop/state"),
            ("Stop rests on", "/stop/evidence"),
            ("Stop asked", "/stop/asked_at"),
            ("Stop asked by", "/stop/asked_by"),
            ("Stop asked for", "/stop/reason"),
            ("Stop decided", "/stop/decided_at"),
            ("Answer", "/stop/answer"),
        ] {
            if self.order.pointer(at).is_some_and(|value| !value.is_null()) {
                let _ = writeln!(out, "{name:15} {}", said(at));
            }
        }
        for report in self.order.pointer("/reports").and_then(Value::as_array).into_iter().flatten() {
            let _ = writeln!(out, "{:15} {}", "Lab reported", line(&report.to_string()));
        }
        for what in &self.contradictions {
            let _ = writeln!(out, "{:15} {}", "Contradiction", line(&what.to_string()));
        }
        let _ = writeln!(out, "\nWhat happened ({} entries)", self.entries.len());
        for entry in &self.entries {
            let [previous, _, subject, kind, actor, detail] = &entry.hashed;
            let _ = writeln!(out, "\n#{} {} {} by {}", entry.seq, entry.at, line(kind), line(actor));
            let _ = writeln!(out, "   about    {}", line(subject));
            let _ = writeln!(out, "   detail   {}", line(detail));
            let previous = if previous.is_empty() { "none: the first of its subject" } else { previous };
            let _ = writeln!(out, "   previous {previous}\n   hash     {}", entry.hash);
            let _ = match entry.checkpoint {
                Some(seq) => writeln!(out, "   covered by the checkpoint at #{seq}"),
                None => writeln!(out, "   no checkpoint covers it yet"),
            };
        }
        let _ = writeln!(out, "\nCheckpoints");
        for point in &self.checkpoints {
            let over = point.entries.as_ref().map_or_else(
                || "its entries were too many to bring along".to_owned(),
                |entries| format!("over {} entries", entries.len()),
            );
            let _ = writeln!(out, "#{} {} {over}\n   hash     {}", point.seq, point.at, point.hash);
        }
        let _ = writeln!(out, "\nHow to verify (the JSON form of this bundle has all that is needed)");
        for text in &self.how_to_verify {
            let _ = writeln!(out, "- {text}");
        }
        out
    }
}

/// A text in one line, with nothing in it that moves a cursor.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What came of checking a bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Entries.
    pub entries: usize,
    /// Of these, covered by a checkpoint that could be computed again.
    pub covered: usize,
    /// Of these, under a checkpoint whose entries were too many to bring along.
    pub not_computed: usize,
    /// What is wrong; nothing if all agrees.
    pub faults: Vec<String>,
}

/// Checks a bundle.
///
/// # Errors
/// If the text is no bundle at all; the text says why.
pub fn verify(text: &str) -> Result<Verified, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    let bundle: Bundle =
        serde_json::from_value(value.clone()).map_err(|error| format!("is no evidence bundle: {error}"))?;
    if bundle.format != FORMAT {
        return Err(format!("has the form {:?}; this program knows {FORMAT:?}", bundle.format));
    }
    let mut found = Verified { entries: bundle.entries.len(), ..Verified::default() };
    if seal(&value) != bundle.seal {
        found.faults.push("the seal does not fit: something in the bundle was changed".to_owned());
    }
    let own = bundle.order.pointer("/id").and_then(Value::as_str).unwrap_or_default();
    if !bundle.chains.iter().any(|chain| chain.subject == own) {
        found.faults.push("the order's own entries are missing".to_owned());
    }
    chains(&bundle, &mut found.faults);
    let mut computed = BTreeMap::new();
    for point in &bundle.checkpoints {
        let fits = point.entries.as_ref().map(|entries| {
            let mut sum = Sha256::new_with_prefix(&point.previous);
            for covered in entries {
                sum.update(&covered.hash);
            }
            let last = entries.last().is_some_and(|covered| covered.seq == point.seq);
            let listed: BTreeSet<(i64, &str)> =
                entries.iter().map(|covered| (covered.seq, covered.hash.as_str())).collect();
            (last && hex(&sum.finalize()) == point.hash, listed)
        });
        if fits.as_ref().is_some_and(|(fits, _)| !fits) {
            let text = format!("checkpoint #{}: entries before it are missing or were changed", point.seq);
            found.faults.push(text);
        }
        computed.insert(point.seq, fits);
    }
    for entry in &bundle.entries {
        match entry.checkpoint.map(|seq| (seq, computed.get(&seq))) {
            None => {}
            Some((seq, None)) => {
                found.faults.push(format!("entry #{}: its checkpoint #{seq} is missing", entry.seq));
            }
            Some((_, Some(None))) => found.not_computed += 1,
            Some((seq, Some(Some((fits, listed))))) => {
                if !listed.contains(&(entry.seq, entry.hash.as_str())) {
                    found.faults.push(format!("entry #{}: checkpoint #{seq} does not cover it", entry.seq));
                } else if *fits {
                    found.covered += 1;
                }
            }
        }
    }
    Ok(found)
}

/// Checks every entry, and that none is missing in the chain of its subject.
fn chains(bundle: &Bundle, faults: &mut Vec<String>) {
    let mut heads: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    let mut last = 0;
    for entry in &bundle.entries {
        let [previous, at, subject, kind, actor, detail] = &entry.hashed;
        let seq = entry.seq;
        if seq <= last {
            faults.push(format!("entry #{seq}: is not in the order of the log"));
        }
        last = seq;
        if *at != entry.at.as_microsecond().to_string() {
            faults.push(format!("entry #{seq}: its time was changed"));
        }
        if event::hash(previous, entry.at, subject, kind, actor, detail) != entry.hash {
            faults.push(format!("entry #{seq}: its content was changed"));
        }
        let head = heads.entry(subject).or_default();
        if head.1 != previous {
            faults.push(format!("entry #{seq}: an entry of {subject} before it is missing or was changed"));
        }
        *head = (head.0 + 1, &entry.hash);
    }
    let told: BTreeMap<&str, (usize, &str)> = bundle
        .chains
        .iter()
        .map(|chain| (chain.subject.as_str(), (chain.entries, chain.head.as_str())))
        .collect();
    for (subject, (entries, head)) in &told {
        let there = heads.get(subject).copied().unwrap_or_default();
        if there != (*entries, *head) {
            let text =
                format!("{subject}: {} of {entries} entries are there, or the last was changed", there.0);
            faults.push(text);
        }
    }
    for subject in heads.keys().filter(|subject| !told.contains_key(*subject)) {
        faults.push(format!("{subject}: its chain is not among those of the bundle"));
    }
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;

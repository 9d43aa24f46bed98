//! Downloads beside what is printed: a link that the platform hosts, and that only the platform can deactivate.
//!
//! Nothing of a download goes to a lab, and no cutoff concerns it. What can be known of it comes from its platform:
//! it is fetched, or its link is deactivated. Until the platform has said one of the two, nobody is told that a
//! download is revoked. An order has a download beside at least one line that is printed: what is only downloaded
//! needs no lab, and so nobody between its shop and one.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::Fault;
use super::event::hex;
use super::ids::{DownloadId, OrderId, PlatformId};
use super::lines::{Line, Withdrawal};
use super::measures::Lasting;
use super::order::{Item, ItemKind};
use super::words::words;

/// How long a platform has to answer before a person is called, unless it says otherwise.
pub const ANSWERS_WITHIN: Lasting = Lasting::seconds(30 * 60);
/// The longest that it can ask for.
pub const ANSWERS_WITHIN_MAX: Lasting = Lasting::seconds(7 * 24 * 3600);

/// How a download stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DownloadState {
    /// Nobody asked to revoke it, and nobody said that it was fetched.
    Live,
    /// The platform is asked to deactivate its link, and has not answered. It may be fetched meanwhile.
    Revoking,
    /// The platform said that the link is deactivated and was not fetched.
    Revoked,
    /// The platform said that it was fetched: it cannot be revoked any more.
    Fetched,
    /// The platform has not answered in time, or cannot be asked by a machine: a person finds out.
    WithAPerson,
}

impl DownloadState {
    /// Those that are kept; one that is not kept is live.
    const KEPT: [Self; 4] = [Self::Revoking, Self::Revoked, Self::Fetched, Self::WithAPerson];

    /// The number that the database keeps; none of one that is live.
    #[must_use]
    pub fn code(self) -> Option<i64> {
        Self::KEPT.iter().position(|kept| *kept == self).and_then(|at| i64::try_from(at).ok())
    }

    /// Reads what the database keeps.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        usize::try_from(code).ok().and_then(|at| Self::KEPT.get(at)).copied()
    }

    /// Whether somebody was asked and has not answered.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Revoking | Self::WithAPerson)
    }
}

/// What the state of a download rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DownloadEvidence {
    /// The platform answered so when it was asked to deactivate the link.
    PlatformAnswered,
    /// The platform reported it by itself.
    PlatformReported,
    /// A named person found out.
    PersonConfirmed,
    /// No answer came in time.
    NoAnswer,
    /// The platform has given no address at which it can be asked.
    NoCallback,
}

words!(DownloadEvidence {
    PlatformAnswered = "platform_answered",
    PlatformReported = "platform_reported",
    PersonConfirmed = "person_confirmed",
    NoAnswer = "no_answer",
    NoCallback = "no_callback",
});

/// What a platform, or a person who asked it, says of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DownloadWord {
    /// It leads nowhere any more, and was not fetched.
    Deactivated,
    /// It was fetched.
    Fetched,
}

/// What the platform answered when it was asked to deactivate a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownloadReply {
    /// One of the two words.
    Said(DownloadWord),
    /// Anything else: a time-out, an error, words that are neither.
    Unclear {
        /// What there was.
        cause: String,
    },
}

impl DownloadReply {
    /// Reads the body of an answer with a status of success.
    #[must_use]
    pub fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Said {
            answer: String,
        }
        let Ok(said) = serde_json::from_slice::<Said>(body) else {
            return Self::Unclear { cause: "the answer is not JSON with a text `answer`".to_owned() };
        };
        match said.answer.as_str() {
            "deactivated" => Self::Said(DownloadWord::Deactivated),
            "already_fetched" => Self::Said(DownloadWord::Fetched),
            other => {
                let other: String = other.chars().filter(|c| !c.is_control()).take(60).collect();
                Self::Unclear { cause: format!("{other:?} is neither deactivated nor already_fetched") }
            }
        }
    }
}

/// What a platform is asked, signed like a webhook, with the id of the download as that of the message: the same at
/// every attempt. It answers 200 with `{"answer": "deactivated"}`, once the link leads nowhere any more and nobody
/// fetched it, or `{"answer": "already_fetched"}`. Anything else is no answer, and it is asked again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DownloadQuestion)]
pub struct Question {
    /// `download.deactivate`.
    #[serde(rename = "type")]
    #[schema(example = "download.deactivate")]
    pub kind: String,
    /// When it is asked.
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Timestamp,
    /// About which link.
    pub data: QuestionData,
}

/// About which link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DownloadQuestionData)]
pub struct QuestionData {
    /// The download.
    pub download: DownloadId,
    /// Its order.
    pub order: OrderId,
    /// The platform's reference of the order.
    pub reference: String,
    /// The platform's id of the line.
    pub item: String,
    /// When it was asked to be revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub asked_at: Option<Timestamp>,
    /// By when an answer is needed; then a person takes it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub answer_due_at: Option<Timestamp>,
}

impl Question {
    /// The type of the message.
    pub const KIND: &str = "download.deactivate";

    /// About a download.
    #[must_use]
    pub fn of(facts: &DownloadFacts, reference: &str, now: Timestamp) -> Self {
        Self {
            kind: Self::KIND.to_owned(),
            timestamp: now,
            data: QuestionData {
                download: facts.id.clone(),
                order: facts.order.clone(),
                reference: reference.to_owned(),
                item: facts.item.clone(),
                asked_at: facts.asked_at,
                answer_due_at: facts.deadline_at,
            },
        }
    }
}

/// What a word makes of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// This is how it stands now.
    Now(DownloadState),
    /// It was so before.
    Same,
    /// It had been fetched; that its link is gone changes nothing. Kept as evidence.
    Late,
    /// It was told revoked, and is said to have been fetched: a person is called.
    Contradicts,
}

/// What a word makes of a download. What was told stays told.
#[must_use]
pub fn heard(state: DownloadState, word: DownloadWord) -> Heard {
    use DownloadState::{Fetched, Live, Revoked, Revoking, WithAPerson};
    match (state, word) {
        (Live | Revoking | WithAPerson, DownloadWord::Deactivated) => Heard::Now(Revoked),
        (Live | Revoking | WithAPerson, DownloadWord::Fetched) => Heard::Now(Fetched),
        (Revoked, DownloadWord::Deactivated) | (Fetched, DownloadWord::Fetched) => Heard::Same,
        (Fetched, DownloadWord::Deactivated) => Heard::Late,
        (Revoked, DownloadWord::Fetched) => Heard::Contradicts,
    }
}

/// What is stored of a download, once anybody asked or said anything about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadFacts {
    /// Its id, of the order and the item: the same at every attempt.
    pub id: DownloadId,
    /// The order.
    pub order: OrderId,
    /// The platform's id of the line.
    pub item: String,
    /// Whose it is.
    pub platform: PlatformId,
    /// How it stands; never live.
    pub state: DownloadState,
    /// What that rests on.
    pub evidence: Option<DownloadEvidence>,
    /// When it was asked to be revoked.
    pub asked_at: Option<Timestamp>,
    /// When an answer is due; then a person takes it.
    pub deadline_at: Option<Timestamp>,
    /// When the next step is due.
    pub next_at: Timestamp,
    /// How often the platform was asked.
    pub attempts: i64,
    /// When the state became final.
    pub decided_at: Option<Timestamp>,
    /// The last words about it.
    pub answer: Option<String>,
    /// When it was said to have been fetched, after it had been told revoked.
    pub contradicted_at: Option<Timestamp>,
}

impl DownloadId {
    /// The download of an item of an order.
    #[must_use]
    pub fn of(order: &OrderId, item: &str) -> Self {
        let sum = Sha256::digest([order.as_str().as_bytes(), b"\0", item.as_bytes()].concat());
        Self::from_bytes(&sum)
    }

    fn from_bytes(sum: &[u8]) -> Self {
        let number: String = hex(sum).chars().take(32).collect();
        // Always hex digits, and as many as an id has.
        Self::parse(&format!("{}_{number}", Self::PREFIX)).expect("32 hex digits behind the prefix are an id")
    }
}

/// How a download stands, and whether asking can still revoke it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DownloadVerdict {
    /// The platform's id of the line.
    pub item: String,
    /// How it stands.
    pub state: DownloadState,
    /// What that rests on; null of one that nobody asked or said anything about.
    #[schema(required = true)]
    pub evidence: Option<DownloadEvidence>,
    /// Whether asking can still revoke it: then the platform is asked, and says whether it was fetched before.
    pub can_revoke: bool,
    /// Its right of withdrawal.
    pub withdrawal: Withdrawal,
    /// When it was asked to be revoked.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub asked_at: Option<Timestamp>,
    /// When the platform's answer is due; then a person takes it. Null unless it is being asked.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub answer_due_at: Option<Timestamp>,
    /// When it was decided.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub decided_at: Option<Timestamp>,
    /// When the platform said that it was fetched, after it had been told revoked. A person was called.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub contradicted_at: Option<Timestamp>,
}

impl DownloadVerdict {
    fn of(item: &str, known: Option<&DownloadFacts>) -> Self {
        let state = known.map_or(DownloadState::Live, |known| known.state);
        let contradicted_at = known.and_then(|known| known.contradicted_at);
        let fetched = state == DownloadState::Fetched || contradicted_at.is_some();
        Self {
            item: item.to_owned(),
            state,
            evidence: known.and_then(|known| known.evidence),
            can_revoke: state == DownloadState::Live,
            withdrawal: if fetched { Withdrawal::NoneFetched } else { Withdrawal::UntilFetched },
            asked_at: known.and_then(|known| known.asked_at),
            answer_due_at: known.filter(|known| known.state.is_open()).and_then(|known| known.deadline_at),
            decided_at: known.and_then(|known| known.decided_at),
            contradicted_at,
        }
    }
}

/// What is wrong with the items of an order, as far as downloads go: what is only downloaded needs no lab.
#[must_use]
pub fn faults(items: &[Item]) -> Option<Fault> {
    let only = !items.is_empty() && items.iter().all(|item| item.kind == ItemKind::Download);
    let text =
        "has downloads only; at least one item must be of kind `print`: what is only downloaded needs no lab";
    only.then(|| Fault::new("items", text))
}

/// Whether an order that is stored so may have a download: its lines say for certain. As `Submission::document` writes
/// it; an option of the name `kind` is found, too.
#[must_use]
pub fn may_be_in(document: &str) -> bool {
    document.contains(r#""kind":"download""#)
}

/// Whether a line is a download.
#[must_use]
pub fn is_download(line: &Line) -> bool {
    line.kind == ItemKind::Download
}

/// The downloads of an order, in its sequence; behind them those that it had before its items were replaced.
#[must_use]
pub fn judge(lines: &[Line], known: &[DownloadFacts]) -> Vec<DownloadVerdict> {
    let own = lines.iter().filter(|line| is_download(line));
    let there = own
        .clone()
        .map(|line| DownloadVerdict::of(&line.id, known.iter().find(|known| known.item == line.id)));
    let gone = known.iter().filter(|known| own.clone().all(|line| line.id != known.item));
    there.chain(gone.map(|known| DownloadVerdict::of(&known.item, Some(known)))).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::lines;

    pub(in crate::domain) fn known(item: &str, state: DownloadState) -> DownloadFacts {
        let id = OrderId::parse(&format!("ord_{}", "0".repeat(32))).unwrap();
        DownloadFacts {
            id: DownloadId::of(&id, item),
            order: id.clone(),
            item: item.to_owned(),
            platform: PlatformId::parse("shop").unwrap(),
            state,
            evidence: Some(DownloadEvidence::PlatformAnswered),
            asked_at: Some(Timestamp::UNIX_EPOCH),
            deadline_at: Some(Timestamp::UNIX_EPOCH),
            next_at: Timestamp::UNIX_EPOCH,
            attempts: 1,
            decided_at: None,
            answer: None,
            contradicted_at: None,
        }
    }

    #[test]
    fn what_the_database_keeps_is_read_again() {
        for code in 0..4 {
            assert_eq!(DownloadState::from_code(code).and_then(DownloadState::code), Some(code));
        }
        assert_eq!((DownloadState::from_code(4), DownloadState::Live.code()), (None, None));
        for (evidence, word) in DownloadEvidence::WORDS.iter().copied() {
            assert_eq!(DownloadEvidence::from_word(word), Some(evidence));
            assert_eq!(serde_json::to_value(evidence).unwrap(), word);
        }
    }

    #[test]
    fn only_a_platforms_word_makes_it_revoked() {
        use DownloadState::{Fetched, Live, Revoked, Revoking, WithAPerson};
        for (state, deactivated, fetched) in [
            (Live, Heard::Now(Revoked), Heard::Now(Fetched)),
            (Revoking, Heard::Now(Revoked), Heard::Now(Fetched)),
            (WithAPerson, Heard::Now(Revoked), Heard::Now(Fetched)),
            (Revoked, Heard::Same, Heard::Contradicts),
            (Fetched, Heard::Late, Heard::Same),
        ] {
            assert_eq!(heard(state, DownloadWord::Deactivated), deactivated, "{state:?}");
            assert_eq!(heard(state, DownloadWord::Fetched), fetched, "{state:?}");
        }
    }

    #[test]
    fn an_answer_is_one_of_two_words_or_unclear() {
        let said = |word| Some(DownloadReply::Said(word));
        for (body, reply) in [
            (r#"{"answer":"deactivated"}"#, said(DownloadWord::Deactivated)),
            (r#"{"answer":"already_fetched","more":1}"#, said(DownloadWord::Fetched)),
            (r#"{"answer":"fetched"}"#, None),
            (r#"{"answer":"Deactivated"}"#, None),
            (r#"{"answer":null}"#, None),
            (r#""deactivated""#, None),
            ("deactivated", None),
            ("", None),
            ("{\"answer\":\"\u{7}\"}", None),
        ] {
            let read = DownloadReply::read(body.as_bytes());
            match reply {
                Some(reply) => assert_eq!(read, reply, "{body}"),
                None => assert!(matches!(read, DownloadReply::Unclear { .. }), "{body}: {read:?}"),
            }
        }
    }

    #[test]
    fn what_is_said_of_another_answer_is_its_own_text() {
        let read = DownloadReply::read("{\"answer\":\"go\u{7f}ne\"}".as_bytes());
        let cause = "\"gone\" is neither deactivated nor already_fetched".to_owned();
        assert_eq!(read, DownloadReply::Unclear { cause });
    }

    #[test]
    fn an_answer_is_due_while_somebody_was_asked() {
        use DownloadState::{Fetched, Live, Revoked, Revoking, WithAPerson};
        for (state, due) in
            [(Live, false), (Revoking, true), (Revoked, false), (Fetched, false), (WithAPerson, true)]
        {
            let verdict = DownloadVerdict::of("3", Some(&known("3", state)));
            assert_eq!(verdict.answer_due_at, due.then_some(Timestamp::UNIX_EPOCH), "{state:?}");
        }
    }

    #[test]
    fn an_order_has_something_to_print() {
        for (kinds, wrong) in [
            (vec!["print"], false),
            (vec!["print", "download"], false),
            (vec!["download"], true),
            (vec!["download", "download"], true),
            (vec![], false),
        ] {
            let item = |kind: &&str| {
                serde_json::from_value(
                    serde_json::json!({"id": "1", "kind": kind, "sku": "s", "quantity": 1}),
                )
            };
            let items: Vec<Item> = kinds.iter().map(item).collect::<Result<_, _>>().unwrap();
            let found = faults(&items);
            assert_eq!(found.is_some_and(|fault| fault.field == "items"), wrong, "{kinds:?}");
        }
    }

    #[test]
    fn an_id_is_of_its_order_and_item() {
        let order = |nth: u8| OrderId::parse(&format!("ord_{}", format!("{nth:02x}").repeat(16))).unwrap();
        let ids =
            [(1, "1"), (1, "2"), (2, "1"), (1, "")].map(|(nth, item)| DownloadId::of(&order(nth), item));
        for (at, id) in ids.iter().enumerate() {
            assert!(ids[..at].iter().all(|other| other != id));
        }
        assert_eq!(DownloadId::of(&order(1), "1"), ids[0]);
    }

    #[test]
    fn each_download_has_a_line_of_its_own() {
        let order = lines::read(
            r#"{"items":[{"id":"1","sku":"p"},{"id":"2","kind":"download","sku":"z"},
                {"id":"3","kind":"download","sku":"z"}]}"#,
        );
        let told =
            judge(&order, &[known("3", DownloadState::Fetched), known("gone", DownloadState::Revoking)]);
        let told: Vec<_> =
            told.iter().map(|it| (it.item.as_str(), it.state, it.can_revoke, it.withdrawal)).collect();
        assert_eq!(
            told,
            [
                ("2", DownloadState::Live, true, Withdrawal::UntilFetched),
                ("3", DownloadState::Fetched, false, Withdrawal::NoneFetched),
                ("gone", DownloadState::Revoking, false, Withdrawal::UntilFetched),
            ]
        );
    }
}

//! The checks: what each is called, what the contract says about it, and how a lab is mended that fails it.

use serde::Serialize;

/// A check. The order is that in which they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Name {
    /// It says who it is.
    Describes,
    /// A look-up of an order that it never had.
    UnknownLookUp,
    /// A stop of an order that it never had.
    UnknownStop,
    /// An upload of one order.
    TakesAnOrder,
    /// A look-up of an order that it has.
    LooksUp,
    /// A stop before the order is printed.
    StopBeforePrinting,
    /// A stop of one of its lines.
    StopLines,
    /// Another address for an order that it has.
    ChangesAddress,
    /// The same upload three times.
    SameKey,
    /// Other bytes under a key that it knows.
    OtherBytes,
    /// Upload, stop, and the same upload again.
    UploadAfterStop,
    /// An upload after its `not_after`.
    NotAfter,
    /// Uploads that are none.
    Malformed,
    /// Calls that are not signed, or signed wrongly.
    Signature,
    /// Many uploads at once.
    AtOnce,
    /// One upload many times at once.
    SameKeyAtOnce,
    /// Many orders in one upload.
    Batch,
    /// An order that is sent ahead.
    Import,
    /// The same order sent ahead again.
    ImportAgain,
    /// An order that was sent ahead, and is not coming.
    ImportTakenBack,
    /// An order that was sent ahead, and is handed over.
    UploadAfterImport,
    /// A connection on which nothing is asked.
    LinkBeats,
    /// A connection that is cut.
    LinkCut,
    /// A gateway that says good-bye.
    LinkGoodbye,
    /// A stop after the order was printed.
    StopAfterPrinting,
    /// An order that was sent ahead, and nothing else.
    ImportNotPrinted,
    /// An old key at the end of the run.
    KeysKept,
    /// Whether every call was answered, and how fast.
    Answers,
    /// All test orders are out again.
    CleanUp,
}

/// Which labs a check is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// All.
    All,
    /// Those that say that they have two phases.
    TwoPhase,
    /// Those that dial out.
    Link,
    /// Those that say that they stop single lines.
    Lines,
    /// Those that say that they take other addresses.
    Addresses,
}

/// What is known about a check before it is made.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The check.
    pub name: Name,
    /// In a few words.
    pub title: &'static str,
    /// What the contract says.
    pub contract: &'static str,
    /// How to mend a lab that does not keep it.
    pub mend: &'static str,
}

/// All checks, in the order in which they are made.
pub const RULES: [Rule; 29] = [
    Rule {
        name: Name::Describes,
        title: "describes itself",
        contract: "GET {base}/ answers 2xx, Describe answers OK; both tell a name and the contract \"stoppress/1\".",
        mend: "Answer {\"name\": \"…\", \"contract\": \"stoppress/1\"}; gRPC: fill name and contract.",
    },
    Rule {
        name: Name::UnknownLookUp,
        title: "look-up of an unknown order: not found",
        contract: "A look-up of an order that the lab does not have answers 404, or NOT_FOUND.",
        mend: "Answer 404 (NOT_FOUND) for an order that is not in your table, and for nothing else.",
    },
    Rule {
        name: Name::UnknownStop,
        title: "stop of an unknown order: not found",
        contract: "A stop of an order that the lab does not have answers 404, NOT_FOUND, or the answer not_found.",
        mend: "Look the order up before you answer. Never say \"removed\" of what you do not have: an upload \
               may still be on its way.",
    },
    Rule {
        name: Name::TakesAnOrder,
        title: "takes an order",
        contract: "An upload with a valid signature, a new key and time left answers 2xx, or OK: the lab has the \
                   orders and will print them.",
        mend: "Write the orders down, durably, and answer 2xx (OK). A refusal says why in \"detail\".",
    },
    Rule {
        name: Name::LooksUp,
        title: "finds what it has",
        contract: "A look-up of an order that the lab took answers its stage; of one that was taken out, \"removed\".",
        mend: "Read look-ups from the table that uploads are written to, from the instant of your answer on. The \
               gateway sends an order again once \"not found\" is believed.",
    },
    Rule {
        name: Name::StopBeforePrinting,
        title: "stop before printing: taken out",
        contract: "A stop of an order that is not printed answers \"removed\" and keeps it from being printed; the \
                   same stop again has the same answer; a look-up says \"removed\".",
        mend: "Take the order out in the same transaction that reads its stage, then answer \"removed\".",
    },
    Rule {
        name: Name::StopLines,
        title: "stop of one line: that line is taken out",
        contract: "Where the profile has stops_lines, a stop that names lines answers \"removed\" and names the same \
                   lines; the same stop again has the same answer; the rest of the order goes on.",
        mend: "Take out the lines that \"items\" names, no others, and name them in \"items\" of the answer.",
    },
    Rule {
        name: Name::ChangesAddress,
        title: "another address: taken, and the same again",
        contract: "Where the profile has address_changes, a change of the address of an order that is not made answers \
                   \"taken\", and the parcel goes there; the same change again has the same answer; one of an order \
                   that the lab does not have, or after its answer_by, is not taken.",
        mend: "Make the change a unique column beside the order, write the address in the same transaction that reads \
               the order's stage, and answer what you answered first if the change comes again.",
    },
    Rule {
        name: Name::SameKey,
        title: "the same key again: prints once",
        contract: "The same key with the same bytes has the effect of one call, and the same answer.",
        mend: "Make the key a unique column; on a conflict answer what you answered first. Tell \"prints\" in \
               look-ups, and this can be proved.",
    },
    Rule {
        name: Name::OtherBytes,
        title: "other bytes under a known key: refused",
        contract: "The same key with other bytes answers a definite refusal (4xx but 408, 409, 421, 425, 429; \
                   INVALID_ARGUMENT), and takes nothing.",
        mend: "Keep the hash of the body (manifest_sha256) beside the key, compare, and answer 422 \
               (INVALID_ARGUMENT).",
    },
    Rule {
        name: Name::UploadAfterStop,
        title: "upload, stop, the same upload again: stays out",
        contract: "A key is known after its orders were taken out, too: a copy that arrives late must not bring a \
                   stopped order back.",
        mend: "Never delete keys when you delete jobs; keep the removed order as a row with the stage \"removed\".",
    },
    Rule {
        name: Name::NotAfter,
        title: "upload after its not_after: refused",
        contract: "After not_after an upload that is not known yet answers a definite refusal (412, \
                   FAILED_PRECONDITION), and takes nothing.",
        mend: "Compare Stoppress-Not-After (not_after) with your clock, in the transaction that takes the orders; \
               keep the clock right by NTP.",
    },
    Rule {
        name: Name::Malformed,
        title: "what is no upload: refused",
        contract: "A body that is not an upload, or an upload without a key, answers a definite refusal (400, 422, \
                   INVALID_ARGUMENT).",
        mend: "Check the body before you answer: a 2xx says that you will print it, a 5xx says nothing at all.",
    },
    Rule {
        name: Name::Signature,
        title: "signatures are checked",
        contract: "HTTP: every call is signed by the Standard Webhooks scheme; what is unsigned, signed with another \
                   secret, for another body or key, or more than five minutes off answers 401. gRPC: the bearer \
                   token is checked (UNAUTHENTICATED).",
        mend: "HMAC-SHA-256 over \"{webhook-id}.{webhook-timestamp}.{raw body}\", compared in constant time, before \
               the body is read as JSON; webhook-id must be the Idempotency-Key where there is one.",
    },
    Rule {
        name: Name::AtOnce,
        title: "many uploads at once",
        contract: "Calls up to profile.concurrency may run at the same time.",
        mend: "Serve calls in parallel, or in a queue that is faster than the time-outs of the gateway (upload 30 s, \
               stop 10 s, look-up 5 s).",
    },
    Rule {
        name: Name::SameKeyAtOnce,
        title: "one key many times at once: prints once",
        contract: "The same key has the effect of one call, also while the first is still running.",
        mend: "Let the database decide (a unique column, or a lock): looking first and inserting then is a race.",
    },
    Rule {
        name: Name::Batch,
        title: "many orders in one upload",
        contract: "An upload of up to profile.orders_per_call orders is taken whole or refused whole.",
        mend: "Take all orders of an upload in one transaction, or refuse it with a 4xx (INVALID_ARGUMENT).",
    },
    Rule {
        name: Name::Import,
        title: "an order that is sent ahead is held, no more",
        contract: "PUT {base}/imports/{order}, ImportOrder answers 2xx, OK: the lab holds the order and prints nothing \
                   of it. Until it is handed over, a look-up and a stop of it say \"not found\".",
        mend: "Keep what is sent ahead in a table of its own; answer look-ups and stops from that of the uploads.",
    },
    Rule {
        name: Name::ImportAgain,
        title: "sent ahead again: the same",
        contract: "An order that is sent ahead again replaces what was held of it, and has the same lab_reference.",
        mend: "Make the order a unique column of what is held, and its reference a part of that row.",
    },
    Rule {
        name: Name::ImportTakenBack,
        title: "sent ahead, taken back: forgotten",
        contract: "DELETE {base}/imports/{order}, DiscardImport answers 2xx, OK, also of an order that is not held. \
                   Handed over later all the same, the order is taken like any other.",
        mend: "Delete the row of what is held, and nothing else: an order that comes in an upload is to be printed.",
    },
    Rule {
        name: Name::UploadAfterImport,
        title: "sent ahead, then handed over: prints once",
        contract: "An upload releases what is held of its orders (import_reference names it), and counts where it \
                   differs. What is sent ahead or taken back after that changes nothing.",
        mend: "Print from the upload; in its transaction delete what was held of its orders, and take nothing ahead \
               that an upload has brought.",
    },
    Rule {
        name: Name::LinkBeats,
        title: "says something on every beat",
        contract: "Both sides of a link say something every heartbeat_every of the Welcome: a Heartbeat if there is \
                   nothing else. After beats_missed_max beats of silence the connection is cut.",
        mend: "Send a Heartbeat from a timer of its own, which no call can hold up.",
    },
    Rule {
        name: Name::LinkCut,
        title: "a cut in the middle: comes back, prints once",
        contract: "A connection may end at any moment. The lab connects again, and the same key has the effect of \
                   one call, on whichever connection it comes.",
        mend: "Connect again whenever the stream ends, with pauses that grow and are drawn by lot; keep keys in the \
               database, not beside the connection.",
    },
    Rule {
        name: Name::LinkGoodbye,
        title: "a good-bye: answers what it has, comes back",
        contract: "After Goodbye no more calls come. The lab answers those that it has, ends its side, and connects \
                   again, unless its key is at an end.",
        mend: "On Goodbye wait for the calls that run, send their replies, close your side of the stream, then \
               connect again.",
    },
    Rule {
        name: Name::StopAfterPrinting,
        title: "stop after printing: will_print",
        contract: "A stop of an order that is printed answers \"will_print\"; the order stays printed, and its key \
                   known.",
        mend: "Answer \"will_print\" from the stage \"printed\" on, and keep printed orders and their keys.",
    },
    Rule {
        name: Name::ImportNotPrinted,
        title: "sent ahead and not handed over: never printed",
        contract: "An order that was sent ahead is printed only when an upload carries it. An hour after hold_until \
                   the lab may forget it.",
        mend: "Nothing but an upload may put an order into the print queue: no timer, and no person who empties it.",
    },
    Rule {
        name: Name::KeysKept,
        title: "an old key is still known",
        contract: "A key is known for as long as profile.dedupes says.",
        mend: "Keep keys in the database, not in memory or in a cache that forgets.",
    },
    Rule {
        name: Name::Answers,
        title: "every call is answered, in time",
        contract: "Every call has an answer within the time-outs of the gateway. No answer, and a 5xx, leave the \
                   gateway not knowing, and in the end call a person.",
        mend: "Answer after the commit, at once, and do the slow work (files, print queues) afterwards.",
    },
    Rule {
        name: Name::CleanUp,
        title: "the test orders are out again",
        contract: "Every order of this run was stopped, and is not printed.",
        mend: "Take the orders that are listed out by hand: their references begin with CERTIFY-.",
    },
];

impl Name {
    /// What is known about it.
    #[must_use]
    pub fn rule(self) -> &'static Rule {
        const ALL: &[Rule] = &RULES;
        // The table is in the order of the names; a test says so.
        &ALL[self as usize]
    }

    /// Which labs it is for.
    #[must_use]
    pub fn group(self) -> Group {
        match self {
            Self::Import
            | Self::ImportAgain
            | Self::ImportTakenBack
            | Self::UploadAfterImport
            | Self::ImportNotPrinted => Group::TwoPhase,
            Self::LinkBeats | Self::LinkCut | Self::LinkGoodbye => Group::Link,
            Self::StopLines => Group::Lines,
            Self::ChangesAddress => Group::Addresses,
            _ => Group::All,
        }
    }

    /// Its word in reports and for `--only`.
    #[must_use]
    pub fn word(self) -> String {
        serde_json::to_value(self).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_names() {
        for (at, rule) in RULES.iter().enumerate() {
            assert_eq!(rule.name as usize, at, "{:?}", rule.name);
            assert_eq!(rule.name.rule().title, rule.title);
            assert!(!rule.contract.is_empty() && !rule.mend.is_empty(), "{:?}", rule.name);
        }
    }
}

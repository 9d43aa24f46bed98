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
    /// A stop after the order was printed.
    StopAfterPrinting,
    /// An old key at the end of the run.
    KeysKept,
    /// Whether every call was answered, and how fast.
    Answers,
    /// All test orders are out again.
    CleanUp,
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
pub const RULES: [Rule; 19] = [
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
        name: Name::StopAfterPrinting,
        title: "stop after printing: will_print",
        contract: "A stop of an order that is printed answers \"will_print\"; the order stays printed, and its key \
                   known.",
        mend: "Answer \"will_print\" from the stage \"printed\" on, and keep printed orders and their keys.",
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

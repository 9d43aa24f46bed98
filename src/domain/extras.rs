//! What is kept of an order beyond what every order has: holds, a merchant's approval, replacements, downloads.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::address::AddressFacts;
use super::downloads::DownloadFacts;
use super::ids::{ApprovalId, HoldId, OrderId};
use super::order::Held;

/// Writes an enumeration that the database keeps as a number.
macro_rules! coded {
    ($($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$word_doc])* $word,)*
        }

        impl $name {
            /// The number that the database keeps.
            #[must_use]
            pub fn code(self) -> i64 {
                self as i64
            }

            /// Reads what the database keeps.
            #[must_use]
            pub fn from_code(code: i64) -> Option<Self> {
                [$(Self::$word,)*].into_iter().find(|word| word.code() == code)
            }

            /// The word for it.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$word => $text,)* }
            }
        }
    )*};
}

coded! {
    /// Why an order is held.
    HoldKind {
        /// Somebody holds it.
        Hold "hold",
        /// It is back in the editor for new crops or images.
        Review "review",
        /// A customer asked for a stop, and the merchant decides.
        Approval "approval",
        /// It waits for the stop of the order that it replaces.
        Replacing "replacing",
    }
    /// How a merchant's approval stands.
    ApprovalState {
        /// The merchant is to decide.
        Open "open",
        /// The merchant agreed: a stop was asked.
        Approved "approved",
        /// The merchant said no.
        Declined "declined",
        /// Somebody else asked for a stop before the merchant decided.
        Overtaken "overtaken",
    }
    /// How the replacement of an order by another stands.
    LinkState {
        /// The new order waits for the stop of the old one.
        Waiting "waiting",
        /// The old one is stopped: the new one was released.
        Released "released",
        /// The old one is or will be printed: the new one was stopped.
        Abandoned "abandoned",
        /// The new one was stopped by itself while it waited.
        Withdrawn "withdrawn",
    }
}

/// A hold that was not released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldFacts {
    /// Its id.
    pub id: HoldId,
    /// Why.
    pub kind: HoldKind,
    /// Whose it is, and who may release it: `platform`, `ops` or `customer`.
    pub owner: String,
    /// The words of whoever put it; may be empty.
    pub reason: String,
    /// Since when.
    pub put_at: Timestamp,
    /// Who put it.
    pub put_by: String,
}

/// A customer's stop that the merchant decides about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalFacts {
    /// Its id.
    pub id: ApprovalId,
    /// The order.
    pub order: OrderId,
    /// Whose order it is.
    pub platform: String,
    /// The lab.
    pub lab: String,
    /// How it stands.
    pub state: ApprovalState,
    /// Whether the order is kept out of its window until it is decided; not if it had been handed over.
    pub held: bool,
    /// Why the customer asks.
    pub reason: String,
    /// More.
    pub comment: Option<String>,
    /// Who asks, by a name or an id of the platform's own.
    pub requested_by: Option<String>,
    /// The lines that it names; `None`: the whole order.
    pub items: Option<Vec<String>>,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When the merchant should have decided; then ops are called.
    pub due_at: Timestamp,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
    /// By whom.
    pub decided_by: Option<String>,
    /// The words of whoever decided.
    pub why: Option<String>,
}

/// The other end of a replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The other order.
    pub order: OrderId,
    /// How the replacement stands.
    pub state: LinkState,
}

/// What is kept of an order beyond what every order has; of nearly all of them nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// The holds that were not released, oldest first.
    pub holds: Vec<HoldFacts>,
    /// The merchant's approval of a customer's stop of the whole order.
    pub approval: Option<ApprovalFacts>,
    /// Those of stops that name lines, oldest first.
    pub line_approvals: Vec<ApprovalFacts>,
    /// The order that this one replaces.
    pub replaces: Option<Link>,
    /// The order that replaces this one: the last, if there were several.
    pub replaced_by: Option<Link>,
    /// The downloads that anybody asked or said anything about.
    pub downloads: Vec<DownloadFacts>,
    /// The last change of its address that its lab was asked for.
    pub address_change: Option<AddressFacts>,
}

impl Extras {
    /// The approval of a stop of the whole order that the merchant is still to decide.
    #[must_use]
    pub fn open_approval(&self) -> Option<&ApprovalFacts> {
        self.approval.as_ref().filter(|approval| approval.state == ApprovalState::Open)
    }

    /// Those of stops that name lines, oldest first.
    #[must_use]
    pub fn open_line_approvals(&self) -> impl DoubleEndedIterator<Item = &ApprovalFacts> {
        self.line_approvals.iter().filter(|approval| approval.state == ApprovalState::Open)
    }

    /// The lines about which the merchant is still to decide by themselves.
    #[must_use]
    pub fn lines_awaiting(&self) -> Vec<String> {
        self.open_line_approvals().flat_map(|approval| approval.items.clone().unwrap_or_default()).collect()
    }

    /// Whether the order waits for the stop of the one that it replaces.
    #[must_use]
    pub fn waits_for_another(&self) -> bool {
        self.replaces.as_ref().is_some_and(|link| link.state == LinkState::Waiting)
    }
}

/// What the standing of an order says that has these holds.
#[must_use]
pub fn held(kinds: impl IntoIterator<Item = HoldKind>) -> Held {
    kinds.into_iter().fold(Held::No, |held, kind| match kind {
        HoldKind::Review => Held::Review,
        _ if held == Held::Review => held,
        _ => Held::Hold,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_database_keeps_is_read_again() {
        for code in 0..4 {
            assert_eq!(HoldKind::from_code(code).map(HoldKind::code), Some(code));
            assert_eq!(ApprovalState::from_code(code).map(ApprovalState::code), Some(code));
            assert_eq!(LinkState::from_code(code).map(LinkState::code), Some(code));
        }
        assert_eq!(HoldKind::from_code(4), None);
        assert_eq!(serde_json::to_value(LinkState::Withdrawn).unwrap(), LinkState::Withdrawn.word());
    }

    #[test]
    fn a_review_shows_through_other_holds() {
        let cases: [(&[HoldKind], Held); 5] = [
            (&[], Held::No),
            (&[HoldKind::Approval], Held::Hold),
            (&[HoldKind::Review], Held::Review),
            (&[HoldKind::Review, HoldKind::Hold], Held::Review),
            (&[HoldKind::Replacing, HoldKind::Review], Held::Review),
        ];
        for (kinds, expected) in cases {
            assert_eq!(held(kinds.iter().copied()), expected, "{kinds:?}");
        }
    }
}

//! What a customer is told: from the stored facts to words, without deciding anything.
//!
//! The verdict says whether an order can be stopped; here is only in which words, whether this link and the
//! platform's policy let the customer ask for it, and what stands on the receipt.

use askama::Template;
use jiff::Timestamp;

use super::words::{Language, Say, States, Words, fill};
use crate::api::page::live::Part;
use crate::api::problem::Answer;
use crate::domain::customer_link::LinkAction;
use crate::domain::platform::{CustomerStops, PlatformPolicy, Refund, ServiceFee};
use crate::domain::stop::{AskedBy, Evidence, StopFacts};
use crate::domain::verdict::{CanStop, DecidedBy, Reason, Verdict};

/// The states that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Waits,
    Leaving,
    Sending,
    Unclear,
    AskLab,
    AskLabMaking,
    AskPerson,
    Making,
    Shipped,
    Keeps,
    Refused,
    TooLate,
    Pending,
    WithAPerson,
    StoppedHere,
    StoppedByLab,
    StoppedByPerson,
    InPart,
    Contradicted,
}

/// What a press of the button does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// It is stopped at once.
    AtOnce,
    /// The lab is asked.
    Lab,
    /// A person is asked.
    Person,
}

/// The reasons that are offered where the platform names none: the word that is kept, and how it is shown.
type OwnReason = (&'static str, fn(&Words) -> &str);
const REASONS: [OwnReason; 6] = [
    ("ordered_by_mistake", |w| &w.reason.mistake),
    ("wrong_product", |w| &w.reason.product),
    ("wrong_picture", |w| &w.reason.picture),
    ("wrong_address", |w| &w.reason.address),
    ("arrives_too_late", |w| &w.reason.late),
    ("other", |w| &w.reason.other),
];

/// Everything that the page is made from.
pub(super) struct Seen<'a> {
    pub(super) language: &'static Language,
    pub(super) verdict: &'a Verdict,
    pub(super) stop: Option<&'a StopFacts>,
    /// Whether the lab has said the opposite of what was told.
    pub(super) contradicted: bool,
    pub(super) action: LinkAction,
    pub(super) policy: &'a PlatformPolicy,
    /// The platform's name.
    pub(super) shop: &'a str,
    /// The platform's reference of the order.
    pub(super) reference: &'a str,
    /// How many items it has.
    pub(super) items: usize,
    /// An instant on the clocks of the production region, with the zone.
    pub(super) local: &'a dyn Fn(Timestamp) -> Option<String>,
    /// What belongs to this session in a form.
    pub(super) form: &'a str,
}

/// An instant as it is shown: at the lab and in UTC; the browser adds the customer's own time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct When {
    /// RFC 3339, to the second.
    pub(super) at: String,
    /// At the lab, if its zone is known.
    pub(super) lab: Option<String>,
    pub(super) utc: String,
}

/// A line of the receipt.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) when: Option<When>,
}

impl State {
    pub(super) fn of(verdict: &Verdict, stop: Option<&StopFacts>, contradicted: bool) -> Self {
        let person = verdict.can_stop == CanStop::AskPerson;
        let asks = person || verdict.can_stop == CanStop::AskLab;
        match verdict.reason {
            Reason::AwaitingPayment | Reason::OnHold | Reason::InReview => Self::Waits,
            Reason::InOpenBatch if verdict.until.is_some() => Self::Open,
            Reason::InOpenBatch | Reason::WaitingForTransfer => Self::Leaving,
            Reason::BeingTransferred => Self::Sending,
            Reason::TransferUnclear | Reason::TransferWithAPerson => Self::Unclear,
            Reason::InProduction if asks => Self::AskLabMaking,
            Reason::InProduction => Self::Making,
            Reason::AtLab | Reason::ImmediateProduction if person => Self::AskPerson,
            Reason::AtLab => Self::AskLab,
            Reason::ImmediateProduction | Reason::LabNeverTakesStops => Self::Keeps,
            Reason::Shipped => Self::Shipped,
            Reason::StopPending => Self::Pending,
            Reason::StopWithAPerson => Self::WithAPerson,
            Reason::AlreadyStopped if contradicted => Self::Contradicted,
            Reason::AlreadyStopped => match stop.and_then(|stop| stop.evidence) {
                Some(Evidence::NeverHanded) => Self::StoppedHere,
                Some(Evidence::LabRemoved) => Self::StoppedByLab,
                _ => Self::StoppedByPerson,
            },
            Reason::StoppedInPart => Self::InPart,
            Reason::RefusedByLab => Self::Refused,
            Reason::TooLate => Self::TooLate,
        }
    }

    fn say(self, words: &States) -> &Say {
        match self {
            Self::Open => &words.open,
            Self::Waits => &words.waits,
            Self::Leaving => &words.leaving,
            Self::Sending => &words.sending,
            Self::Unclear => &words.unclear,
            Self::AskLab => &words.ask_lab,
            Self::AskLabMaking => &words.ask_lab_making,
            Self::AskPerson => &words.ask_person,
            Self::Making => &words.making,
            Self::Shipped => &words.shipped,
            Self::Keeps => &words.keeps,
            Self::Refused => &words.refused,
            Self::TooLate => &words.too_late,
            Self::Pending => &words.pending,
            Self::WithAPerson => &words.with_a_person,
            Self::StoppedHere => &words.stopped_here,
            Self::StoppedByLab => &words.stopped_by_lab,
            Self::StoppedByPerson => &words.stopped_by_person,
            Self::InPart => &words.in_part,
            Self::Contradicted => &words.contradicted,
        }
    }

    /// The badge: its class, its sign and its word.
    fn badge(self, words: &Words) -> (&'static str, &'static str, &str) {
        let sign = &words.sign;
        match self {
            Self::Open | Self::Waits => ("ok", "✓", &sign.good),
            Self::Leaving => ("warn", "!", &sign.good),
            Self::Sending | Self::Pending | Self::WithAPerson => ("quiet", "…", &sign.wait),
            Self::AskLab | Self::AskLabMaking | Self::AskPerson => ("warn", "?", &sign.maybe),
            Self::Unclear => ("warn", "?", &sign.doubt),
            Self::Contradicted => ("bad", "!", &sign.doubt),
            Self::StoppedHere | Self::StoppedByLab | Self::StoppedByPerson => ("ok", "✓", &sign.done),
            Self::InPart => ("warn", "!", &sign.done),
            Self::Making | Self::Shipped | Self::Keeps | Self::Refused | Self::TooLate => {
                ("bad", "✕", &sign.bad)
            }
        }
    }

    /// What a stop would do; none where it would do nothing, or was asked before.
    pub(super) fn offer(self, verdict: &Verdict) -> Option<Offer> {
        match self {
            Self::Open | Self::Waits | Self::Leaving => Some(Offer::AtOnce),
            Self::AskLabMaking | Self::Unclear if verdict.decided_by == DecidedBy::Person => {
                Some(Offer::Person)
            }
            Self::AskLab | Self::AskLabMaking | Self::Unclear => Some(Offer::Lab),
            Self::AskPerson => Some(Offer::Person),
            _ => None,
        }
    }

    /// Whether nobody makes it.
    fn is_stopped(self) -> bool {
        matches!(self, Self::StoppedHere | Self::StoppedByLab | Self::StoppedByPerson)
    }

    /// Whether money is still a question.
    fn spends(self) -> bool {
        !matches!(self, Self::Making | Self::Shipped | Self::Keeps | Self::Refused | Self::TooLate)
    }
}

/// The end of an order's number: at most four characters, and never the whole of a longer one.
fn end_of(reference: &str) -> String {
    let skip = reference.chars().count().saturating_sub(4);
    reference.chars().skip(skip).collect()
}

impl Seen<'_> {
    pub(super) fn words(&self) -> &'static Words {
        &self.language.words
    }

    pub(super) fn state(&self) -> State {
        State::of(self.verdict, self.stop, self.contradicted)
    }

    fn with_shop(&self, text: &str) -> String {
        fill(text, &[("shop", self.shop)])
    }

    /// What the button does, or why there is none although the order could be stopped.
    pub(super) fn offer(&self) -> Result<Option<Offer>, String> {
        let Some(offer) = self.state().offer(self.verdict) else { return Ok(None) };
        let ask = &self.words().ask;
        match (self.policy.customer_stops, self.action) {
            (CustomerStops::Off, _) => Err(self.with_shop(&ask.off)),
            (CustomerStops::AskMerchant, _) => Err(self.with_shop(&ask.merchant)),
            (CustomerStops::On, LinkAction::See) => Err(self.with_shop(&ask.see)),
            (CustomerStops::On, LinkAction::Stop) => Ok(Some(offer)),
        }
    }

    /// The reasons to choose from: what is kept, and what is shown.
    pub(super) fn reasons(&self) -> Vec<(String, String)> {
        if self.policy.reasons.is_empty() {
            let own = |(kept, shown): &OwnReason| ((*kept).to_owned(), shown(self.words()).to_owned());
            return REASONS.iter().map(own).collect();
        }
        self.policy.reasons.iter().map(|reason| (reason.clone(), reason.clone())).collect()
    }

    fn when(&self, at: Timestamp) -> When {
        let words = self.words();
        let lab = (self.local)(at).map(|local| {
            let zone = local.split(['[', ']']).nth(1).unwrap_or_default();
            let city = zone.rsplit('/').next().unwrap_or_default().replace('_', " ");
            fill(&words.page.at_lab, &[("when", &words.shown(&local)), ("city", &city)])
        });
        let second = Timestamp::from_second(at.as_second()).unwrap_or(at);
        When { at: second.to_string(), lab, utc: words.utc(at) }
    }

    /// What happens with the money.
    pub(super) fn money(&self) -> Vec<String> {
        let money = &self.words().money;
        let what = &self.verdict.consequences;
        let mut list = Vec::new();
        if self.state().spends() {
            list.push(self.with_shop(match what.refund {
                Refund::Automatic => &money.automatic,
                Refund::ByMerchant => &money.by_merchant,
                Refund::Outside => &money.outside,
            }));
            list.push(match what.service_fee {
                ServiceFee::Kept => money.fee_kept.clone(),
                ServiceFee::Waived => money.fee_waived.clone(),
            });
        }
        // What was never made can be missed by nobody.
        if what.personalised && !self.state().is_stopped() {
            list.push(money.personalised.clone());
        }
        list
    }

    pub(super) fn order(&self) -> String {
        let words = self.words();
        let order = fill(&words.page.order, &[("end", &end_of(self.reference))]);
        format!("{order} · {}", words.items(self.items))
    }

    /// How a reason is shown; none for what the shop or a program gave as one.
    fn reason(&self, stop: &StopFacts) -> Option<String> {
        let customer = stop.asked_by == AskedBy::Customer && stop.reason != "unspecified";
        customer.then(|| self.reason_shown(&stop.reason))
    }

    pub(super) fn reason_shown(&self, kept: &str) -> String {
        let own = REASONS.iter().find(|(own, _)| *own == kept);
        own.map_or(kept, |(_, shown)| shown(self.words())).to_owned()
    }

    /// The receipt of a stop that was asked.
    pub(super) fn receipt(&self, issued: Timestamp) -> Vec<Line> {
        let Some(stop) = self.stop else { return Vec::new() };
        let words = &self.words().receipt;
        let text = |name: &str, text: String| Line { name: name.to_owned(), text, when: None };
        let when =
            |name: &str, at| Line { name: name.to_owned(), text: String::new(), when: Some(self.when(at)) };
        let say = self.state().say(&self.words().state);
        let mut lines = vec![
            text(&words.shop, self.shop.to_owned()),
            text(&words.order, self.order()),
            text(&words.number, stop.id.to_string()),
            when(&words.asked, stop.asked_at),
        ];
        lines.extend(self.reason(stop).map(|reason| text(&words.reason, reason)));
        lines.push(text(&words.result, format!("{}. {}", say.head, self.with_shop(&say.text))));
        lines.extend(stop.decided_at.map(|at| when(&words.decided, at)));
        lines.push(when(&words.issued, issued));
        lines
    }

    /// What the receipt says but for when it was issued.
    pub(super) fn receipt_said(&self) -> String {
        let lines = self.receipt(Timestamp::UNIX_EPOCH);
        lines.iter().fold(String::new(), |said, line| said + &format!("{}\n{:?}\n", line.text, line.when))
    }

    /// The receipt as plain text.
    pub(super) fn receipt_text(&self, issued: Timestamp) -> String {
        let mut out = vec![self.words().receipt.head.clone(), String::new()];
        for Line { name, text, when } in self.receipt(issued) {
            out.push(format!("{name}:"));
            match when {
                Some(When { at, lab: Some(lab), utc }) => {
                    out.extend([format!("    {lab}"), format!("    {utc} ({at})")]);
                }
                Some(When { at, lab: None, utc }) => out.push(format!("    {utc} ({at})")),
                None => out.push(format!("    {text}")),
            }
        }
        out.push(String::new());
        out.extend(self.money());
        out.join("\n") + "\n"
    }

    /// The parts of the page that change, by their ids.
    pub(super) fn parts(&self, issued: Timestamp) -> Answer<Vec<Part>> {
        let (words, state) = (self.words(), self.state());
        let say = state.say(&words.state);
        let (class, sign, word) = state.badge(words);
        let head = StatePart { class, sign, word, head: &say.head, text: self.with_shop(&say.text) };
        let times = TimesPart {
            words,
            until: self.verdict.until.map(|until| self.when(until)),
            due: self.due().map(|due| self.when(due)),
        };
        let offer = self.offer();
        let ask = AskPart {
            words,
            lang: self.language.code,
            form: self.form,
            offer: offer.as_ref().ok().copied().flatten(),
            why_not: offer.as_ref().err().map(String::as_str),
            reasons: self.reasons(),
        };
        let money = MoneyPart { words, lines: self.money() };
        let receipt = ReceiptPart { words, lang: self.language.code, lines: self.receipt(issued) };
        Ok(vec![
            Part::of("state", &head)?,
            Part::of("times", &times)?,
            Part::of("ask", &ask)?,
            Part::of("money", &money)?,
            Part::of("receipt", &receipt)?,
        ])
    }

    /// When an answer is due, where somebody is or would be asked. Once that is over nobody is told to wait for it.
    fn due(&self) -> Option<Timestamp> {
        let open = matches!(self.state(), State::Pending | State::WithAPerson | State::AskPerson);
        let due = self.verdict.next.as_ref().map(|next| next.answer_due_at);
        due.filter(|due| open && *due > self.verdict.as_of)
    }
}

/// What is left of the page once its link holds no more.
pub(super) fn over(words: &Words) -> Answer<Part> {
    let head = StatePart {
        class: "bad",
        sign: "✕",
        word: &words.sign.bad,
        head: &words.over.head,
        text: words.over.text.clone(),
    };
    Part::of("state", &head)
}

#[derive(Template)]
#[template(path = "customer_state.html")]
struct StatePart<'a> {
    class: &'static str,
    sign: &'static str,
    word: &'a str,
    head: &'a str,
    text: String,
}

#[derive(Template)]
#[template(path = "customer_times.html")]
struct TimesPart<'a> {
    words: &'a Words,
    until: Option<When>,
    due: Option<When>,
}

#[derive(Template)]
#[template(path = "customer_ask.html")]
struct AskPart<'a> {
    words: &'a Words,
    lang: &'static str,
    form: &'a str,
    offer: Option<Offer>,
    why_not: Option<&'a str>,
    reasons: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "customer_money.html")]
struct MoneyPart<'a> {
    words: &'a Words,
    lines: Vec<String>,
}

#[derive(Template)]
#[template(path = "customer_receipt.html")]
struct ReceiptPart<'a> {
    words: &'a Words,
    lang: &'static str,
    lines: Vec<Line>,
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;

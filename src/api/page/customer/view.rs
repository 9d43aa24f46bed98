//! What a customer is told: from the stored facts to words, without deciding anything.
//!
//! The verdict says whether an order can be stopped; here is only in which words, whether this link and the
//! platform's policy let the customer ask for it, and what stands on the receipt.

use jiff::Timestamp;

use super::lines::ByLines;
use super::money;
use super::parts::{AskPart, HeadingPart, MoneyPart, ReceiptPart, StatePart, TimesPart};
use super::told::{Arrived, Contradiction};
use super::words::{Language, Say, States, Words, fill};
use crate::api::page::live::Part;
use crate::api::problem::Answer;
use crate::domain::customer_link::LinkAction;
use crate::domain::downloads::is_download;
use crate::domain::extras::{ApprovalFacts, ApprovalState};
use crate::domain::lines;
use crate::domain::platform::{CustomerStops, PlatformPolicy};
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
    UnclearFinal,
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
    Contradicted(Contradiction),
    Merchant,
    MerchantLate,
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
    /// The shop is asked.
    Merchant,
    /// It is stopped if it turns out that the lab never had it; nobody is asked.
    OnlyAbsent,
}

impl Offer {
    /// The word by which a page tells one form from another.
    fn word(self) -> &'static str {
        match self {
            Self::AtOnce => "at_once",
            Self::Lab => "lab",
            Self::Person => "person",
            Self::OnlyAbsent => "only_absent",
            Self::Merchant => "merchant",
        }
    }
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
    /// What the shop decides about, or has decided.
    pub(super) approval: Option<&'a ApprovalFacts>,
    /// What the lab has said against what was told.
    pub(super) contradiction: Option<Contradiction>,
    /// When it was told stopped, if it was put back since.
    pub(super) back_since: Option<Timestamp>,
    /// Who decides if the lab turns out to have it.
    pub(super) arrived: Arrived,
    /// Whether it is paid for.
    pub(super) paid: bool,
    pub(super) action: LinkAction,
    pub(super) policy: &'a PlatformPolicy,
    /// The platform's name.
    pub(super) shop: &'a str,
    /// The platform's reference of the order.
    pub(super) reference: &'a str,
    /// How many pieces it has.
    pub(super) items: u64,
    /// What they are.
    pub(super) lines: &'a [lines::Line],
    /// Those that are stopped while the rest goes on.
    pub(super) out: &'a [String],
    /// What else was asked about single ones.
    pub(super) by_lines: &'a ByLines,
    /// An instant on the clocks of the production region, with the zone.
    pub(super) local: &'a dyn Fn(Timestamp) -> Option<String>,
    /// What belongs to this session in a form.
    pub(super) form: &'a str,
    /// The name of the page.
    pub(super) of: &'a str,
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
    pub(super) fn of(
        verdict: &Verdict,
        stop: Option<&StopFacts>,
        contradiction: Option<Contradiction>,
        arrived: Arrived,
    ) -> Self {
        let person = verdict.can_stop == CanStop::AskPerson;
        let asks = person || verdict.can_stop == CanStop::AskLab;
        // One that has left the lab has, whatever else was said of it.
        if let Some(contradiction) = contradiction.filter(|_| verdict.reason != Reason::Shipped) {
            return Self::Contradicted(contradiction);
        }
        match verdict.reason {
            Reason::AwaitingPayment | Reason::OnHold | Reason::InReview | Reason::Replacing => Self::Waits,
            Reason::StopAwaitsMerchant if verdict.can_stop == CanStop::Yes => Self::Merchant,
            Reason::StopAwaitsMerchant => Self::MerchantLate,
            Reason::InOpenBatch if verdict.until.is_some() => Self::Open,
            Reason::InOpenBatch | Reason::WaitingForTransfer => Self::Leaving,
            Reason::BeingTransferred => Self::Sending,
            Reason::TransferUnclear | Reason::TransferWithAPerson if arrived == Arrived::Nobody => {
                Self::UnclearFinal
            }
            Reason::TransferUnclear | Reason::TransferWithAPerson => Self::Unclear,
            Reason::InProduction if asks => Self::AskLabMaking,
            Reason::InProduction => Self::Making,
            Reason::AtLab | Reason::ImmediateProduction if person => Self::AskPerson,
            Reason::AtLab => Self::AskLab,
            Reason::ImmediateProduction | Reason::LabNeverTakesStops => Self::Keeps,
            Reason::Shipped => Self::Shipped,
            Reason::StopPending => Self::Pending,
            Reason::StopWithAPerson => Self::WithAPerson,
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
            Self::UnclearFinal => &words.unclear_final,
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
            Self::Contradicted(Contradiction::Made) => &words.contradicted,
            Self::Contradicted(Contradiction::There) => &words.contradicted_there,
            Self::Contradicted(Contradiction::Removed) => &words.contradicted_late,
            Self::Merchant => &words.merchant,
            Self::MerchantLate => &words.merchant_late,
        }
    }

    /// The badge: its class, its sign and its word.
    fn badge(self, words: &Words) -> (&'static str, &'static str, &str) {
        let sign = &words.sign;
        match self {
            Self::Open | Self::Waits => ("ok", "✓", &sign.good),
            Self::Leaving => ("warn", "!", &sign.good),
            Self::Sending | Self::Pending | Self::WithAPerson | Self::Merchant | Self::MerchantLate => {
                ("quiet", "…", &sign.wait)
            }
            Self::AskLab | Self::AskLabMaking | Self::AskPerson => ("warn", "?", &sign.maybe),
            Self::Unclear | Self::UnclearFinal => ("warn", "?", &sign.doubt),
            Self::Contradicted(_) => ("bad", "!", &sign.doubt),
            Self::StoppedHere | Self::StoppedByLab | Self::StoppedByPerson => ("ok", "✓", &sign.done),
            Self::InPart => ("warn", "!", &sign.done),
            Self::Making | Self::Shipped | Self::Keeps | Self::Refused | Self::TooLate => {
                ("bad", "✕", &sign.bad)
            }
        }
    }

    /// What a stop would do; none where it would do nothing, or was asked before.
    pub(super) fn offer(self, verdict: &Verdict, arrived: Arrived) -> Option<Offer> {
        match self {
            Self::Open | Self::Waits | Self::Leaving => Some(Offer::AtOnce),
            Self::UnclearFinal => Some(Offer::OnlyAbsent),
            Self::Unclear if arrived == Arrived::Person => Some(Offer::Person),
            Self::AskLabMaking | Self::Unclear if verdict.decided_by == DecidedBy::Person => {
                Some(Offer::Person)
            }
            Self::AskLab | Self::AskLabMaking | Self::Unclear => Some(Offer::Lab),
            Self::AskPerson => Some(Offer::Person),
            _ => None,
        }
    }

    /// Whether nobody makes it.
    pub(super) fn is_stopped(self) -> bool {
        matches!(self, Self::StoppedHere | Self::StoppedByLab | Self::StoppedByPerson)
    }

    /// Whether money is still a question.
    pub(super) fn spends(self) -> bool {
        !matches!(self, Self::Making | Self::Shipped | Self::Keeps | Self::Refused | Self::TooLate)
    }
}

/// The end of an order's number: at most four characters, and never the whole of a longer one.
fn end_of(reference: &str) -> String {
    let skip = reference.chars().count().saturating_sub(4);
    reference.chars().skip(skip).collect()
}

/// Lines in a row: `2 × MUG-1, 1 × FRAME`.
fn list<'a>(lines: impl Iterator<Item = &'a lines::Line>) -> Option<String> {
    let shown: Vec<String> = lines.map(|line| format!("{} × {}", line.quantity, line.sku)).collect();
    (!shown.is_empty()).then(|| shown.join(", "))
}

impl Seen<'_> {
    pub(super) fn words(&self) -> &'static Words {
        &self.language.words
    }

    pub(super) fn state(&self) -> State {
        match State::of(self.verdict, self.stop, self.contradiction, self.arrived) {
            // It waits to be handed over once more: nothing keeps it from that.
            State::Merchant if self.approval.is_some_and(|approval| !approval.held) => State::MerchantLate,
            state => state,
        }
    }

    pub(super) fn with_shop(&self, text: &str) -> String {
        fill(text, &[("shop", self.shop)])
    }

    /// What the button does, or why there is none although the order could be stopped.
    pub(super) fn offer(&self) -> Result<Option<Offer>, String> {
        let Some(offer) = self.state().offer(self.verdict, self.arrived) else { return Ok(None) };
        let ask = &self.words().ask;
        // What the shop has declined it is not asked again; it is told as long as a stop would do something.
        if let Some(declined) = self.approval.filter(|it| it.state == ApprovalState::Declined) {
            let why = declined.why.as_deref().unwrap_or_default();
            return Err(fill(&ask.declined, &[("shop", self.shop), ("reason", why)]));
        }
        match (self.policy.customer_stops, self.action) {
            (CustomerStops::Off, _) => Err(self.with_shop(&ask.off)),
            (CustomerStops::AskMerchant, LinkAction::See) => Err(self.with_shop(&ask.merchant)),
            (CustomerStops::AskMerchant, LinkAction::Stop) => Ok(Some(Offer::Merchant)),
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
        let mut list = money::lines(self);
        // What was never made can be missed by nobody.
        if self.verdict.consequences.personalised && !self.state().is_stopped() {
            list.push(self.words().money.personalised.clone());
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
        let about = |line: &&lines::Line| !is_download(line) && !self.out.contains(&line.id);
        lines.extend(list(self.lines.iter().filter(about)).map(|items| text(&words.items, items)));
        let exempt = self.lines.iter().filter(about).filter(|line| line.personalised);
        lines.extend(list(exempt).map(|items| text(&words.exempt, items)));
        lines.push(text(&words.result, format!("{}. {}", say.head, self.with_shop(&say.text))));
        lines.extend(self.downloads().into_iter().map(|told| text(&words.download, told)));
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
        let text = self.with_shop(&say.text);
        let (head, note, lines, downloads) =
            (&say.head, self.put_back(), self.told_of_lines(), self.downloads());
        let head = StatePart { class, sign, word, head, text, note, lines, downloads };
        let offer = self.offer();
        let page = &words.page;
        let times = TimesPart {
            words,
            until: self.until(),
            // Whoever cannot stop it here is not promised that they can.
            until_says: if offer.is_err() { self.with_shop(&page.until_shop) } else { page.until.clone() },
            due: self.due().map(|due| self.when(due)),
            due_says: if state == State::AskPerson { &page.due_ask } else { &page.due },
        };
        let ask = AskPart {
            words,
            lang: self.language.code,
            form: self.form,
            of: self.of,
            offer: offer.as_ref().ok().copied().flatten(),
            offers: offer.as_ref().ok().copied().flatten().map_or("", Offer::word),
            why_not: offer.as_ref().err().map(String::as_str),
            reasons: self.reasons(),
            choices: self.choices(),
        };
        let money = MoneyPart { words, lines: self.money() };
        let receipt =
            ReceiptPart { words, lang: self.language.code, of: self.of, lines: self.receipt(issued) };
        Ok(vec![
            Part::of("state", &head)?,
            Part::of("times", &times)?,
            Part::of("ask", &ask)?,
            Part::of("money", &money)?,
            Part::of("receipt", &receipt)?,
        ])
    }

    /// What stands above everything: the shop, and which order it is.
    pub(super) fn heading(&self) -> Answer<Part> {
        let words = self.words();
        Part::of("heading", &HeadingPart { words, shop: self.shop, order: self.order() })
    }

    /// Until when it can be stopped, promised.
    pub(super) fn until(&self) -> Option<When> {
        self.verdict.until.map(|until| self.when(until))
    }

    /// What whoever was told that it is stopped has to know.
    fn put_back(&self) -> Option<String> {
        let page = &self.words().page;
        let When { lab, utc, .. } = self.when(self.back_since?);
        let known = [("when", lab.as_deref().unwrap_or(&utc)), ("shop", self.shop)];
        let back = fill(&page.back_again, &known);
        let prints = self.state().offer(self.verdict, self.arrived).is_some();
        Some(if prints { format!("{back} {}", page.back_prints) } else { back })
    }

    /// When an answer is due, where somebody is or would be asked. Once that is over nobody is told to wait for it.
    fn due(&self) -> Option<Timestamp> {
        let open = matches!(self.state(), State::Pending | State::WithAPerson | State::AskPerson);
        let due = self.verdict.next.as_ref().map(|next| next.answer_due_at);
        due.filter(|due| open && *due > self.verdict.as_of)
    }
}

/// What is left of the page once its link holds no more.
pub(super) fn over(words: &Words) -> Answer<(Part, Part)> {
    let head = StatePart {
        class: "bad",
        sign: "✕",
        word: &words.sign.bad,
        head: &words.over.head,
        text: words.over.text.clone(),
        note: None,
        lines: Vec::new(),
        downloads: Vec::new(),
    };
    let heading = HeadingPart { words, shop: "", order: String::new() };
    Ok((Part::of("heading", &heading)?, Part::of("state", &head)?))
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;

//! The words of the customer's page, as data: one file a language, of the same shape.
//!
//! A key that a language lacks, or has too many, fails the reading of its file, which a test tries; one that
//! nothing shows is a field that is never read, which the compiler tells.

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::Deserialize;

macro_rules! groups {
    ($($name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {$(
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            $(pub(super) $field: $kind,)*
        }
    )*};
}

groups! {
    Words {
        name: String, months: [String; 12], instant: String, first: String,
        page: Page, live: Live, state: States, sign: Signs, ask: Asking, reason: Reasons, confirm: Confirm,
        money: Money, download: Downloads, receipt: Receipts, over: Say, late: Say, cookies: Say, again: Again,
    }
    Page {
        skip: String, title: String, order: String, items_one: String, items_many: String, part: String, language: String, until: String,
        left: String, due: String, at_lab: String, utc: String, yours: String, reload: String,
        reload_button: String, until_shop: String, due_ask: String, back_again: String, back_prints: String,
        part_pending: String, part_late: String, part_merchant: String, part_declined: String,
    }
    Live { stale: String, over: String }
    Say { head: String, text: String }
    States {
        open: Say, waits: Say, leaving: Say, sending: Say, unclear: Say, ask_lab: Say, ask_lab_making: Say,
        ask_person: Say, making: Say, shipped: Say, keeps: Say, refused: Say, too_late: Say, pending: Say,
        with_a_person: Say, stopped_here: Say, stopped_by_lab: Say, stopped_by_person: Say, in_part: Say,
        contradicted: Say, unclear_final: Say, contradicted_there: Say, contradicted_late: Say, merchant: Say,
        merchant_late: Say,
    }
    Signs { good: String, maybe: String, wait: String, bad: String, done: String, doubt: String }
    Asking {
        head: String, why: String, comment: String, next_stop: String, next_ask: String, next_note: String,
        off: String, merchant: String, see: String, declined: String, lines: String, lines_note: String,
    }
    Reasons {
        mistake: String, product: String, picture: String, address: String, late: String, other: String,
    }
    Confirm {
        head: String, at_once: String, lab: String, person: String, merchant: String, reason: String, comment: String,
        yes_stop: String, yes_ask: String, back: String, open: String, leaving: String, only_absent: String,
        head_lines: String, lines_now: String, only: String, yes_stop_lines: String, yes_ask_lines: String,
    }
    Money {
        head: String, automatic: String, by_merchant: String, outside: String, fee_kept: String,
        fee_waived: String, personalised: String, automatic_done: String, by_merchant_done: String,
        settles: String, unpaid: String,
    }
    Downloads {
        live: String, revoking: String, revoked: String, fetched: String, person: String, contradicted: String,
    }
    Receipts {
        head: String, number: String, shop: String, order: String, asked: String, reason: String,
        items: String, exempt: String, download: String, result: String, decided: String, issued: String, save: String, print: String,
    }
    Again { head: String, text: String, often: String, back: String, unsure: String }
}

/// A language and its words.
#[derive(Debug)]
pub(super) struct Language {
    /// The tag, as `lang` has it.
    pub(super) code: &'static str,
    pub(super) words: Words,
}

const FILES: [(&str, &str); 6] = [
    ("de", include_str!("../words/de.toml")),
    ("en", include_str!("../words/en.toml")),
    ("es", include_str!("../words/es.toml")),
    ("fi", include_str!("../words/fi.toml")),
    ("fr", include_str!("../words/fr.toml")),
    ("pt", include_str!("../words/pt.toml")),
];
/// The place of the language of those who speak none of these.
const ENGLISH: usize = 1;

static ALL: LazyLock<Vec<Language>> = LazyLock::new(|| {
    FILES
        .iter()
        .map(|(code, text)| {
            let words = toml::from_str(text).expect("a test reads every file of words");
            Language { code, words }
        })
        .collect()
});

/// All languages, by their tags.
pub(super) fn all() -> &'static [Language] {
    &ALL
}

/// The language of a tag such as `pt-BR`.
fn of_tag(tag: &str) -> Option<&'static Language> {
    let primary = tag.split(['-', '_']).next().unwrap_or_default();
    all().iter().find(|language| primary.eq_ignore_ascii_case(language.code))
}

/// The language to speak: as the address asks, else the order's own, else what the browser likes best.
pub(super) fn choose(
    asked: Option<&str>,
    of_order: Option<&str>,
    accepted: Option<&str>,
) -> &'static Language {
    let mut liked: Vec<(f32, &str)> = accepted
        .unwrap_or_default()
        .split(',')
        .take(20)
        .filter_map(|part| {
            let (tag, weight) = part.split_once(';').unwrap_or((part, "q=1"));
            let weight: f32 = weight.trim().strip_prefix("q=")?.parse().ok()?;
            (weight > 0.0).then_some((weight, tag.trim()))
        })
        .collect();
    liked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let likes = || liked.iter().find_map(|(_, tag)| of_tag(tag));
    asked.and_then(of_tag).or_else(|| of_order.and_then(of_tag)).or_else(likes).unwrap_or(&all()[ENGLISH])
}

/// Puts what is known into a text.
pub(super) fn fill(text: &str, known: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // Only once over the text: what is put in may look like a place itself.
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        out.push_str(known.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value));
        rest = after;
    }
    out.push_str(rest);
    out
}

impl Words {
    /// What clocks show, in words: of a text that begins with a date and a time of RFC 3339.
    pub(super) fn shown(&self, local: &str) -> String {
        let Some(at) = local.get(..19).and_then(|text| text.parse::<DateTime>().ok()) else {
            return local.to_owned();
        };
        let month = usize::try_from(at.month() - 1).ok().and_then(|month| self.months.get(month));
        let two = |number: i8| format!("{number:02}");
        // As the language has it: `klo 0.05`, `00:05`.
        let hour = if self.instant.contains("{hour}.") { at.hour().to_string() } else { two(at.hour()) };
        let known = [
            ("day", if at.day() == 1 { self.first.clone() } else { at.day().to_string() }),
            ("month", month.cloned().unwrap_or_default()),
            ("year", at.year().to_string()),
            ("hour", hour),
            ("minute", two(at.minute())),
        ];
        fill(&self.instant, &known.each_ref().map(|(name, value)| (*name, value.as_str())))
    }

    /// An instant in UTC.
    pub(super) fn utc(&self, at: Timestamp) -> String {
        fill(&self.page.utc, &[("when", &self.shown(&at.to_string()))])
    }

    /// So many items.
    pub(super) fn items(&self, count: u64) -> String {
        let text = if count == 1 { &self.page.items_one } else { &self.page.items_many };
        fill(text, &[("count", &count.to_string())])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Every key of a file with its text.
    fn flat(text: &str) -> BTreeMap<String, String> {
        fn walk(at: &str, value: &toml::Value, out: &mut BTreeMap<String, String>) {
            match value {
                toml::Value::Table(table) => {
                    for (key, value) in table {
                        walk(&format!("{at}.{key}"), value, out);
                    }
                }
                toml::Value::Array(list) => {
                    for (nth, value) in list.iter().enumerate() {
                        walk(&format!("{at}.{nth}"), value, out);
                    }
                }
                other => {
                    out.insert(at.to_owned(), other.as_str().expect("a text").to_owned());
                }
            }
        }
        let mut out = BTreeMap::new();
        walk("", &toml::from_str(text).expect("TOML"), &mut out);
        out
    }

    fn places(text: &str) -> Vec<String> {
        let inner = text.split('{').skip(1).map(|rest| rest.split('}').next().unwrap_or_default().to_owned());
        let mut places: Vec<String> = inner.collect();
        places.sort();
        places.dedup();
        places
    }

    #[test]
    fn every_language_says_everything_with_the_same_places() {
        assert_eq!(all().len(), FILES.len(), "each is read whole: no key is missing, none is unknown");
        let english = flat(FILES[ENGLISH].1);
        for (code, text) in FILES {
            let words = flat(text);
            assert_eq!(words.len(), english.len(), "{code}");
            for (key, text) in &words {
                let model = &english[key];
                assert_eq!(places(text), places(model), "{code}{key}: {text}");
                assert!(!text.trim().is_empty() && text.trim() == text, "{code}{key}");
                assert_eq!(text.matches('{').count(), text.matches('}').count(), "{code}{key}");
                let end = |text: &str| text.ends_with(['.', '?', ':']);
                assert_eq!(end(text), end(model), "{code}{key}: {text}");
            }
            let same = words.iter().filter(|(key, text)| code != "en" && english[*key] == **text);
            let same: Vec<_> = same.map(|(key, _)| key.as_str()).collect();
            let alike = [".first", ".page.utc", ".sign.good", ".page.items_one", ".page.items_many"];
            let months: Vec<_> = (0..12).map(|month| format!(".months.{month}")).collect();
            let foreign: Vec<_> = same
                .iter()
                .filter(|key| !alike.contains(key) && !months.iter().any(|month| month == **key))
                .collect();
            assert!(foreign.is_empty(), "{code}: as in English: {foreign:?}");
        }
    }

    #[test]
    fn french_signs_are_not_torn_from_their_words() {
        let (_, french) = FILES.iter().find(|(code, _)| *code == "fr").expect("French");
        for (key, text) in flat(french) {
            for (nth, sign) in text.char_indices().filter(|(_, c)| matches!(c, ':' | ';' | '?' | '!' | '»'))
            {
                let kept = text[..nth].ends_with(['\u{202f}', '\u{a0}']);
                // Between the hour and the minute.
                assert!(kept || (sign == ':' && key == ".instant"), "{key}: {text}");
            }
            assert!(!text.contains("« "), "{key}: {text}");
        }
        let words = &choose(Some("fr"), None, None).words;
        assert_eq!(words.shown("2026-11-01T00:05:59Z"), "1er novembre 2026 à 00:05");
        assert_eq!(choose(None, None, None).words.shown("2026-11-01T00:05:59Z"), "1 November 2026, 00:05");
    }

    #[test]
    fn the_language_is_the_address_then_the_orders_then_the_browsers() {
        let cases = [
            (None, None, None, "en"),
            (None, None, Some("sv, fi;q=0.8, de;q=0.9"), "de"),
            (None, None, Some("sv;q=1, *;q=0.1"), "en"),
            (None, None, Some("de;q=0, fr;q=0.2"), "fr"),
            (None, None, Some("es-MX"), "es"),
            (None, Some("pt-BR"), Some("de"), "pt"),
            (None, Some("sv"), Some("de"), "de"),
            (Some("FR"), Some("pt-BR"), Some("de"), "fr"),
            (Some("xx"), Some("fi_FI"), Some("de"), "fi"),
            (Some(""), None, Some(";;q=x,,"), "en"),
        ];
        for (asked, of_order, accepted, code) in cases {
            assert_eq!(choose(asked, of_order, accepted).code, code, "{asked:?} {of_order:?} {accepted:?}");
        }
    }

    #[test]
    fn instants_and_numbers_are_written_as_the_language_writes_them() {
        let cases = [
            ("de", "22. November 2026, 00:05 Uhr", "1 Artikel", "2 Artikel"),
            ("en", "22 November 2026, 00:05", "1 item", "2 items"),
            ("es", "22 de noviembre de 2026, 00:05", "1 artículo", "2 artículos"),
            ("fi", "22. marraskuuta 2026 klo 0.05", "1 tuote", "2 tuotetta"),
            ("fr", "22 novembre 2026 à 00:05", "1 article", "2 articles"),
            ("pt", "22 de novembro de 2026, 00:05", "1 artigo", "2 artigos"),
        ];
        for (code, instant, one, two) in cases {
            let words = &choose(Some(code), None, None).words;
            assert_eq!(words.shown("2026-11-22T00:05:59+02:00[Europe/Helsinki]"), instant);
            assert_eq!((words.items(1).as_str(), words.items(2).as_str()), (one, two));
        }
        let words = &choose(None, None, None).words;
        assert_eq!(
            words.utc("2026-01-09T22:00:00Z".parse().expect("an instant")),
            "9 January 2026, 22:00 UTC"
        );
        assert_eq!(words.shown("soon"), "soon");
        assert_eq!(fill("{a} and {b}{c}", &[("a", "{b}"), ("b", "2")]), "{b} and 2", "only once over");
    }
}

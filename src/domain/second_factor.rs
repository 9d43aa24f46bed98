//! A second factor of a key: codes of six digits that an app makes from a shared secret and the time, by RFC 6238
//! with SHA-1 and steps of 30 seconds, which is what all apps can.
//!
//! A code fits at its own step, and at the one before and after: clocks differ, and people type slowly. It is taken
//! once: only steps after the last one that was taken count. Whoever guesses is made to wait: after
//! [`FREE`] wrong codes in a row none is looked at for a minute, then for two, four, up to an hour.

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use totp_rs::{Algorithm, Builder, Secret, Totp};
use url::form_urlencoded::byte_serialize;

use super::batch::later;

/// How many bytes a secret has.
pub const SECRET_BYTES: usize = 20;
/// How long a code is, in digits.
pub const DIGITS: u8 = 6;
/// How long a step is, in seconds.
const STEP: u64 = 30;
/// How many wrong codes in a row are free.
pub const FREE: i64 = 5;
/// The first rest, and the longest.
const REST: SignedDuration = SignedDuration::from_mins(1);
const REST_MAX: SignedDuration = SignedDuration::from_hours(1);

/// Whether people of ops need a second factor for what cannot be taken back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// Whose key has one is asked for it.
    #[default]
    Offered,
    /// Whose key has none is refused at the forms that cannot be taken back.
    Required,
}

/// What a code is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It fits: its step, after which the next one must be.
    Fits(i64),
    /// It would fit, and was taken before.
    Used,
    /// It does not fit.
    Wrong,
}

/// A secret as it is stored and typed: base32.
#[must_use]
pub fn secret(bytes: [u8; SECRET_BYTES]) -> SecretString {
    SecretString::from(Secret::from(bytes).to_base32())
}

fn codes(secret: &SecretString) -> Option<Totp> {
    let secret = Secret::try_from_base32(secret.expose_secret()).ok()?;
    let codes = Builder::new().with_algorithm(Algorithm::SHA1).with_digits(DIGITS).with_step_duration(STEP);
    // The steps beside are tried here, since each must be after the last.
    codes.with_skew(0).with_secret(secret).build().ok()
}

/// Whether a text is a secret.
#[must_use]
pub fn is_secret(secret: &SecretString) -> bool {
    codes(secret).is_some()
}

fn step_at(at: Timestamp) -> i64 {
    at.as_second().div_euclid(STEP as i64)
}

/// The code of an instant, as an app shows it; `None` if the secret is none.
#[must_use]
pub fn code_at(secret: &SecretString, at: Timestamp) -> Option<String> {
    let seconds = u64::try_from(at.as_second()).ok()?;
    Some(codes(secret)?.generate(seconds).to_string())
}

/// What a code is worth at an instant, where all up to the step `after` were taken.
#[must_use]
pub fn fit(secret: &SecretString, code: &str, at: Timestamp, after: i64) -> Fit {
    // Apps show "123 456".
    let code: String = code.chars().filter(|c| !c.is_whitespace()).take(usize::from(DIGITS) + 1).collect();
    let Some(codes) = codes(secret) else { return Fit::Wrong };
    let now = step_at(at);
    let mut found = Fit::Wrong;
    for step in (now - 1)..=(now + 1) {
        let Ok(seconds) = u64::try_from(step.saturating_mul(STEP as i64)) else { continue };
        // In constant time.
        if codes.check(&code, seconds).is_some() && !matches!(found, Fit::Fits(_)) {
            found = if step > after { Fit::Fits(step) } else { Fit::Used };
        }
    }
    found
}

/// Until when no code is looked at, after so many wrong ones in a row.
#[must_use]
pub fn rest(failures: i64, at: Timestamp) -> Option<Timestamp> {
    let beyond = failures.checked_sub(FREE).filter(|beyond| *beyond >= 0)?;
    let rest = REST.checked_mul(1 << beyond.min(10)).unwrap_or(REST_MAX);
    Some(later(at, rest.min(REST_MAX)))
}

/// What an app reads, from a picture or pasted: the secret, and what it is for.
#[must_use]
pub fn uri(secret: &SecretString, name: &str) -> SecretString {
    // A plus would be shown as one.
    let name: String = byte_serialize(name.replace(':', " ").as_bytes()).collect();
    let (name, secret) = (name.replace('+', "%20"), secret.expose_secret());
    SecretString::from(format!("otpauth://totp/Stoppress:{name}?secret={secret}&issuer=Stoppress"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("an instant")
    }

    fn known() -> SecretString {
        secret(*b"12345678901234567890")
    }

    /// RFC 6238, appendix B, SHA-1: the last six digits of its eight.
    const VECTORS: &[(i64, &str)] = &[
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000, "353130"),
    ];

    #[test]
    fn codes_are_those_of_the_rfc() {
        assert_eq!(known().expose_secret(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        for (seconds, code) in VECTORS {
            assert_eq!(code_at(&known(), at(*seconds)).as_deref(), Some(*code), "{seconds}");
            assert_eq!(fit(&known(), code, at(*seconds), 0), Fit::Fits(seconds / 30), "{seconds}");
        }
    }

    #[test]
    fn a_code_fits_a_step_early_and_late_and_once() {
        let step = 1_111_111_111 / 30;
        for (off, fits) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
            let expected = if fits { Fit::Fits(step) } else { Fit::Wrong };
            assert_eq!(fit(&known(), "050471", at((step + off) * 30), 0), expected, "{off}");
            assert_eq!(fit(&known(), "050471", at((step + off) * 30 + 29), step - 1), expected, "{off}");
            let used = if fits { Fit::Used } else { Fit::Wrong };
            assert_eq!(fit(&known(), "050471", at((step + off) * 30), step), used, "{off}");
        }
        for (code, expected) in [
            ("050 471", Fit::Fits(step)),
            (" 050471\n", Fit::Fits(step)),
            ("50471", Fit::Wrong),
            ("0504711", Fit::Wrong),
            ("+50471", Fit::Wrong),
            ("", Fit::Wrong),
            ("٠٥٠٤٧١", Fit::Wrong),
        ] {
            assert_eq!(fit(&known(), code, at(step * 30), 0), expected, "{code:?}");
        }
        assert_eq!(fit(&SecretString::from("no secret"), "050471", at(step * 30), 0), Fit::Wrong);
        assert_eq!(fit(&known(), "050471", at(-100), 0), Fit::Wrong);
        assert!(is_secret(&known()) && !is_secret(&SecretString::from("GEZDGNBV")), "too short");
    }

    #[test]
    fn whoever_guesses_waits_longer_and_longer() {
        let waits = |failures| rest(failures, at(0)).map_or(0, |until| until.as_second() / 60);
        let found: Vec<i64> = [0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1_000_000, i64::MAX].map(waits).to_vec();
        assert_eq!(found, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
    }

    #[test]
    fn an_app_can_read_the_uri() {
        let uri = uri(&known(), "Aino: night & day +");
        let url: url::Url = uri.expose_secret().parse().expect("a URL");
        assert_eq!(url.path(), "/Stoppress:Aino%20%20night%20%26%20day%20%2B");
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(pairs, [pair("secret", known().expose_secret()), pair("issuer", "Stoppress")]);
        assert!(!format!("{:?}", known()).contains("GEZ"), "it is not shown by accident");
    }
}

//! Signatures: the published vector, the reference library, rotation, and what is refused.

use jiff::Timestamp;
use secrecy::SecretString;
use stoppress::clock::{Clock as _, HostClock};
use stoppress::lab::sign::{Signer, Unverified};

use crate::lab_support::SECRET;

const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;
const VECTOR: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";
const OTHER: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn signer(secrets: &str) -> Signer {
    Signer::new(&SecretString::from(secrets.to_owned())).unwrap()
}

fn then() -> Timestamp {
    Timestamp::from_second(1_649_367_553).unwrap()
}

#[test]
fn the_published_vector_is_met() {
    assert_eq!(signer(SECRET).sign(ID, then(), BODY), VECTOR);
    assert_eq!(signer(SECRET.strip_prefix("whsec_").unwrap()).sign(ID, then(), BODY), VECTOR);
}

#[test]
fn the_reference_library_agrees() {
    let now = HostClock.now();
    let ours = signer(SECRET).sign(ID, now, BODY);
    let theirs = standardwebhooks::Webhook::new(SECRET).unwrap();
    assert_eq!(ours, theirs.sign(ID, now.as_second(), BODY).unwrap());
    let mut headers = hyper::HeaderMap::new();
    headers.insert("webhook-id", ID.parse().unwrap());
    headers.insert("webhook-timestamp", now.as_second().to_string().parse().unwrap());
    headers.insert("webhook-signature", ours.parse().unwrap());
    theirs.verify(BODY, &headers).unwrap();
}

#[test]
fn while_one_secret_replaces_another_either_is_enough() {
    let both = signer(&format!("{OTHER} {SECRET}"));
    let signed = both.sign(ID, then(), BODY);
    assert_eq!(signed.split(' ').count(), 2);
    let at = then().as_second().to_string();
    for receiver in [SECRET, OTHER] {
        assert_eq!(signer(receiver).verify(ID, &at, &signed, BODY, then()), Ok(()));
        let sent = signer(receiver).sign(ID, then(), BODY);
        assert_eq!(both.verify(ID, &at, &sent, BODY, then()), Ok(()));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let signer = signer(SECRET);
    let at = then().as_second().to_string();
    let cases: [(&str, &str, &str, &[u8]); 6] = [
        ("another id", "msg_2", VECTOR, BODY),
        ("another body", ID, VECTOR, b"{}"),
        ("no signature", ID, "", BODY),
        ("another version", ID, "v2,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=", BODY),
        ("half a signature", ID, "v1,tZ1I4/hDygAJgO5TYxiSdw==", BODY),
        ("not base64", ID, "v1,!", BODY),
    ];
    for (what, id, signature, body) in cases {
        assert_eq!(signer.verify(id, &at, signature, body, then()), Err(Unverified::Signature), "{what}");
    }
    assert_eq!(self::signer(OTHER).verify(ID, &at, VECTOR, BODY, then()), Err(Unverified::Signature));
    for (seconds, holds) in [(-301, false), (-300, true), (300, true), (301, false)] {
        let now = then() + jiff::SignedDuration::from_secs(seconds);
        assert_eq!(signer.verify(ID, &at, VECTOR, BODY, now).is_ok(), holds, "{seconds} s");
    }
    for at in ["", "now", "99999999999999999999", "-9223372036854775808"] {
        assert_eq!(signer.verify(ID, at, VECTOR, BODY, then()), Err(Unverified::Time), "{at}");
    }
}

#[test]
fn weak_secrets_are_refused_and_never_repeated() {
    for secret in
        ["", "   ", "whsec_", "whsec_c2hvcnQ=", "not base64!", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7o"]
    {
        let fault = Signer::new(&SecretString::from(secret.to_owned())).unwrap_err().to_string();
        assert!(fault.contains("24 to 64 random bytes"), "{fault}");
        assert!(secret.trim().len() < 7 || !fault.contains(secret.trim()), "{fault}");
    }
    assert_eq!(format!("{:?}", signer(SECRET)), "Signer(1 secrets)");
}

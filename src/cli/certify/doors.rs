//! Checks of who is let in, and with what: the description, late uploads, what is no upload, signatures.

use std::time::Duration;

use hyper::Method;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use jiff::SignedDuration;
use secrecy::SecretString;

use super::probe::{Parcel, Place, Probe, told};
use super::report::Basis::Proved;
use super::report::Finding;
use super::way::To;
use super::{Facts, Made, NO_ORDER};
use crate::domain::Fault;
use crate::domain::batch::later;
use crate::domain::event::hex;
use crate::domain::lab::Answer;
use crate::lab::http::{IDEMPOTENCY_KEY, MANIFEST_SHA256, NOT_AFTER, classify_submit};
use crate::lab::outbound::{LAB_BODY_MAX, Request};
use crate::lab::sign::{self, Signer};

/// The contract that is certified.
const CONTRACT: &str = "(stoppress/1)";

pub(super) async fn describes(p: &Probe<'_>, facts: &mut Facts) -> Made {
    let answer = p.describe().await;
    Ok(match &answer {
        Answer::Accepted { lab_reference: Some(who) } if who.ends_with(CONTRACT) => {
            facts.who = Some(who.clone());
            facts.two_phase = p.doors.right.has_first_phase().await;
            let phases = if facts.two_phase { "; in two phases" } else { "" };
            Finding::passed(Proved, format!("{who}{phases}"))
        }
        Answer::Accepted { lab_reference } => {
            facts.who.clone_from(lab_reference);
            Finding::warning("it is there, but does not say that it keeps the contract \"stoppress/1\"")
        }
        other => Finding::failed(format!("no description: {}", told(other))),
    })
}

pub(super) async fn not_after(p: &Probe<'_>, facts: &mut Facts) -> Made {
    if !facts.takes {
        return Ok(Finding::not_seen(NO_ORDER));
    }
    let mut parcel = p.parcel(1)?;
    parcel.upload.not_after = later(p.now(), -SignedDuration::from_mins(1));
    let answer = p.submit_by(&*p.doors.late, ", one minute after its not_after", &parcel).await;
    let there = found(p, facts, &parcel).await;
    if there || !matches!(answer, Answer::Refused { .. }) {
        p.put_away(parcel.first()).await;
    }
    Ok(match answer {
        Answer::Accepted { .. } => Finding::failed(
            "it took an upload one minute after its not_after: by then the gateway may believe that nothing was \
             taken, and send the order elsewhere",
        ),
        Answer::Refused { .. } if there => {
            Finding::failed("it refused the late upload, and took it all the same")
        }
        Answer::Refused { .. } => Finding::passed(Proved, "refused, and nothing taken"),
        other if there => Finding::failed(format!("{}, and the order was taken", told(&other))),
        other => Finding::warning(format!("not taken, but the refusal is not definite: {}", told(&other))),
    })
}

async fn found(p: &Probe<'_>, facts: &Facts, parcel: &Parcel) -> bool {
    facts.lookup && matches!(p.find(parcel.first()).await, Place::Taken | Place::Made(_))
}

/// What was tried, what came back, and whether the lab may take it.
struct Tried {
    what: &'static str,
    answer: Answer,
    must_refuse: bool,
}

pub(super) async fn malformed(p: &Probe<'_>, facts: &mut Facts) -> Made {
    if !facts.takes {
        return Ok(Finding::not_seen(NO_ORDER));
    }
    let mut tried = Vec::new();
    if matches!(p.target.to, To::Http(_)) {
        let bodies: [(&'static str, &[u8]); 3] = [
            ("half a body", b"{\"transfer\": \"trf_0\", \"orders\": [{\"id\": "),
            ("a body that is no upload", b"{\"hello\": \"lab\"}"),
            ("a text", b"please print my pictures"),
        ];
        for (what, body) in bodies {
            let mut parcel = p.parcel(0)?;
            parcel.upload.sha256 = sha256(body);
            body.clone_into(&mut parcel.upload.body);
            let answer = p.submit_by(&*p.doors.right, &format!(", {what}"), &parcel).await;
            tried.push(Tried { what, answer, must_refuse: true });
        }
        let parcel = p.parcel(1)?;
        let body = parcel.upload.body.clone();
        let answer = raw(p, "without Idempotency-Key", &parcel, None, &parcel.upload.key, &body).await?;
        put_away_if_taken(p, &parcel, &answer).await;
        tried.push(Tried { what: "an upload without a key", answer, must_refuse: true });
        let mut parcel = p.parcel(1)?;
        parcel.upload.sha256 = sha256(b"another body");
        let answer = p.submit_by(&*p.doors.right, ", with the hash of another body", &parcel).await;
        put_away_if_taken(p, &parcel, &answer).await;
        tried.push(Tried { what: "a body that does not have its hash", answer, must_refuse: false });
    } else {
        let parcel = p.parcel_under("", 1)?;
        let answer = p.submit(&parcel).await;
        put_away_if_taken(p, &parcel, &answer).await;
        tried.push(Tried { what: "an upload without a key", answer, must_refuse: true });
    }
    Ok(judge(&tried, "each was refused"))
}

async fn put_away_if_taken(p: &Probe<'_>, parcel: &Parcel, answer: &Answer) {
    if !matches!(answer, Answer::Refused { .. }) {
        p.put_away(parcel.first()).await;
    }
}

/// All must be refused: definitely.
fn judge(tried: &[Tried], good: &str) -> Finding {
    let mut failed = Vec::new();
    let mut doubtful = Vec::new();
    for Tried { what, answer, must_refuse } in tried {
        match answer {
            Answer::Refused { .. } => {}
            Answer::Accepted { .. } if *must_refuse => failed.push(format!("{what} was accepted")),
            Answer::Accepted { .. } => doubtful.push(format!("{what} was accepted")),
            other => doubtful.push(format!("{what} was not refused, but: {}", told(other))),
        }
    }
    // A failure of the server on bad input is none of its refusals.
    let broken = doubtful.iter().any(|text| text.contains("HTTP 5") || text.contains("gRPC Internal"));
    let all = [failed.as_slice(), doubtful.as_slice()].concat().join("; ");
    if !failed.is_empty() || broken {
        Finding::failed(all)
    } else if doubtful.is_empty() {
        Finding::passed(Proved, good)
    } else {
        Finding::warning(all)
    }
}

pub(super) async fn signature(p: &Probe<'_>, facts: &mut Facts) -> Made {
    let http = match &p.target.to {
        To::Http(_) => true,
        To::Grpc(_) => false,
        To::Link(_) => {
            return Ok(Finding::not_applicable(
                "the lab calls, and showed its key when it connected; what comes over a link is not signed",
            ));
        }
    };
    if p.target.secret.is_none() {
        return Ok(Finding::not_seen(
            "no secret was given: --secret-env NAME or --secret-file FILE. A lab without one takes orders from \
             whoever finds it",
        ));
    }
    if !facts.takes {
        return Ok(Finding::not_seen(NO_ORDER));
    }
    let mut let_in = Vec::new();
    let mut odd = Vec::new();
    let mut uploads = vec![
        (" without a signature", &p.doors.unsigned),
        (" signed with another secret", &p.doors.other_secret),
    ];
    if http {
        uploads.push((" signed ten minutes ago", &p.doors.stale));
        uploads.push((" signed in ten minutes", &p.doors.ahead));
    }
    for (how, door) in uploads {
        let mut parcel = p.parcel(1)?;
        // What is refused must be refused for its signature.
        parcel.upload.not_after = later(p.now(), SignedDuration::from_mins(15));
        let answer = p.submit_by(&**door, how, &parcel).await;
        put_away_if_taken(p, &parcel, &answer).await;
        sort(&answer, format!("an upload{how}"), &mut let_in, &mut odd);
    }
    if http {
        let parcel = p.parcel(1)?;
        let key = parcel.upload.key.clone();
        let answer = raw(p, "signed for another body", &parcel, Some(&key), &key, b"{}").await?;
        put_away_if_taken(p, &parcel, &answer).await;
        sort(&answer, "an upload signed for another body".to_owned(), &mut let_in, &mut odd);
        let parcel = p.parcel(1)?;
        let body = parcel.upload.body.clone();
        let other = format!("{}-other", parcel.upload.key);
        let answer =
            raw(p, "signed for another key", &parcel, Some(&parcel.upload.key), &other, &body).await?;
        put_away_if_taken(p, &parcel, &answer).await;
        sort(&answer, "an upload signed for another key".to_owned(), &mut let_in, &mut odd);
    }
    for (how, door) in
        [(" without a signature", &p.doors.unsigned), (" signed with another secret", &p.doors.other_secret)]
    {
        if matches!(p.stop_by(&**door, how, &p.test()).await, Answer::NotFound | Answer::Removed { .. }) {
            let_in.push(format!("a stop{how}"));
        }
        if p.find_by(&**door, how, &p.test()).await == Place::Absent {
            let_in.push(format!("a look-up{how}"));
        }
    }
    Ok(if let_in.is_empty() && odd.is_empty() {
        Finding::passed(Proved, "whatever was signed wrongly was refused")
    } else if let_in.is_empty() {
        Finding::warning(format!("nothing was let in, but the refusal is not definite: {}", odd.join("; ")))
    } else {
        Finding::failed(format!("it let in: {}", let_in.join("; ")))
    })
}

fn sort(answer: &Answer, what: String, let_in: &mut Vec<String>, odd: &mut Vec<String>) {
    match answer {
        Answer::Refused { .. } => {}
        Answer::Accepted { .. } => let_in.push(what),
        other => odd.push(format!("{what}: {}", told(other))),
    }
}

/// An upload over HTTP that no driver would send: without a key, or signed for something else.
async fn raw(
    p: &Probe<'_>,
    how: &str,
    parcel: &Parcel,
    key: Option<&str>,
    id: &str,
    signed: &[u8],
) -> Result<Answer, Fault> {
    let upload = &parcel.upload;
    let To::Http(base) = &p.target.to else { return Err(Fault::new("", "it is not called over HTTP")) };
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push("orders");
    }
    let now = p.now();
    let mut texts = vec![(NOT_AFTER, upload.not_after.to_string()), (MANIFEST_SHA256, hex(&upload.sha256))];
    texts.extend(key.map(|key| (IDEMPOTENCY_KEY, key.to_owned())));
    if let Some(secret) = &p.target.secret {
        let signer: Signer = signer(secret)?;
        texts.push((sign::ID, id.to_owned()));
        texts.push((sign::TIMESTAMP, now.as_second().to_string()));
        texts.push((sign::SIGNATURE, signer.sign(id, now, signed)));
    }
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, text) in texts {
        let value = HeaderValue::from_str(&text).map_err(|error| Fault::new(name, error.to_string()))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    let request = Request {
        method: Method::POST,
        url,
        headers,
        body: upload.body.clone(),
        timeout: Duration::from_secs(30),
        body_max: LAB_BODY_MAX,
    };
    let answer = match p.outbound.call(request).await {
        Ok(response) => classify_submit(&response),
        Err(failure) => Answer::Unclear { cause: failure.to_string() },
    };
    let sent = format!("upload of {} {how}", parcel.first().reference);
    p.note(sent, told(&answer), now);
    if !matches!(answer, Answer::Refused { .. }) {
        p.hold(&parcel.tests);
    }
    Ok(answer)
}

fn signer(secret: &SecretString) -> Result<Signer, Fault> {
    Signer::new(secret).map_err(|fault| fault.under("--secret-env, --secret-file"))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

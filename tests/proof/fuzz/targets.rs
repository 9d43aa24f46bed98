//! What must hold of each reader, whatever the bytes are.

use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use secrecy::SecretString;
use stoppress::api::{json, ndjson, read_submission};
use stoppress::domain::calendar::{Calendar, CalendarSpec};
use stoppress::domain::calendar_link::CalendarLink;
use stoppress::domain::customer_link::CustomerKeys;
use stoppress::domain::hours::Hours;
use stoppress::domain::ids::StopId;
use stoppress::domain::lab::Answer;
use stoppress::domain::link::LinkKey;
use stoppress::domain::mail::Audience;
use stoppress::domain::order::Submission;
use stoppress::domain::zones::Zones;
use stoppress::lab::grpc;
use stoppress::lab::http::{classify_look_up, classify_stop, classify_submit, retry_after};
use stoppress::lab::outbound::Response;
use stoppress::lab::sign::Signer;
use stoppress::proto;

/// The instant of all targets.
fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().expect("an instant")
}

/// A submission that has no faults is stored, and read back when it is handed over: nothing may be lost on the way.
fn kept(submission: &Submission) {
    let (document, sha256) = submission.document();
    let again: Submission = serde_json::from_str(&document).expect("a stored order is read back");
    assert_eq!(again, *submission, "what is stored is what was sent");
    assert_eq!(again.document(), (document, sha256), "and says so in the same bytes");
}

/// The body of `POST /v1/orders`.
pub(super) fn orders(input: &[u8]) {
    match json::read::<Submission>(input) {
        Ok(submission) if submission.faults().is_empty() => kept(&submission),
        Ok(submission) => {
            for fault in submission.faults() {
                assert!(
                    !fault.field.is_empty() && !fault.message.is_empty(),
                    "a fault names its field: {fault:?}"
                );
            }
        }
        Err(problem) => {
            let status = problem.code().status().as_u16();
            let document = problem.document();
            assert!(
                matches!(status, 400 | 422),
                "an order that cannot be read is the caller's fault: {status}"
            );
            assert!(!document.detail.is_empty(), "what cannot be read says why");
            serde_json::to_string(&document).expect("the answer is JSON");
        }
    }
}

/// The lines of `POST /v1/orders/bulk`: the first byte says how the rest comes in pieces.
pub(super) fn bulk(input: &[u8]) {
    let Some((first, text)) = input.split_first() else { return };
    let mut cut = ndjson::Cutter::default();
    let mut lines = Vec::new();
    for piece in text.chunks(usize::from(*first) + 1) {
        cut.take(piece, &mut lines);
    }
    // A set is only so large: the rest is taken with the next ones.
    let mut all = std::mem::take(&mut lines);
    loop {
        cut.lines(&mut lines);
        if lines.is_empty() {
            break;
        }
        all.append(&mut lines);
    }
    cut.end(&mut all, None);
    assert!(cut.ended());
    let read: Vec<_> =
        all.into_iter().map(|(number, line)| (number, line.expect("no line is too long here"))).collect();
    let trimmed = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let told: Vec<_> =
        (1_u64..).zip(trimmed.map(<[u8]>::to_vec)).filter(|(_, line)| !line.is_empty()).collect();
    assert_eq!(read, told, "in whatever pieces it comes, each line is there once, under its number");
    for (_, line) in &read {
        orders(line);
    }
}

/// What a text of a lab may be where it is kept and shown.
fn words(answer: &Answer) {
    let text = match answer {
        Answer::Accepted { lab_reference: text } => text.as_deref(),
        Answer::Removed { reason, .. } | Answer::WillPrint { reason, .. } => reason.as_deref(),
        Answer::Refused { reason: text }
        | Answer::Unclear { cause: text }
        | Answer::Unreachable { cause: text } => Some(text.as_str()),
        Answer::AnswerLater | Answer::NotFound => None,
    };
    let text = text.unwrap_or("one");
    assert!(!text.is_empty() && text.chars().count() <= 320, "a lab's words are short: {text:?}");
    assert!(!text.chars().any(char::is_control), "and plain: {text:?}");
    serde_json::to_string(answer).expect("an answer is kept as JSON");
}

/// What a lab answers over HTTP: two bytes for the status, one for whether the body is whole.
pub(super) fn lab_answers(input: &[u8]) {
    let Some((head, body)) = input.split_first_chunk::<3>() else { return };
    let status = 100 + u16::from_be_bytes([head[0], head[1]]) % 500;
    let cut = (head[2] % 8 == 7).then(|| "reset".to_owned());
    let said =
        Response { status, headers: axum::http::HeaderMap::default(), body: body.to_vec(), cut: cut.clone() };
    let success = (200..300).contains(&status);
    let definite = (400..500).contains(&status) && !matches!(status, 408 | 409 | 421 | 425 | 429);

    let submitted = classify_submit(&said);
    words(&submitted);
    assert_eq!(
        matches!(submitted, Answer::Accepted { .. }),
        success,
        "only a 2xx is the lab's word that it has it"
    );
    assert_eq!(
        matches!(submitted, Answer::Refused { .. }),
        definite,
        "only a definite 4xx is its word that it has not"
    );

    let stopped = classify_stop(&said);
    words(&stopped);
    let decides = matches!(stopped, Answer::Removed { .. } | Answer::WillPrint { .. });
    assert!(!decides || (success && cut.is_none()), "only a whole 2xx decides a stop: {status} {stopped:?}");
    assert!(!matches!(stopped, Answer::Accepted { .. } | Answer::Unreachable { .. }), "{stopped:?}");

    let seen = classify_look_up(&said);
    words(&seen);
    assert!(
        !matches!(seen, Answer::Refused { .. } | Answer::Unreachable { .. } | Answer::AnswerLater),
        "{seen:?}"
    );
    let there = matches!(seen, Answer::Accepted { .. } | Answer::WillPrint { .. } | Answer::Removed { .. });
    assert!(
        !there || (success && cut.is_none()),
        "only a whole 2xx is a sign of an order: {status} {seen:?}"
    );
    assert_eq!(seen == Answer::NotFound, status == 404, "only a 404 says that it is not there");

    if let Ok(text) = std::str::from_utf8(body) {
        let _rests = retry_after(text, now());
    }
}

/// What platforms and labs send over gRPC: the first byte says which message it is.
pub(super) fn protobuf(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    match which % 6 {
        0 => {
            let Ok(order) = proto::Submission::decode(bytes) else { return };
            match read_submission(Some(order)) {
                Ok(submission) if submission.faults().is_empty() => kept(&submission),
                Ok(_) => {}
                Err(problem) => assert!(!problem.document().errors.is_empty(), "it names the fields"),
            }
        }
        1 => {
            if let Ok(said) = proto::SubmitOrdersResponse::decode(bytes) {
                words(&grpc::taken(&said));
            }
        }
        2 => {
            if let Ok(said) = proto::StopOrderResponse::decode(bytes) {
                words(&grpc::answered(&said));
            }
        }
        3 => {
            if let Ok(said) = proto::GetOrderResponse::decode(bytes) {
                words(&grpc::seen(said));
            }
        }
        4 => again::<proto::SubmitOrdersRequest>(bytes),
        _ => again::<proto::StopOrderRequest>(bytes),
    }
}

/// A message that is read is written and read as the same.
fn again<M: prost::Message + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        let other = M::decode(message.encode_to_vec().as_slice()).expect("what was written is read");
        assert!(other == message, "a message that is written is the same message: {other:?} {message:?}");
    }
}

/// A region's calendar, and contact hours where the text is no calendar.
pub(super) fn calendars(input: &[u8]) {
    static ZONES: LazyLock<Zones> = LazyLock::new(Zones::bundled);
    let Ok(text) = std::str::from_utf8(input) else { return };
    let berlin = r#"{"time_zone":"Europe/Berlin","cutoffs":["24:00"]}"#;
    let build = |spec: &CalendarSpec| Calendar::build(spec, &ZONES, now());
    if let Ok(spec) = json::read::<CalendarSpec>(input) {
        match build(&spec) {
            Ok(calendar) => tiles(&calendar),
            Err(faults) => assert!(!faults.is_empty(), "what is refused says why"),
        }
    } else if let Ok(hours) = Hours::parse(text) {
        assert_eq!(Hours::parse(hours.text()).as_ref(), Ok(&hours), "hours are read as they are shown");
        let spec = json::read::<CalendarSpec>(berlin.as_bytes()).expect("a calendar");
        let calendar = build(&spec).expect("a calendar");
        let due = hours.after(&calendar, now(), SignedDuration::from_mins(30));
        assert!(
            due.is_none_or(|due| due >= now() + SignedDuration::from_mins(30)),
            "time does not run backwards"
        );
    }
}

/// Windows lie end to end, and each instant is in the one that it is told.
fn tiles(calendar: &Calendar) {
    let mut at = now();
    for _ in 0..20 {
        let Some(window) = calendar.window(at) else { return };
        assert!(
            window.opens_at.is_none_or(|from| from <= at) && at < window.cutoff.at,
            "{at} is not in {window:?}"
        );
        let next = calendar.next_cutoff(at).expect("a window has a cutoff");
        assert_eq!(next.at, window.cutoff.at, "a window ends at the next cutoff");
        at = next.at;
    }
}

/// The token of every link that the house signs.
pub(super) fn links(input: &[u8]) {
    let Ok(token) = std::str::from_utf8(input) else { return };
    let token = token.trim_end_matches('\n');
    let key = || LinkKey::parse(&"5a".repeat(32)).expect("a key");
    let until = now() + SignedDuration::from_hours(24);
    if let Some(link) = key().read(token) {
        let stop = StopId::parse("stp_0190a1b2c3d4e5f60718293a4b5c6d7e").expect("an id");
        let own = key().sign(&stop, Audience::First, "m@lab.example", until);
        assert_eq!(own.as_deref(), Some(token), "only what was signed is read: {link:?}");
    }
    let keys = CustomerKeys::parse([(1, "5a".repeat(32).as_str())]).expect("keys");
    if let Some((link, _)) = keys.read_link(token) {
        assert_eq!(keys.link(&link).as_deref(), Some(token), "a link has one form");
    }
    if let Some(session) = keys.read_session(token) {
        assert_eq!(keys.session(&session).as_deref(), Some(token), "a session has one form");
    }
    if let Some(link) = CalendarLink::read(token, &key()) {
        assert_eq!(link.token(&key()).as_deref(), Some(token), "a calendar's link has one form");
    }
}

/// The signature headers of a message: id, time, signatures, secrets, each on a line, then the body.
pub(super) fn signatures(input: &[u8]) {
    let mut parts = input.splitn(5, |byte| *byte == b'\n');
    let mut text = || parts.next().and_then(|part| std::str::from_utf8(part).ok()).unwrap_or_default();
    let (id, time, signatures, secrets) = (text(), text(), text(), text());
    let body = parts.next().unwrap_or_default();
    let Ok(signer) = Signer::new(&SecretString::from(secrets)) else { return };
    let holds = signer.verify(id, time, signatures, body, now()).is_ok();
    let at = time.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    // Of another form of the time, such as one with a plus, only who has the secret could have signed the text.
    let Some(at) = at.filter(|at| at.as_second().to_string() == time) else { return };
    let own = signer.sign(id, at, body);
    let near = now().as_second().abs_diff(at.as_second()) <= 300;
    let fits = own.split(' ').any(|own| signatures.split(' ').any(|given| given == own));
    assert_eq!(holds, near && fits, "a signature holds if it is ours and of now");
    assert_eq!(signer.verify(id, time, &own, body, now()).is_ok(), near, "our own signature holds");
}

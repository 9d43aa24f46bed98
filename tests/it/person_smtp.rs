//! The mailer by itself: what is never sent in the clear, and what a silent server means.

use std::time::{Duration, Instant};

use stoppress::domain::mail::MailOutcome;
use stoppress::lab::mail::{Mail, Mailer as _, Protection, Smtp, SmtpSettings};
use stoppress::lab::outbound::install_tls;

use crate::sink::Sink;

fn settings(port: u16, protection: Protection) -> SmtpSettings {
    SmtpSettings {
        server: "127.0.0.1".to_owned(),
        port,
        protection,
        login: None,
        from: "Stoppress <stops@gateway.example>".to_owned(),
        authorities: Vec::new(),
        within: Duration::from_millis(500),
    }
}

fn mail() -> Mail {
    Mail {
        to: "maija@lab.example".to_owned(),
        subject: "please\r\nBcc: all@lab.example".to_owned(),
        text: "Täällä\n.\nend\n".to_owned(),
        id: "stp_1.ask".to_owned(),
    }
}

#[tokio::test]
async fn nothing_is_sent_in_the_clear_that_was_to_be_protected() {
    install_tls();
    let sink = Sink::start().await;
    let port = sink.config().port.unwrap();
    // The server offers no TLS: neither the mail nor the password goes to it.
    for protection in [Protection::StartTls, Protection::Tls] {
        let login = Some(("user".to_owned(), "pass-word-9".to_owned().into()));
        let smtp = Smtp::new(SmtpSettings { login, ..settings(port, protection) }).unwrap();
        assert!(!format!("{smtp:?}").contains("pass-word-9"));
        let outcome = smtp.send(&mail()).await;
        assert!(matches!(outcome, MailOutcome::Refused(_) | MailOutcome::Unreachable(_)), "{outcome:?}");
        assert!(!format!("{outcome:?}").contains("pass-word-9"));
    }
    // Nor is a mail sent without the login that was configured.
    let login = Some(("user".to_owned(), "pass-word-9".to_owned().into()));
    let smtp = Smtp::new(SmtpSettings { login, ..settings(port, Protection::None) }).unwrap();
    assert!(matches!(smtp.send(&mail()).await, MailOutcome::Refused(_)));
    assert!(sink.mails().is_empty());
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_written_and_adds_no_header() {
    install_tls();
    let sink = Sink::start().await;
    let smtp = Smtp::new(settings(sink.config().port.unwrap(), Protection::None)).unwrap();
    assert_eq!(smtp.send(&mail()).await, MailOutcome::Sent);
    let got = sink.mails().remove(0);
    assert_eq!((got.to.as_str(), got.header("bcc")), ("maija@lab.example", String::new()));
    assert_eq!(got.text.replace("\r\n", "\n").trim_end(), "Täällä\n.\nend");
    assert_eq!(got.header("from"), "Stoppress <stops@gateway.example>");
}

#[tokio::test]
async fn a_server_that_is_silent_or_not_there_was_sent_nothing() {
    install_tls();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let smtp = Smtp::new(settings(port, Protection::None)).unwrap();
    let began = Instant::now();
    let outcome = smtp.send(&mail()).await;
    assert!(matches!(outcome, MailOutcome::Unreachable(_)), "{outcome:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "it ends by itself");
    drop(listener);
    assert!(matches!(smtp.send(&mail()).await, MailOutcome::Unreachable(_)));
    assert!(
        Smtp::new(SmtpSettings { from: "nobody".to_owned(), ..settings(port, Protection::None) }).is_err()
    );
}

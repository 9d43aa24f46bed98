//! A mail server for tests: it speaks SMTP, with TLS and a login where told, keeps what it gets, and misbehaves
//! as told.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use stoppress::config::{MailConfig, MailTls};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// How the server behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Manner {
    /// It takes every mail.
    #[default]
    Takes,
    /// It knows no recipient: for good.
    Refuses,
    /// It has no time now.
    Busy,
    /// It hangs up before it has said anything.
    HangsUp,
    /// It keeps the mail, and hangs up instead of saying so.
    LosesAnswers,
}

/// A mail that came.
#[derive(Debug, Clone)]
pub struct Received {
    /// The recipient of the envelope.
    pub to: String,
    /// The headers.
    pub head: String,
    /// The text, decoded.
    pub text: String,
}

impl Received {
    /// The path of the link in it.
    pub fn link(&self) -> String {
        let line = self.text.lines().find(|line| line.starts_with("http")).expect("a link");
        let at = line.find("/a/").expect("the link of an answer page");
        line[at..].trim().to_owned()
    }

    /// The token of the link.
    pub fn token(&self) -> String {
        self.link()["/a/".len()..].to_owned()
    }

    /// A header.
    pub fn header(&self, name: &str) -> String {
        let begins = format!("{}:", name.to_lowercase());
        let line = self.head.lines().find(|line| line.to_lowercase().starts_with(&begins));
        line.map(|line| line[begins.len()..].trim().to_owned()).unwrap_or_default()
    }
}

/// What the server asks for before it takes a mail.
#[derive(Clone, Default)]
pub struct Door {
    /// The certificate that it shows, if it speaks TLS.
    pub tls: Option<TlsAcceptor>,
    /// TLS from the first byte; else after `STARTTLS`.
    pub implicit: bool,
    /// The user and the password.
    pub login: Option<(&'static str, &'static str)>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("implicit", &self.implicit).finish_non_exhaustive()
    }
}

/// How one conversation ended.
enum Heard {
    /// The client left.
    Gone,
    /// It asked for TLS, and was told to go ahead.
    StartTls,
}

/// The server.
#[derive(Debug, Clone)]
pub struct Sink {
    port: u16,
    door: Door,
    logins: Arc<Mutex<usize>>,
    manner: Arc<Mutex<Manner>>,
    mails: Arc<Mutex<Vec<Received>>>,
}

impl Sink {
    pub async fn start() -> Self {
        Self::behind(Door::default()).await
    }

    /// One that takes mails only behind this door.
    pub async fn behind(door: Door) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sink = Self {
            port: listener.local_addr().unwrap().port(),
            door,
            logins: Arc::default(),
            manner: Arc::default(),
            mails: Arc::default(),
        };
        let server = sink.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                // Whoever hangs up ends only its own conversation.
                tokio::spawn(async move { server.open(stream).await.ok() });
            }
        });
        sink
    }

    pub fn behaves(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    pub fn mails(&self) -> Vec<Received> {
        self.mails.lock().unwrap().clone()
    }

    /// How many logins were tried.
    pub fn logins(&self) -> usize {
        *self.logins.lock().unwrap()
    }

    /// A configuration that sends here.
    pub fn config(&self) -> MailConfig {
        MailConfig {
            server: Some("127.0.0.1".to_owned()),
            port: Some(self.port),
            tls: MailTls::None,
            from: Some("Stoppress <stops@gateway.example>".to_owned()),
            public_url: Some("https://gateway.example/stops".to_owned()),
            ..MailConfig::default()
        }
    }

    async fn open(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let Some(tls) = &self.door.tls else {
            return self.converse(&mut stream, true, false).await.map(drop);
        };
        if !self.door.implicit && matches!(self.converse(&mut stream, true, false).await?, Heard::Gone) {
            return Ok(());
        }
        let mut safe = tls.accept(stream).await?;
        self.converse(&mut safe, self.door.implicit, true).await.map(drop)
    }

    /// Whether the words after `AUTH` are the right login.
    fn knows(&self, line: &str) -> bool {
        *self.logins.lock().unwrap() += 1;
        let Some((user, password)) = self.door.login else { return false };
        let plain = format!("\0{user}\0{password}");
        let plain = base64::engine::general_purpose::STANDARD.encode(plain);
        line.trim_end().strip_prefix("AUTH PLAIN ") == Some(plain.as_str())
    }

    async fn converse(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        greets: bool,
        safe: bool,
    ) -> std::io::Result<Heard> {
        let manner = *self.manner.lock().unwrap();
        if manner == Manner::HangsUp {
            return Ok(Heard::Gone);
        }
        let mut stream = BufReader::new(stream);
        if greets {
            stream.write_all(b"220 sink ESMTP\r\n").await?;
        }
        let offers_tls = self.door.tls.is_some() && !safe;
        let mut open = self.door.login.is_none() && !offers_tls;
        let mut to = String::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(Heard::Gone);
            }
            let word = line.split([' ', '\r']).next().unwrap_or_default().to_uppercase();
            let answer: &[u8] = match word.as_str() {
                "EHLO" if offers_tls => b"250-sink\r\n250-8BITMIME\r\n250 STARTTLS\r\n",
                "EHLO" if self.door.login.is_some() => b"250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN\r\n",
                "EHLO" => b"250-sink\r\n250 8BITMIME\r\n",
                "STARTTLS" if offers_tls => {
                    stream.write_all(b"220 go ahead\r\n").await?;
                    return Ok(Heard::StartTls);
                }
                "AUTH" if offers_tls => b"538 5.7.11 only after STARTTLS\r\n",
                "AUTH" if self.knows(&line) => {
                    open = true;
                    b"235 2.7.0 welcome\r\n"
                }
                // Servers repeat what they heard.
                "AUTH" => b"535 5.7.8 not with this password: pass-word-9\r\n",
                "MAIL" if !open => b"530 5.7.0 not before TLS and a login\r\n",
                "RCPT" if manner == Manner::Refuses => b"550 5.1.1 nobody here\r\n",
                "RCPT" if manner == Manner::Busy => b"451 4.3.0 later\r\n",
                "RCPT" => {
                    to = line.split_once('<').unwrap().1.split_once('>').unwrap().0.to_owned();
                    b"250 ok\r\n"
                }
                "DATA" => {
                    stream.write_all(b"354 go on\r\n").await?;
                    self.keep(&mut stream, &to).await?;
                    if manner == Manner::LosesAnswers {
                        return Ok(Heard::Gone);
                    }
                    b"250 kept\r\n"
                }
                "QUIT" => {
                    stream.write_all(b"221 bye\r\n").await?;
                    return Ok(Heard::Gone);
                }
                _ => b"250 ok\r\n",
            };
            stream.write_all(answer).await?;
        }
    }

    async fn keep<S: AsyncRead + Unpin>(&self, stream: &mut BufReader<S>, to: &str) -> std::io::Result<()> {
        let mut whole = String::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 || line == ".\r\n" {
                break;
            }
            whole.push_str(line.strip_prefix('.').unwrap_or(&line));
        }
        let (head, body) = whole.split_once("\r\n\r\n").unwrap();
        let mut mail = Received { to: to.to_owned(), head: head.replace("\r\n ", " "), text: String::new() };
        mail.text = match mail.header("content-transfer-encoding").as_str() {
            "base64" => {
                let packed: String = body.split_whitespace().collect();
                let bytes = base64::engine::general_purpose::STANDARD.decode(packed).unwrap();
                String::from_utf8(bytes).unwrap()
            }
            "quoted-printable" => unquoted(body),
            _ => body.to_owned(),
        };
        self.mails.lock().unwrap().push(mail);
        Ok(())
    }
}

fn unquoted(body: &str) -> String {
    let joined = body.replace("=\r\n", "");
    let mut bytes = Vec::new();
    let mut rest = joined.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'=' && after.len() >= 2 {
            let hex = std::str::from_utf8(&after[..2]).unwrap();
            bytes.push(u8::from_str_radix(hex, 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}

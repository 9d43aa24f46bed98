//! A mail server for tests: it speaks SMTP, keeps what it gets, and misbehaves as told.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use stoppress::config::{MailConfig, MailTls};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

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

/// The server.
#[derive(Debug, Clone)]
pub struct Sink {
    port: u16,
    manner: Arc<Mutex<Manner>>,
    mails: Arc<Mutex<Vec<Received>>>,
}

impl Sink {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sink = Self {
            port: listener.local_addr().unwrap().port(),
            manner: Arc::default(),
            mails: Arc::default(),
        };
        let server = sink.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                // Whoever hangs up ends only its own conversation.
                tokio::spawn(async move { server.converse(stream).await.ok() });
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

    async fn converse(&self, stream: TcpStream) -> std::io::Result<()> {
        let manner = *self.manner.lock().unwrap();
        if manner == Manner::HangsUp {
            return Ok(());
        }
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 sink ESMTP\r\n").await?;
        let mut to = String::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let word = line.split([' ', '\r']).next().unwrap_or_default().to_uppercase();
            let answer: &[u8] = match word.as_str() {
                "EHLO" => b"250-sink\r\n250 8BITMIME\r\n",
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
                        return Ok(());
                    }
                    b"250 kept\r\n"
                }
                "QUIT" => {
                    stream.write_all(b"221 bye\r\n").await?;
                    return Ok(());
                }
                _ => b"250 ok\r\n",
            };
            stream.write_all(answer).await?;
        }
    }

    async fn keep(&self, stream: &mut BufReader<TcpStream>, to: &str) -> std::io::Result<()> {
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

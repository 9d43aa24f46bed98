//! `stoppress keys second-factor`: codes of an app beside a key, for signing in at the pages.

use std::io::{self, BufRead as _, IsTerminal as _};

use hyper::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::client::Client;
use super::keys::{ACTOR, Place, open};
use super::{Failure, Terminal};
use crate::domain::Fault;
use crate::domain::event::Actor;
use crate::domain::second_factor::{self, SECRET_BYTES};
use crate::store::{self, CodeSaid, Put, ShowCode, StartFactor, Store, Write, Written};

/// Give a key a second factor: codes of an app
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  stoppress keys second-factor kq3v7x2m9abc
  stoppress keys second-factor kq3v7x2m9abc --code 123456
  stoppress keys second-factor kq3v7x2m9abc --remove --database sqlite:stoppress.db

It is shown once what to put into an app for codes (TOTP), then the first code is asked for: from that on it is in
force. Programs that show the key with every call are not asked for codes. Whoever lost the phone lets another key of
scope ops remove the factor, or removes it in the database.")]
pub struct SecondFactorArgs {
    /// The key's id: the middle part of the key
    id: String,
    /// The first code of one that was started before: puts it in force
    #[arg(long, value_name = "CODE", conflicts_with = "remove")]
    code: Option<String>,
    /// Take it away
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    place: Place,
}

/// Where the command works: one of the two.
enum Desk {
    Gateway(Box<Client>),
    Database(std::sync::Arc<dyn Store>),
}

/// Runs the command.
pub(super) async fn run(args: SecondFactorArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let desk = match &args.place.database {
        Some(url) => Desk::Database(open(url, terminal).await?),
        None => Desk::Gateway(Box::new(Client::new(&args.place.server, terminal)?)),
    };
    let done = at_desk(&desk, &args, terminal).await;
    if let Desk::Database(store) = &desk {
        store.close().await;
    }
    done
}

async fn at_desk(desk: &Desk, args: &SecondFactorArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let id = args.id.as_str();
    if args.remove {
        desk.remove(id, terminal).await?;
        return Ok(writeln!(terminal.err, "Key {id} has no second factor any more.")?);
    }
    let code = if let Some(code) = &args.code {
        code.clone()
    } else {
        let (secret, uri) = desk.start(id, terminal).await?;
        let spaced: Vec<&str> =
            secret.as_bytes().chunks(4).filter_map(|part| std::str::from_utf8(part).ok()).collect();
        writeln!(terminal.err, "Put this into an app for codes; it is shown once:")?;
        writeln!(terminal.out, "{}\n{uri}", spaced.join(" "))?;
        terminal.out.flush()?;
        let Some(code) = asked(terminal)? else {
            let next = format!("stoppress keys second-factor {id} --code CODE");
            return Ok(writeln!(terminal.err, "It is not in force yet. Then run: {next}")?);
        };
        code
    };
    desk.confirm(id, code, terminal).await?;
    Ok(writeln!(terminal.err, "The second factor of key {id} is in force: the pages ask for a code now.")?)
}

/// The code that somebody types, if somebody is there to type one.
fn asked(terminal: &mut Terminal<'_>) -> Result<Option<String>, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Ok(None);
    }
    write!(terminal.err, "The code that it shows now: ")?;
    terminal.err.flush()?;
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    Ok(Some(line.trim().to_owned()).filter(|line| !line.is_empty()))
}

impl Desk {
    /// Starts one: what to type into an app, and its address.
    async fn start(&self, id: &str, terminal: &Terminal<'_>) -> Result<(String, String), Failure> {
        match self {
            Self::Gateway(client) => {
                let path = ["v1", "keys", id, "second-factor"];
                let (_, made) = client.send(Method::POST, &path, &json!({})).await?;
                let text = |name: &str| made.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                Ok((text("secret"), text("uri")))
            }
            Self::Database(store) => {
                let name = store.keys().await?.into_iter().find(|row| row.id == id).map(|row| row.name);
                let mut bytes = [0; SECRET_BYTES];
                terminal.random.fill(&mut bytes);
                let secret = second_factor::secret(bytes);
                let uri = second_factor::uri(&secret, &format!("{} ({id})", name.unwrap_or_default()));
                let item = StartFactor {
                    key: id.to_owned(),
                    secret: secret.clone(),
                    at: terminal.clock.now(),
                    actor: Actor(ACTOR.to_owned()),
                };
                done(store::one(&**store, Write::StartFactor(Box::new(item))).await?, id)?;
                Ok((secret.expose_secret().to_owned(), uri.expose_secret().to_owned()))
            }
        }
    }

    async fn confirm(&self, id: &str, code: String, terminal: &Terminal<'_>) -> Result<(), Failure> {
        match self {
            Self::Gateway(client) => {
                let path = ["v1", "keys", id, "second-factor", "confirm"];
                client.post(&path, &json!({ "code": code })).await
            }
            Self::Database(store) => {
                let show = ShowCode {
                    key: id.to_owned(),
                    code: Some(SecretString::from(code)),
                    first: true,
                    at: terminal.clock.now(),
                    actor: Actor(ACTOR.to_owned()),
                };
                done(store::one(&**store, Write::ShowCode(Box::new(show))).await?, id)
            }
        }
    }

    async fn remove(&self, id: &str, terminal: &Terminal<'_>) -> Result<(), Failure> {
        match self {
            Self::Gateway(client) => client.delete(&["v1", "keys", id, "second-factor"]).await,
            Self::Database(store) => {
                let (at, actor) = (terminal.clock.now(), Actor(ACTOR.to_owned()));
                let write = Write::RemoveFactor { key: id.to_owned(), at, actor };
                match store::one(&**store, write).await? {
                    Written::Put(Put::NotFound) => {
                        Err(Failure::Failed(format!("key {id} has no second factor")))
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

fn done(written: Written, id: &str) -> Result<(), Failure> {
    let fault = |text: &str| Err(Fault::new("--code", text).into());
    match written {
        Written::Code(CodeSaid::Good) => Ok(()),
        Written::Code(CodeSaid::InForce) => Err(Failure::Failed(format!(
            "the second factor of key {id} is in force already; --remove takes it away"
        ))),
        Written::Code(CodeSaid::Missing) => {
            fault("is empty; it must be the six digits that the app shows now")
        }
        Written::Code(CodeSaid::Wrong) => fault("is not what the app shows now"),
        Written::Code(CodeSaid::Used) => fault("was taken before; wait for the next one"),
        Written::Code(CodeSaid::Rests(until)) => Err(Failure::Failed(format!(
            "too many codes were wrong; the next one is looked at after {until}"
        ))),
        _ => {
            Err(Failure::Failed(format!("there is no key {id} that holds, or no second factor was started")))
        }
    }
}

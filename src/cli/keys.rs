//! `stoppress keys`: made, listed, revoked; through a gateway, or in the database if none runs.

use std::sync::Arc;

use clap::Subcommand;
use hyper::Method;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::client::{Client, ServerArgs};
use super::cutoffs::instant;
use super::records::{self, Column, Format};
use super::rotate_links::{self, RotateLinksArgs};
use super::second_factor::{self, SecondFactorArgs};
use super::{Failure, Terminal};
use crate::api::auth::{Grant, mint};
use crate::clock::whole_micros;
use crate::domain::event::Actor;
use crate::domain::ids::{LabId, PlatformId};
use crate::domain::{Fault, nearest};
use crate::store::{self, KeyRow, Put, Scope, Store, Write, Written};

/// Who the changelog says it was, where nobody proved who it is: whoever has the database.
pub(super) const ACTOR: &str = "ops:database";

/// API keys: create, list, revoke
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "clap takes what is said about a command from its arguments")]
pub enum Keys {
    Create(CreateArgs),
    List(ListArgs),
    Revoke(RevokeArgs),
    Link(LinkArgs),
    SecondFactor(SecondFactorArgs),
    RotateLinks(RotateLinksArgs),
}

/// Make a key; it is shown once
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  stoppress keys create --scope platform:shop --name 'web shop' > shop.key
  stoppress keys create --scope ops --name 'after the loss of the other' --database sqlite:stoppress.db

Only the key goes to standard output, so that it can be sent to a file.")]
pub struct CreateArgs {
    /// What it may see: ops, platform:ID or lab:ID
    #[arg(long, value_name = "SCOPE", value_parser = scope)]
    scope: Scope,
    /// What it is for, 1 to 100 characters
    #[arg(long)]
    name: String,
    /// When it ends; never unless told
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    expires_at: Option<Timestamp>,
    /// table: the key alone; json: the key with everything that is known of it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// List keys, never their secrets
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  stoppress keys list")]
pub struct ListArgs {
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// Revoke a key: at once at the gateway that is asked, within a second at its replicas
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  stoppress keys revoke kq3v7x2m9abc")]
pub struct RevokeArgs {
    /// Its id: the middle part of the key
    id: String,
    #[command(flatten)]
    place: Place,
}

/// Make a link that signs somebody in at the pages, once, within 15 minutes
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  stoppress keys link kq3v7x2m9abc

Only the link goes to standard output. Whoever opens it first and presses its button is signed in as the key,
for at most 12 hours; revoking the key ends that too.")]
pub struct LinkArgs {
    /// The key's id: the middle part of the key
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// A gateway, or its database.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// Work in the database itself, when no gateway runs, or when no key of scope ops is left:
    /// sqlite:FILE or postgres://… (a URL without a password: see PGPASSWORD)
    #[arg(long, value_name = "URL", conflicts_with_all = ["server", "key_file"])]
    pub(super) database: Option<String>,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

fn scope(text: &str) -> Result<Scope, String> {
    match text.split_once(':') {
        None if text == "ops" => Ok(Scope::Ops),
        Some(("platform", id)) => PlatformId::parse(id).map(Scope::Platform).map_err(|fault| fault.message),
        Some(("lab", id)) => LabId::parse(id).map(Scope::Lab).map_err(|fault| fault.message),
        _ => Err("it must be ops, platform:ID or lab:ID".to_owned()),
    }
}

const LISTED: &[Column] = &[
    ("id", "/id"),
    ("scope", "/scope"),
    ("owner", "/owner"),
    ("name", "/name"),
    ("created at", "/created_at"),
    ("expires at", "/expires_at"),
    ("revoked at", "/revoked_at"),
    ("second factor since", "/second_factor_at"),
];

/// Runs the command.
pub(super) async fn run(args: Keys, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    match args {
        Keys::Create(args) => create(args, terminal).await,
        Keys::List(args) => list(args, terminal).await,
        Keys::Revoke(args) => revoke(args, terminal).await,
        Keys::Link(args) => link(args, terminal).await,
        Keys::SecondFactor(args) => second_factor::run(args, terminal).await,
        Keys::RotateLinks(args) => rotate_links::run(args, terminal).await,
    }
}

/// A key as the API shows it.
fn shown(row: &KeyRow) -> Value {
    json!({
        "id": row.id, "scope": row.scope, "owner": row.owner, "name": row.name, "created_at": row.created_at,
        "expires_at": row.expires_at, "revoked_at": row.revoked_at, "second_factor_at": row.second_factor_at,
    })
}

/// Opens a database that is there: a mistyped name must not become an empty one.
pub(super) async fn open(url: &str, terminal: &Terminal<'_>) -> Result<Arc<dyn Store>, Failure> {
    store::inspect(url).await?;
    Ok(store::open(url, terminal.clock.now()).await?)
}

async fn create(args: CreateArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let mut key = if let Some(url) = &args.place.database {
        let store = open(url, terminal).await?;
        let made = create_in(&*store, args.scope, args.name, args.expires_at, terminal).await;
        store.close().await;
        made?
    } else {
        let client = Client::new(&args.place.server, terminal)?;
        let (scope, owner) = match &args.scope {
            Scope::Ops => ("ops", None),
            Scope::Platform(id) => ("platform", Some(id.as_str())),
            Scope::Lab(id) => ("lab", Some(id.as_str())),
        };
        let body =
            json!({ "scope": scope, "owner": owner, "name": args.name, "expires_at": args.expires_at });
        client.send(Method::POST, &["v1", "keys"], &body).await?.1
    };
    if args.format == Format::Json {
        return Ok(writeln!(terminal.out, "{key}")?);
    }
    let secret = key.as_object_mut().and_then(|key| key.remove("secret"));
    let Some(secret) = secret.as_ref().and_then(Value::as_str) else {
        return Err(Failure::Failed("the gateway's answer has no key".to_owned()));
    };
    writeln!(terminal.err, "Key {} was made. It is shown once:", records::text(key.get("id")))?;
    Ok(writeln!(terminal.out, "{secret}")?)
}

async fn create_in(
    store: &dyn Store,
    scope: Scope,
    name: String,
    expires_at: Option<Timestamp>,
    terminal: &Terminal<'_>,
) -> Result<Value, Failure> {
    let now = terminal.clock.now();
    let mut faults = Vec::new();
    if name.trim().is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        faults.push(Fault::not("--name", &name, "1 to 100 printable characters"));
    }
    if let Some(at) = expires_at.filter(|at| *at <= now) {
        faults.push(Fault::not("--expires-at", at.to_string(), "an instant in the future"));
    }
    let (owner, known): (&str, Vec<String>) = match &scope {
        Scope::Ops => ("", vec![String::new()]),
        Scope::Platform(id) => {
            (id.as_str(), store.platforms().await?.into_iter().map(|row| row.id.into()).collect())
        }
        Scope::Lab(id) => (id.as_str(), store.labs().await?.into_iter().map(|row| row.id.into()).collect()),
    };
    if !known.iter().any(|id| id == owner) {
        let hint = nearest(owner, known.iter().map(String::as_str));
        let hint = hint.map(|hint| format!("; did you mean {hint:?}?")).unwrap_or_default();
        faults.push(Fault::new("--scope", format!("{owner:?} is not in the database{hint}")));
    }
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let grant = Grant { scope, name, expires_at: expires_at.map(whole_micros) };
    let (row, secret) = mint(grant, now, &*terminal.random);
    store::one(store, Write::PutKey(Box::new(row.clone()), Actor(ACTOR.to_owned()))).await?;
    let mut key = shown(&row);
    key["secret"] = secret.expose_secret().into();
    Ok(key)
}

async fn list(args: ListArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let keys = match &args.place.database {
        Some(url) => {
            let store = open(url, terminal).await?;
            let rows = store.keys().await;
            store.close().await;
            rows?.iter().map(shown).collect()
        }
        None => Client::new(&args.place.server, terminal)?.list("keys", &[], usize::MAX).await?,
    };
    Ok(records::print(terminal.out, args.format, LISTED, &keys)?)
}

async fn revoke(args: RevokeArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    match &args.place.database {
        Some(url) => {
            let store = open(url, terminal).await?;
            let at = terminal.clock.now();
            let write = Write::RevokeKey { id: args.id.clone(), at, actor: Actor(ACTOR.to_owned()) };
            let written = store::one(&*store, write).await;
            store.close().await;
            if let Written::Put(Put::NotFound) = written? {
                return Err(Failure::Failed(format!("there is no key {}", args.id)));
            }
        }
        None => Client::new(&args.place.server, terminal)?.delete(&["v1", "keys", &args.id]).await?,
    }
    Ok(writeln!(terminal.err, "Key {} is revoked.", args.id)?)
}

async fn link(args: LinkArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let client = Client::new(&args.server, terminal)?;
    let link = client.send(Method::POST, &["v1", "keys", &args.id, "links"], &json!({})).await?.1;
    let path = link.get("path").and_then(Value::as_str).unwrap_or_default();
    let until = records::text(link.get("expires_at"));
    writeln!(terminal.err, "It works once, until {until}:")?;
    Ok(writeln!(terminal.out, "{}", client.link(path))?)
}

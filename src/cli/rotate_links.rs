//! `stoppress keys rotate-links`: another key signs the links of customers.

use hyper::Method;
use secrecy::SecretString;
use serde_json::json;

use super::client::Client;
use super::keys::{ACTOR, Place, open};
use super::{Failure, Terminal, records};
use crate::domain::event::{Actor, hex};
use crate::domain::link::KEY_BYTES;
use crate::store::{self, RotateLinks, Write, Written};

/// Sign customers' links with a new key
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  stoppress keys rotate-links
  stoppress keys rotate-links --end-old

Once a year, or when the database may have been seen by others: then with --end-old, which takes back every link of
every order at once. Gateways that run take the new key up by themselves.")]
pub struct RotateLinksArgs {
    /// Take back all links that were made so far, of all orders
    #[arg(long)]
    end_old: bool,
    #[command(flatten)]
    place: Place,
}

/// Runs the command.
pub(super) async fn run(args: RotateLinksArgs, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let number = match &args.place.database {
        None => {
            let client = Client::new(&args.place.server, terminal)?;
            let body = json!({ "end_old": args.end_old });
            let (_, made) = client.send(Method::POST, &["v1", "customer-links", "rotate"], &body).await?;
            records::text(made.get("key"))
        }
        Some(url) => {
            let store = open(url, terminal).await?;
            let mut bytes = [0; KEY_BYTES];
            terminal.random.fill(&mut bytes);
            let item = RotateLinks {
                secret: SecretString::from(hex(&bytes)),
                end_old: args.end_old,
                at: terminal.clock.now(),
                actor: Actor(ACTOR.to_owned()),
            };
            let written = store::one(&*store, Write::RotateLinks(Box::new(item))).await;
            store.close().await;
            match written? {
                Written::LinksRotated(Some(number)) => number.to_string(),
                _ => return Err(Failure::Failed("the keys of links have used up their numbers".to_owned())),
            }
        }
    };
    let old = if args.end_old { "no link that was made before opens anything" } else { "old links go on" };
    Ok(writeln!(terminal.err, "Key {number} signs the links of customers now; {old}.")?)
}

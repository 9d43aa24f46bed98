//! What sends to the endpoints of platforms, and what the API may ask of it.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use crate::api::{Bell, Endpoints, TestMessage};
use crate::clock::Clock;
use crate::domain::webhook::Posted;
use crate::lab::download::{Callbacks, SharedRevoker};
use crate::lab::outbound::Outbound;
use crate::lab::sign::Signer;
use crate::lab::webhook::{Post, SharedPoster, Webhooks};
use crate::work::Bench;
use crate::work::tell::{NAME, Tell};

/// What sends, through the one client.
pub(super) fn poster(outbound: Outbound, clock: &Arc<dyn Clock>) -> SharedPoster {
    Arc::new(Webhooks::new(outbound, Arc::clone(clock)))
}

/// What asks platforms about downloads, through the one client.
pub(super) fn revoker(outbound: Outbound, clock: &Arc<dyn Clock>) -> SharedRevoker {
    Arc::new(Callbacks::new(outbound, Arc::clone(clock)))
}

/// What the API may ask of it.
pub(super) fn endpoints(poster: &SharedPoster) -> Endpoints {
    let (guard, sender) = (Arc::clone(poster), Arc::clone(poster));
    Endpoints {
        refusal: Arc::new(move |text| guard.refusal(&text.parse().ok()?)),
        ping: Arc::new(move |message| {
            let sender = Arc::clone(&sender);
            Box::pin(async move {
                match post(message) {
                    Ok(post) => sender.post(&post).await,
                    Err(cause) => Posted { cause: Some(cause), ..Posted::default() },
                }
            })
        }),
    }
}

fn post(message: TestMessage) -> Result<Post, String> {
    let TestMessage { url, id, body, secrets } = message;
    let secrets: Vec<&str> = secrets.iter().map(ExposeSecret::expose_secret).collect();
    let signer = Signer::new(&SecretString::from(secrets.join(" "))).map_err(|fault| fault.to_string())?;
    let url = url.parse().map_err(|_| "the URL cannot be read".to_owned())?;
    Ok(Post { url, id, body: body.into(), signer: Arc::new(signer) })
}

/// Endpoints were changed.
pub(super) fn bell(bench: &Bench, tell: Tell) -> Bell {
    let bells = Arc::clone(&bench.bells);
    Bell::new(move || {
        tell.stale();
        bells.nudge(NAME);
    })
}

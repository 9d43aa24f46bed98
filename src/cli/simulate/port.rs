//! The simulated lab's ports: each serves HTTP and gRPC, and can lose answers, close connections
//! and refuse them.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

use super::House;
use super::behaviour::{DownBy, Fate, LosesBy};
use super::grpc::Front;
use super::ledger::What;
use crate::clock::{Clock as _, HostClock};
use crate::domain::batch::later;
use crate::proto::lab_address_service_server::LabAddressServiceServer;
use crate::proto::lab_import_service_server::LabImportServiceServer;
use crate::proto::lab_service_server::LabServiceServer;

/// An answer that is not given: the connection is closed instead.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost")]
struct Lost;

/// What answers on a port.
#[derive(Clone)]
pub(super) struct Counter {
    pub(super) house: Arc<House>,
    pub(super) http: Router,
    pub(super) grpc: LabServiceServer<Front>,
    pub(super) imports: LabImportServiceServer<Front>,
    pub(super) addresses: LabAddressServiceServer<Front>,
}

/// Serves a port until the house closes.
pub(super) async fn serve(counter: Counter, listener: TcpListener, address: SocketAddr) {
    let house = Arc::clone(&counter.house);
    let mut open = Some(listener);
    loop {
        // Before looking, so that no change is missed in between.
        let mut seen = house.behaviour.subscribe();
        if house.down() == Some(DownBy::Refuse) {
            open = None;
            tokio::select! {
                () = house.closing.cancelled() => return,
                () = house.next_change(&mut seen) => continue,
            }
        }
        let Some(listener) = &open else {
            if let Ok(listener) = TcpListener::bind(address).await {
                open = Some(listener);
            } else {
                // Somebody took the port meanwhile: it may be given back.
                let soon = later(HostClock.now(), jiff::SignedDuration::from_millis(100));
                HostClock.sleep_until(soon).await;
            }
            continue;
        };
        tokio::select! {
            () = house.closing.cancelled() => return,
            () = house.next_change(&mut seen) => {}
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted && house.down().is_none() {
                    house.tasks.spawn(connection(counter.clone(), stream));
                }
            }
        }
    }
}

/// Serves a connection until it ends, the lab goes away, or the house closes.
async fn connection(counter: Counter, stream: TcpStream) {
    let house = Arc::clone(&counter.house);
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(counter.clone(), request));
    let builder = auto::Builder::new(TokioExecutor::new());
    let served = builder.serve_connection(TokioIo::new(stream), service);
    let away = async {
        loop {
            let mut seen = house.behaviour.subscribe();
            if house.down().is_some() {
                return;
            }
            house.next_change(&mut seen).await;
        }
    };
    tokio::select! {
        () = house.closing.cancelled() => {}
        () = away => {}
        _ = served => {}
    }
}

async fn answer(counter: Counter, request: Request<Incoming>) -> Result<Response<Body>, Lost> {
    let Counter { house, http, grpc, imports, addresses } = counter;
    let mut request = request.map(Body::new);
    if request.uri().path().starts_with("/_simulate") {
        return Ok(finished(http.oneshot(request).await));
    }
    let behaviour = house.behaviour();
    let fate = behaviour.draw(&*house.random);
    let call = format!("{} {}", request.method(), request.uri().path());
    let is_grpc = request
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if let Some(delay) = fate.delay {
        HostClock.sleep_until(later(HostClock.now(), delay)).await;
    }
    if fate.fails_before {
        return Ok(failed(is_grpc));
    }
    request.extensions_mut().insert::<Fate>(fate);
    let ahead = request.uri().path().starts_with("/stoppress.v1.LabImportService/");
    let moves = request.uri().path().starts_with("/stoppress.v1.LabAddressService/");
    let response = if is_grpc && moves {
        finished(addresses.oneshot(request).await.map(|response| response.map(Body::new)))
    } else if is_grpc && ahead {
        finished(imports.oneshot(request).await.map(|response| response.map(Body::new)))
    } else if is_grpc {
        finished(grpc.oneshot(request).await.map(|response| response.map(Body::new)))
    } else {
        finished(http.oneshot(request).await)
    };
    if fate.lost {
        let _ = house.on_ledger(move |ledger, now, _| ledger.line(now, What::AnswerLost { call })).await;
        if behaviour.loses_by == LosesBy::Silence {
            // Until whoever asked has had enough.
            std::future::pending::<()>().await;
        }
        return Err(Lost);
    }
    if fate.fails_after { Ok(failed(is_grpc)) } else { Ok(response) }
}

fn finished(response: Result<Response<Body>, std::convert::Infallible>) -> Response<Body> {
    match response {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn failed(is_grpc: bool) -> Response<Body> {
    if is_grpc {
        tonic::Status::internal("the lab has a bad day").into_http()
    } else {
        let mut response = Response::new(Body::from("the lab has a bad day"));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    }
}

//! The port: accepts connections, bounds how long each may say nothing, and drains them at the end.
//!
//! Hyper's timers begin with the first byte of a request; a connection that says nothing, or only
//! enough to leave open whether it speaks HTTP/2, is watched here. HTTP/1.1 connections that idle
//! between requests are closed by the header timer, HTTP/2 ones by pings.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// How every HTTP/2 connection begins.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The most bytes of a request's head.
const HEAD_MAX: u32 = 16 * 1024;

/// Bounds of the port.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Connections at the same time; whoever comes then waits in the host's queue.
    pub connections: usize,
    /// How long a request's head may take, and an HTTP/1.1 connection may idle.
    pub head_within: Duration,
    /// How often an HTTP/2 peer is pinged.
    pub ping_every: Duration,
    /// How long it may take to answer a ping.
    pub ping_within: Duration,
    /// Requests at the same time on one HTTP/2 connection.
    pub streams: u32,
    /// How long requests may still run after the end was asked for.
    pub drain_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: 10_000,
            head_within: Duration::from_secs(10),
            ping_every: Duration::from_secs(20),
            ping_within: Duration::from_secs(20),
            streams: 100,
            drain_within: Duration::from_secs(20),
        }
    }
}

/// How the port was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every request had its answer.
    Clean,
    /// The deadline came first: so many connections were still open and were cut off.
    Cut(usize),
}

/// Serves until `end` is cancelled, then drains. Streams that never end by themselves must end on the
/// same token.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: Settings,
    end: CancellationToken,
) -> Drained {
    let builder = Arc::new(builder(settings));
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(settings.connections));
    let gone = CancellationToken::new();
    loop {
        let place = tokio::select! {
            () = end.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = end.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file handles, or the peer was gone already: neither ends the service.
                tracing::warn!(%error, "a connection was not accepted");
                pause().await;
                continue;
            }
        };
        let watcher = graceful.watcher();
        let (builder, router) = (Arc::clone(&builder), router.clone());
        let (end, gone) = (end.clone(), gone.clone());
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                // Whoever has said nothing yet has nothing to lose.
                () = end.cancelled() => return,
                spoke = speaks(&stream, settings.head_within) => if !spoke { return },
            }
            let _ = stream.set_nodelay(true);
            let service = router.map_request(|request: Request<Incoming>| request.map(axum::body::Body::new));
            let service = TowerToHyperService::new(service);
            let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
            tokio::select! {
                () = gone.cancelled() => {}
                ended = watcher.watch(connection) => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke off");
                },
            }
        });
    }
    drop(listener);
    let drained = tokio::select! {
        () = graceful.shutdown() => Drained::Clean,
        () = wait(settings.drain_within) => {
            Drained::Cut(settings.connections.saturating_sub(places.available_permits()))
        }
    };
    gone.cancel();
    drained
}

fn builder(settings: Settings) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(settings.head_within).max_headers(100);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(settings.ping_every)
        .keep_alive_timeout(settings.ping_within)
        .max_concurrent_streams(settings.streams)
        .max_pending_accept_reset_streams(20)
        .max_header_list_size(HEAD_MAX);
    builder
}

/// Whether the peer says, in time, enough to tell which HTTP it speaks.
async fn speaks(stream: &TcpStream, within: Duration) -> bool {
    let told = async {
        let mut seen = [0; PREFACE.len()];
        loop {
            match stream.peek(&mut seen).await {
                Ok(0) | Err(_) => return false,
                Ok(count) if count == PREFACE.len() || seen[..count] != PREFACE[..count] => return true,
                // The same bytes would be seen again at once: wait for more.
                Ok(_) => pause().await,
            }
        }
    };
    tokio::time::timeout(within, told).await.unwrap_or(false)
}

#[expect(clippy::disallowed_methods, reason = "paces sockets; no decision depends on it")]
async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

#[expect(clippy::disallowed_methods, reason = "bounds the shutdown of this process")]
async fn wait(within: Duration) {
    tokio::time::sleep(within).await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const QUICK: Settings = Settings {
        connections: 8,
        head_within: Duration::from_millis(200),
        ping_every: Duration::from_millis(200),
        ping_within: Duration::from_millis(200),
        streams: 10,
        drain_within: Duration::from_millis(300),
    };

    async fn started(
        settings: Settings,
    ) -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<Drained>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let end = CancellationToken::new();
        let router = Router::new()
            .route("/", get(|| async { "ok" }))
            .route("/slow", get(|| async { wait(Duration::from_mins(1)).await }));
        (at, end.clone(), tokio::spawn(serve(listener, router, settings, end)))
    }

    /// What comes back on a connection that says `words` and then nothing, until it is closed.
    async fn said(at: std::net::SocketAddr, words: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(words).await.unwrap();
        let mut all = Vec::new();
        let read = stream.read_to_end(&mut all);
        let _ = tokio::time::timeout(Duration::from_secs(5), read).await.expect("it is closed in time");
        all
    }

    #[tokio::test]
    async fn whoever_says_too_little_is_closed() {
        let (at, end, task) = started(QUICK).await;
        assert_eq!(said(at, b"").await, b"");
        assert_eq!(said(at, b"P").await, b"");
        said(at, b"GET / HTTP/1.1\r\nHost: x\r\n").await;
        said(at, PREFACE).await;
        let idle = said(at, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(idle.ends_with(b"ok"), "{}", String::from_utf8_lossy(&idle));
        end.cancel();
        assert_eq!(task.await.unwrap(), Drained::Clean);
    }

    #[tokio::test]
    async fn a_drain_waits_for_answers_but_not_for_the_idle_and_not_for_ever() {
        let patient = Settings { head_within: Duration::from_mins(1), ..QUICK };
        let (at, end, task) = started(patient).await;
        let mut idle = TcpStream::connect(at).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut some = [0; 64];
        assert!(idle.read(&mut some).await.unwrap() > 0);
        let _silent = TcpStream::connect(at).await.unwrap();
        end.cancel();
        assert_eq!(task.await.unwrap(), Drained::Clean);

        let (at, end, task) = started(patient).await;
        let mut busy = TcpStream::connect(at).await.unwrap();
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        wait(Duration::from_millis(100)).await;
        end.cancel();
        assert_eq!(task.await.unwrap(), Drained::Cut(1));
        assert!(TcpStream::connect(at).await.is_err(), "the port is closed");
    }
}

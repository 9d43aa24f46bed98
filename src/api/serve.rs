//! The port: accepts connections, bounds how long each may say nothing, and drains them at the end.
//!
//! Hyper's timers begin with the first byte of a request; a connection that says nothing, or only
//! enough to leave open whether it speaks HTTP/2, is watched here. An HTTP/1.1 connection without a request
//! is closed by the header timer. An HTTP/2 one may answer pings for ever, so it is told to go when it has
//! had no request for a while.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::crowd::Crowd;
use crate::domain::source::Source;

/// How every HTTP/2 connection begins.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The most bytes of a request's head.
const HEAD_MAX: u32 = 16 * 1024;

/// Bounds of the port.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Connections at the same time; whoever comes then waits in the host's queue.
    pub connections: usize,
    /// The same from one address, or one IPv6 network; more are closed at once. 0: as many as there may be in all.
    pub connections_each: usize,
    /// The networks that this is not counted of.
    pub uncounted: Vec<IpNet>,
    /// How long a request's head may take, and an HTTP/1.1 connection may be without one.
    pub head_within: Duration,
    /// How long an HTTP/2 connection may be without a request.
    pub idle_within: Duration,
    /// How often an HTTP/2 peer is pinged.
    pub ping_every: Duration,
    /// How long it may take to answer a ping.
    pub ping_within: Duration,
    /// Requests at the same time on one HTTP/2 connection.
    pub streams: u32,
    /// How long requests may still run after the end was asked for.
    pub drain_within: Duration,
    /// The networks of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_each: 1_000,
            uncounted: Vec::new(),
            head_within: Duration::from_secs(10),
            idle_within: Duration::from_secs(75),
            ping_every: Duration::from_secs(20),
            ping_within: Duration::from_secs(20),
            streams: 100,
            drain_within: Duration::from_secs(20),
            trusted_proxies: Vec::new(),
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
    let builder = Arc::new(builder(&settings));
    let Settings { head_within, idle_within, drain_within, .. } = settings;
    let crowd = Arc::new(Crowd::new(settings.connections_each, settings.uncounted));
    let trusted: Arc<[IpNet]> = settings.trusted_proxies.into();
    let open = TaskTracker::new();
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
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip()),
            Err(error) => {
                // Out of file handles, or the peer was gone already: neither ends the service.
                tracing::warn!(%error, "a connection was not accepted");
                pause().await;
                continue;
            }
        };
        // One address may not take the places of all others. It is closed without a word: words cost.
        let Some(counted) = Crowd::enter(&crowd, peer) else { continue };
        let (builder, router) = (Arc::clone(&builder), router.clone());
        let (end, gone, trusted) = (end.clone(), gone.clone(), Arc::clone(&trusted));
        open.spawn(async move {
            let (_place, _counted) = (place, counted);
            tokio::select! {
                // Whoever has said nothing yet has nothing to lose.
                () = end.cancelled() => return,
                spoke = speaks(&stream, head_within) => if !spoke { return },
            }
            let _ = stream.set_nodelay(true);
            let (busy, idle) = watch::channel(0_usize);
            let busy = Arc::new(busy);
            let service = tower::service_fn(move |mut request: Request<Incoming>| {
                let source = source(&request, peer, &trusted);
                request.extensions_mut().insert(source);
                let busy = Busy::new(&busy);
                let answer = router.clone().oneshot(request.map(Body::new));
                async move { Ok::<_, Infallible>(answer.await?.map(|body| Guarded { body, _busy: busy })) }
            });
            let service = TowerToHyperService::new(service);
            let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service).into_owned());
            let leave = async {
                tokio::select! {
                    () = end.cancelled() => {}
                    () = idles(idle, idle_within) => {}
                }
            };
            let ended = tokio::select! {
                () = gone.cancelled() => return,
                ended = connection.as_mut() => ended,
                () = leave => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        () = gone.cancelled() => return,
                        ended = connection => ended,
                    }
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke off");
            }
        });
    }
    drop(listener);
    open.close();
    let drained = tokio::select! {
        () = open.wait() => Drained::Clean,
        () = wait(drain_within) => Drained::Cut(open.len()),
    };
    gone.cancel();
    drained
}

fn builder(settings: &Settings) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head_within)
        .max_headers(100)
        .max_buf_size(HEAD_MAX as usize);
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

/// Where a request comes from.
fn source<T>(request: &Request<T>, peer: IpAddr, trusted: &[IpNet]) -> Source {
    let lines = request.headers().get_all("x-forwarded-for").iter();
    Source::of(peer, lines.filter_map(|line| line.to_str().ok()), trusted)
}

/// A request under way, until the last byte of its answer is written.
struct Busy(Arc<watch::Sender<usize>>);

impl Busy {
    fn new(count: &Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(Arc::clone(count))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// An answer's body, while which its connection is not idle.
struct Guarded {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Returns when a connection has been without a request for so long.
async fn idles(mut count: watch::Receiver<usize>, within: Duration) {
    loop {
        if count.wait_for(|count| *count == 0).await.is_err() {
            return;
        }
        if tokio::time::timeout(within, count.changed()).await.is_err() {
            return;
        }
    }
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
        connections_each: 0,
        uncounted: Vec::new(),
        head_within: Duration::from_millis(200),
        idle_within: Duration::from_millis(300),
        ping_every: Duration::from_millis(200),
        ping_within: Duration::from_millis(200),
        streams: 10,
        drain_within: Duration::from_millis(300),
        trusted_proxies: Vec::new(),
    };

    async fn started(
        settings: Settings,
    ) -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<Drained>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let end = CancellationToken::new();
        let router = Router::new()
            .route("/", get(|| async { "ok" }))
            .route("/from", get(|from: axum::Extension<Source>| async move { from.0.to_string() }))
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
    async fn one_address_has_only_so_many_connections() {
        let settings = Settings { connections_each: 2, ..QUICK };
        let (at, end, task) = started(settings.clone()).await;
        let asks = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.write_all(asks).await.unwrap();
            assert!(stream.read(&mut [0; 64]).await.unwrap() > 0);
            held.push(stream);
        }
        assert_eq!(said(at, asks).await, b"", "the third is closed without a word");
        drop(held);
        let again = async {
            while said(at, asks).await.is_empty() {
                pause().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), again).await.expect("places come back");
        end.cancel();
        assert_eq!(task.await.unwrap(), Drained::Clean);
    }

    #[tokio::test]
    async fn a_head_has_a_bound() {
        let (at, end, task) = started(QUICK).await;
        for (size, taken) in [(12_000, true), (20_000, false)] {
            let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(size));
            let told = said(at, head.as_bytes()).await;
            // Who is still sending may see the connection end before the 431.
            assert_eq!(
                told.starts_with(b"HTTP/1.1 200"),
                taken,
                "{size}: {}",
                String::from_utf8_lossy(&told)
            );
        }
        end.cancel();
        assert_eq!(task.await.unwrap(), Drained::Clean);
    }

    #[tokio::test]
    async fn a_request_knows_where_it_comes_from() {
        let ours = vec!["127.0.0.0/8".parse().unwrap()];
        let asks = b"GET /from HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n";
        for (trusted_proxies, expected) in [(Vec::new(), "127.0.0.1"), (ours, "198.51.100.7")] {
            let (at, end, task) = started(Settings { trusted_proxies, ..QUICK }).await;
            let told = said(at, asks).await;
            let told = String::from_utf8_lossy(&told);
            assert!(told.ends_with(&format!("\r\n\r\n{expected}")), "{told}");
            end.cancel();
            assert_eq!(task.await.unwrap(), Drained::Clean);
        }
    }

    /// Speaks HTTP/2 by hand: answers pings, asks for nothing. True if it was told to go, and closed.
    async fn told_to_go(at: std::net::SocketAddr) -> bool {
        const PING: u8 = 6;
        const GOAWAY: u8 = 7;
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let mut told = false;
        let mut head = [0; 9];
        while stream.read_exact(&mut head).await.is_ok() {
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            told |= head[3] == GOAWAY;
            if head[3] == PING && head[4] == 0 {
                stream.write_all(&[0, 0, 8, PING, 1, 0, 0, 0, 0]).await.unwrap();
                stream.write_all(&body).await.unwrap();
            }
        }
        told
    }

    #[tokio::test]
    async fn an_http2_connection_that_asks_nothing_is_told_to_go() {
        let (at, end, task) = started(QUICK).await;
        let told = tokio::time::timeout(Duration::from_secs(5), told_to_go(at)).await;
        assert!(told.expect("it is closed in time"));
        end.cancel();
        assert_eq!(task.await.unwrap(), Drained::Clean);
    }

    #[tokio::test]
    async fn an_answer_that_takes_long_is_not_idleness() {
        let (count, seen) = watch::channel(0_usize);
        let count = Arc::new(count);
        let busy = Busy::new(&count);
        let within = Duration::from_millis(50);
        assert!(tokio::time::timeout(within * 4, idles(seen.clone(), within)).await.is_err());
        drop(busy);
        assert!(tokio::time::timeout(within * 40, idles(seen, within)).await.is_ok());
    }

    #[tokio::test]
    async fn a_drain_waits_for_answers_but_not_for_the_idle_and_not_for_ever() {
        let patient = Settings { head_within: Duration::from_mins(1), ..QUICK };
        let (at, end, task) = started(patient.clone()).await;
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

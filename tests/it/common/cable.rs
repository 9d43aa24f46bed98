//! A cable between a browser and a gateway, which the test can cut or make silent.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    /// Connections stay, nothing comes through: what came meanwhile comes afterwards.
    Silent,
    /// Connections end, and new ones end at once.
    Cut,
}

/// The cable. It is whole when it is laid, and gone when it is dropped.
pub(crate) struct Cable {
    /// Where to go instead of the gateway.
    pub(crate) url: String,
    state: watch::Sender<State>,
}

impl Cable {
    /// Lays a cable to `http://host:port`.
    pub(crate) async fn to(url: &str) -> Self {
        let url = url::Url::parse(url).unwrap();
        let there = (url.host_str().unwrap().to_owned(), url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = format!("http://{}", listener.local_addr().unwrap());
        let (state, watched) = watch::channel(State::Whole);
        tokio::spawn(async move {
            let mut ends = watched.clone();
            loop {
                let near = tokio::select! {
                    near = listener.accept() => near,
                    Err(_) = ends.wait_for(|_| false) => return,
                };
                let Ok((near, _)) = near else { return };
                if *watched.borrow() != State::Cut {
                    tokio::spawn(connect(near, there.clone(), watched.clone()));
                }
            }
        });
        Self { url: here, state }
    }

    /// It is whole again.
    pub(crate) fn mend(&self) {
        self.state.send_replace(State::Whole);
    }

    /// Nothing comes through, and nobody is told.
    pub(crate) fn silence(&self) {
        self.state.send_replace(State::Silent);
    }

    /// Every connection ends.
    pub(crate) fn cut(&self) {
        self.state.send_replace(State::Cut);
    }
}

async fn connect(near: TcpStream, there: (String, u16), state: watch::Receiver<State>) {
    let Ok(far) = TcpStream::connect(there).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    // When one way has ended, the other one has too.
    tokio::select! {
        () = carry(near_in, far_out, state.clone()) => {}
        () = carry(far_in, near_out, state) => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) {
    let mut bytes = [0; 16 * 1024];
    loop {
        let now = *state.borrow_and_update();
        if now == State::Cut {
            return;
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            read = from.read(&mut bytes), if now == State::Whole => match read {
                Ok(read) if read > 0 && to.write_all(&bytes[..read]).await.is_ok() => {}
                _ => return,
            },
        }
    }
}

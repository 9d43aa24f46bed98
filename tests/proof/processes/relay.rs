//! The address under which gateways know the database: what a virtual IP or a proxy is to an operator. It leads to one
//! server at a time, or to none.

use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// Where it leads.
#[derive(Debug, Clone, Default)]
struct Way {
    /// The folder with a server's socket.
    to: Option<PathBuf>,
    /// How often whoever was connected was cut off.
    cuts: u64,
}

/// A TCP port in front of servers.
#[derive(Debug)]
pub(crate) struct Relay {
    port: u16,
    way: watch::Sender<Way>,
}

impl Relay {
    /// Opens a port that leads nowhere yet.
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let way = watch::Sender::new(Way::default());
        let from = way.subscribe();
        drop(tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                drop(tokio::spawn(pass(client, from.clone())));
            }
        }));
        Self { port, way }
    }

    /// The URL of a database behind it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Leads nowhere: connections are reset, those that are there and those that come.
    pub(crate) fn cut(&self) {
        self.way.send_modify(|way| *way = Way { to: None, cuts: way.cuts + 1 });
    }

    /// Leads to a server from now on; connections to another one are reset.
    pub(crate) fn lead(&self, folder: &Path) {
        self.way.send_modify(|way| *way = Way { to: Some(folder.to_owned()), cuts: way.cuts + 1 });
    }

    /// Leads new connections to a server, and leaves alone those that are there.
    pub(crate) fn lead_new(&self, folder: &Path) {
        self.way.send_modify(|way| way.to = Some(folder.to_owned()));
    }
}

async fn pass(mut client: TcpStream, mut way: watch::Receiver<Way>) {
    let Way { to, cuts } = way.borrow_and_update().clone();
    let server = match to {
        Some(folder) => UnixStream::connect(folder.join(".s.PGSQL.5432")).await.ok(),
        None => None,
    };
    let Some(mut server) = server else { return reset(&client) };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = way.wait_for(|way| way.cuts != cuts) => reset(&client),
    }
}

/// Ends a connection without a good-bye when it is dropped.
fn reset(client: &TcpStream) {
    let _ = client.set_zero_linger();
}

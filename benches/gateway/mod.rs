//! A gateway as a process of its own, on a database in a folder, for the measurements.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hyper::http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;
use stoppress::lab::outbound::{Outbound, Request as Call};

/// A gateway; it ends with this.
pub(crate) struct Gateway {
    pub(crate) child: Child,
    pub(crate) addr: String,
    /// The first ops key.
    pub(crate) ops: String,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command that starts one.
pub(crate) fn serve(addr: &str, database: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stoppress"));
    command.args(["serve", "--listen", addr, "--database", database, "--log-level", "error"]);
    command
}

impl Gateway {
    /// Starts one on a database that has no key yet.
    pub(crate) fn start(database: &str) -> Self {
        // A port that is free now.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let addr = format!("127.0.0.1:{port}");
        let mut child = serve(&addr, database).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ops = loop {
            let line = lines.next().unwrap().unwrap();
            if let Some(at) = line.find("sp_") {
                break line[at..].split_whitespace().next().unwrap().to_owned();
            }
        };
        Self { child, addr, ops }
    }

    /// One call of the API; its answer.
    pub(crate) async fn call(
        &self,
        client: &Outbound,
        method: Method,
        path: &str,
        key: &str,
        body: &Value,
    ) -> Vec<u8> {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {key}")).unwrap());
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let call = Call {
            method,
            url: format!("http://{}{path}", self.addr).parse().unwrap(),
            headers,
            body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
            timeout: Duration::from_secs(20),
            body_max: 1 << 26,
        };
        let answer = client.call(call).await.unwrap();
        assert!(answer.status < 300, "{path}: {}", answer.status);
        answer.body
    }
}

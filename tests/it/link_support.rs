//! A lab on a link that does only what a test tells it.

use std::time::Duration;

use jiff::SignedDuration;
use stoppress::app::Running;
use stoppress::clock::{Clock as _, HostClock};
use stoppress::proto::connect_request::{Heartbeat, Hello, Kind, Refusal, Reply, reply};
use stoppress::proto::connect_response::call::Ask;
use stoppress::proto::connect_response::{Call, Kind as Told, Receipt, Welcome};
use stoppress::proto::lab_link_service_client::LabLinkServiceClient;
use stoppress::proto::stop_order_response::Answer;
use stoppress::proto::{
    ConnectRequest, ConnectResponse, StopOrderResponse, SubmitOrdersRequest, SubmitOrdersResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Request, Status, Streaming};

/// The longest that a test waits for a message.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection of a lab.
pub(crate) struct Link {
    pub(crate) welcome: Welcome,
    say: mpsc::Sender<ConnectRequest>,
    said: Streaming<ConnectResponse>,
    beating: tokio::task::JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

/// Opens a stream whose first message is this.
pub(crate) async fn stream(
    to: &Running,
    key: &str,
    first: Kind,
) -> Result<(mpsc::Sender<ConnectRequest>, Streaming<ConnectResponse>), Status> {
    let channel = Endpoint::from_shared(to.url()).unwrap().connect().await.unwrap();
    let (say, outgoing) = mpsc::channel(64);
    say.send(ConnectRequest { kind: Some(first) }).await.unwrap();
    let mut request = Request::new(ReceiverStream::new(outgoing));
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    let said = LabLinkServiceClient::new(channel).connect(request).await?.into_inner();
    Ok((say, said))
}

/// How a lab says who it is.
pub(crate) fn hello(window: u32) -> Kind {
    let (contract, name) = ("stoppress/1".to_owned(), "test".to_owned());
    Kind::Hello(Hello { contract, name, version: "1".to_owned(), window })
}

impl Link {
    /// A connection that beats.
    pub(crate) async fn open(to: &Running, key: &str, window: u32) -> Self {
        Self::connect(to, key, window, true).await.unwrap()
    }

    pub(crate) async fn connect(to: &Running, key: &str, window: u32, beats: bool) -> Result<Self, Status> {
        let (say, mut said) = stream(to, key, hello(window)).await?;
        let first = said.message().await?;
        let Some(ConnectResponse { kind: Some(Told::Welcome(welcome)) }) = first else {
            panic!("not a welcome: {first:?}")
        };
        let every = welcome.heartbeat_every.unwrap();
        let every = SignedDuration::new(every.seconds, every.nanos);
        let line = say.downgrade();
        let beating = tokio::spawn(async move {
            loop {
                HostClock.sleep_until(HostClock.now() + every).await;
                let Some(line) = line.upgrade().filter(|_| beats) else { return };
                let beat = ConnectRequest { kind: Some(Kind::Heartbeat(Heartbeat {})) };
                if line.send(beat).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { welcome, say, said, beating })
    }

    pub(crate) async fn say(&self, kind: Kind) {
        self.say.send(ConnectRequest { kind: Some(kind) }).await.unwrap();
    }

    /// The next message that is not a beat; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Told>, Status> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.said.message()).await.expect("a message");
            match message?.map(|message| message.kind.expect("a kind")) {
                Some(Told::Heartbeat(_)) => {}
                other => return Ok(other),
            }
        }
    }

    /// The next message, which must be a call.
    pub(crate) async fn call(&mut self) -> Call {
        match self.next().await {
            Ok(Some(Told::Call(call))) => call,
            other => panic!("not a call: {other:?}"),
        }
    }

    /// The next message, which must be an upload.
    pub(crate) async fn upload(&mut self) -> (u64, SubmitOrdersRequest) {
        match self.call().await {
            Call { call, ask: Some(Ask::SubmitOrders(upload)), .. } => (call, upload),
            other => panic!("not an upload: {other:?}"),
        }
    }

    /// The next message, which must be a receipt.
    pub(crate) async fn receipt(&mut self) -> Receipt {
        match self.next().await {
            Ok(Some(Told::Receipt(receipt))) => receipt,
            other => panic!("not a receipt: {other:?}"),
        }
    }

    /// Whether nothing but beats comes for a while.
    pub(crate) async fn is_quiet(&mut self, millis: u64) -> bool {
        let listening = async {
            loop {
                let message = self.said.message().await;
                let beat = matches!(&message, Ok(Some(ConnectResponse { kind: Some(Told::Heartbeat(_)) })));
                assert!(beat, "{message:?}");
            }
        };
        let quiet: Result<(), _> = tokio::time::timeout(Duration::from_millis(millis), listening).await;
        quiet.is_err()
    }

    pub(crate) async fn reply(&self, call: u64, said: reply::Said) {
        self.say(Kind::Reply(Reply { call, said: Some(said) })).await;
    }

    /// The lab takes an upload.
    pub(crate) async fn accept(&self, call: u64) {
        let said = SubmitOrdersResponse { lab_reference: "L-1".to_owned() };
        self.reply(call, reply::Said::SubmitOrders(said)).await;
    }

    /// The lab refuses a call.
    pub(crate) async fn refuse(&self, call: u64, code: tonic::Code) {
        let refusal = Refusal { code: code.into(), message: "no".to_owned(), retry_after: None };
        self.reply(call, reply::Said::Refusal(refusal)).await;
    }

    /// The lab answers a stop.
    pub(crate) async fn answer(&self, call: u64, answer: Answer) {
        let said = StopOrderResponse { answer: answer.into(), ..StopOrderResponse::default() };
        self.reply(call, reply::Said::StopOrder(said)).await;
    }
}

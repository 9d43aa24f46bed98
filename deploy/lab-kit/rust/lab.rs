//! An example lab over gRPC: `LAB_TOKEN=… cargo run --example lab -- ADDRESS SECONDS`. It keeps its ledger in
//! memory, so that it fits on a page: a real lab keeps it in a database, and answers after the commit.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use stoppress::proto::get_order_response::Stage;
use stoppress::proto::lab_service_server::{LabService, LabServiceServer};
use stoppress::proto::stop_order_response::Answer;
use stoppress::proto::{
    DescribeRequest, DescribeResponse, GetOrderRequest, GetOrderResponse, StopOrderRequest,
    StopOrderResponse, SubmitOrdersRequest, SubmitOrdersResponse,
};
use subtle::ConstantTimeEq as _;
use tonic::{Request, Response, Status};

/// The hash that came under each key; the stage of each order, and when it is printed.
type Ledger = (HashMap<String, Vec<u8>>, HashMap<String, (Stage, Instant)>);

pub(crate) struct Lab {
    token: String,
    prints_after: Duration,
    /// One lock: two calls never interleave.
    ledger: Mutex<Ledger>,
}

impl Lab {
    pub(crate) fn service(token: &str, prints_after: Duration) -> LabServiceServer<Self> {
        LabServiceServer::new(Self {
            token: format!("Bearer {token}"),
            prints_after,
            ledger: Mutex::default(),
        })
    }

    /// Checks the token, prints what is due, and works on the ledger.
    fn call<Q, A>(
        &self,
        request: Request<Q>,
        work: impl FnOnce(Q, &mut Ledger) -> Result<A, Status>,
    ) -> Result<Response<A>, Status> {
        let given = request.metadata().get("authorization").and_then(|given| given.to_str().ok());
        if !bool::from(given.unwrap_or_default().as_bytes().ct_eq(self.token.as_bytes())) {
            return Err(Status::unauthenticated("the token is not this lab's"));
        }
        let mut ledger = self.ledger.lock().map_err(|_| Status::internal("the ledger is broken"))?;
        for (stage, due) in ledger.1.values_mut() {
            if *stage == Stage::Received && *due <= Instant::now() {
                *stage = Stage::Printed;
            }
        }
        work(request.into_inner(), &mut ledger).map(Response::new)
    }
}

#[tonic::async_trait]
impl LabService for Lab {
    async fn describe(&self, ask: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        let (name, contract) = ("Rust lab".to_owned(), "stoppress/1".to_owned());
        self.call(ask, |_, _| Ok(DescribeResponse { name, contract, two_phase: false }))
    }

    async fn submit_orders(
        &self,
        ask: Request<SubmitOrdersRequest>,
    ) -> Result<Response<SubmitOrdersResponse>, Status> {
        self.call(ask, |upload, (keys, orders)| {
            let lab_reference = format!("RS-{}", upload.key);
            let until = upload.not_after.and_then(|at| SystemTime::try_from(at).ok());
            match (keys.get(&upload.key), until) {
                _ if upload.key.is_empty() => return Err(Status::invalid_argument("key is empty")),
                // What is here is here, however often and however late it comes.
                (Some(known), _) if *known == upload.manifest_sha256 => {
                    return Ok(SubmitOrdersResponse { lab_reference });
                }
                (Some(_), _) => return Err(Status::invalid_argument("other bytes under the same key")),
                (None, None) => return Err(Status::invalid_argument("not_after is missing")),
                (None, Some(until)) if until.elapsed().is_ok() => {
                    return Err(Status::failed_precondition("it came after not_after"));
                }
                (None, Some(_)) => {}
            }
            keys.insert(upload.key, upload.manifest_sha256);
            for order in upload.orders {
                // One order, one entry: it is printed once.
                orders.entry(order.id).or_insert((Stage::Received, Instant::now() + self.prints_after));
            }
            Ok(SubmitOrdersResponse { lab_reference })
        })
    }

    async fn stop_order(
        &self,
        ask: Request<StopOrderRequest>,
    ) -> Result<Response<StopOrderResponse>, Status> {
        self.call(ask, |stop, (_, orders)| {
            let order = orders.get_mut(&stop.order).ok_or_else(|| Status::not_found("no such order"))?;
            let answer = match order.0 {
                Stage::Received | Stage::Removed => Answer::Removed,
                _ => Answer::WillPrint,
            };
            if answer == Answer::Removed {
                order.0 = Stage::Removed;
            }
            Ok(StopOrderResponse { answer: answer.into(), reason: String::new() })
        })
    }

    async fn get_order(&self, ask: Request<GetOrderRequest>) -> Result<Response<GetOrderResponse>, Status> {
        self.call(ask, |look_up, (_, orders)| {
            let (stage, _) = orders.get(&look_up.order).ok_or_else(|| Status::not_found("no such order"))?;
            let prints = Some(u32::from(*stage != Stage::Removed));
            Ok(GetOrderResponse { stage: (*stage).into(), prints })
        })
    }
}

#[tokio::main]
#[expect(clippy::disallowed_methods, reason = "an example for labs, which have no rooms of ours")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let address = args.next().ok_or("where to listen, such as 127.0.0.1:9102?")?.parse()?;
    let seconds = args.next().ok_or("after how many seconds are orders printed?")?.parse()?;
    let lab = Lab::service(&std::env::var("LAB_TOKEN")?, Duration::from_secs(seconds));
    Ok(tonic::transport::Server::builder().add_service(lab).serve(address).await?)
}

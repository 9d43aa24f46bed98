//! An example lab in Rust. With a server, over gRPC: `LAB_TOKEN=… lab 127.0.0.1:9102 SECONDS`. Behind a firewall,
//! dialling out (`link.rs`): `LAB_TOKEN=… lab --link http://127.0.0.1:9103 SECONDS`. It keeps its ledger in memory,
//! so that it fits on a page: a real lab keeps it in a database, and answers after the commit.

mod link;
mod proto;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use proto::get_order_response::Stage;
use proto::lab_service_server::{LabService, LabServiceServer};
use proto::stop_order_response::Answer;
use proto::{DescribeRequest, DescribeResponse, GetOrderRequest, GetOrderResponse};
use proto::{StopOrderRequest, StopOrderResponse, SubmitOrdersRequest, SubmitOrdersResponse};
use subtle::ConstantTimeEq as _;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// The hash that came under each key; the stage of each order, and when it is printed.
type Ledger = (HashMap<String, Vec<u8>>, HashMap<String, (Stage, Instant)>);

/// What the lab does, however it is asked.
struct Shop {
    prints_after: Duration,
    /// One lock: two calls never interleave.
    ledger: Mutex<Ledger>,
}

impl Shop {
    /// The ledger, with everything printed that is due.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        for (stage, due) in ledger.1.values_mut() {
            if *stage == Stage::Received && *due <= Instant::now() {
                *stage = Stage::Printed;
            }
        }
        ledger
    }

    fn describe() -> DescribeResponse {
        let (name, contract) = ("Rust lab".to_owned(), "stoppress/1".to_owned());
        DescribeResponse { name, contract, two_phase: false }
    }

    fn take(&self, upload: SubmitOrdersRequest) -> Result<SubmitOrdersResponse, Status> {
        let lab_reference = format!("RS-{}", upload.key);
        let (keys, orders) = &mut *self.ledger();
        match keys.get(&upload.key) {
            _ if upload.key.is_empty() => return Err(Status::invalid_argument("key is empty")),
            // What is here is here, however often and however late it comes.
            Some(known) if *known == upload.manifest_sha256 => {
                return Ok(SubmitOrdersResponse { lab_reference });
            }
            Some(_) => return Err(Status::invalid_argument("other bytes under the same key")),
            None => {}
        }
        match upload.not_after.and_then(|at| SystemTime::try_from(at).ok()) {
            None => return Err(Status::invalid_argument("not_after is missing")),
            Some(until) if until.elapsed().is_ok() => {
                return Err(Status::failed_precondition("it came too late"));
            }
            Some(_) => {}
        }
        keys.insert(upload.key, upload.manifest_sha256);
        for order in upload.orders {
            // One order, one entry: it is printed once.
            orders.entry(order.id).or_insert((Stage::Received, Instant::now() + self.prints_after));
        }
        Ok(SubmitOrdersResponse { lab_reference })
    }

    fn stop(&self, stop: &StopOrderRequest) -> Result<StopOrderResponse, Status> {
        let mut ledger = self.ledger();
        let order = ledger.1.get_mut(&stop.order).ok_or_else(|| Status::not_found("no such order"))?;
        if order.0 == Stage::Received {
            order.0 = Stage::Removed;
        }
        let answer = if order.0 == Stage::Removed { Answer::Removed } else { Answer::WillPrint };
        Ok(StopOrderResponse { answer: answer.into(), ..StopOrderResponse::default() })
    }

    fn look_up(&self, order: &GetOrderRequest) -> Result<GetOrderResponse, Status> {
        let ledger = self.ledger();
        let (stage, _) = ledger.1.get(&order.order).ok_or_else(|| Status::not_found("no such order"))?;
        Ok(GetOrderResponse { stage: (*stage).into(), prints: Some(u32::from(*stage != Stage::Removed)) })
    }
}

#[tonic::async_trait]
impl LabService for Shop {
    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(Self::describe()))
    }

    async fn submit_orders(
        &self,
        upload: Request<SubmitOrdersRequest>,
    ) -> Result<Response<SubmitOrdersResponse>, Status> {
        self.take(upload.into_inner()).map(Response::new)
    }

    async fn stop_order(
        &self,
        stop: Request<StopOrderRequest>,
    ) -> Result<Response<StopOrderResponse>, Status> {
        self.stop(stop.get_ref()).map(Response::new)
    }

    async fn get_order(&self, order: Request<GetOrderRequest>) -> Result<Response<GetOrderResponse>, Status> {
        self.look_up(order.get_ref()).map(Response::new)
    }
}

/// Serves the lab over gRPC to whoever has the token.
async fn serve(
    shop: Arc<Shop>,
    token: &str,
    at: std::net::SocketAddr,
) -> Result<(), tonic::transport::Error> {
    let bearer = format!("Bearer {token}");
    let checked = move |request: Request<()>| {
        let given = request.metadata().get("authorization").map_or(&[][..], |given| given.as_bytes());
        let known = bool::from(given.ct_eq(bearer.as_bytes()));
        known.then_some(request).ok_or_else(|| Status::unauthenticated("the token is not this lab's"))
    };
    let service =
        tonic::service::interceptor::InterceptedService::new(LabServiceServer::from_arc(shop), checked);
    Server::builder().add_service(service).serve(at).await
}

/// Runs the lab as the arguments say.
pub(crate) async fn run(token: &str, args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [how @ .., seconds] = args else { return Err("after how many seconds are orders printed?".into()) };
    let shop =
        Arc::new(Shop { prints_after: Duration::from_secs(seconds.parse()?), ledger: Mutex::default() });
    match how {
        [flag, url] if flag == "--link" => link::keep(shop, token, url).await,
        [address] => serve(shop, token, address.parse()?).await?,
        _ => return Err("where to listen, such as 127.0.0.1:9102, or --link and whom to dial?".into()),
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let token = std::env::var_os("LAB_TOKEN").and_then(|token| token.into_string().ok());
    run(&token.ok_or("LAB_TOKEN is not set")?, &std::env::args().skip(1).collect::<Vec<_>>()).await
}

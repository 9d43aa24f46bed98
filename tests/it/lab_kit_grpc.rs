//! The lab kit over gRPC and links: its messages are those that go over the wire, and its walks, in which the
//! example in Rust is certified both ways, run as they are written.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use prost_reflect::text_format::FormatOptions;
use prost_reflect::{DescriptorPool, DynamicMessage};
use secrecy::SecretString;
use serde_json::json;
use stoppress::cli::simulate::SimulatorSettings;
use stoppress::proto;
use stoppress::proto::connect_request::{self, Kind as Says, StatusReport, StopAnswer, Window, reply};
use stoppress::proto::connect_response::goodbye::Cause;
use stoppress::proto::connect_response::receipt::Outcome;
use stoppress::proto::connect_response::{self, Kind as Hears, Receipt, Welcome, call::Ask};
use stoppress::proto::get_order_response::Stage;
use stoppress::proto::lab_import_service_client::LabImportServiceClient;
use stoppress::proto::lab_import_service_server::{LabImportService, LabImportServiceServer};
use stoppress::proto::lab_service_client::LabServiceClient;
use stoppress::proto::lab_service_server::{LabService, LabServiceServer};
use stoppress::proto::stop_order_response::Answer;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use crate::certify::free;
use crate::lab_kit::{kit, shows};
use crate::lab_simulator::Set;
use crate::lab_support::{SECRET, eventually, held, lab, sent_ahead, stop_call, upload};
use crate::readme::walk;

fn pool() -> DescriptorPool {
    DescriptorPool::decode(proto::DESCRIPTORS).unwrap()
}

/// A message in the text form of protocol buffers, under the two comments that say what it is.
fn text(of_type: &str, message: &impl Message) -> String {
    let kind = pool().get_message_by_name(&format!("stoppress.v1.{of_type}")).unwrap();
    let file = kind.parent_file().name().to_owned();
    let message = DynamicMessage::decode(kind, message.encode_to_vec().as_slice()).unwrap();
    let body = message.to_text_format_with_options(&FormatOptions::new().pretty(true));
    format!("# proto-file: {file}\n# proto-message: stoppress.v1.{of_type}\n\n{}\n", body.trim_end())
}

fn file(name: &str, text: String) -> (String, Vec<u8>) {
    (format!("examples/grpc/{name}.txtpb"), text.into_bytes())
}

/// Passes calls on to the simulated lab, and keeps what was said.
#[derive(Clone)]
struct Tap {
    lab: LabServiceClient<Channel>,
    imports: LabImportServiceClient<Channel>,
    said: Arc<Mutex<Vec<(String, String)>>>,
}

impl Tap {
    async fn new(set: &Set) -> Self {
        let to =
            Endpoint::from_shared(format!("http://{}", set.sim.grpc_addr)).unwrap().connect().await.unwrap();
        let (lab, imports) = (LabServiceClient::new(to.clone()), LabImportServiceClient::new(to));
        Self { lab, imports, said: Arc::default() }
    }

    fn keep<Q: Message>(&self, call: &str, request: &Request<Q>) {
        self.said.lock().unwrap().push((text(&format!("{call}Request"), request.get_ref()), String::new()));
    }

    fn answer<A: Message>(&self, call: &str, response: Response<A>) -> Response<A> {
        let told = text(&format!("{call}Response"), response.get_ref());
        self.said.lock().unwrap().last_mut().unwrap().1 = told;
        response
    }

    /// What was said last: the request, and the answer; empty if the call ended with an error.
    fn last(&self) -> (String, String) {
        self.said.lock().unwrap().pop().unwrap()
    }
}

/// Both services, each call passed on.
macro_rules! tapped {
    ($service:ident over $field:ident: $($name:ident $call:ident($request:ident) -> $response:ident),+) => {
        #[tonic::async_trait]
        impl $service for Tap {
            $(async fn $name(&self, request: Request<proto::$request>) -> Result<Response<proto::$response>, Status> {
                self.keep(stringify!($call), &request);
                let said = self.$field.clone().$name(request).await?;
                Ok(self.answer(stringify!($call), said))
            })+
        }
    };
}

tapped!(LabService over lab:
    describe Describe(DescribeRequest) -> DescribeResponse,
    submit_orders SubmitOrders(SubmitOrdersRequest) -> SubmitOrdersResponse,
    stop_order StopOrder(StopOrderRequest) -> StopOrderResponse,
    get_order GetOrder(GetOrderRequest) -> GetOrderResponse);

tapped!(LabImportService over imports:
    import_order ImportOrder(ImportOrderRequest) -> ImportOrderResponse,
    discard_import DiscardImport(DiscardImportRequest) -> DiscardImportResponse);

#[tokio::test]
async fn messages_are_as_shown() {
    let settings =
        SimulatorSettings { secret: Some(SecretString::from(SECRET)), ..SimulatorSettings::default() };
    let set = Set::with(settings).await;
    let (tap, at) = (Tap::new(&set).await, free());
    let server = Server::builder()
        .add_service(LabServiceServer::new(tap.clone()))
        .add_service(LabImportServiceServer::new(tap.clone()));
    tokio::spawn(server.serve(at));
    eventually("the tap listens", || std::net::TcpStream::connect(at).is_ok()).await;
    let lab = lab("grpc", at, json!({ "secret": { "env": SECRET } }), &set.tools);
    let mut files = Vec::new();
    let mut show = |request: Option<&str>, answer: Option<&str>| {
        let (asked, answered) = tap.last();
        files.extend(request.map(|name| file(name, asked)));
        files.extend(answer.map(|name| file(name, answered)));
    };
    let (first, order) = upload(1);
    let (second, stopped) = upload(2);
    lab.describe().await;
    show(Some("describe.request"), Some("describe.answer"));
    lab.submit(&first).await;
    show(Some("upload.request"), Some("upload.answer"));
    lab.look_up(&order).await;
    show(Some("look-up.request"), Some("look-up.answer"));
    lab.submit(&second).await;
    show(None, None);
    lab.stop(&stop_call(&stopped)).await;
    show(Some("stop.request"), Some("stop.removed"));
    lab.look_up(&stopped).await;
    show(None, Some("look-up.removed"));
    let ahead = sent_ahead(5);
    lab.import(&ahead).await;
    show(Some("import.request"), Some("import.answer"));
    lab.discard(&sent_ahead(4).order).await;
    show(Some("discard.request"), Some("discard.answer"));
    let told = held(5, "HELD-1");
    assert_eq!(told.import_references()[ahead.order.as_str()], "HELD-1");
    lab.submit(&told).await;
    show(Some("upload.two-phase.request"), None);
    set.pass(2 * 3600);
    lab.stop(&stop_call(&order)).await;
    show(None, Some("stop.will-print"));
    lab.look_up(&order).await;
    show(None, Some("look-up.printed"));
    shows(&files);
    let (_, bytes) = files.iter().find(|(name, _)| name.contains("upload.two-phase")).unwrap();
    assert!(String::from_utf8_lossy(bytes).contains("import_reference: \"HELD-1\""));
    frames(&files);
}

/// What goes over a link, once each.
fn frames(of_calls: &[(String, Vec<u8>)]) {
    let (order, stop) = (upload(1).1.to_string(), stop_call(&upload(1).1).stop.to_string());
    let duration = |seconds| prost_types::Duration { seconds, nanos: 0 };
    let says = |name: &str, kind| {
        file(&format!("link/{name}"), text("ConnectRequest", &proto::ConnectRequest { kind: Some(kind) }))
    };
    let hears = |name: &str, kind| {
        file(&format!("link/{name}"), text("ConnectResponse", &proto::ConnectResponse { kind: Some(kind) }))
    };
    let reply = |call, said| Says::Reply(connect_request::Reply { call, said: Some(said) });
    let call = |call, ask| {
        Hears::Call(connect_response::Call { call, answer_within: Some(duration(30)), ask: Some(ask) })
    };
    let taken = proto::SubmitOrdersResponse { lab_reference: "L-1".to_owned() };
    let refusal =
        connect_request::Refusal { code: 5, message: "there is no such order".to_owned(), retry_after: None };
    let upload = stoppress::lab::grpc::message(&upload(1).0).unwrap();
    let files = [
        says(
            "1-lab-hello",
            Says::Hello(connect_request::Hello {
                contract: "stoppress/1".to_owned(),
                name: "lab-server-1".to_owned(),
                version: "1.0.0".to_owned(),
                window: 16,
            }),
        ),
        hears(
            "2-gateway-welcome",
            Hears::Welcome(Welcome {
                lab: "nord".to_owned(),
                connection: "lnk-0123456789ab".to_owned(),
                heartbeat_every: Some(duration(10)),
                beats_missed_max: 3,
            }),
        ),
        hears("3-gateway-upload", call(1, Ask::SubmitOrders(upload))),
        says("4-lab-taken", reply(1, reply::Said::SubmitOrders(taken))),
        hears("5-gateway-look-up", call(2, Ask::GetOrder(proto::GetOrderRequest { order: order.clone() }))),
        says("6-lab-refusal", reply(2, reply::Said::Refusal(refusal))),
        says("heartbeat", Says::Heartbeat(connect_request::Heartbeat {})),
        says("window", Says::Window(Window { calls: 0 })),
        says(
            "status-report",
            Says::StatusReport(StatusReport {
                report: 1,
                order,
                stage: Stage::Printed.into(),
                at: None,
                reference: "PAL-7".to_owned(),
            }),
        ),
        says(
            "stop-answer",
            Says::StopAnswer(StopAnswer {
                report: 2,
                stop,
                answer: Answer::Removed.into(),
                reason: String::new(),
                stage: 0,
                items: Vec::new(),
            }),
        ),
        hears(
            "receipt",
            Hears::Receipt(Receipt { report: 2, outcome: Outcome::Taken.into(), ..Receipt::default() }),
        ),
        hears(
            "gateway-goodbye",
            Hears::Goodbye(connect_response::Goodbye {
                cause: Cause::Shutdown.into(),
                text: "this gateway is shutting down".to_owned(),
            }),
        ),
        says(
            "lab-goodbye",
            Says::Goodbye(connect_request::Goodbye { reason: "closing for the night".to_owned() }),
        ),
    ];
    shows(&files);
    // Nothing else is in there, and what is can be read again by whoever has the proto.
    let mut shown: Vec<_> = of_calls.iter().chain(&files).map(|(name, _)| name.clone()).collect();
    shown.sort();
    let mut there = Vec::new();
    for folder in ["examples/grpc", "examples/grpc/link"] {
        for entry in fs::read_dir(kit(folder)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                there.push(format!("{folder}/{}", entry.file_name().to_str().unwrap()));
            }
        }
    }
    there.sort();
    assert_eq!(there, shown);
    for name in &there {
        let shown = fs::read_to_string(kit(name)).unwrap();
        let of_type = shown.lines().find_map(|line| line.strip_prefix("# proto-message: ")).unwrap();
        let kind = pool().get_message_by_name(of_type).unwrap();
        let read =
            DynamicMessage::parse_text_format(kind, &shown).unwrap_or_else(|error| panic!("{name}: {error}"));
        let again = text(of_type.strip_prefix("stoppress.v1.").unwrap(), &read);
        assert_eq!(again, shown, "{name}");
    }
}

#[path = "../../deploy/lab-kit/rust/lab.rs"]
#[expect(dead_code, reason = "the example's own main")]
mod kit_lab;

/// A program that stands for the example in a walk: it leaves word of how it was started, and stays.
fn program(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let (file, word) = (folder.join("lab"), folder.join("lab.args"));
    let word = word.display();
    // Renamed when it is whole.
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$LAB_TOKEN\" \"$*\" > '{word}.new'\nmv '{word}.new' '{word}'\nexec sleep 600\n"
    );
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file
}

/// Runs the example as the walk has started it.
async fn stand_in(word: PathBuf) {
    eventually("the walk starts the lab", || word.exists()).await;
    let said = fs::read_to_string(word).unwrap();
    let (token, args) = said.trim_end().split_once('\n').unwrap();
    let args: Vec<String> = args.split(' ').map(str::to_owned).collect();
    kit_lab::run(token, &args).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_walks_of_the_guide_run_as_written() {
    let guide = fs::read_to_string(kit("README.md")).unwrap();
    let walks = [
        ("## Over gRPC", ":9102", "CERTIFIED: 19 of 19 checks passed"),
        ("## From behind a firewall", ":9103", "CERTIFIED: 21 of 21 checks passed, 1 not applicable"),
    ];
    for (section, port, verdict) in walks {
        let (guide, folder) = (guide.clone(), tempfile::tempdir().unwrap());
        let lab = program(folder.path()).display().to_string();
        let lab_itself = tokio::spawn(stand_in(folder.path().join("lab.args")));
        let run = move || {
            let port_here = format!(":{}", free().port());
            walk(&guide, section, folder.path(), |text| {
                assert!(
                    text.contains(port) && text.contains("cargo build") && text.contains(" 20 2>"),
                    "{text}"
                );
                let lines = text.lines().filter(|line| !line.starts_with("cargo build"));
                let text = lines.collect::<Vec<_>>().join("\n");
                let text = text
                    .replace(port, &port_here)
                    .replace(&port.replace(':', "/"), &port_here.replace(':', "/"));
                text.replace("rust/target/debug/lab", &lab).replace(" 20 2>", " 8 2>")
            })
        };
        let within = tokio::time::timeout(Duration::from_mins(5), tokio::task::spawn_blocking(run));
        let out = within.await.expect("the walk ends").unwrap();
        lab_itself.abort();
        assert!(out.contains(verdict), "{out}");
        assert!(out.contains("[labs.profile]\ndedupes = \"forever\""), "{out}");
    }
}

/// The manifest that a lab copies asks for nothing but what the house itself is built with.
#[test]
fn the_kits_manifest_fits_the_house() {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap().parse::<toml::Table>().unwrap();
    let (kit, house) =
        (read(kit("rust/Cargo.toml")), read(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")));
    let version = |value: &toml::Value| {
        let version = value.get("version").unwrap_or(value);
        version.as_str().unwrap().to_owned()
    };
    for table in ["dependencies", "build-dependencies"] {
        for (name, asked) in kit[table].as_table().unwrap() {
            let ours =
                house[table].get(name).unwrap_or_else(|| panic!("{name} is not a dependency of the house"));
            assert!(version(ours).starts_with(&version(asked)), "{name}: {asked} and {ours}");
            let features =
                asked.get("features").and_then(|list| list.as_array()).cloned().unwrap_or_default();
            for feature in features {
                assert!(ours["features"].as_array().unwrap().contains(&feature), "{name}: {feature}");
            }
        }
    }
}

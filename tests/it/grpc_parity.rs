//! What is told over HTTP is told over gRPC, field by field and word by word, and the other way round. Every
//! difference is here, with its reason.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};
use serde_json::{Value, json};
use stoppress::proto;

/// Which schema of the API description is which message of the protocol.
const SAME: &[(&str, &str)] = &[
    ("OrderAnswer", "Order"),
    ("ReportAnswer", "Report"),
    ("HoldAnswer", "Hold"),
    ("AddressChangeAnswer", "AddressChange"),
    ("ApprovalAnswer", "Approval"),
    ("ReplacementLink", "Link"),
    ("WindowAnswer", "Window"),
    ("Submission", "Submission"),
    ("Address", "Address"),
    ("Item", "Item"),
    ("File", "File"),
    ("Customer", "Customer"),
    ("StopAnswer", "Stop"),
    ("StopWithVerdict", "GatewayServiceRequestStopResponse"),
    ("StopWithVerdict", "GatewayServiceGetStopResponse"),
    ("Contradiction", "Contradiction"),
    ("Piece", "Piece"),
    ("Verdict", "Verdict"),
    ("Next", "NextStep"),
    ("Contact", "Contact"),
    ("Odds", "Odds"),
    ("Consequences", "Consequences"),
    ("StopTerms", "StopTerms"),
    ("LineVerdict", "LineVerdict"),
    ("DownloadVerdict", "DownloadVerdict"),
    ("Approvals", "GatewayServiceListApprovalsResponse"),
    ("ApprovalInList", "ListedApproval"),
    ("DecisionAnswer", "GatewayServiceDecideApprovalResponse"),
    ("PolicyValue", "PolicyValue"),
    ("EventAnswer", "Event"),
    ("Problem", "Problem"),
    ("Fault", "FieldFault"),
    ("Cutoff", "Cutoff"),
    ("Need", "Need"),
    ("RouteAnswer", "GatewayServiceGetRouteResponse"),
    ("Explanation", "Route"),
    ("Chosen", "Chosen"),
    ("Considered", "Considered"),
    ("Skipped", "Skipped"),
    ("LineRoute", "LineRoute"),
];

/// The same for lists of words.
const WORDS: &[(&str, &str)] = &[
    ("OrderState", "OrderState"),
    ("Stage", "Stage"),
    ("HoldKind", "HoldKind"),
    ("AddressState", "AddressState"),
    ("AddressEvidence", "AddressEvidence"),
    ("ApprovalState", "ApprovalState"),
    ("LinkState", "LinkState"),
    ("Handing", "Handing"),
    ("Payment", "Payment"),
    ("StopState", "StopState"),
    ("Evidence", "Evidence"),
    ("AskedBy", "AskedBy"),
    ("CanStop", "CanStop"),
    ("Reason", "VerdictReason"),
    ("DecidedBy", "DecidedBy"),
    ("Channel", "Channel"),
    ("Refund", "Refund"),
    ("ServiceFee", "ServiceFee"),
    ("Changeable", "Changeable"),
    ("Shift", "Shift"),
    ("LineReason", "LineReason"),
    ("Withdrawal", "Withdrawal"),
    ("DownloadState", "DownloadState"),
    ("DownloadEvidence", "DownloadEvidence"),
    ("DownloadWord", "DownloadWord"),
    ("PolicySource", "PolicySource"),
    ("Why", "Why"),
];

/// Fields that only one of them has, and why.
const ONLY: &[(&str, &str, &str)] = &[
    ("Item", "kind", "over gRPC `download`: a flag, because there are two kinds and one is the rule"),
    ("Item", "download", "over HTTP `kind`"),
    ("Order", "submission", "over HTTP its fields stand beside those that the gateway adds"),
    ("ListedApproval", "approval", "over HTTP its fields stand beside whose order it is"),
    ("Problem", "type", "over gRPC `code` alone: there is no page to point to from a message"),
    ("Problem", "title", "over gRPC `code`, of which it is the explanation"),
    ("Problem", "errors", "over gRPC `faults`, as BadRequest has no other name for them either"),
    ("Problem", "faults", "over HTTP `errors`, as RFC 9457 has it in its example"),
    ("Problem", "more", "over HTTP its members stand beside the others"),
];

/// Messages that have no schema of their own over HTTP, and why.
const OWN: &[(&str, &str)] = &[
    ("GatewayServiceSubmitOrderRequest", "the body is the order, the platform a parameter"),
    ("GatewayServiceSubmitOrderResponse", "the body is the order, `created` the status 201"),
    ("GatewayServiceSubmitOrdersRequest", "a line of NDJSON is the order"),
    (
        "GatewayServiceSubmitOrdersResponse",
        "the lines of the bulk answer; see `a_result_of_many_says_the_same`",
    ),
    ("Admitted", "the same lines"),
    ("GatewayServiceGetOrderRequest", "the order is in the path"),
    ("GatewayServiceGetOrderResponse", "the body is the order"),
    ("GatewayServiceGetVerdictRequest", "the order is in the path"),
    ("GatewayServiceGetVerdictResponse", "the body is the verdict"),
    ("GatewayServiceGetRouteRequest", "the order is in the path"),
    ("GatewayServiceRequestStopRequest", "the body's schema has no name; see `a_stop_is_asked_alike`"),
    ("GatewayServiceGetStopRequest", "the order is in the path"),
    ("GatewayServiceListApprovalsRequest", "parameters of `GET /v1/approvals`; there `state` is open or all"),
    ("GatewayServiceGetApprovalRequest", "the approval is in the path"),
    ("GatewayServiceGetApprovalResponse", "the body is the approval"),
    (
        "GatewayServiceDecideApprovalRequest",
        "over HTTP two routes with the reason as the body; see `a_decision_is_told_alike`",
    ),
    (
        "GatewayServiceReportDownloadRequest",
        "the order is in the path; see `what_is_said_of_a_download_alike`",
    ),
    ("GatewayServiceReportDownloadResponse", "the body is the download"),
    ("GatewayServiceWatchEventsRequest", "parameters of `GET /v1/events` and its stream"),
    ("GatewayServiceWatchEventsResponse", "a frame of the stream: `data` and `id`"),
    ("GatewayServiceWatchCutoffsRequest", "a watch that HTTP has not: it reads `…/cutoffs`"),
    ("GatewayServiceWatchCutoffsResponse", "the same"),
    ("MovedWindow", "the same; over HTTP the `window` of an order or a batch"),
];

struct Faces {
    document: Value,
    messages: BTreeMap<String, DescriptorProto>,
    lists: BTreeMap<String, EnumDescriptorProto>,
    /// The messages of the service's own file.
    ours: BTreeSet<String>,
}

impl Faces {
    fn read() -> Self {
        let document = serde_json::to_value(stoppress::api::http::openapi()).unwrap();
        let files = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap().file;
        let files: Vec<_> = files.into_iter().filter(|file| file.package() == "stoppress.v1").collect();
        let own = files.iter().find(|file| file.name().ends_with("/gateway.proto")).unwrap();
        let ours = own.message_type.iter().map(|message| message.name().to_owned()).collect();
        let messages = files.iter().flat_map(|file| &file.message_type);
        let messages = messages.map(|message| (message.name().to_owned(), message.clone())).collect();
        let lists = own.enum_type.iter().map(|list| (list.name().to_owned(), list.clone())).collect();
        Self { document, messages, lists, ours }
    }

    fn schema(&self, name: &str) -> &Value {
        let schemas = &self.document["components"]["schemas"];
        schemas.get(name).unwrap_or_else(|| panic!("no schema {name}"))
    }

    /// The fields of a schema by their names, over `$ref` and `allOf`.
    fn told(&self, schema: &Value) -> BTreeSet<String> {
        if let Some(name) = schema["$ref"].as_str() {
            return self.told(self.document.pointer(&name[1..]).unwrap());
        }
        let parts = schema["allOf"].as_array().into_iter().flatten();
        let own = schema["properties"].as_object().into_iter().flat_map(|fields| fields.keys().cloned());
        parts.flat_map(|part| self.told(part)).chain(own).collect()
    }

    fn fields(&self, message: &str) -> BTreeSet<String> {
        let message = self.messages.get(message).unwrap_or_else(|| panic!("no message {message}"));
        message.field.iter().map(|field| field.name().to_owned()).collect()
    }

    /// The words of a schema that is a list of them.
    fn words(&self, name: &str) -> BTreeSet<String> {
        let schema = self.schema(name);
        let plain = schema["enum"].as_array().into_iter().flatten();
        let explained = schema["oneOf"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|one| one["enum"].as_array().into_iter().flatten().chain(one.get("const")));
        let words: BTreeSet<String> =
            plain.chain(explained).filter_map(|word| Some(word.as_str()?.to_owned())).collect();
        assert!(!words.is_empty(), "{name} has no words: {schema}");
        words
    }

    fn values(&self, name: &str) -> BTreeSet<String> {
        let list = self.lists.get(name).unwrap_or_else(|| panic!("no list {name}"));
        let zero = list.value.iter().find(|value| value.number() == 0).unwrap().name();
        let prefix = zero.strip_suffix("UNSPECIFIED").unwrap();
        let said = list.value.iter().filter(|value| value.number() != 0);
        said.map(|value| value.name().strip_prefix(prefix).unwrap().to_lowercase()).collect()
    }
}

/// What one has and the other lacks, but for what is said to be so.
fn unlike(name: &str, one: &BTreeSet<String>, other: &BTreeSet<String>) -> Vec<String> {
    let known = |field: &&String| {
        ONLY.iter().any(|(message, known, why)| *message == name && known == field && !why.is_empty())
    };
    one.symmetric_difference(other).filter(|field| !known(field)).cloned().collect()
}

#[test]
fn every_message_says_what_its_schema_says() {
    let faces = Faces::read();
    let mut seen = BTreeSet::new();
    for (schema, message) in SAME {
        let mut told = faces.told(faces.schema(schema));
        if *schema == "OrderAnswer" {
            let inner = faces.told(faces.schema("Submission"));
            told = told.difference(&inner).cloned().collect();
        }
        if *schema == "ApprovalInList" {
            let inner = faces.told(faces.schema("ApprovalAnswer"));
            told = told.difference(&inner).cloned().collect();
        }
        let fields = faces.fields(message);
        assert_eq!(unlike(message, &told, &fields), Vec::<String>::new(), "{schema} and {message}");
        let both = told.symmetric_difference(&fields).cloned();
        seen.extend(both.map(|field| ((*message).to_owned(), field)));
    }
    // A difference that is no more is taken off the list.
    let listed: BTreeSet<(String, String)> =
        ONLY.iter().map(|(message, field, _)| ((*message).to_owned(), (*field).to_owned())).collect();
    assert_eq!(seen, listed);
}

#[test]
fn every_list_has_the_same_words() {
    let faces = Faces::read();
    for (schema, list) in WORDS {
        assert_eq!(faces.words(schema), faces.values(list), "{schema} and {list}");
    }
}

#[test]
fn nothing_is_left_out_of_the_comparison() {
    let faces = Faces::read();
    let compared = SAME.iter().map(|(_, message)| *message);
    let known: BTreeSet<&str> = compared.chain(OWN.iter().map(|(message, _)| *message)).collect();
    let there: BTreeSet<&str> = faces.ours.iter().map(String::as_str).collect();
    let missing: Vec<_> = there.difference(&known).collect();
    assert!(missing.is_empty(), "messages without a schema or a reason: {missing:?}");
    for (message, _) in OWN {
        assert!(there.contains(message), "{message} is no more");
    }
    let lists: BTreeSet<&str> = WORDS.iter().map(|(_, list)| *list).collect();
    let mut known: BTreeSet<&str> = faces.lists.keys().map(String::as_str).collect();
    assert!(known.remove("ApprovalDecision"), "over HTTP the two are routes");
    assert_eq!(known, lists);
    // Whatever an order, a stop, a verdict or an event is made of is compared as well.
    let schemas: BTreeSet<&str> = SAME.iter().chain(WORDS).map(|(schema, _)| *schema).collect();
    let mut open: Vec<&Value> = schemas.iter().map(|name| faces.schema(name)).collect();
    let mut missing = BTreeSet::new();
    // Texts and numbers with a rule of their own.
    let plain = |schema: &Value| {
        schema["properties"].is_null()
            && schema["allOf"].is_null()
            && schema["enum"].is_null()
            && schema["oneOf"].is_null()
    };
    let mut closed = BTreeSet::new();
    while let Some(value) = open.pop() {
        if let Some(name) = value["$ref"].as_str().and_then(|name| name.rsplit('/').next())
            && closed.insert(name.to_owned())
        {
            let schema = faces.schema(name);
            if !schemas.contains(name) && !plain(schema) {
                missing.insert(name.to_owned());
            }
            open.push(schema);
        }
        match value {
            Value::Object(fields) => open.extend(fields.values()),
            Value::Array(list) => open.extend(list),
            _ => {}
        }
    }
    // The words of problems are texts in the protocol; an item is a download or it is not; an entry of the log is
    // compared as it is told, with its orders, and a choice with whose rules made it.
    for known in ["Code", "ItemKind", "Event", "Choice"] {
        assert!(missing.remove(known), "{known} is no difference any more");
    }
    assert!(missing.is_empty(), "{missing:?} are nowhere in gRPC");
}

#[test]
fn a_stop_is_asked_alike() {
    let faces = Faces::read();
    let ask = &faces.document["paths"]["/v1/orders/{order}/stop"]["post"];
    let body = &ask["requestBody"]["content"]["application/json"]["schema"];
    let one_of = body["oneOf"].as_array().into_iter().flatten();
    let mut told: BTreeSet<String> = one_of.flat_map(|schema| faces.told(schema)).collect();
    told.extend(faces.told(body));
    assert!(told.contains("reason"), "{body}");
    // Over HTTP the order is in the path.
    told.insert("order".to_owned());
    assert_eq!(told, faces.fields("GatewayServiceRequestStopRequest"));
}

#[test]
fn what_is_said_of_a_download_alike() {
    let faces = Faces::read();
    let mut told = faces.told(faces.schema("DownloadReport"));
    // Over HTTP the order is in the path.
    told.insert("order".to_owned());
    assert_eq!(told, faces.fields("GatewayServiceReportDownloadRequest"));
}

#[test]
fn a_decision_is_told_alike() {
    let faces = Faces::read();
    let said: BTreeSet<String> = ["approve", "decline"].into_iter().map(str::to_owned).collect();
    assert_eq!(faces.values("ApprovalDecision"), said);
    for word in said {
        let path = format!("/v1/approvals/{{approval}}/{word}");
        let body = &faces.document["paths"][&path]["post"]["requestBody"]["content"]["application/json"];
        let one_of = body["schema"]["oneOf"].as_array().into_iter().flatten();
        let mut told: BTreeSet<String> = one_of.flat_map(|schema| faces.told(schema)).collect();
        told.extend(faces.told(&body["schema"]));
        // Over HTTP the approval and the decision are in the path.
        told.extend(["approval".to_owned(), "decision".to_owned()]);
        assert_eq!(told, faces.fields("GatewayServiceDecideApprovalRequest"), "{word}");
    }
}

#[test]
fn a_result_of_many_says_the_same() {
    let faces = Faces::read();
    let told = faces.told(faces.schema("LineResult"));
    let mut fields = faces.fields("GatewayServiceSubmitOrdersResponse");
    fields.extend(faces.fields("Admitted"));
    let unlike: BTreeSet<&str> = told.symmetric_difference(&fields).map(String::as_str).collect();
    // Over HTTP a status says whether it is new; over gRPC the outcome is one of two messages.
    assert_eq!(unlike, BTreeSet::from(["admitted", "created", "status"]));
}

#[test]
fn the_comparison_finds_what_is_unlike() {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(unlike("Stop", &set(&["id", "answer"]), &set(&["id"])), ["answer"]);
    assert_eq!(unlike("Stop", &set(&["id"]), &set(&["id", "answer"])), ["answer"]);
    assert_eq!(unlike("Item", &set(&["kind"]), &set(&["download"])), Vec::<String>::new());
    assert_eq!(unlike("Stop", &set(&["kind"]), &set(&["download"])), ["download", "kind"]);
    assert_eq!(json!(null)["enum"], Value::Null, "what is not there is not compared");
}

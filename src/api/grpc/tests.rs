//! The table of methods against the published protocol.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::FileDescriptorSet;

use super::*;

fn files() -> FileDescriptorSet {
    FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap()
}

#[test]
fn every_method_has_a_rule_and_every_rule_a_method() {
    let files = files();
    let services = files.file.iter().flat_map(|file| &file.service);
    let service = services.into_iter().find(|service| service.name() == "GatewayService").unwrap();
    let there: BTreeSet<&str> = service.method.iter().map(prost_types::MethodDescriptorProto::name).collect();
    let ruled: BTreeSet<&str> = METHODS.iter().map(|(name, _)| *name).collect();
    assert_eq!(there, ruled);
    for method in &service.method {
        let (_, rule) = METHODS.iter().find(|(name, _)| *name == method.name()).unwrap();
        assert_eq!(rule.streams(), method.client_streaming(), "{}", method.name());
        assert!(!rule.is_public(), "{} needs a key", method.name());
    }
}

#[test]
fn what_is_told_by_reflection_can_be_read() {
    let told = || Reflection::configure().register_encoded_file_descriptor_set(proto::DESCRIPTORS);
    assert!(told().build_v1().is_ok() && told().build_v1alpha().is_ok());
    let packages = |prefix: &str| files().file.iter().any(|file| file.package() == prefix);
    assert!(packages("stoppress.v1") && packages("google.protobuf"), "imports are told as well");
}

#[test]
fn only_grpc_is_taken() {
    let kind = |text: &str| {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_str(text).unwrap())]);
        is_grpc(&headers).is_ok()
    };
    assert!(kind("application/grpc") && kind("application/grpc+proto") && kind("application/grpc;charset=x"));
    assert!(
        !kind("application/json")
            && !kind("application/grpc-web")
            && !kind("")
            && is_grpc(&HeaderMap::new()).is_err()
    );
}

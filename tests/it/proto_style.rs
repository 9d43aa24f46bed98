//! The published protocol's style: what `buf lint` asks by default, and that everything says what it is.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use stoppress::proto;

/// A file with the comments of its parts, by the path of the part.
struct File {
    told: FileDescriptorProto,
    comments: BTreeMap<Vec<i32>, String>,
    breaches: Vec<String>,
}

fn ours() -> Vec<File> {
    let files = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap().file;
    let ours = files.into_iter().filter(|file| file.package().starts_with("stoppress"));
    let ours: Vec<File> = ours.map(File::new).collect();
    assert!(ours.len() >= 2, "gateway.proto and lab.proto");
    ours
}

fn snake(name: &str) -> bool {
    name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')) && !name.contains("__")
}

fn pascal(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// `StopState` as enumerations prefix their values: `STOP_STATE_`.
fn prefix(name: &str) -> String {
    let mut out = String::new();
    for (at, c) in name.char_indices() {
        if at > 0 && c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out + "_"
}

impl File {
    fn new(file: FileDescriptorProto) -> Self {
        let info = file.source_code_info.clone().unwrap_or_default();
        let comments = info.location.into_iter().filter_map(|place| {
            let said = place.leading_comments.filter(|said| !said.trim().is_empty())?;
            Some((place.path, said))
        });
        let comments = comments.collect();
        Self { told: file, comments, breaches: Vec::new() }
    }

    fn must(&mut self, holds: bool, what: String) {
        if !holds {
            self.breaches.push(format!("{}: {what}", self.told.name()));
        }
    }

    fn says(&mut self, path: &[i32], name: &str) {
        let said = self.comments.contains_key(path);
        self.must(said, format!("{name} does not say what it is"));
    }

    fn message(&mut self, path: &[i32], message: &DescriptorProto) {
        if message.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry) {
            return;
        }
        let name = message.name();
        self.says(path, name);
        self.must(pascal(name), format!("{name} is not PascalCase"));
        for (at, field) in (0..).zip(&message.field) {
            self.says(&[path, &[2, at]].concat(), &format!("{name}.{}", field.name()));
            self.must(snake(field.name()), format!("{name}.{} is not lower_snake_case", field.name()));
        }
        for (at, nested) in (0..).zip(&message.nested_type) {
            self.message(&[path, &[3, at]].concat(), nested);
        }
        for (at, list) in (0..).zip(&message.enum_type) {
            self.list(&[path, &[4, at]].concat(), list);
        }
        let synthetic: BTreeSet<i32> =
            message.field.iter().filter(|f| f.proto3_optional()).filter_map(|f| f.oneof_index).collect();
        for (at, one) in (0..).zip(&message.oneof_decl).filter(|(at, _)| !synthetic.contains(at)) {
            self.says(&[path, &[8, at]].concat(), &format!("{name}.{}", one.name()));
        }
    }

    fn list(&mut self, path: &[i32], list: &EnumDescriptorProto) {
        let (name, prefix) = (list.name(), prefix(list.name()));
        self.says(path, name);
        for (at, value) in (0..).zip(&list.value) {
            self.says(&[path, &[2, at]].concat(), &format!("{name}.{}", value.name()));
            self.must(
                value.name().starts_with(&prefix),
                format!("{} does not begin with {prefix}", value.name()),
            );
        }
        let zero = list.value.iter().find(|value| value.number() == 0).map(|value| value.name().to_owned());
        self.must(zero == Some(format!("{prefix}UNSPECIFIED")), format!("{name}: 0 is {zero:?}"));
    }

    fn check(&mut self, used: &mut BTreeSet<String>) {
        let file = self.told.clone();
        self.must(file.package() == "stoppress.v1", format!("package {}", file.package()));
        self.must(file.name().starts_with("stoppress/v1/"), "is not in its package's folder".to_owned());
        self.must(file.syntax() == "proto3", "is not proto3".to_owned());
        for (at, message) in (0..).zip(&file.message_type) {
            self.message(&[4, at], message);
        }
        for (at, list) in (0..).zip(&file.enum_type) {
            self.list(&[5, at], list);
        }
        for (at, service) in (0..).zip(&file.service) {
            let name = service.name();
            self.says(&[6, at], name);
            self.must(name.ends_with("Service"), format!("{name} does not end with Service"));
            for (nth, method) in (0..).zip(&service.method) {
                self.says(&[6, at, 2, nth], &format!("{name}.{}", method.name()));
                for (kind, of_type) in [("Request", method.input_type()), ("Response", method.output_type())]
                {
                    let of_type = of_type.rsplit('.').next().unwrap().to_owned();
                    let fits = [format!("{}{kind}", method.name()), format!("{name}{}{kind}", method.name())];
                    self.must(fits.contains(&of_type), format!("{of_type} is not named after its method"));
                    let new = used.insert(of_type.clone());
                    self.must(new, format!("{of_type} is used twice"));
                }
            }
        }
    }
}

#[test]
fn the_published_protocol_is_clean_and_says_what_everything_is() {
    let mut used = BTreeSet::new();
    let mut breaches = Vec::new();
    for mut file in ours() {
        file.check(&mut used);
        breaches.extend(file.breaches);
    }
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

/// The rules, each on what breaks it.
#[test]
fn every_rule_finds_what_breaks_it() {
    let breaches = |change: &dyn Fn(&mut FileDescriptorProto)| {
        let files = ours().into_iter().map(|file| file.told);
        let mut file = files.into_iter().find(|file| file.name().ends_with("/gateway.proto")).unwrap();
        change(&mut file);
        let mut file = File::new(file);
        file.check(&mut BTreeSet::new());
        file.breaches.len()
    };
    assert_eq!(breaches(&|_| ()), 0);
    assert!(breaches(&|file| file.source_code_info = None) > 100);
    assert_eq!(breaches(&|file| file.message_type[0].field[0].name = Some("theOrder".to_owned())), 1);
    assert_eq!(breaches(&|file| file.enum_type[0].value[0].name = Some("SHIFT_ZERO".to_owned())), 1);
    assert_eq!(breaches(&|file| file.enum_type[0].value[1].name = Some("NONE".to_owned())), 1);
    assert_eq!(breaches(&|file| file.service[0].name = Some("Gateway".to_owned())), 27);
    let again = |file: &mut FileDescriptorProto| {
        file.service[0].method[1].input_type = file.service[0].method[0].input_type.clone();
    };
    assert_eq!(breaches(&again), 2);
}

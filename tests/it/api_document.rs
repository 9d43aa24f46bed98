//! The description of the surface is the surface.

use serde_json::{Value, json};

use crate::api::{Bench, order};

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(|(method, operation)| (method.to_uppercase(), path.clone(), operation.clone()))
        })
        .collect()
}

fn filled(path: &str) -> String {
    let id = |kind: &str| format!("{kind}_{}", "0".repeat(32));
    path.replace("{order}", &id("ord"))
        .replace("{batch}", &id("bat"))
        .replace("{stop}", &id("stp"))
        .replace("{escalation}", &id("esc"))
        .replace("{approval}", &id("apr"))
        .replace("{lab}", "nord")
        .replace("{region}", "fi")
        .replace("{platform}", "shop")
        .replace("{webhook}", &id("whk"))
        .replace("{key}", "none")
}

#[tokio::test]
async fn every_documented_operation_is_there_and_behind_the_gate() {
    let bench = Bench::new().await;
    let document = bench.get("/openapi.json", "").await.is(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let operations = operations(&document);
    assert_eq!(operations.len(), 85);
    for (method, path, operation) in &operations {
        let at = format!("{method} {path}");
        assert!(operation["summary"].is_string() && operation["tags"][0].is_string(), "{at}");
        let reply = bench.call(method, &filled(path), "", None, &[]).await;
        if path.starts_with("/a") {
            // Open to whoever has a signed link; here is none.
            assert_eq!(reply.status, if method == "GET" { 404 } else { 400 }, "{at}");
            continue;
        }
        if operation["security"] == json!([{}]) {
            assert_eq!(reply.status, 200, "{at}");
            continue;
        }
        assert_eq!(operation["security"], json!([{"api_key": []}]), "{at}");
        reply.problem(401, "unauthenticated");
        for (scope, key) in [("ops", &bench.ops), ("platform", &bench.shop), ("lab", &bench.lab)] {
            let may = operation["x-scopes"].as_array().unwrap().contains(&json!(scope));
            // Whoever may not is refused before anything is looked at.
            if may {
                continue;
            }
            bench.call(method, &filled(path), key, None, &[]).await.problem(403, "forbidden");
        }
        for status in ["401", "403", "429", "500", "503"] {
            let schema = &operation["responses"][status]["content"]["application/problem+json"]["schema"];
            assert_eq!(schema["$ref"], "#/components/schemas/Problem", "{at} {status}");
        }
        // Other methods of the path are refused by name, with or without a key.
        let known: Vec<&str> = operations
            .iter()
            .filter(|(_, other, _)| other == path)
            .map(|(method, ..)| method.as_str())
            .collect();
        for other in ["GET", "PUT", "POST", "DELETE", "PATCH"] {
            if !known.contains(&other) && !path.ends_with("/bulk") {
                let reply = bench.call(other, &filled(path), &bench.ops, None, &[]).await;
                assert_eq!(reply.status, 405, "{other} {path}: {}", reply.text);
            }
        }
    }
}

#[tokio::test]
async fn every_reference_in_the_description_resolves() {
    let bench = Bench::new().await;
    let document = bench.get("/openapi.json", "").await.is(200);
    let mut open = vec![&document];
    let mut count = 0;
    while let Some(value) = open.pop() {
        match value {
            Value::Object(map) => {
                if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                    let pointer = name.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{name} is nowhere");
                    count += 1;
                }
                open.extend(map.values());
            }
            Value::Array(list) => open.extend(list),
            _ => {}
        }
    }
    assert!(count > 100);
}

/// The properties and the required ones of a schema, over `$ref` and `allOf`.
fn properties(document: &Value, schema: &Value) -> (Vec<String>, Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        return properties(document, document.pointer(&name[1..]).unwrap());
    }
    let (mut all, mut required) = (Vec::new(), Vec::new());
    for part in schema["allOf"].as_array().into_iter().flatten() {
        let (more, must) = properties(document, part);
        all.extend(more);
        required.extend(must);
    }
    all.extend(schema["properties"].as_object().into_iter().flat_map(|map| map.keys().cloned()));
    let must = schema["required"].as_array().into_iter().flatten();
    required.extend(must.filter_map(|name| name.as_str().map(str::to_owned)));
    (all, required)
}

#[track_caller]
fn fits(document: &Value, schema: &str, value: &Value) {
    let (known, required) = properties(document, &json!({"$ref": format!("#/components/schemas/{schema}")}));
    for field in value.as_object().unwrap().keys() {
        assert!(known.contains(field), "{schema} does not describe {field}");
    }
    for field in &required {
        assert!(value.get(field).is_some(), "{schema} requires {field}, which is not in {value}");
    }
}

#[tokio::test]
async fn answers_are_as_described() {
    let bench = Bench::new().await;
    let document = bench.get("/openapi.json", "").await.is(200);
    let fits = |schema: &str, value: &Value| fits(&document, schema, value);
    let new = bench.post("/v1/orders", &bench.shop, &order("A-1")).await.is(201);
    fits("OrderAnswer", &new);
    fits("WindowAnswer", &new["window"]);
    fits("Verdict", &new["verdict"]);
    fits("Orders", &bench.get("/v1/orders", &bench.shop).await.is(200));
    let batch = format!("/v1/batches/{}", new["window"]["batch"].as_str().unwrap());
    fits("BatchWithTransfers", &bench.get(&batch, &bench.ops).await.is(200));
    let stop = bench.post("/v1/orders/@A-1/stop", &bench.shop, &json!({})).await.is(200);
    fits("StopWithVerdict", &stop);
    fits("StopAnswer", &stop["stop"]);
    fits("StopInList", &bench.get("/v1/stops", &bench.shop).await.is(200)["stops"][0]);
    fits("LabAnswer", &bench.get("/v1/labs/nord", &bench.ops).await.is(200));
    fits("PlatformAnswer", &bench.get("/v1/platforms/shop", &bench.shop).await.is(200));
    fits("KeyAnswer", &bench.get("/v1/keys", &bench.ops).await.is(200)["keys"][0]);
    fits("RegionCutoffs", &bench.get("/v1/labs/nord/regions/fi/cutoffs", &bench.ops).await.is(200));
    let events = bench.get("/v1/events", &bench.ops).await.is(200);
    fits("EventAnswer", &events["events"][0]);
    fits("Changelog", &bench.get("/v1/orders/@A-1/changelog", &bench.shop).await.is(200));
    let evidence = bench.get("/v1/orders/@A-1/evidence", &bench.shop).await.is(200);
    fits("EvidenceBundle", &evidence);
    fits("EvidenceEntry", &evidence["entries"][0]);
    fits("EvidenceChain", &evidence["chains"][0]);
    fits("Ready", &bench.get("/readyz", "").await.is(200));
    let mut broken = order("A-2");
    broken["items"] = json!([]);
    fits("Problem", &bench.post("/v1/orders", &bench.shop, &broken).await.problem(422, "invalid"));
}

//! What the API server answers, rule by rule: the stand-in has to answer as the real one does.

use std::collections::BTreeSet;

use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use kube::config::Kubeconfig;
use tokio::time::timeout;

use super::fixtures::node;
use super::real::{client, client_of};
use super::*;

against_both! {
    lists_come_in_chunks_of_one_version
    what_cannot_be_done_is_refused_with_a_status
    who_is_not_known_or_not_allowed_is_told_so
    only_metadata_comes_where_it_is_asked_for
    a_watch_tells_of_everything_after_its_version
    a_watch_from_no_version_begins_with_what_there_is
    a_watch_can_say_when_it_has_told_what_there_was
    bookmarks_have_a_version_and_nothing_to_tell
    what_is_forgotten_is_gone
}

const WHOLE: &str = "application/json";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

async fn lists_come_in_chunks_of_one_version(api: impl Kubernetes) {
    for number in 1..=3 {
        api.create("pods", pod(&format!("web-{number}"), &format!("10.0.0.{number}"))).await;
    }
    let client = client(&api.kube_config()).await;
    let (code, first) = get(&client, "/api/v1/namespaces/shop/pods?limit=2", WHOLE).await;
    assert_eq!((code, names(&first)), (200, vec!["web-1".to_owned(), "web-2".to_owned()]));
    assert_eq!((&first["kind"], &first["apiVersion"]), (&json!("PodList"), &json!("v1")));
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    assert_eq!(keys(&first["items"][0]), ["metadata", "spec", "status"], "the list says what they are");
    api.create("pods", pod("web-0", "10.0.0.9")).await;
    api.create("pods", pod("web-9", "10.0.0.9")).await;
    let token = first["metadata"]["continue"].as_str().expect("a token");
    let path = format!("/api/v1/namespaces/shop/pods?limit=2&continue={token}");
    let (code, second) = get(&client, &path, WHOLE).await;
    assert_eq!(
        (code, names(&second)),
        (200, vec!["web-3".to_owned()]),
        "what came later belongs to no chunk"
    );
    assert_eq!(version(&second["metadata"]), version(&first["metadata"]));
    assert_eq!(second["metadata"]["continue"], Json::Null);

    let selected = "/api/v1/namespaces/shop/pods?limit=1&labelSelector=app%3Dweb";
    let selected = get(&client, selected, WHOLE).await.1;
    assert_eq!(selected["metadata"]["remainingItemCount"], Json::Null, "nobody counts what is selected");
    let any_version = "/api/v1/namespaces/shop/pods?limit=2&resourceVersion=0";
    assert_eq!(names(&get(&client, any_version, WHOLE).await.1).len(), 5, "which comes without chunks");
}

async fn what_cannot_be_done_is_refused_with_a_status(api: impl Kubernetes) {
    let client = client(&api.kube_config()).await;
    for (path, code, reason, message) in [
        ("pods?continue=nonsense", 400, "BadRequest", "invalid continue token"),
        ("pods?fieldSelector=spec.color%3Dred", 400, "BadRequest", "field label not supported: spec.color"),
        ("nodes?fieldSelector=spec.color%3Dred", 400, "BadRequest", "field label not supported: spec.color"),
        ("pods?labelSelector=a%3D%3D%3Db", 400, "BadRequest", "unable to parse requirement"),
        ("pods?resourceVersion=99999999", 504, "Timeout", "Too large resource version: 99999999"),
        ("pods?watch=true&sendInitialEvents=true", 422, "Invalid", "requires setting resourceVersionMatch"),
    ] {
        let (answered, status) = get(&client, &format!("/api/v1/{path}"), WHOLE).await;
        assert_eq!(answered, code, "{path}: {status}");
        assert_status(&status, code, reason, message);
    }
    let (_, status) = get(&client, "/api/v1/pods?resourceVersion=99999999", WHOLE).await;
    assert_eq!(status["details"]["retryAfterSeconds"], 1);
    let (code, none) = get(&client, "/api/v1/namespaces/nowhere/pods", WHOLE).await;
    assert_eq!((code, &none["items"]), (200, &json!([])));
}

async fn who_is_not_known_or_not_allowed_is_told_so(mut api: impl Kubernetes) {
    let kept = client_that_keeps_its_token(&api.kube_config()).await;
    api.grant(&[("", "pods", Some("shop"))]).await;
    let who = "User \"system:serviceaccount:observability:spanbridge\" cannot";
    for (path, message) in [
        (
            "/api/v1/pods",
            format!("pods is forbidden: {who} list resource \"pods\" in API group \"\" at the cluster scope"),
        ),
        (
            "/apis/apps/v1/namespaces/shop/replicasets?watch=true",
            format!(
                "replicasets.apps is forbidden: {who} watch resource \"replicasets\" in API group \"apps\" in the namespace \
                 \"shop\""
            ),
        ),
    ] {
        let (code, status) = get(&kept, path, WHOLE).await;
        assert_eq!(code, 403, "{status}");
        assert_status(&status, 403, "Forbidden", &message);
    }
    assert_eq!(get(&kept, "/api/v1/namespaces/shop/pods", WHOLE).await.0, 200);
    api.replace_token().await;
    let (code, status) = get(&kept, "/api/v1/namespaces/shop/pods", WHOLE).await;
    assert_eq!(code, 401, "{status}");
    assert_status(&status, 401, "Unauthorized", "Unauthorized");
}

async fn only_metadata_comes_where_it_is_asked_for(api: impl Kubernetes) {
    let created = api.create("pods", pod("web-1", "10.0.0.1")).await;
    let client = client(&api.kube_config()).await;
    let path = "/api/v1/namespaces/shop/pods";
    let (code, list) = get(&client, path, METADATA_LIST).await;
    assert_eq!((code, &list["kind"]), (200, &json!("PartialObjectMetadataList")));
    assert_eq!(list["apiVersion"], "meta.k8s.io/v1");
    let item = &list["items"][0];
    assert_eq!(
        (&item["kind"], keys(item)),
        (&json!("PartialObjectMetadata"), vec!["apiVersion", "kind", "metadata"])
    );
    assert_eq!(uid(item), uid(&created));
    let from = version(&list["metadata"]);
    let path = format!("{path}?watch=true&resourceVersion={from}&timeoutSeconds=30");
    api.patch("pods", "shop", "web-1", json!({"metadata": {"labels": {"tier": "gold"}}})).await;
    let event = &watch(&client, &path, METADATA, |events| events.len() == 1).await[0];
    assert_eq!(event["type"], "MODIFIED");
    assert_eq!(keys(&event["object"]), ["apiVersion", "kind", "metadata"]);
    assert_eq!(event["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(event["object"]["metadata"]["labels"]["tier"], "gold");
}

async fn a_watch_tells_of_everything_after_its_version(api: impl Kubernetes) {
    api.create("pods", pod("before", "10.0.0.1")).await;
    let client = client(&api.kube_config()).await;
    let from = version(&get(&client, "/api/v1/pods?limit=1", WHOLE).await.1["metadata"]);
    api.create("pods", pod("web-1", "10.0.0.2")).await;
    api.patch("pods", "shop", "web-1", json!({"metadata": {"labels": {"app": "other"}}})).await;
    api.delete("pods", "shop", "before").await;
    let path = format!("/api/v1/pods?watch=true&resourceVersion={from}&timeoutSeconds=30");
    let is_deleted = |events: &[Json]| events.last().is_some_and(|event| event["type"] == "DELETED");
    let events = watch(&client, &path, WHOLE, is_deleted).await;
    // A pod is marked before it goes, even if it goes at once.
    let expected = ["ADDED web-1", "MODIFIED web-1", "MODIFIED web-1", "MODIFIED before", "DELETED before"];
    assert_eq!(told(&events), expected);
    assert!(events[3]["object"]["metadata"]["deletionTimestamp"].is_string());
    for event in &events {
        assert_eq!((&event["object"]["kind"], &event["object"]["apiVersion"]), (&json!("Pod"), &json!("v1")));
    }
    let versions = events.iter().map(|event| version(&event["object"]["metadata"])).collect::<Vec<_>>();
    assert!(versions.is_sorted() && versions[0] > from, "{versions:?} after {from}");

    // To who selects, what does not match any more is deleted.
    let path = format!("{path}&labelSelector=app%3Dweb");
    let events =
        watch(&client, &path, WHOLE, |events| told(events).contains(&"DELETED before".to_owned())).await;
    let expected = ["ADDED web-1", "MODIFIED web-1", "DELETED web-1", "MODIFIED before", "DELETED before"];
    assert_eq!(told(&events), expected);
}

async fn a_watch_from_no_version_begins_with_what_there_is(api: impl Kubernetes) {
    api.create("pods", pod("web-1", "10.0.0.1")).await;
    api.create("pods", pod("web-2", "10.0.0.2")).await;
    let client = client(&api.kube_config()).await;
    for version in ["", "&resourceVersion=0"] {
        let path = format!("/api/v1/namespaces/shop/pods?watch=true&timeoutSeconds=30{version}");
        let events = watch(&client, &path, WHOLE, |events| events.len() == 2).await;
        let events: BTreeSet<String> = told(&events).into_iter().collect();
        assert_eq!(events.into_iter().collect::<Vec<_>>(), ["ADDED web-1", "ADDED web-2"], "{path}");
    }
}

async fn a_watch_can_say_when_it_has_told_what_there_was(api: impl Kubernetes) {
    api.create("pods", pod("web-1", "10.0.0.1")).await;
    let client = client(&api.kube_config()).await;
    let path = "/api/v1/namespaces/shop/pods?watch=true&timeoutSeconds=30&allowWatchBookmarks=true\
                &sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let events = watch(&client, path, METADATA, |events| events.len() == 2).await;
    assert_eq!(told(&events), ["ADDED web-1", "BOOKMARK "]);
    let metadata = &events[1]["object"]["metadata"];
    assert_eq!(metadata["annotations"]["k8s.io/initial-events-end"], "true");
    assert!(version(metadata) >= version(&events[0]["object"]["metadata"]));
}

async fn bookmarks_have_a_version_and_nothing_to_tell(api: impl Kubernetes) {
    let client = client(&api.kube_config()).await;
    let from = version(&api.create("nodes", node("node-1", "a")).await["metadata"]);
    // The server sends one shortly before such a watch ends, if something has happened just then.
    let path = format!(
        "/api/v1/nodes?watch=true&allowWatchBookmarks=true&labelSelector=team%3Dnone&resourceVersion={from}&timeoutSeconds=8"
    );
    let changes = async {
        for change in 0_u64.. {
            api.patch("nodes", "", "node-1", json!({"metadata": {"labels": {"team": change.to_string()}}}))
                .await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let bookmarks = async {
        for _ in 0..5 {
            let events = watch(&client, &path, METADATA, |events| !events.is_empty()).await;
            if !events.is_empty() {
                return events;
            }
        }
        panic!("no bookmark")
    };
    let events = tokio::select! {
        events = bookmarks => events,
        () = changes => unreachable!("changes go on"),
    };
    assert_eq!((&events[0]["type"], events.len()), (&json!("BOOKMARK"), 1));
    let bookmark = &events[0]["object"];
    assert_eq!(bookmark["kind"], "PartialObjectMetadata");
    assert_eq!(keys(&bookmark["metadata"]), ["resourceVersion"]);
    assert!(version(&bookmark["metadata"]) > from);
}

async fn what_is_forgotten_is_gone(mut api: impl Kubernetes) {
    api.create("pods", pod("web-1", "10.0.0.1")).await;
    api.create("pods", pod("web-2", "10.0.0.2")).await;
    let kept = client(&api.kube_config()).await;
    let first = get(&kept, "/api/v1/namespaces/shop/pods?limit=1", WHOLE).await.1;
    let token = first["metadata"]["continue"].as_str().expect("a token");
    api.create("nodes", node("node-1", "a")).await;
    api.create("pods", pod("web-3", "10.0.0.3")).await;
    api.restart().await;

    let path = format!("/api/v1/pods?watch=true&resourceVersion={}", version(&first["metadata"]));
    // A success, and then the error as the only event.
    let events = watch(&kept, &path, WHOLE, |_| false).await;
    assert_eq!((events.len(), &events[0]["type"]), (1, &json!("ERROR")), "{events:?}");
    assert_status(&events[0]["object"], 410, "Expired", "too old resource version");
    let path = format!("/api/v1/namespaces/shop/pods?limit=1&continue={token}");
    let (code, status) = get(&kept, &path, WHOLE).await;
    assert_eq!(code, 410, "{status}");
    assert_status(&status, 410, "Expired", "The provided continue parameter is too old");
}

fn assert_status(status: &Json, code: u16, reason: &str, message: &str) {
    assert_eq!((&status["kind"], &status["apiVersion"]), (&json!("Status"), &json!("v1")), "{status}");
    assert_eq!((&status["status"], &status["code"]), (&json!("Failure"), &json!(code)), "{status}");
    assert_eq!(status["reason"], reason, "{status}");
    assert!(
        status["message"].as_str().is_some_and(|text| text.contains(message)),
        "{message} not in {status}"
    );
}

async fn client_that_keeps_its_token(kube_config: &Path) -> Client {
    let mut file = Kubeconfig::read_from(kube_config).expect("a kubeconfig");
    for user in file.auth_infos.iter_mut().filter_map(|user| user.auth_info.as_mut()) {
        let path = user.token_file.take().expect("a file with the token");
        user.token = Some(std::fs::read_to_string(path).expect("read the token").into());
    }
    client_of(file).await
}

async fn send(client: &Client, path: &str, accept: &str) -> http::Response<Body> {
    let request = http::Request::get(path).header("accept", accept).body(Body::empty()).expect("a request");
    let answer = timeout(PATIENCE, client.send(request)).await.expect("an answer in time");
    answer.unwrap_or_else(|error| panic!("{path}: {error:?}"))
}

/// The answer to a request: its code and its body.
async fn get(client: &Client, path: &str, accept: &str) -> (u16, Json) {
    let answer = send(client, path, accept).await;
    let code = answer.status().as_u16();
    let body = timeout(PATIENCE, answer.into_body().collect_bytes()).await.expect("in time").expect("a body");
    (code, serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{path}: {code}: {error}: {body:?}")))
}

/// The events of a watch, until they are `enough` or it ends.
async fn watch(client: &Client, path: &str, accept: &str, enough: impl Fn(&[Json]) -> bool) -> Vec<Json> {
    let answer = send(client, path, accept).await;
    assert_eq!(answer.status(), 200, "{path}");
    let mut body = answer.into_body();
    let (mut text, mut events) = (Vec::new(), Vec::new());
    while !enough(&events) {
        let frame = timeout(2 * PATIENCE, body.frame()).await.expect("an event, or the end, in time");
        let Some(frame) = frame else { break };
        text.extend_from_slice(&frame.expect("a frame").into_data().unwrap_or_default());
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            events.push(serde_json::from_slice(&line).expect("an event"));
        }
    }
    events
}

/// Type and name of each event.
fn told(events: &[Json]) -> Vec<String> {
    let told = |event: &Json| {
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
        format!("{} {name}", event["type"].as_str().unwrap_or_default())
    };
    events.iter().map(told).collect()
}

fn names(list: &Json) -> Vec<String> {
    let items = list["items"].as_array().expect("items");
    items.iter().map(|item| item["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}

fn version(metadata: &Json) -> u64 {
    metadata["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a version")
}

/// The names of the fields, sorted.
fn keys(object: &Json) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

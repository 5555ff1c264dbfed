//! Values from the request that brought a batch.

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use spanbridge_component::{AuthData, AuthValue, Context, Metadata};

use crate::harness::{acted_with, text};

#[derive(Debug)]
struct User;

impl AuthData for User {
    fn attribute(&self, name: &str) -> Option<AuthValue> {
        match name {
            "username" => Some(AuthValue::Text("alice".into())),
            "groups" => Some(AuthValue::List(vec!["ops".into(), "dev".into()])),
            "none" => Some(AuthValue::List(vec![])),
            _ => None,
        }
    }

    fn names(&self) -> Vec<String> {
        vec!["username".into(), "groups".into(), "none".into()]
    }
}

fn context() -> Context {
    Context {
        client_address: Some("[::ffff:192.0.2.7]:4711".parse().unwrap()),
        metadata: Metadata::from_pairs([("X-Tenant", "a"), ("x-tenant", "b"), ("single", "s")]),
        auth: Some(Arc::new(User)),
        deadline: None,
    }
}

async fn looked_up(source: &str) -> Option<Any> {
    looked_up_in(source, context()).await
}

async fn looked_up_in(source: &str, context: Context) -> Option<Any> {
    let action = format!("- {{key: out, action: insert, from_context: {source}}}");
    acted_with(&action, vec![], context).await.pop().map(|(_, value)| value)
}

#[tokio::test]
async fn metadata_is_found_whatever_its_case_and_several_values_are_joined() {
    assert_eq!(looked_up("metadata.x-TENANT").await, Some(text("a;b")));
    assert_eq!(looked_up("metadata.single").await, Some(text("s")));
    assert_eq!(looked_up("single").await, Some(text("s")), "a bare key is metadata");
    assert_eq!(looked_up("metadata.absent").await, None);
}

#[tokio::test]
async fn what_the_authenticator_found_out_is_there_by_name() {
    assert_eq!(looked_up("auth.username").await, Some(text("alice")));
    assert_eq!(looked_up("auth.groups").await, Some(text("ops;dev")));
    assert_eq!(looked_up("auth.none").await, None);
    assert_eq!(looked_up("auth.absent").await, None);
    assert_eq!(looked_up_in("auth.username", Context::default()).await, None);
}

#[tokio::test]
async fn the_address_of_the_client_has_no_port() {
    assert_eq!(looked_up("client.address").await, Some(text("192.0.2.7")));
    let v6 = Context { client_address: Some("[2001:db8::1]:1".parse().unwrap()), ..Context::default() };
    assert_eq!(looked_up_in("client.address", v6).await, Some(text("2001:db8::1")));
    assert_eq!(looked_up_in("client.address", Context::default()).await, None);
}

#[tokio::test]
async fn several_actions_take_each_its_own_from_the_context_and_defaults_stand_in() {
    let actions = "\
- {key: user, action: upsert, from_context: auth.username}
- {key: tenant, action: insert, from_context: metadata.absent, default_value: none}
- {key: nothing, action: insert, from_context: absent}
- {key: single, action: update, from_context: single}
";
    let out = acted_with(actions, vec![("single", text("old"))], context()).await;
    let names: Vec<_> = out.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    assert_eq!(names, [("single", text("s")), ("user", text("alice")), ("tenant", text("none"))]);
}

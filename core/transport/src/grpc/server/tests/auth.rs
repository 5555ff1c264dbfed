//! Authentication: who gets in, and what the others are told.

use spanbridge_component::{AuthAttributes, AuthData, AuthError, AuthRequest, ServerAuthenticator};
use spanbridge_config::Optional;

use super::*;
use crate::auth::{ServerAuth, ServerAuthConfig};
use crate::grpc::Server;

/// Does what the header `authorization` says.
struct Obedient;

#[async_trait]
impl ServerAuthenticator for Obedient {
    async fn authenticate(&self, request: &AuthRequest<'_>) -> Result<Arc<dyn AuthData>, AuthError> {
        match request.header("Authorization").map(|value| value.to_str().unwrap()) {
            Some("panic") => panic!("as the test wants"),
            Some("hang") => std::future::pending().await,
            Some("busy") => Err(AuthError::undecided("try again later", "too much to do")),
            Some(name) if name.starts_with("user ") => {
                Ok(Arc::new(AuthAttributes::new().with("username", &name["user ".len()..])))
            }
            Some(_) => Err(AuthError::refused("invalid credentials", "wrong password")),
            None => Err(AuthError::missing("no basic auth provided")),
        }
    }
}

fn rig() -> Rig {
    let auth = ServerAuth::new("obedient".parse().unwrap(), Arc::new(Obedient));
    Rig::guarded(&ServerConfig::default(), Account::new(), Some(auth))
}

fn as_client(path: &str, authorization: &str) -> Request<()> {
    let mut request = post(path);
    request.headers_mut().insert("authorization", authorization.parse().unwrap());
    request
}

#[tokio::test(start_paused = true)]
async fn an_authenticated_request_reaches_the_handler_with_what_is_known_of_the_client() {
    let mut client = rig().client().await;
    let answer = client.send(as_client("/test.Service/Who", "user me"), framed(false, b"")).await;
    assert_eq!((answer.code(), answer.message.as_ref()), (Some(Code::Ok), b"me".as_slice()));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_let_in_gets_the_authenticators_code_and_text() {
    let rig = rig();
    let mut client = rig.client().await;
    let answer = client.unary(ECHO, b"body").await;
    assert_eq!((answer.code(), answer.text()), (Some(Code::Unauthenticated), "no basic auth provided"));
    for (authorization, code, text) in [
        ("wrong", Code::Unauthenticated, "invalid credentials"),
        ("busy", Code::Unavailable, "try again later"),
        ("panic", Code::Unavailable, "internal error"),
    ] {
        let answer = client.send(as_client(ECHO, authorization), framed(false, &[0; 100_000])).await;
        assert_eq!((answer.http, answer.code(), answer.text()), (200, Some(code), text), "{authorization}");
    }
    assert_eq!(rig.counts(), (0, 0));
    // The connection is as good as before.
    let answer = client.send(as_client(ECHO, "user me"), framed(false, &[1; 3_000_000])).await;
    assert_eq!(answer.code(), Some(Code::Ok));
}

#[tokio::test(start_paused = true)]
async fn a_request_is_refused_before_its_body_is_there() {
    let mut client = rig().client().await;
    let (response, _body) = client.open(as_client(ECHO, "wrong")).await;
    assert_eq!(answer(response).await.code(), Some(Code::Unauthenticated));
}

#[tokio::test(start_paused = true)]
async fn methods_that_are_not_served_are_unimplemented_whoever_asks() {
    let mut client = rig().client().await;
    assert_eq!(client.unary("/other.Service/Echo", b"").await.code(), Some(Code::Unimplemented));
}

#[tokio::test(start_paused = true)]
async fn an_authenticator_that_hangs_holds_a_request_until_its_deadline() {
    let mut client = rig().client().await;
    let mut request = as_client(ECHO, "hang");
    request.headers_mut().insert("grpc-timeout", "5S".parse().unwrap());
    let start = tokio::time::Instant::now();
    assert_eq!(client.send(request, framed(false, b"")).await.code(), Some(Code::DeadlineExceeded));
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn a_server_that_asks_for_credentials_does_not_start_without_somebody_who_checks_them() {
    let config = ServerConfig {
        endpoint: "127.0.0.1:0".into(),
        auth: Optional::on(ServerAuthConfig {
            authenticator: Some("basicauth".parse().unwrap()),
            ..Default::default()
        }),
        ..ServerConfig::default()
    };
    let error = Server::start(&config, Arc::new(Service::default()), Account::new(), None, |_| {}).await;
    assert!(error.unwrap_err().to_string().contains("no authenticator was given"));
}

//! Requests against tables.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderMap;
use spanbridge_component::{AuthValue, Code};

use super::*;
use crate::hash::Class;
use crate::htpasswd::Source;

fn server(table: &str) -> Server {
    let server = Server::new().unwrap();
    server.swap(Table::parse(&[(Source::Inline, table)]).unwrap().0);
    server
}

fn basic(credentials: &str) -> String {
    format!("Basic {}", STANDARD.encode(credentials))
}

async fn ask_from(server: &Server, peer: &str, authorization: &str) -> Decision {
    let mut headers = HeaderMap::new();
    headers.append(HEADER, HeaderValue::from_bytes(authorization.as_bytes()).unwrap());
    let peer = Some(peer.parse().unwrap());
    let request = AuthRequest { headers: &headers, peer, certificates: &[], is_secured: false };
    server.authenticate(&request).await
}

async fn ask(server: &Server, authorization: &str) -> Decision {
    ask_from(server, "10.0.0.1:1", authorization).await
}

/// What is remembered for all requests with these credentials.
async fn find(server: &Server, authorization: &str) -> Arc<AuthAttributes> {
    let encoded = &authorization.as_bytes()[SCHEME.len()..];
    server.find(encoded, Some("10.0.0.1:1".parse().unwrap())).await.unwrap()
}

fn text(decision: Decision) -> (Code, String, &'static str) {
    let error = decision.unwrap_err();
    (error.code(), error.to_string(), error.reason())
}

#[tokio::test]
async fn the_right_password_comes_in_as_its_user() {
    let server = server("user-1:1234\nuser 2:{PLAIN}p:w\n");
    for scheme in ["Basic", "basic", "BASIC", "bAsIc"] {
        let raw = STANDARD.encode("user-1:1234");
        let data = ask(&server, &format!("{scheme} {raw}")).await.unwrap();
        assert!(data.attribute("username") == Some(AuthValue::Text("user-1".into())));
        assert!(data.attribute("raw") == Some(AuthValue::Text(raw)));
        assert_eq!(data.names(), ["raw", "username"]);
        assert!(data.attribute("password").is_none());
    }
    assert!(ask(&server, &basic("user 2:p:w")).await.is_ok());
}

#[tokio::test]
async fn the_credentials_are_in_the_answer_and_not_in_what_is_remembered() {
    let server = server("user:1234");
    let authorization = basic("user:1234");
    for _ in 0..2 {
        let raw = AuthValue::Text(STANDARD.encode("user:1234"));
        assert!(ask(&server, &authorization).await.unwrap().attribute("raw") == Some(raw));
        assert_eq!(find(&server, &authorization).await.names(), ["username"]);
    }
}

#[tokio::test]
async fn each_mistake_has_the_text_of_the_reference_and_a_reason_for_the_log() {
    let server = server("user:1234");
    let raw = |text: &str| format!("Basic {text}");
    for (authorization, message, reason) in [
        ("", "no basic auth provided", "the request has no credentials"),
        ("Bearer abc", "invalid authorization scheme prefix", "another scheme"),
        ("Basic", "invalid authorization scheme prefix", "another scheme"),
        ("Basic\tdXNlcjoxMjM0", "invalid authorization scheme prefix", "another scheme"),
        (raw("invalid").as_str(), "invalid authorization format", "base64"),
        (raw("dXNlcjoxMjM").as_str(), "invalid authorization format", "base64"),
        (raw(" dXNlcjoxMjM0").as_str(), "invalid authorization format", "base64"),
        (raw("aW52YWxpZAo=").as_str(), "invalid authorization format", "no colon"),
        (basic("user:wrong").as_str(), "invalid credentials", "wrong password"),
        (basic("nobody:1234").as_str(), "invalid credentials", "unknown user"),
        (basic("user:").as_str(), "invalid credentials", "wrong password"),
        (basic("user:1234\n").as_str(), "invalid credentials", "ends with a newline"),
        (basic(&format!("user:{}", "x".repeat(2000))).as_str(), "invalid credentials", "longer than 1024"),
    ] {
        for attempt in 0..2 {
            let (code, given, why) = text(ask(&server, authorization).await);
            assert_eq!((code, given.as_str()), (Code::Unauthenticated, message), "{authorization} {attempt}");
            assert!(why.contains(reason), "{authorization}: {why}");
        }
    }
    let headers = HeaderMap::new();
    let request = AuthRequest { headers: &headers, peer: None, certificates: &[], is_secured: true };
    let error = server.authenticate(&request).await.unwrap_err();
    assert!(error.is_missing());
    assert_eq!(error.challenges(), [CHALLENGE]);
}

#[tokio::test]
async fn only_the_first_header_counts() {
    let server = server("user:1234");
    let mut headers = HeaderMap::new();
    headers.append(HEADER, HeaderValue::from_str(&basic("user:wrong")).unwrap());
    headers.append(HEADER, HeaderValue::from_str(&basic("user:1234")).unwrap());
    let request = AuthRequest { headers: &headers, peer: None, certificates: &[], is_secured: true };
    assert_eq!(server.authenticate(&request).await.unwrap_err().to_string(), INVALID);
}

#[tokio::test]
async fn a_new_table_decides_at_once() {
    let server = server("user:old");
    assert!(ask(&server, &basic("user:old")).await.is_ok());
    assert!(ask(&server, &basic("user:new")).await.is_err());
    server.swap(Table::parse(&[(Source::File, "user:new")]).unwrap().0);
    assert!(ask(&server, &basic("user:old")).await.is_err());
    assert!(ask(&server, &basic("user:new")).await.is_ok());
    server.swap(Table::default());
    assert!(ask(&server, &basic("user:new")).await.is_err());
    server.swap(Table::parse(&[(Source::File, "user:new")]).unwrap().0);
    assert!(ask(&server, &basic("user:new")).await.is_ok());
}

#[tokio::test]
async fn a_new_table_makes_those_pay_again_whose_line_is_another() {
    let table =
        |same: &str, other: &str| Table::parse(&[(Source::File, &format!("same:{same}\nother:{other}"))]);
    let [hash, again] = [(); 2].map(|()| bcrypt::hash("1234", 4).unwrap());
    let server = Server::new().unwrap();
    server.swap(table(&hash, &hash).unwrap().0);
    let (same, other) = (basic("same:1234"), basic("other:1234"));
    let first = find(&server, &same).await;
    ask(&server, &other).await.unwrap();
    assert!(ask(&server, &basic("same:guess")).await.is_err());

    server.swap(table(&hash, &again).unwrap().0);
    // Who is remembered is answered at once; who is not waits for a thread.
    let kept = find(&server, &same).now_or_never().unwrap();
    assert!(Arc::ptr_eq(&kept, &first));
    assert!(ask(&server, &other).now_or_never().is_none());
    assert!(ask(&server, &basic("same:guess")).now_or_never().is_none());
    assert!(ask(&server, &other).await.is_ok(), "the password is the same under another salt");
}

#[tokio::test]
async fn without_a_table_nobody_comes_in() {
    let server = Server::new().unwrap();
    assert_eq!(text(ask(&server, &basic("user:1234")).await).0, Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_credentials_are_verified_once_at_a_time_and_then_not_any_more() {
    let hash = bcrypt::hash("1234", 8).unwrap();
    let server = server(&format!("user:{hash}"));
    let authorization = basic("user:1234");
    let all = futures_util::future::join_all((0..200).map(|_| find(&server, &authorization))).await;
    // Every verification makes a finding of its own, so one finding is one verification.
    assert!(all.iter().all(|data| Arc::ptr_eq(data, &all[0])));
    let later = find(&server, &authorization).await;
    assert!(Arc::ptr_eq(&later, &all[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guesser_is_put_off_and_leaves_known_clients_and_new_ones_alone() {
    let hash = bcrypt::hash("1234", 7).unwrap();
    let server = Arc::new(server(&format!("user:{hash}\nother:{hash}")));
    let known = basic("user:1234");
    ask(&server, &known).await.unwrap();
    let verified = AtomicUsize::new(0);
    let guesses = (0..1000).map(|number| {
        let (server, verified) = (&server, &verified);
        async move {
            match text(ask_from(server, "10.6.6.6:1", &basic(&format!("user:{number}"))).await) {
                (Code::Unauthenticated, ..) => {
                    verified.fetch_add(1, Ordering::Relaxed);
                }
                (code, message, _) => {
                    assert_eq!((code, message.contains("try again later")), (Code::Unavailable, true));
                }
            }
        }
    });
    let guesser = futures_util::future::join_all(guesses);
    let client = async {
        for _ in 0..1000 {
            // At once: it waits for nothing that the guesser keeps busy.
            assert!(ask(&server, &known).now_or_never().is_some_and(|decision| decision.is_ok()));
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(guesser, client);
    let verified = verified.into_inner();
    assert!((1..=64).contains(&verified), "{verified} guesses were verified");
    // Somebody from the guesser's address who is known, and somebody new from another: both come in.
    assert!(ask_from(&server, "10.6.6.6:2", &known).await.is_ok());
    assert!(ask_from(&server, "10.0.0.7:1", &basic("other:1234")).await.is_ok());
}

#[test]
fn a_refusal_costs_the_same_whatever_the_user() {
    let hash = bcrypt::hash("1234", 8).unwrap();
    let table = Table::parse(&[(
        Source::Inline,
        &format!("strong:{hash}\nweak:{{SHA}}cRDtpNCeBiql5KOQsKVyrA0sAiA=\nplain:x"),
    )]);
    let (table, _) = table.unwrap();
    let work = |user: &str| {
        let mut classes = Vec::new();
        let verdict = table.verify_with(user, |hash| {
            classes.push(hash.class());
            hash.verify(b"guess")
        });
        assert_ne!(verdict, Verdict::Right);
        assert_eq!(table.verify(user, b"guess"), verdict);
        classes.sort();
        classes
    };
    // That the stand-in for a hash takes the work of its class is tested beside it.
    let expected = [Class::Plain, Class::Sha1, Class::Bcrypt(8)];
    for user in ["strong", "weak", "plain", "nobody"] {
        assert_eq!(work(user), expected, "{user}");
    }
}

//! When tokens are fetched, under paused time.

use std::sync::atomic::{AtomicUsize, Ordering};

use spanbridge_component::{Code, Kind};
use spanbridge_config::Opaque;
use spanbridge_testkit::{StatusLog, host, settings_of};
use tokio::time::{advance, sleep};

use super::*;

/// Gives out numbered tokens; fails while told to. Each takes a second.
#[derive(Clone, Default)]
struct Numbered {
    asked: Arc<AtomicUsize>,
    fails: Arc<AtomicUsize>,
    lifetime: Option<Duration>,
}

#[async_trait]
impl Source for Numbered {
    async fn fetch(&self) -> Result<Grant, String> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        sleep(Duration::from_secs(1)).await;
        match self.fails.load(Ordering::SeqCst) {
            0 => Ok(Grant { credentials: Opaque::new(format!("Bearer {number}")), lifetime: self.lifetime }),
            1 => Err("the endpoint is down".to_owned()),
            _ => panic!("scripted"),
        }
    }

    fn close(&self) {}
}

impl Numbered {
    fn living(seconds: u64) -> Self {
        Self { lifetime: Some(Duration::from_secs(seconds)), ..Self::default() }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn running(source: &Numbered) -> (Authenticator, Arc<StatusLog>) {
    let tokens = Tokens::new(source.clone(), Duration::from_secs(300), Span::none());
    let (host, log) = host(&settings_of(Kind::Extension, "oauth2client"));
    tokens.open(host);
    (Authenticator(tokens), log)
}

async fn ask(tokens: &Authenticator) -> Result<String, AuthError> {
    let mut headers = HeaderMap::new();
    tokens.authorize(&Context::default(), &mut headers).await?;
    assert!(headers["authorization"].is_sensitive());
    Ok(headers["authorization"].to_str().unwrap().to_owned())
}

#[tokio::test(start_paused = true)]
async fn many_callers_cause_one_fetch_and_all_get_its_token() {
    let source = Numbered::living(3600);
    let (tokens, _) = running(&source);
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let tokens = tokens.clone();
            tokio::spawn(async move { ask(&tokens).await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap(), "Bearer 1");
    }
    assert_eq!(source.asked(), 1);
    assert!(tokens.requires_transport_security());
}

#[tokio::test(start_paused = true)]
async fn a_token_about_to_expire_is_replaced_while_requests_go_on_with_it() {
    let source = Numbered::living(3600);
    let (tokens, _) = running(&source);
    assert_eq!(ask(&tokens).await.unwrap(), "Bearer 1");
    advance(Duration::from_secs(3600 - 301)).await;
    assert_eq!(ask(&tokens).await.unwrap(), "Bearer 1");
    assert_eq!(source.asked(), 1);
    advance(Duration::from_secs(2)).await;
    // Nobody waits.
    assert_eq!(ask(&tokens).await.unwrap(), "Bearer 1");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(ask(&tokens).await.unwrap(), "Bearer 2");
    assert_eq!(source.asked(), 2);
    // Nobody asked until it was over: now everybody waits for the next.
    advance(Duration::from_secs(3600)).await;
    assert_eq!(ask(&tokens).await.unwrap(), "Bearer 3");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_lives_shorter_than_the_buffer_is_used_for_half_of_its_life() {
    let source = Numbered::living(60);
    let (tokens, _) = running(&source);
    for _ in 0..10 {
        assert_eq!(ask(&tokens).await.unwrap(), "Bearer 1");
    }
    advance(Duration::from_secs(28)).await;
    assert_eq!(ask(&tokens).await.unwrap(), "Bearer 1");
    assert_eq!(source.asked(), 1);
    let forever = Numbered::default();
    let (tokens, _) = running(&forever);
    assert_eq!(ask(&tokens).await.unwrap(), "Bearer 1");
    advance(Duration::from_secs(3000)).await;
    assert_eq!(ask(&tokens).await.unwrap(), "Bearer 1");
    advance(Duration::from_secs(700)).await;
    assert_eq!(ask(&tokens).await.unwrap(), "Bearer 2");
}

#[tokio::test(start_paused = true)]
async fn a_failing_endpoint_is_not_hammered_and_its_recovery_is_noticed() {
    let source = Numbered::living(3600);
    source.fails.store(1, Ordering::SeqCst);
    let (tokens, log) = running(&source);
    let error = ask(&tokens).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Unavailable, "the endpoint is down"));
    for _ in 0..1000 {
        let error = ask(&tokens).await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        assert!(error.message().starts_with("the endpoint is down; it is asked again in"), "{error}");
    }
    assert_eq!(source.asked(), 1);
    for _ in 0..600 {
        let _ = ask(&tokens).await;
        advance(Duration::from_secs(1)).await;
    }
    // 1 + 2 + 4 + 8 + 16 + 32, then every minute.
    assert!((10..=18).contains(&source.asked()), "{}", source.asked());
    source.fails.store(0, Ordering::SeqCst);
    advance(PAUSE_MAX).await;
    ask(&tokens).await.unwrap();
    let reports = log.reports();
    assert!(matches!(&reports[0], Status::RecoverableError(text) if text == "the endpoint is down"));
    assert_eq!(reports.last(), Some(&Status::Ok));
}

#[tokio::test(start_paused = true)]
async fn while_the_last_token_is_good_a_failing_endpoint_hurts_nobody() {
    let source = Numbered::living(3600);
    let (tokens, _) = running(&source);
    ask(&tokens).await.unwrap();
    source.fails.store(1, Ordering::SeqCst);
    advance(Duration::from_secs(3400)).await;
    for _ in 0..10 {
        assert_eq!(ask(&tokens).await.unwrap(), "Bearer 1");
        sleep(Duration::from_secs(2)).await;
    }
    assert!(source.asked() > 1);
    advance(Duration::from_secs(200)).await;
    assert!(ask(&tokens).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn new_credentials_are_tried_at_once_and_a_panic_is_a_failure_like_others() {
    let source = Numbered::living(3600);
    source.fails.store(2, Ordering::SeqCst);
    let (tokens, _) = running(&source);
    assert_eq!(ask(&tokens).await.unwrap_err().code(), Code::Unavailable);
    source.fails.store(1, Ordering::SeqCst);
    assert!(ask(&tokens).await.unwrap_err().message().contains("is down"));
    source.fails.store(0, Ordering::SeqCst);
    assert!(ask(&tokens).await.is_err());
    tokens.0.forget();
    ask(&tokens).await.unwrap();
    tokens.0.close().await;
    assert_eq!(ask(&tokens).await.unwrap_err().message(), "the extension does not run");
    assert!(!format!("{tokens:?}").contains("Bearer"));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_with_credentials_that_have_changed_since_does_not_count() {
    let source = Numbered::living(3600);
    let (tokens, log) = running(&source);
    let change = async || {
        sleep(Duration::from_millis(500)).await;
        tokens.0.forget();
    };
    // A token of before is for those who waited for it.
    let (first, ()) = tokio::join!(ask(&tokens), change());
    assert_eq!(first.unwrap(), "Bearer 1");
    assert_eq!(ask(&tokens).await.unwrap(), "Bearer 1");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(ask(&tokens).await.unwrap(), "Bearer 2");
    assert_eq!(source.asked(), 2);

    // A failure of before is nobody's: who waits gets what comes of the new credentials.
    source.fails.store(1, Ordering::SeqCst);
    advance(Duration::from_secs(3600)).await;
    let repair = async {
        sleep(Duration::from_millis(1500)).await;
        source.fails.store(0, Ordering::SeqCst);
    };
    let (third, (), ()) = tokio::join!(ask(&tokens), change(), repair);
    assert_eq!(third.unwrap(), "Bearer 4");
    assert!(log.reports().is_empty(), "{:?}", log.reports());
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_unless_it_is_new_or_no_longer_in_use() {
    let source = Numbered::living(3600);
    let (tokens, _) = running(&source);
    let sent = |number: u32| {
        let value = HeaderValue::try_from(format!("Bearer {number}")).unwrap();
        HeaderMap::from_iter([(http::header::AUTHORIZATION, value)])
    };
    assert_eq!(ask(&tokens).await.unwrap(), "Bearer 1");
    tokens.refused(&sent(1));
    assert_eq!(
        ask(&tokens).await.unwrap(),
        "Bearer 1",
        "a server that takes none would cause a fetch a request"
    );
    advance(REFUSED_AGE_MIN).await;
    // One of several requests that were under way with it.
    tokens.refused(&sent(1));
    tokens.refused(&sent(1));
    assert_eq!(ask(&tokens).await.unwrap(), "Bearer 2");
    advance(REFUSED_AGE_MIN).await;
    tokens.refused(&sent(1));
    assert_eq!(ask(&tokens).await.unwrap(), "Bearer 2");
    assert_eq!(source.asked(), 2);
    assert!(!tokens.depends_on_request());
}

//! All detectors, again and again until they have succeeded or their time is over.

use std::time::Duration;

use futures_util::future::join_all;
use spanbridge_pdata::Attribute;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::config::{Config, RetryConfig};
use crate::detectors::{Detector, detect};
use crate::found::{Found, merge};
use crate::world::World;

/// What all detectors found, serialized.
///
/// # Errors
/// What each of those that failed says.
pub(crate) async fn all(config: &Config, world: &World) -> Result<Vec<Attribute>, String> {
    let detectors = config.detectors.iter().filter_map(|name| Detector::parse(name));
    let results = join_all(detectors.map(|detector| until_it_succeeds(detector, config, world))).await;
    let errors: Vec<&str> =
        results.iter().filter_map(|result| result.as_ref().err()).map(String::as_str).collect();
    if !errors.is_empty() {
        return Err(errors.join("; "));
    }
    let mut found = merge(results.into_iter().flatten());
    if !config.attributes.is_empty() {
        found.0.retain(|(name, _)| config.attributes.contains(name));
    }
    let names: Vec<&str> = found.0.iter().map(|(name, _)| name.as_str()).collect();
    tracing::info!(attributes = names.join(", "), "detected resource information");
    Ok(found.0.into_iter().map(|(name, value)| Attribute::new(name, value)).collect())
}

/// One detector. Without a limit of their own, all attempts together have the time of `timeout`.
async fn until_it_succeeds(detector: Detector, config: &Config, world: &World) -> Result<Found, String> {
    let (retry, limit) = (&config.retry, config.timeout.get());
    let begin = Instant::now();
    let within = |time: Duration| if time.is_zero() { None } else { begin.checked_add(time) };
    let elapsed_max = retry.max_elapsed_time.get();
    let deadline = within(if elapsed_max.is_zero() || !retry.enabled { limit } else { elapsed_max });
    let mut pause = retry.initial_interval.get();
    let mut last = None;
    loop {
        let failure = match attempt(detector, config, world, limit, deadline).await {
            Ok(found) => return Ok(found),
            // The end of the time says less than what failed before it.
            Err(Failure::OutOfTime(error)) => last.unwrap_or(error),
            Err(Failure::Failed(error)) => error,
        };
        let next = spread(pause, retry);
        let ends = deadline.is_some_and(|deadline| Instant::now() + next >= deadline);
        if !retry.enabled || ends {
            return Err(format!("detector {}: {failure}", detector.name()));
        }
        tracing::warn!(
            detector = detector.name(),
            error = failure,
            "failed to detect resource, trying again"
        );
        last = Some(failure);
        sleep(next).await;
        pause = pause.mul_f64(retry.multiplier).min(retry.max_interval.get());
    }
}

enum Failure {
    Failed(String),
    OutOfTime(String),
}

async fn attempt(
    detector: Detector,
    config: &Config,
    world: &World,
    limit: Duration,
    deadline: Option<Instant>,
) -> Result<Found, Failure> {
    let limit = if limit.is_zero() { None } else { Some(limit) };
    let attempt = async {
        match limit {
            Some(limit) => timeout(limit, detect(detector, config, world)).await,
            None => Ok(detect(detector, config, world).await),
        }
    };
    let result = match deadline {
        Some(deadline) => timeout_at(deadline, attempt).await,
        None => Ok(attempt.await),
    };
    match result {
        Ok(Ok(found)) => found.map_err(Failure::Failed),
        _ => Err(Failure::OutOfTime("no answer in time; a longer timeout may help".to_owned())),
    }
}

/// The pause, longer or shorter by up to `randomization_factor`.
fn spread(pause: Duration, retry: &RetryConfig) -> Duration {
    let factor = 1.0 + retry.randomization_factor * (2.0 * fastrand::f64() - 1.0);
    pause.mul_f64(factor.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(yaml: &str) -> Config {
        spanbridge_config::from_yaml(yaml).unwrap_or_else(|e| panic!("{e}"))
    }

    fn world(variables: &[(&str, &str)]) -> World {
        World::made_up(std::path::Path::new("/nowhere"), variables)
    }

    #[tokio::test]
    async fn an_allow_list_leaves_only_what_it_names() {
        let world = world(&[("OTEL_RESOURCE_ATTRIBUTES", "a=1,b=2,c=3")]);
        let found = all(&config("attributes: [c, a]"), &world).await.unwrap();
        assert_eq!(found.iter().map(Attribute::key).collect::<Vec<_>>(), ["a", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_detector_that_keeps_failing_is_tried_again_until_the_time_is_over() {
        let world = world(&[("OTEL_RESOURCE_ATTRIBUTES", "nonsense")]);
        for (yaml, least, most) in [
            ("{timeout: 10s}", 1, 10),
            ("{timeout: 5s, retry: {max_elapsed_time: 60s}}", 20, 60),
            ("{timeout: 5s, retry: {enabled: false}}", 0, 0),
        ] {
            let begin = Instant::now();
            let error = all(&config(yaml), &world).await.unwrap_err();
            assert_eq!(error, "detector env: invalid resource format: \"nonsense\"");
            let seconds = begin.elapsed().as_secs();
            assert!((least..=most).contains(&seconds), "{yaml}: {seconds}");
        }
    }
}

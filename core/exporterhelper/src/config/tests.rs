use spanbridge_component::Problem;
use spanbridge_config::Document;

use super::*;

fn document(yaml: &str) -> (Option<HelperConfig>, Vec<String>) {
    let document = Document::from_yaml(yaml).unwrap();
    let (value, found) = document.decode_and_validate::<HelperConfig>(document.root(), &[], &[]).into_parts();
    (value, found.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect())
}

fn read(yaml: &str) -> HelperConfig {
    let (value, found) = document(yaml);
    assert_eq!(found, Vec::<String>::new(), "{yaml}");
    value.unwrap()
}

fn messages(yaml: &str) -> Vec<String> {
    document(yaml).1
}

fn found(config: &impl Validate) -> Vec<Problem> {
    let mut problems = Problems::new();
    config.validate(&mut problems);
    problems.into_found()
}

#[test]
fn the_defaults_are_the_otlp_exporters_of_the_reference() {
    let config = read("{}");
    assert_eq!(config, HelperConfig::default());
    assert_eq!(config.timeout, Duration::from_secs(5));
    let retry = &config.retry_on_failure;
    assert!(retry.enabled);
    assert_eq!(retry.initial_interval, Duration::from_secs(5));
    assert_eq!((retry.randomization_factor, retry.multiplier), (0.5, 1.5));
    assert_eq!(retry.max_interval, Duration::from_secs(30));
    let queue = config.sending_queue.as_ref().unwrap();
    assert_eq!((queue.num_consumers, queue.queue_size, queue.sizer()), (10, 1000, Sizer::Requests));
    assert!(!queue.block_on_overflow && !queue.wait_for_result && !queue.batch.is_on());
    let batch = queue.batch.contents();
    assert_eq!((batch.min_size, batch.max_size), (8192, 0));
    assert_eq!(batch.flush_timeout, Duration::from_millis(200));
    assert!(found(&config).is_empty());
}

#[test]
fn a_queue_is_on_when_null_and_off_when_it_says_so() {
    assert!(read("sending_queue:").sending_queue.is_on());
    assert!(!read("sending_queue: {enabled: false, queue_size: 5}").sending_queue.is_on());
}

#[test]
fn retries_end_after_five_minutes_but_never_for_a_queue_on_disk_unless_it_is_written() {
    let minutes = |n: u64| Some(std::time::Duration::from_secs(60 * n));
    let unwritten = read("{}").retry_on_failure;
    assert_eq!((unwritten.time_max(false), unwritten.time_max(true)), (minutes(5), None));
    let written = read("retry_on_failure: {max_elapsed_time: 7m}").retry_on_failure;
    assert_eq!((written.time_max(false), written.time_max(true)), (minutes(7), minutes(7)));
    let zero = read("retry_on_failure: {max_elapsed_time: 0}").retry_on_failure;
    assert_eq!((zero.time_max(false), zero.time_max(true)), (None, None));
}

#[test]
fn the_batch_sizer_is_inherited_only_where_both_blocks_are_written() {
    let sizer = |yaml: &str| {
        let config = document(&format!("sending_queue: {{{yaml}}}")).0.unwrap();
        config.sending_queue.as_ref().unwrap().batch_sizer()
    };
    assert_eq!(sizer("batch: "), Some(BatchSizer::Items));
    assert_eq!(sizer("batch: {}"), Some(BatchSizer::Items));
    assert_eq!(sizer("sizer: bytes, queue_size: 100000, batch: {}"), Some(BatchSizer::Bytes));
    assert_eq!(sizer("sizer: bytes, batch: "), Some(BatchSizer::Items), "null never inherits");
    assert_eq!(sizer("sizer: requests, batch: "), Some(BatchSizer::Items));
    assert_eq!(sizer("sizer: requests, batch: {sizer: bytes}"), Some(BatchSizer::Bytes));
    assert_eq!(
        messages("sending_queue: {sizer: requests, batch: {}}"),
        ["sending_queue.batch.sizer: `batch` supports only `items` or `bytes` sizer, found \"requests\""]
    );
}

#[test]
fn an_effective_configuration_reads_back_as_itself() {
    for yaml in ["sending_queue: {sizer: requests, batch: }", "sending_queue: {enabled: false}", "{}"] {
        let config = read(yaml);
        let printed = spanbridge_config::to_yaml(&serde_json::to_value(&config).unwrap());
        assert_eq!(read(&printed), config, "{printed}");
    }
}

#[test]
fn mistakes_get_the_references_texts() {
    let retry = |yaml: &str| messages(&format!("retry_on_failure: {{enabled: false, {yaml}}}"));
    assert_eq!(
        retry("randomization_factor: -1, multiplier: -1"),
        [
            "retry_on_failure.randomization_factor: randomization_factor value must be greater than or equal to 0",
            "retry_on_failure.multiplier: multiplier value must be greater than or equal to 0",
        ]
    );
    assert_eq!(
        retry("randomization_factor: 1.1"),
        ["retry_on_failure.randomization_factor: randomization_factor value must be less than or equal to 1"]
    );
    assert_eq!(
        retry("max_elapsed_time: 1s"),
        [
            "retry_on_failure.max_elapsed_time: 'max_elapsed_time' must not be less than 'initial_interval'",
            "retry_on_failure.max_elapsed_time: 'max_elapsed_time' must not be less than 'max_interval'",
        ]
    );
    let queue = |yaml: &str| messages(&format!("sending_queue: {{{yaml}}}"));
    assert_eq!(
        queue("num_consumers: 0, queue_size: -1"),
        [
            "sending_queue.num_consumers: `num_consumers` must be positive",
            "sending_queue.queue_size: `queue_size` must be positive",
        ]
    );
    assert_eq!(
        queue("storage: file_storage, wait_for_result: true"),
        [
            "sending_queue.wait_for_result: `wait_for_result` is not supported with a persistent queue configured with \
          `storage`"
        ]
    );
    assert_eq!(
        queue("sizer: items, batch: {min_size: 1001, max_size: 1000, flush_timeout: 0s}"),
        [
            "sending_queue.batch.flush_timeout: `flush_timeout` must be positive, found 0",
            "sending_queue.batch.max_size: `max_size` (1000) must be greater or equal to `min_size` (1001)",
            "sending_queue.batch.min_size: `min_size` must be less than or equal to `queue_size`",
        ]
    );
    assert_eq!(
        queue("batch: {partition: {metadata_keys: [a, b, A]}}"),
        [
            "sending_queue.batch.partition.metadata_keys[2]: duplicate entry in metadata_keys: \"a\" (case-insensitive)"
        ]
    );
    assert_eq!(messages("dead_letter: {}"), ["dead_letter.directory: a dead_letter block needs a directory"]);
}

#[test]
fn a_queue_that_is_off_is_not_checked_and_names_no_extension() {
    let off = "sending_queue: {enabled: false, queue_size: 0, storage: file_storage}";
    let mut problems = Problems::new();
    read(off).validate(&mut problems);
    assert!(problems.references().is_empty());
    read("sending_queue: {storage: file_storage/x}").validate(&mut problems);
    let [reference] = problems.references() else { panic!("{:?}", problems.references()) };
    assert_eq!(reference.path, ["sending_queue", "storage"]);
    assert_eq!(reference.id.as_str(), "file_storage/x");
}

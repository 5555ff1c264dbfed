//! One test for each check.

/// Makes the tests that a component of any kind passes.
///
/// `$subject` is a [`Subject`](crate::conformance::Subject), `$config` the type of its configuration:
/// `component_conformance!(Config, Subject::receiver(Factory, config()));`
#[macro_export]
macro_rules! component_conformance {
    ($config:ty, $subject:expr) => {
        mod conformance {
            use super::*;
            use $crate::conformance as suite;

            #[test]
            fn the_descriptor_is_sound() {
                suite::the_descriptor_is_sound::<$config>(&$subject.descriptor);
            }

            #[test]
            fn the_default_configuration_survives_a_round_trip() {
                suite::the_default_survives_a_round_trip::<$config>();
            }

            #[test]
            fn an_empty_document_is_the_default_configuration() {
                suite::an_empty_document_is_the_default::<$config>();
            }

            #[test]
            fn unknown_keys_are_refused() {
                suite::unknown_keys_are_refused::<$config>();
            }

            #[test]
            fn the_schema_describes_every_key() {
                suite::the_schema_describes_every_key::<$config>();
            }

            #[test]
            fn shuts_down_without_a_start() {
                suite::shuts_down_without_a_start(&$subject);
            }

            #[test]
            fn shuts_down_after_a_start_and_leaves_no_task() {
                suite::shuts_down_after_a_start(&$subject);
            }

            #[test]
            fn two_instances_live_side_by_side() {
                suite::two_instances_live_side_by_side(&$subject);
            }
        }
    };
}

/// Makes the tests that a processor passes which neither drops nor refuses anything by itself.
///
/// `processor_conformance!(Factory, config(), Delivery::Exact);` with a valid configuration and what the processor
/// promises about retried requests.
#[macro_export]
macro_rules! processor_conformance {
    ($factory:expr, $config:expr, $delivery:expr) => {
        mod processor_conformance {
            use super::*;
            use $crate::conformance as suite;

            #[test]
            fn the_configuration_under_test_is_valid() {
                suite::valid(&$config);
            }

            #[test]
            fn hands_on_every_signal() {
                suite::hands_on_every_signal(&$factory, &$config);
            }

            #[test]
            fn hands_on_errors() {
                suite::hands_on_errors(&$factory, &$config);
            }

            #[test]
            fn delivers_what_it_acknowledges_under_random_failures() {
                suite::delivers_what_it_acknowledges(&$factory, &$config, $delivery);
            }
        }
    };
}

//! OTLP as exporters speak it: the calls and what their answers mean.

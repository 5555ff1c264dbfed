//! What the API server answers, rule by rule.

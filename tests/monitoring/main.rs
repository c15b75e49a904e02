//! What operators build on: metrics, alerts and the dashboard, judged by Prometheus' own tool and held against what the
//! program exports.

#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod dashboard;
mod expression;
mod metrics;

//! The calls of whoever operates a server, as [`super::CALLS`] has the others.

use longshore_sdk::api::Readiness;

use super::{Call, Told, object, shape, text, told};

pub(super) const CALLS: &[Call] = &[
    Call {
        method: "GET",
        path: "/healthz",
        id: "live",
        tag: "operation",
        summary: "Liveness: the process answers. It looks at no ledger and no broker.",
        parameters: &[],
        body: None,
        answers: &[Told { status: 200, says: "It lives.", body: Some(("text/plain", text)), headers: &[] }],
        refusals: &[],
    },
    Call {
        method: "GET",
        path: "/readyz",
        id: "ready",
        tag: "operation",
        summary: "Readiness, and what is wrong if it is not.",
        parameters: &[],
        body: None,
        answers: &[told(200, "Ready.", shape::<Readiness>), told(503, "Not ready.", shape::<Readiness>)],
        refusals: &[],
    },
    Call {
        method: "GET",
        path: "/metrics",
        id: "metrics",
        tag: "operation",
        summary: "Metrics in Prometheus' text format.",
        parameters: &[],
        body: None,
        answers: &[Told { status: 200, says: "Every series.", body: Some(("text/plain", text)), headers: &[] }],
        refusals: &[],
    },
    Call {
        method: "GET",
        path: "/openapi.json",
        id: "openapi",
        tag: "operation",
        summary: "This description.",
        parameters: &[],
        body: None,
        answers: &[told(200, "An OpenAPI 3.1 document.", object)],
        refusals: &[],
    },
    Call {
        method: "GET",
        path: "/asyncapi.json",
        id: "asyncapi",
        tag: "operation",
        summary: "What is announced on RabbitMQ, described.",
        parameters: &[],
        body: None,
        answers: &[told(200, "An AsyncAPI 3.0 document.", object)],
        refusals: &[],
    },
    Call {
        method: "GET",
        path: "/docs",
        id: "docs",
        tag: "operation",
        summary: "This description, for people.",
        parameters: &[],
        body: None,
        answers: &[Told { status: 200, says: "A page.", body: Some(("text/html", text)), headers: &[] }],
        refusals: &[],
    },
];

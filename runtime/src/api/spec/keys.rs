//! The calls about keys, for [`super::calls`].

use longshore_sdk::api::{AuditList, KeyList, KeyMade, KeyRequest, RotateRequest};

use super::calls::{COUNT, Call, JSON, bare, query, told};
use super::shape;

pub(super) const CALLS: &[Call] = &[
    Call {
        method: "POST",
        path: "/v1/keys",
        id: "createKey",
        tag: "keys",
        summary: "Make an API key. It is in this answer and never shown again.",
        parameters: &[],
        body: Some((JSON, shape::<KeyRequest>)),
        answers: &[told(201, "The key.", shape::<KeyMade>)],
        refusals: &[400, 408, 413, 415, 422],
    },
    Call {
        method: "GET",
        path: "/v1/keys",
        id: "listKeys",
        tag: "keys",
        summary: "List API keys, good and ended, the oldest first.",
        parameters: &[],
        body: None,
        answers: &[told(200, "The caller's tenant's keys; everybody's for a key of `default`.", shape::<KeyList>)],
        refusals: &[],
    },
    Call {
        method: "POST",
        path: "/v1/keys/{id}/rotate",
        id: "rotateKey",
        tag: "keys",
        summary: "Make a key in an old one's place, which stays good for a while.",
        parameters: &[],
        body: Some((JSON, shape::<RotateRequest>)),
        answers: &[told(201, "The new key.", shape::<KeyMade>)],
        refusals: &[400, 404, 408, 413, 415, 422],
    },
    Call {
        method: "DELETE",
        path: "/v1/keys/{id}",
        id: "revokeKey",
        tag: "keys",
        summary: "Revoke a key: it opens nothing any more, everywhere within seconds.",
        parameters: &[],
        body: None,
        answers: &[bare(204, "It is revoked, or was before.")],
        refusals: &[404],
    },
    Call {
        method: "GET",
        path: "/v1/audit",
        id: "listAudit",
        tag: "keys",
        summary: "List who did what to the tenant's keys, webhooks and jobs, and who was refused, the newest first.",
        parameters: &[
            query("before", r#"{"type": "integer"}"#, "Only lines older than this one: `next` of the page before."),
            query("limit", COUNT, "At most so many lines."),
        ],
        body: None,
        answers: &[told(200, "A page of lines.", shape::<AuditList>)],
        refusals: &[400],
    },
];

//! The calls about webhooks, as [`super::CALLS`] has the others.

use longshore_sdk::api::{DeliveryList, DeliveryView, WebhookList, WebhookRequest, WebhookRotation, WebhookView};

use super::{BEFORE, Call, JSON, LIMIT, Told, bare, shape, told};

/// One that names a webhook and nothing else.
const fn about(method: &'static str, path: &'static str, id: &'static str, summary: &'static str) -> Call {
    Call { method, path, id, tag: "webhooks", summary, parameters: &[], body: None, answers: &[], refusals: &[404] }
}

pub(super) const CALLS: &[Call] = &[
    Call {
        body: Some((JSON, shape::<WebhookRequest>)),
        answers: &[Told {
            headers: &[("Location", "Where the subscription is shown.")],
            ..told(201, "Made. Its secret is in this answer and in no other.", shape::<WebhookView>)
        }],
        refusals: &[400, 408, 413, 415, 422],
        ..about("POST", "/v1/webhooks", "createWebhook", "Subscribe an address to what happens to jobs.")
    },
    Call {
        answers: &[told(200, "Every subscription, the oldest first.", shape::<WebhookList>)],
        refusals: &[],
        ..about("GET", "/v1/webhooks", "listWebhooks", "List the subscriptions.")
    },
    Call {
        answers: &[told(200, "The subscription.", shape::<WebhookView>)],
        ..about("GET", "/v1/webhooks/{id}", "getWebhook", "One subscription.")
    },
    Call {
        answers: &[bare(204, "Gone. What is on its way to it becomes dead letters.")],
        ..about("DELETE", "/v1/webhooks/{id}", "deleteWebhook", "End a subscription.")
    },
    Call {
        body: Some((JSON, shape::<WebhookRotation>)),
        answers: &[told(
            200,
            "Both secrets sign for a while. The new one is in this answer alone.",
            shape::<WebhookView>,
        )],
        refusals: &[400, 404, 408, 413, 415, 422],
        ..about("POST", "/v1/webhooks/{id}/rotate", "rotateWebhook", "Make a new secret.")
    },
    Call {
        answers: &[told(202, "A test is on its way, also where the subscription is disabled.", shape::<DeliveryView>)],
        ..about("POST", "/v1/webhooks/{id}/test", "testWebhook", "Send a test event.")
    },
    Call {
        answers: &[told(200, "It is told again.", shape::<WebhookView>)],
        ..about(
            "POST",
            "/v1/webhooks/{id}/enable",
            "enableWebhook",
            "Enable a subscription, such as one that answered 410 Gone.",
        )
    },
    Call {
        answers: &[told(200, "It is told nothing.", shape::<WebhookView>)],
        ..about("POST", "/v1/webhooks/{id}/disable", "disableWebhook", "Disable a subscription.")
    },
    Call {
        parameters: &[LIMIT, BEFORE],
        answers: &[told(200, "One page, with every try.", shape::<DeliveryList>)],
        refusals: &[400, 404],
        ..about(
            "GET",
            "/v1/webhooks/{id}/deliveries",
            "listDeliveries",
            "What was sent to a subscription, the newest first.",
        )
    },
    Call {
        parameters: &[LIMIT, BEFORE],
        answers: &[told(200, "One page, with every try.", shape::<DeliveryList>)],
        refusals: &[400, 404],
        ..about(
            "GET",
            "/v1/jobs/{id}/deliveries",
            "listJobDeliveries",
            "What was sent to a job's own webhook, the newest first.",
        )
    },
    Call {
        answers: &[told(202, "It is on its way, under the same webhook-id.", shape::<DeliveryView>)],
        refusals: &[404, 409],
        ..about("POST", "/v1/webhooks/deliveries/{id}/replay", "replayDelivery", "Send a delivery again.")
    },
];

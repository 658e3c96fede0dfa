//! Pages of other sites, as their browsers ask for them.

use super::*;

async fn preflight(world: &World, origin: &str) -> Reply {
    let request = Request::builder().method("OPTIONS").uri("/v1/jobs").header("origin", origin);
    let request = request.header("access-control-request-method", "POST");
    let request = request.header("access-control-request-headers", "authorization,content-type");
    world.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_call_and_no_other() {
    let listed = "https://app.example.org";
    let world = World::with(|settings| settings.cors_origins = vec![listed.into()]).await;
    let allowed = preflight(&world, listed).await;
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (200, listed));
    assert!(allowed.header("access-control-allow-headers").contains("authorization"));
    assert_eq!(allowed.header("access-control-allow-credentials"), "", "no cookie is ever wanted");
    for other in ["https://evil.example", "https://app.example.org.evil.example", "null"] {
        assert_eq!(preflight(&world, other).await.header("access-control-allow-origin"), "", "{other}");
    }
    let answer = world.get_with("/v1/kinds", ("origin", listed)).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, listed));
    // A caller's own OPTIONS is answered by the call, not by the layer.
    let own = Request::options("/v1/uploads").header("origin", listed).body(Body::empty()).unwrap();
    let own = world.send(own).await;
    assert_eq!((own.status, own.header("tus-version")), (200, "1.0.0"));
    assert!(own.header("access-control-expose-headers").contains("upload-offset"));
    let closed = World::new().await;
    assert_eq!(preflight(&closed, listed).await.header("access-control-allow-origin"), "");
}

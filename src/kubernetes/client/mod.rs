//! The client of the API server. A layer counts each request in [`ApiRequests`], and keeps which
//! rights are missing.

mod api_metrics;
mod explain;
mod request;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{Layer, Service};

pub(super) use api_metrics::ApiRequests;
pub(super) use explain::explain_infer;
pub use explain::{explain_api, explain_chain, explain_kubeconfig};
pub(super) use request::{ApiKind, ApiResource, ApiVerb, RIGHTS};

/// Builds a client whose requests are counted.
///
/// # Errors
/// The configuration cannot be used.
pub(super) fn build_client(
    config: Config,
    api_requests: &Arc<ApiRequests>,
) -> Result<Client, kube::Error> {
    let layer = ApiRequestsLayer(Arc::clone(api_requests));
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
}

struct ApiRequestsLayer(Arc<ApiRequests>);

impl<S> Layer<S> for ApiRequestsLayer {
    type Service = ApiRequestsService<S>;

    fn layer(&self, inner: S) -> ApiRequestsService<S> {
        ApiRequestsService {
            inner,
            api_requests: Arc::clone(&self.0),
        }
    }
}

struct ApiRequestsService<S> {
    inner: S,
    api_requests: Arc<ApiRequests>,
}

impl<S, B> Service<Request<Body>> for ApiRequestsService<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let what = ApiResource::from_request(request.method(), request.uri());
        let api_requests = Arc::clone(&self.api_requests);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            api_requests.record_request(what, status);
            answer
        })
    }
}

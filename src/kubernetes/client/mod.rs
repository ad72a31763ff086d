//! The client of the API server. A layer counts each request in [`ApiRequests`], and keeps which
//! rights are missing.

mod api_metrics;
mod explain;
mod request;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, Uri};
use http_body_util::{Either, LengthLimitError, Limited};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{Layer, Service};

pub(super) use api_metrics::ApiRequests;
pub use explain::{explain_api, explain_chain, explain_kubeconfig};
pub(super) use explain::{explain_infer, explain_watch_error, status_code};
pub(super) use request::{ApiKind, ApiResource, ApiVerb, RIGHTS};

/// The field manager of what we write.
pub(super) const MANAGER: &str = "pgexporter";

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

/// The most bytes of a page of a list. What is read becomes text and then objects, several times as
/// large, and each watch may list at the same time as the others.
const PAGE_LIMIT: usize = 4 * 1024 * 1024;
/// The most bytes of any other answer, a page of one object among them. The API server takes objects
/// of 1.5 MB, and of more where etcd is told so.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

/// How many bytes of the answer are read; a watch has no end.
fn answer_limit(verb: ApiVerb, uri: &Uri) -> Option<usize> {
    let mut parameters = uri.query().unwrap_or_default().split('&');
    match verb {
        ApiVerb::Watch => None,
        ApiVerb::List if parameters.any(|one| one == "limit=1") => Some(ANSWER_LIMIT),
        ApiVerb::List => Some(PAGE_LIMIT),
        _ => Some(ANSWER_LIMIT),
    }
}

/// Whether an answer had more bytes than are read.
pub(super) fn exceeds_answer_limit(error: &kube::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error.is::<LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
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
    type Response = Response<Either<Limited<B>, B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let what = ApiResource::from_request(request.method(), request.uri());
        let limit = answer_limit(what.verb, request.uri());
        let api_requests = Arc::clone(&self.api_requests);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            api_requests.record_request(what, status);
            answer.map(|answer| {
                answer.map(|body| match limit {
                    Some(limit) => Either::Left(Limited::new(body, limit)),
                    None => Either::Right(body),
                })
            })
        })
    }
}

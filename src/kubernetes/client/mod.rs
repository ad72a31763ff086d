//! The way to the API server. Every request goes past a [`Book`], which counts it and remembers
//! which rights are missing.

mod book;
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

pub(super) use book::Book;
pub(super) use explain::explain_infer;
pub use explain::{explain_api, explain_chain, explain_kubeconfig};
pub(super) use request::{ApiResource, Kind, RIGHTS, Verb};

/// A client whose requests stand in the book.
///
/// # Errors
/// The configuration cannot be used.
pub(super) fn client(config: Config, book: &Arc<Book>) -> Result<Client, kube::Error> {
    let layer = Counted(Arc::clone(book));
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
}

struct Counted(Arc<Book>);

impl<S> Layer<S> for Counted {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting {
            inner,
            book: Arc::clone(&self.0),
        }
    }
}

struct Counting<S> {
    inner: S,
    book: Arc<Book>,
}

impl<S, B> Service<Request<Body>> for Counting<S>
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
        let what = ApiResource::of(request.method(), request.uri());
        let book = Arc::clone(&self.book);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            book.enter(what, status);
            answer
        })
    }
}

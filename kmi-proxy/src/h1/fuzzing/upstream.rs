//! An upstream's whole connection: what is read of it, and what a client reads behind kmi.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{Either, Empty};
use hyper::body::{Body, Frame, SizeHint};

use super::wires::{Upstream, talk};
use crate::{
    forward::rewrite::strip_hop_by_hop,
    h1::{Connection, Error, framing, head},
};

type To<'a> = Connection<Upstream<'a>, Empty<Bytes>>;

/// An answer as kmi understood it.
#[derive(Debug, PartialEq)]
struct Seen {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    is_whole: bool,
}

/// What kmi makes of an answer does not depend on the pieces in which it comes; the client reads
/// the same one, and reads it as whole only if it is.
pub(crate) fn upstream(method: &Method, bytes: &[u8], size: usize) {
    let whole = seen(method, bytes, usize::MAX);
    assert_eq!(whole, seen(method, bytes, size), "in pieces of {size}");

    let asked = format!("{method} / HTTP/1.1\r\n\r\n");
    let read = talk(asked.as_bytes(), usize::MAX, |_| relayed(method, bytes, size));
    let answer = match head::answer(&read) {
        // A head of a hundred lines, to which kmi adds the date, is more than kmi itself takes.
        Err(Error::TooLarge) => return,
        answer => answer.expect("kmi's answers are good"),
    };
    let (mut parts, length) = answer.expect("their heads are whole");
    let Some(whole) = whole else {
        return assert_eq!(parts.status, StatusCode::BAD_GATEWAY);
    };
    assert_eq!(parts.status, whole.status);
    let framed = framing::of_answer(method, parts.status, parts.version, &mut parts.headers);
    let mut framed = framed.expect("kmi's answers have a framing");
    let mut body = Vec::new();
    let taken = framed.take(&read[length..], |piece| body.extend_from_slice(piece));
    assert_eq!(taken.expect("kmi's answers keep to it"), read.len() - length);
    assert_eq!((framed.is_over(), body), (whole.is_whole, whole.body), "{}", read.escape_ascii());
}

async fn send<'a>(method: &Method, bytes: &'a [u8], size: usize) -> Option<(Response<()>, To<'a>)> {
    let upstream = Upstream::new(bytes, size);
    upstream.answers.set(true);
    let mut connection = Connection::new(upstream);
    let request = Request::builder().method(method).uri("/").body(()).expect("a request");
    let answer = connection.send(&request, Empty::new(), |_, _| Poll::Pending).await.ok()?;
    Some((answer, connection))
}

/// What kmi reads; `None` when it is no answer.
fn seen(method: &Method, bytes: &[u8], size: usize) -> Option<Seen> {
    let reading = async {
        let (answer, mut connection) = send(method, bytes, size).await?;
        let (mut body, mut is_whole) = (Vec::new(), true);
        while is_whole && let Some(piece) = poll_fn(|cx| connection.poll_body(cx)).await {
            assert!(!piece.as_ref().is_ok_and(Bytes::is_empty), "a piece is never empty");
            is_whole = piece.is_ok();
            body.extend_from_slice(&piece.unwrap_or_default());
        }
        assert!(!is_whole || connection.is_over());
        let (parts, ()) = answer.into_parts();
        Some(Seen { status: parts.status, headers: parts.headers, body, is_whole })
    };
    match pin!(reading).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(seen) => seen,
        Poll::Pending => panic!("waits for more than there is"),
    }
}

/// The answer as kmi hands it on.
async fn relayed<'a>(
    method: &Method,
    bytes: &'a [u8],
    size: usize,
) -> Response<Either<Empty<Bytes>, Relayed<'a>>> {
    let Some((answer, connection)) = send(method, bytes, size).await else {
        let mut response = Response::new(Either::Left(Empty::new()));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        return response;
    };
    let (mut parts, ()) = answer.into_parts();
    parts.version = Version::HTTP_11;
    strip_hop_by_hop(&mut parts.headers);
    Response::from_parts(parts, Either::Right(Relayed(connection)))
}

struct Relayed<'a>(To<'a>);

impl Body for Relayed<'_> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Poll::Ready(ready!(self.0.poll_body(cx)).map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.exact().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

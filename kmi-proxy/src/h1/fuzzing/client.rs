//! A client's whole connection: requests one after the other, each sent on as kmi sends them.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header, uri::PathAndQuery};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use kmi_core::key::ApiKey;

use super::wires::{Upstream, talk};
use crate::{
    body::Outgoing,
    forward::rewrite::Template,
    h1::{Connection, Error, Failed, Incoming, framing, head},
    upstream::Surface,
};

/// The upstream's answer to everything.
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// A request as kmi understood it; its body if it came to its end.
#[derive(Debug, PartialEq)]
struct Seen {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

/// What kmi makes of a connection does not depend on the pieces in which it comes, each request
/// goes on with one meaning, and what is not read of a body is never taken for a request.
pub(crate) fn client(bytes: &[u8], size: usize) {
    let (whole, answers) = served(bytes, usize::MAX, true);
    // No more pieces than are worth the time.
    let size = size.max(bytes.len() / 64);
    let (pieces, again) = served(bytes, size, true);
    assert_eq!(whole, pieces, "in pieces of {size}");
    assert_eq!(answers, again, "in pieces of {size}");
    for size in [usize::MAX, size] {
        let (unread, _) = served(bytes, size, false);
        let heads = |seen: &[Seen]| -> Vec<_> {
            seen.iter().map(|it| (it.method.clone(), it.uri.clone())).collect()
        };
        assert!(heads(&whole).starts_with(&heads(&unread)), "{whole:?} {unread:?}");
    }
}

/// The requests that were understood, and the statuses that the client read for them.
fn served(bytes: &[u8], size: usize, reads: bool) -> (Vec<Seen>, Vec<u16>) {
    let seen = RefCell::new(Vec::new());
    let written = talk(bytes, size, |request| async {
        let (parts, body) = request.into_parts();
        let (method, uri, headers) =
            (parts.method.clone(), parts.uri.clone(), parts.headers.clone());
        let body = if reads { sent_on(parts, body).await } else { None };
        seen.borrow_mut().push(Seen { method, uri, headers, body });
        Response::new(Full::new(Bytes::from_static(b"")))
    });
    let mut statuses = Vec::new();
    let mut rest = &written[..];
    let seen = seen.into_inner();
    while let Some((mut parts, length)) = head::answer(rest).expect("kmi's answers are good") {
        rest = &rest[length..];
        // Whether kmi asks for a body that comes with its head depends on the pieces.
        if parts.status.is_informational() {
            continue;
        }
        let method = seen.get(statuses.len()).map_or(&Method::GET, |it| &it.method);
        let framed = framing::of_answer(method, parts.status, parts.version, &mut parts.headers);
        let mut body = framed.expect("kmi's answers have a framing");
        let taken = body.take(rest, |_| {}).expect("kmi's answers keep to it");
        assert!(body.is_over(), "{}", rest.escape_ascii());
        rest = &rest[taken..];
        // A head that is wrong before it has come to its end may be refused then, or at its end.
        if statuses.len() < seen.len() {
            statuses.push(parts.status.as_u16());
        }
    }
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
    (seen, statuses)
}

/// Sends a request on and reads what an upstream would read: the same, and nothing behind it. The
/// body, if it came to its end; one that did not never looks as if.
async fn sent_on(parts: http::request::Parts, body: Incoming) -> Option<Vec<u8>> {
    let (method, host) = (parts.method.clone(), HeaderValue::from_static("upstream.example"));
    let target = PathAndQuery::from_static("/v1/x");
    let key = ApiKey::parse("sk-fuzzing-0001").expect("a good key");
    let template = Template::new(parts, Surface::OpenAi, target, &host);
    let request: Request<()> = template.with(&key, Outgoing::Whole(Bytes::new())).map(drop);

    let upstream = Upstream::new(ANSWER, usize::MAX);
    let (written, over) = (Rc::clone(&upstream.written), Rc::clone(&upstream.answers));
    over.set(body.is_end_stream());
    let copy = Rc::new(RefCell::new(Vec::new()));
    let body = Copied { body, over, copy: Rc::clone(&copy) };
    let is_whole = match Connection::new(upstream).send(&request, body, |_, _| Poll::Pending).await
    {
        Ok(_) => true,
        Err(Failed::Body) => false,
        Err(failed) => panic!("the upstream takes everything: {failed:?}"),
    };

    let (written, copy) = (written.take(), copy.take());
    if written.is_empty() {
        return None;
    }
    let again = match head::request(&written) {
        // A head of a hundred lines, to which kmi adds the key, is more than kmi itself takes.
        Err(Error::TooLarge) => return is_whole.then_some(copy),
        again => again.expect("what is written is good"),
    };
    let (mut again, length) = again.expect("what is written is whole");
    assert_eq!(again.method, method);
    assert_eq!(again.headers.get_all(header::HOST).iter().collect::<Vec<_>>(), [&host]);
    let mut framed = framing::of_request(&mut again.headers).expect("one framing");
    let mut read = Vec::new();
    let taken = framed.take(&written[length..], |piece| read.extend_from_slice(piece));
    assert_eq!(taken.expect("what is written is good"), written.len() - length);
    assert_eq!(read, copy);
    assert_eq!(framed.is_over(), is_whole, "{}", written.escape_ascii());
    is_whole.then_some(copy)
}

/// A client's body, of which a copy is kept; `over` at its end.
struct Copied {
    body: Incoming,
    over: Rc<Cell<bool>>,
    copy: Rc<RefCell<Vec<u8>>>,
}

impl Body for Copied {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.copy.borrow_mut().extend_from_slice(data);
        }
        self.over.set(frame.is_none() || self.body.is_end_stream());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! How each fault is brought about.

use std::{future::Future, io, time::Duration};

use axum::{
    BoxError,
    body::{Body, BodyDataStream, Bytes, HttpBody as _},
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    response::Response,
};
use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, sleep_until};

use super::Fault;
use crate::serve::{
    connection::Breaker,
    http::{ApiError, Code},
};

/// Time for the connection to send what was handed to it, before it is cut.
const FLUSH: Duration = Duration::from_millis(50);
/// Bytes that pass at once where the body is slow.
const SLOW_PIECE: usize = 32 << 10;

impl Fault {
    /// Answers the request in its own way; `answer` is the right one.
    pub(in crate::serve) async fn apply<F>(
        self,
        breaker: &Breaker,
        request: Request,
        answer: impl FnOnce(Request) -> F,
    ) -> Response
    where
        F: Future<Output = Response>,
    {
        match self {
            Self::Status { code, retry_after } => {
                // Read all of it, so that every client sees the answer and none a reset.
                let mut body = request.into_body().into_data_stream();
                while let Some(Ok(_)) = body.next().await {}
                status(code, retry_after)
            }
            Self::Reset => {
                breaker.reset();
                Response::new(Body::empty())
            }
            Self::LoseAnswer => {
                let response = answer(request).await;
                breaker.reset();
                response
            }
            Self::Delay(time) => {
                sleep(time).await;
                answer(request).await
            }
            Self::Cut { .. } | Self::Stall { .. } | Self::Corrupt { .. } | Self::Slow { .. } => {
                let method = request.method();
                let upload = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
                if !upload {
                    return answer(request).await.map(|body| self.damage(body));
                }
                let cut = matches!(self, Self::Cut { .. });
                let response = answer(request.map(|body| self.damage(body))).await;
                if cut {
                    breaker.reset();
                }
                response
            }
        }
    }

    fn damage(self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let state = Some(Damaged {
            stream: body.into_data_stream(),
            held: Bytes::new(),
            position: 0,
            since: Instant::now(),
            fault: self,
        });
        Body::from_stream(stream::unfold(state, |state| async {
            let mut state = state?;
            match state.next().await? {
                Ok(chunk) => Some((Ok(chunk), Some(state))),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }
}

/// A body on its way, with the fault that is ahead of it.
struct Damaged {
    stream: BodyDataStream,
    /// What was received and has not passed yet.
    held: Bytes,
    position: u64,
    since: Instant,
    fault: Fault,
}

impl Damaged {
    async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        if self.held.is_empty() {
            match self.stream.next().await? {
                Ok(chunk) => self.held = chunk,
                Err(error) => return Some(Err(error.into())),
            }
        }
        if let Fault::Slow { rate } = self.fault {
            let piece = self.held.len().min(SLOW_PIECE);
            let due = (self.position + piece as u64) as f64 / rate as f64;
            sleep_until(self.since + Duration::from_secs_f64(due)).await;
            return Some(Ok(self.pass(piece)));
        }
        let place = match self.fault {
            Fault::Cut { after } => after,
            Fault::Stall { at, .. } | Fault::Corrupt { at } => at,
            _ => u64::MAX,
        };
        let before = place.saturating_sub(self.position);
        if place >= self.position && before < self.held.len() as u64 {
            if before > 0 {
                return Some(Ok(self.pass(before as usize)));
            }
            return self.strike().await;
        }
        let all = self.held.len();
        Some(Ok(self.pass(all)))
    }

    fn pass(&mut self, bytes: usize) -> Bytes {
        self.position += bytes as u64;
        self.held.split_to(bytes)
    }

    /// The place is reached: the next byte is the one that suffers.
    async fn strike(&mut self) -> Option<Result<Bytes, BoxError>> {
        match self.fault {
            Fault::Cut { .. } => {
                sleep(FLUSH).await;
                let error = io::Error::from(io::ErrorKind::ConnectionAborted);
                return Some(Err(error.into()));
            }
            Fault::Stall { pause, .. } => sleep(pause).await,
            _ => {
                let inverted: Vec<u8> = self.held[..1].iter().map(|byte| !byte).collect();
                self.pass(1);
                return Some(Ok(Bytes::from(inverted)));
            }
        }
        // Stalled once, which is enough.
        let all = self.held.len();
        Some(Ok(self.pass(all)))
    }
}

fn status(code: u16, retry_after: Option<u64>) -> Response {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = match code {
        401 => Code::Unauthorized,
        403 => Code::Denied,
        405 => Code::Unsupported,
        429 => Code::TooManyRequests,
        _ => Code::Unknown,
    };
    let mut error = ApiError::new(status, kind, "this fault was asked for");
    if let Some(seconds) = retry_after {
        error = error.header(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    error.into_response()
}

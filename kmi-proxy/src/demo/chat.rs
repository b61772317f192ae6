//! `chat/completions`: the stream as WIRE.md section 1.3 has it, with reasoning, tool calls in
//! pieces and usage in both places, and the same answer in one piece.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{playback::Pieces, scenario::Shape, tool_call::ToolCall};

/// What the model says.
#[derive(Debug, Clone)]
pub(super) enum Said {
    Text(Arc<str>),
    Call(ToolCall),
}

/// The thinking before every answer.
pub(super) const REASONING: &str = "The stand-in thinks.";
const ID: &str = "chatcmpl-standin";
pub(super) const MODEL: &str = "kimi-for-coding";

/// The events of a stream, one piece each.
pub(super) fn stream(shape: &Shape, said: &Said) -> Pieces {
    let created = Timestamp::now().as_second();
    let chunk = |delta: Value, finish: Option<&str>| {
        let mut choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        if finish.is_some() {
            choice["usage"] = usage(shape);
        }
        event(&json!({"id": ID, "object": "chat.completion.chunk", "created": created,
            "model": MODEL, "choices": [choice]}))
    };
    let mut events = vec![
        chunk(json!({"role": "assistant", "content": ""}), None),
        chunk(json!({"reasoning_content": REASONING}), None),
    ];
    let finish = match said {
        Said::Text(text) => {
            events.extend(pieces(text, shape.chunks).map(|p| chunk(json!({"content": p}), None)));
            "stop"
        }
        Said::Call(call) => {
            let head = json!({"index": 0, "id": call.id, "type": "function",
                "function": {"name": call.name, "arguments": ""}});
            events.push(chunk(json!({"tool_calls": [head]}), None));
            events.extend(pieces(&call.arguments, 3).map(|p| {
                let more = json!({"index": 0, "function": {"arguments": p}});
                chunk(json!({"tool_calls": [more]}), None)
            }));
            "tool_calls"
        }
    };
    events.push(chunk(json!({}), Some(finish)));
    events.push(event(&json!({"id": ID, "object": "chat.completion.chunk", "created": created,
        "model": MODEL, "choices": [], "usage": usage(shape)})));
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    Pieces::Many(events.into())
}

/// The answer in one piece.
pub(super) fn whole(shape: &Shape, said: &Said) -> Pieces {
    let mut message = json!({"role": "assistant", "reasoning_content": REASONING});
    let finish = match said {
        Said::Text(text) => {
            message["content"] = json!(text);
            "stop"
        }
        Said::Call(call) => {
            message["tool_calls"] = json!([{"index": 0, "id": call.id, "type": "function",
                "function": {"name": call.name, "arguments": call.arguments}}]);
            "tool_calls"
        }
    };
    let answer = json!({"id": ID, "object": "chat.completion",
        "created": Timestamp::now().as_second(), "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": usage(shape)});
    Pieces::One(answer.to_string().into())
}

fn usage(shape: &Shape) -> Value {
    json!({"prompt_tokens": shape.prompt_tokens, "completion_tokens": shape.completion_tokens,
        "total_tokens": shape.prompt_tokens + shape.completion_tokens,
        "cached_tokens": shape.cached_tokens,
        "prompt_tokens_details": {"cached_tokens": shape.cached_tokens}})
}

fn event(data: &Value) -> Bytes {
    format!("data: {data}\n\n").into()
}

/// Cuts a text into about `count` pieces of whole characters; an empty one is one piece.
pub(super) fn pieces(text: &str, count: usize) -> impl Iterator<Item = &str> {
    let size = text.len().div_ceil(count.max(1)).max(1);
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut end = size.min(text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        let (piece, more) = text.split_at(end);
        rest = Some(more).filter(|more| !more.is_empty());
        Some(piece)
    })
}

//! `messages`: the Anthropic-style surface. Its `input_tokens` leave cached ones out.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    chat::{MODEL, REASONING, Said, pieces},
    playback::Pieces,
    scenario::Shape,
};

const ID: &str = "msg_standin";

/// The events of a stream, one piece each.
pub(super) fn stream(shape: &Shape, said: &Said) -> Pieces {
    let start = json!({"type": "message_start", "message": {"id": ID, "type": "message",
        "role": "assistant", "model": MODEL, "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": usage(shape, 1)}});
    let mut events = vec![event(&start), event(&json!({"type": "ping"}))];
    let thinking = json!({"type": "thinking", "thinking": "", "signature": ""});
    let thought = json!({"type": "thinking_delta", "thinking": REASONING});
    block(&mut events, 0, &thinking, std::iter::once(thought));
    match said {
        Said::Text(text) => {
            let deltas =
                pieces(text, shape.chunks).map(|p| json!({"type": "text_delta", "text": p}));
            block(&mut events, 1, &json!({"type": "text", "text": ""}), deltas);
        }
        Said::Call(call) => {
            let begin = json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}});
            let deltas = pieces(&call.arguments, 3)
                .map(|p| json!({"type": "input_json_delta", "partial_json": p}));
            block(&mut events, 1, &begin, deltas);
        }
    }
    events.push(event(&json!({"type": "message_delta",
        "delta": {"stop_reason": stop_reason(said), "stop_sequence": null},
        "usage": {"output_tokens": shape.completion_tokens}})));
    events.push(event(&json!({"type": "message_stop"})));
    Pieces::Many(events.into())
}

fn block(events: &mut Vec<Bytes>, index: u32, begin: &Value, deltas: impl Iterator<Item = Value>) {
    events.push(event(
        &json!({"type": "content_block_start", "index": index, "content_block": begin}),
    ));
    events.extend(deltas.map(|delta| {
        event(&json!({"type": "content_block_delta", "index": index, "delta": delta}))
    }));
    events.push(event(&json!({"type": "content_block_stop", "index": index})));
}

/// The answer in one piece.
pub(super) fn whole(shape: &Shape, said: &Said) -> Pieces {
    let content = match said {
        Said::Text(text) => json!({"type": "text", "text": text}),
        Said::Call(call) => {
            // What a model calls with is JSON; text that is not stays a string.
            let input = serde_json::from_str(&call.arguments).unwrap_or(json!(call.arguments));
            json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
        }
    };
    let thinking = json!({"type": "thinking", "thinking": REASONING, "signature": ""});
    let answer = json!({"id": ID, "type": "message", "role": "assistant", "model": MODEL,
        "content": [thinking, content], "stop_reason": stop_reason(said), "stop_sequence": null,
        "usage": usage(shape, shape.completion_tokens)});
    Pieces::One(answer.to_string().into())
}

fn stop_reason(said: &Said) -> &'static str {
    match said {
        Said::Text(_) => "end_turn",
        Said::Call(_) => "tool_use",
    }
}

fn usage(shape: &Shape, output: u64) -> Value {
    json!({"input_tokens": shape.prompt_tokens.saturating_sub(shape.cached_tokens),
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": shape.cached_tokens,
        "output_tokens": output})
}

fn event(data: &Value) -> Bytes {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default()).into()
}

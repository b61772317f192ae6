//! `responses`: the smallest answer of OpenAI's Responses API that its clients accept.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    chat::{MODEL, pieces},
    playback::Pieces,
    scenario::Shape,
};

const ID: &str = "resp_standin";
const ITEM: &str = "msg_standin";

/// The events of a stream, one piece each.
pub(super) fn stream(shape: &Shape) -> Pieces {
    let mut begun = response(shape, "in_progress");
    begun["output"] = json!([]);
    begun["usage"] = Value::Null;
    let open = json!({"type": "message", "id": ITEM, "role": "assistant", "status": "in_progress",
        "content": []});
    let part = json!({"type": "output_text", "text": "", "annotations": []});
    let mut steps = vec![
        json!({"type": "response.created", "response": begun}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": open}),
        json!({"type": "response.content_part.added", "item_id": ITEM, "output_index": 0,
            "content_index": 0, "part": part}),
    ];
    steps.extend(pieces(&shape.text, shape.chunks).map(|piece| {
        json!({"type": "response.output_text.delta", "item_id": ITEM, "output_index": 0,
            "content_index": 0, "delta": piece})
    }));
    steps.push(json!({"type": "response.output_text.done", "item_id": ITEM, "output_index": 0,
        "content_index": 0, "text": &*shape.text}));
    steps.push(json!({"type": "response.output_item.done", "output_index": 0,
        "item": item(shape)}));
    steps.push(json!({"type": "response.completed", "response": response(shape, "completed")}));
    Pieces::Many(steps.into_iter().enumerate().map(|(n, step)| event(n, step)).collect())
}

fn event(number: usize, mut step: Value) -> Bytes {
    step["sequence_number"] = json!(number);
    format!("event: {}\ndata: {step}\n\n", step["type"].as_str().unwrap_or_default()).into()
}

/// The answer in one piece.
pub(super) fn whole(shape: &Shape) -> Pieces {
    Pieces::One(response(shape, "completed").to_string().into())
}

fn response(shape: &Shape, status: &str) -> Value {
    json!({"id": ID, "object": "response", "created_at": 1_795_000_000, "status": status,
        "model": MODEL, "output": [item(shape)],
        "usage": {"input_tokens": shape.prompt_tokens,
            "input_tokens_details": {"cached_tokens": shape.cached_tokens},
            "output_tokens": shape.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": shape.prompt_tokens + shape.completion_tokens}})
}

fn item(shape: &Shape) -> Value {
    json!({"type": "message", "id": ITEM, "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": &*shape.text, "annotations": []}]})
}

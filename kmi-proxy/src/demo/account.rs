//! What belongs to an account: models, usage, balance, files, and the small calls beside chat.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{chat::MODEL, errors, route::Endpoint, scenario::Reply, state::Shared};

/// Answers everything that is not inference; `Err` is an error of Kimi's.
pub(super) fn answer(
    shared: &Shared,
    key: usize,
    endpoint: Endpoint<'_>,
    body: &Bytes,
) -> Result<Reply, errors::ErrorAnswer> {
    let account = &shared.scenario.keys[key].account;
    Ok(match endpoint {
        Endpoint::Models => ok(&models()),
        Endpoint::Usages => ok(&usages(shared, key)),
        Endpoint::Balance => ok(&balance(shared, key)),
        Endpoint::Me => ok(&json!({"user_id": account, "nickname": "stand-in", "status": "ACTIVE",
            "region": "REGION_CN", "user_level": 2, "user_level_name": "Allegretto"})),
        Endpoint::Upload => {
            let number = shared.files.fetch_add(1, Ordering::Relaxed) + 1;
            ok(&file(&format!("{}{number}", file_prefix(account)), body.len()))
        }
        Endpoint::File(id) if id.starts_with(&file_prefix(account)) => ok(&file(id, 0)),
        Endpoint::File(_) => {
            let mut error = errors::FILE_NOT_FOUND;
            error.status = 404;
            return Err(error);
        }
        Endpoint::Files => ok(&json!({"object": "list", "data": []})),
        Endpoint::EstimateTokens => ok(&json!({"data": {"total_tokens": body.len() / 4}})),
        Endpoint::Search => ok(&json!({"search_results": [{"site_name": "Stand-in",
            "title": "A page", "url": "https://example.com/", "snippet": "About a page.",
            "content": "All of the page.", "date": "2026-11-18", "icon": "",
            "mime": "text/html"}]})),
        Endpoint::Fetch => Reply {
            status: 200,
            headers: vec![("content-type".into(), "text/markdown; charset=utf-8".into())],
            body: Bytes::from_static(b"# A page\n\nFetched by the stand-in.\n"),
        },
        Endpoint::Other => ok(&json!({})),
        Endpoint::Embeddings => ok(&json!({"object": "list", "model": MODEL,
            "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 0.75]}],
            "usage": {"prompt_tokens": 8, "total_tokens": 8}})),
        Endpoint::Chat | Endpoint::Messages | Endpoint::Responses | Endpoint::Unknown => {
            return Err(errors::METHOD_NOT_FOUND);
        }
    })
}

/// A JSON answer with status 200.
pub(super) fn ok(value: &Value) -> Reply {
    Reply {
        status: 200,
        headers: vec![("content-type".into(), "application/json; charset=utf-8".into())],
        body: value.to_string().into(),
    }
}

fn models() -> Value {
    let model = |id: &str, name: &str, context: u64| {
        json!({"id": id, "object": "model", "created": 1_795_000_000, "owned_by": "moonshot",
            "display_name": name, "context_length": context, "supports_reasoning": true,
            "supports_image_in": true, "supports_video_in": true, "supports_tool_use": true,
            "supports_thinking_type": "both"})
    };
    json!({"object": "list", "data": [
        model(MODEL, "Kimi For Coding", 262_144),
        model("kimi-k2-thinking", "Kimi K2 Thinking", 262_144),
        model("kimi-k2-turbo-preview", "Kimi K2 Turbo", 262_144),
    ]})
}

/// Both shapes that clients read (WIRE section 1.5); a spent account shows its window full.
fn usages(shared: &Shared, key: usize) -> Value {
    let spent = shared.spent(key);
    let own = &shared.scenario.keys[key];
    let used = if spent.is_some() { 100_u8 } else { own.used_5h };
    let window = Timestamp::now().checked_add(SignedDuration::from_hours(2)).ok();
    let resets =
        spent.and_then(|spent| spent.until).or(window).unwrap_or(shared.started).to_string();
    let week = shared.started.checked_add(SignedDuration::from_hours(96)).unwrap_or(shared.started);
    let week = week.to_string();
    let mut five_hours = json!({"limit": "100", "used": used.to_string(), "resetTime": resets});
    if used < 100 {
        // Fields that would be zero are absent.
        five_hours["remaining"] = json!((100 - used).to_string());
    }
    json!({
        "user": {"userId": own.account, "region": "REGION_CN",
            "membership": {"level": "LEVEL_INTERMEDIATE"}, "businessId": ""},
        "usage": {"limit": "100", "used": own.used_7d.to_string(),
            "remaining": 100_u8.saturating_sub(own.used_7d).to_string(), "resetTime": week},
        "limits": [{"window": {"duration": 300, "timeUnit": "TIME_UNIT_MINUTE"},
            "detail": five_hours}],
        "parallel": {"limit": "20"},
        "totalQuota": {"limit": "100", "remaining": "100"},
        "authentication": {"method": "METHOD_API_KEY", "scope": "FEATURE_CODING"},
        "subType": "TYPE_PURCHASE",
        "usages": {
            "limit_5h": {"used_ratio": f64::from(used) / 100.0, "reset_time": resets},
            "limit_7d": {"used_ratio": f64::from(own.used_7d) / 100.0, "reset_time": week},
        },
    })
}

fn balance(shared: &Shared, key: usize) -> Value {
    let available = if shared.spent(key).is_some() { 0.0 } else { 49.59 };
    json!({"code": 0, "data": {"available_balance": available, "voucher_balance": 0.0,
        "cash_balance": available}, "scode": "0x0", "status": true})
}

fn file(id: &str, bytes: usize) -> Value {
    json!({"id": id, "object": "file", "bytes": bytes, "created_at": 1_795_000_000,
        "filename": "upload", "purpose": "file-extract", "status": "ok", "status_details": ""})
}

fn file_prefix(account: &Arc<str>) -> String {
    format!("file-{account}-")
}

/// Whether a body names an uploaded file (`ms://ID`) that is not the account's.
pub(super) fn names_foreign_file(body: &[u8], account: &Arc<str>) -> bool {
    // What is not UTF-8 is not JSON either.
    let Ok(body) = std::str::from_utf8(body) else { return false };
    let mut ids = body.split("ms://").skip(1).peekable();
    ids.peek().is_some() && {
        let own = file_prefix(account);
        ids.any(|id| !id.starts_with(&own))
    }
}

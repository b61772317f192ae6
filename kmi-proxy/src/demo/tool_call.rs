//! A whole tool round trip on demand: a prompt with a line `[call NAME {"json":"arguments"}]`
//! makes the stand-in call that tool, and the tool's result comes back as its answer.

use std::sync::Arc;

use serde_json::Value;

use super::chat::Said;

/// A tool call that the model makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToolCall {
    pub(super) id: String,
    pub(super) name: String,
    /// JSON.
    pub(super) arguments: String,
}

const MARK: &str = "[call ";

/// What the conversation in `body` asks the model to say; `None` for the ordinary answer.
///
/// Bodies without the mark are not parsed: they are nearly all.
pub(super) fn said(body: &[u8]) -> Option<Said> {
    let body = std::str::from_utf8(body).ok().filter(|body| body.contains(MARK))?;
    let body: Value = serde_json::from_str(body).ok()?;
    let messages = body["messages"].as_array()?;
    for (index, message) in messages.iter().enumerate().rev() {
        if let Some(result) = tool_result(message) {
            return Some(Said::Text(format!("The tool answered: {result}").into()));
        }
        if message["role"] == "user"
            && let Some(call) = asked_for(&all_text(&message["content"]), index)
        {
            return is_offered(&body["tools"], &call.name).then_some(Said::Call(call));
        }
    }
    None
}

/// The output of a tool: a message of its own, or a block in a user's message.
fn tool_result(message: &Value) -> Option<Arc<str>> {
    if message["role"] == "tool" {
        return Some(all_text(&message["content"]).into());
    }
    let blocks = message["content"].as_array()?;
    let block = blocks.iter().find(|block| block["type"] == "tool_result")?;
    Some(all_text(&block["content"]).into())
}

/// A content is a text or a list of parts of which some are text.
fn all_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<_> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

fn asked_for(text: &str, turn: usize) -> Option<ToolCall> {
    text.match_indices(MARK).find_map(|(at, _)| {
        let (name, rest) = text[at + MARK.len()..].split_once(' ')?;
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let arguments = values.next()?.ok()?;
        let end = values.byte_offset();
        rest[end..].trim_start().starts_with(']').then(|| ToolCall {
            id: format!("call_standin_{turn}"),
            name: name.to_owned(),
            arguments: arguments.to_string(),
        })
    })
}

fn is_offered(tools: &Value, name: &str) -> bool {
    let tools = tools.as_array().map(Vec::as_slice).unwrap_or_default();
    tools.iter().any(|tool| tool["function"]["name"] == name || tool["name"] == name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn say(messages: &Value, tools: &Value) -> Option<Said> {
        said(json!({"messages": messages, "tools": tools}).to_string().as_bytes())
    }

    fn shell() -> Value {
        json!([{"type": "function", "function": {"name": "Shell"}}])
    }

    #[test]
    fn a_marked_prompt_calls_the_tool() {
        let prompt = "please\n[call Shell {\"command\": \"echo ]\"}]\nthanks";
        for content in [json!(prompt), json!([{"type": "text", "text": prompt}])] {
            let Some(Said::Call(call)) =
                say(&json!([{"role": "user", "content": content}]), &shell())
            else {
                panic!("no call for {content}");
            };
            assert_eq!(call.name, "Shell");
            assert_eq!(call.arguments, r#"{"command":"echo ]"}"#);
        }
    }

    #[test]
    fn a_result_becomes_the_answer_on_both_surfaces() {
        let asked = json!({"role": "user", "content": "[call Shell {}]"});
        let openai = json!([asked, {"role": "assistant"}, {"role": "tool", "content": "seven"}]);
        let anthropic = json!([asked, {"role": "user", "content": [
            {"type": "tool_result", "content": [{"type": "text", "text": "seven"}]}]}]);
        for messages in [openai, anthropic] {
            let Some(Said::Text(text)) = say(&messages, &shell()) else { panic!("{messages}") };
            assert_eq!(&*text, "The tool answered: seven");
        }
    }

    #[test]
    fn what_is_not_offered_or_not_well_formed_is_not_called() {
        let user = |text: &str| json!([{"role": "user", "content": text}]);
        assert!(say(&user("[call Shell {}]"), &json!([])).is_none());
        assert!(say(&user("[call Shell {]"), &shell()).is_none());
        assert!(say(&user("[call Shell"), &shell()).is_none());
        assert!(said(b"[call Shell {}]").is_none());
    }
}

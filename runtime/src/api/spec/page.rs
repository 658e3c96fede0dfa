//! `GET /docs`: the OpenAPI document as one page that runs nothing and fetches nothing. What it says is the document's; this is
//! only how it looks.

use std::fmt::Write as _;

use serde_json::Value;

const STYLE: &str = "
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--ink:#2563eb}
body{font:16px/1.55 system-ui,sans-serif;max-width:60rem;margin:2.5rem auto;padding:0 1.2rem}
h1{margin-bottom:.2rem} h2{margin:2.4rem 0 .2rem;text-transform:capitalize} p{margin:.3rem 0 .8rem}
details{border:1px solid var(--line);border-radius:8px;margin:.5rem 0;padding:.55rem .9rem} summary{cursor:pointer}
summary b{display:inline-block;min-width:3.6rem;color:var(--ink)} summary span{opacity:.75;margin-left:.6rem}
table{border-collapse:collapse;width:100%;margin:.4rem 0 1rem} td,th{border-bottom:1px solid var(--line);padding:.3rem .6rem .3rem 0;text-align:left;vertical-align:top}
code,pre{font:14px/1.5 ui-monospace,monospace} pre{background:var(--soft);padding:.8rem;border-radius:6px;overflow-x:auto}
h3{font-size:1rem;margin:1rem 0 .2rem} a{color:var(--ink)}";

/// The page of a document.
pub(super) fn of(document: &Value) -> String {
    let mut page = String::from("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">");
    page += "<meta name=\"viewport\" content=\"width=device-width\"><title>Longshore API</title>";
    let _ = write!(page, "<style>{STYLE}</style><h1>Longshore API</h1>");
    let _ = write!(page, "<p>{}</p>", escape(words(&document["info"]["description"])));
    page += "<p>The same for programs: <a href=\"/openapi.json\">openapi.json</a>.</p>";
    for tag in items(&document["tags"]) {
        let (name, says) = (escape(words(&tag["name"])), escape(words(&tag["description"])));
        let _ = write!(page, "<h2>{name}</h2><p>{says}</p>");
        for (path, method, call) in calls(document).filter(|(_, _, call)| call["tags"][0] == tag["name"]) {
            page += &operation(document, path, method, call);
        }
    }
    page += "<h2>Shapes</h2><p>What bodies are made of, as JSON Schema.</p>";
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let pretty = serde_json::to_string_pretty(schema).unwrap_or_default();
        let _ = write!(
            page,
            "<details id=\"{name}\"><summary><code>{name}</code></summary><pre>{}</pre></details>",
            escape(&pretty)
        );
    }
    page + "</html>"
}

fn calls(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, calls)| {
        calls.as_object().into_iter().flatten().map(move |(method, call)| (path, method, call))
    })
}

fn operation(document: &Value, path: &str, method: &str, call: &Value) -> String {
    let (method, path) = (method.to_uppercase(), escape(path));
    let mut text = format!(
        "<details><summary><b>{method}</b> <code>{path}</code><span>{}</span></summary>",
        escape(words(&call["summary"]))
    );
    let _ = write!(text, "<p>{}</p>", escape(words(&call["description"])));
    if call["parameters"].is_array() {
        text += "<h3>Parameters</h3><table>";
        for one in items(&call["parameters"]) {
            let (name, place) = (escape(words(&one["name"])), escape(words(&one["in"])));
            let _ = write!(text, "<tr><td><code>{name}</code><td>{place}<td>{}", escape(words(&one["description"])));
        }
        text += "</table>";
    }
    if let Some(content) = call["requestBody"]["content"].as_object() {
        let _ = write!(text, "<h3>Body</h3><p>{}</p>", body(content));
    }
    text += "<h3>Answers</h3><table>";
    for (status, answer) in call["responses"].as_object().into_iter().flatten() {
        let answer = answer["$ref"].as_str().and_then(|place| document.pointer(&place[1..])).unwrap_or(answer);
        let told = answer["content"].as_object().map(body).unwrap_or_default();
        let headers: Vec<String> = answer["headers"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| format!("<code>{name}</code>"))
            .collect();
        let _ = write!(
            text,
            "<tr><td><code>{status}</code><td>{} {told} {}",
            escape(words(&answer["description"])),
            headers.join(" ")
        );
    }
    text + "</table></details>"
}

/// Media type and shape of a body, with a link to the shape.
fn body(content: &serde_json::Map<String, Value>) -> String {
    let one = |(media, content): (&String, &Value)| {
        let shape = content["schema"]["$ref"].as_str().and_then(|place| place.rsplit('/').next());
        let link = shape.map(|name| format!(" <a href=\"#{name}\">{name}</a>")).unwrap_or_default();
        format!("<code>{}</code>{link}", escape(media))
    };
    content.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn words(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

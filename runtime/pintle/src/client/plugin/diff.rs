//! `pintle plugin diff`: what a candidate decided otherwise than what decides.

use anyhow::Result;
use serde_json::Value;

use super::PLUGINS;
use super::columns;
use crate::client::http::Client;
use crate::client::out;

pub async fn run(client: &Client, name: &str, json: bool) -> Result<()> {
    let found = client.get(&format!("{PLUGINS}/{name}/divergences")).await?;
    if json {
        return out::print(&format!("{}\n", serde_json::to_string_pretty(&found)?));
    }
    out::print(&shown(name, &found, columns::width()))
}

fn shown(name: &str, found: &Value, width: usize) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |field: &str| found[field].as_u64().unwrap_or_default();
    let candidate = text(&found["candidate"]);
    if candidate.is_empty() {
        return format!(
            "no version of plugin {name} is being compared; spec.rollout.shadow says when one is\n"
        );
    }
    let mut lines = vec![format!(
        "{candidate} beside {} as plugin {name}: {} decisions compared, {} agree, {} differ, {} skipped",
        text(&found["active"]),
        number("decisions"),
        number("agreements"),
        number("divergences"),
        number("skipped"),
    )];
    let items = found["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    if (items.len() as u64) < number("divergences") {
        lines.push(format!("the last {} of them:", items.len()));
    }
    for item in items {
        let input = &item["input"];
        let namespace = match input["namespace"].as_str().unwrap_or_default() {
            "" => String::new(),
            namespace => format!("{namespace}/"),
        };
        let revision = input["revision"].as_u64().unwrap_or_default();
        let at = item["at"].as_str().map(|at| format!(", {at}")).unwrap_or_default();
        lines.push(String::new());
        lines.push(format!(
            "{} {namespace}{} at revision {revision}{at}",
            text(&input["kind"]),
            text(&input["name"])
        ));
        let titles = ("ACTIVE", "CANDIDATE");
        let sides = columns::side_by_side(titles, &item["active"], &item["candidate"], width);
        lines.push(sides.trim_end().to_owned());
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn divergences_name_their_input() {
        let nothing = json!({ "plugin": "s", "decisions": 0, "items": [] });
        assert!(shown("s", &nothing, 80).starts_with("no version of plugin s is being compared"));
        let found = json!({
            "plugin": "s", "active": "sha256:a", "candidate": "sha256:b",
            "decisions": 10, "agreements": 8, "divergences": 2, "skipped": 1,
            "items": [{
                "input": { "kind": "Pod", "namespace": "default", "name": "web", "revision": 7 },
                "at": "2026-01-01T00:00:00Z",
                "active": { "bind": "node-1" },
                "candidate": { "unschedulable": "no" },
            }],
        });
        let text = shown("s", &found, 80);
        assert!(text.contains("10 decisions compared, 8 agree, 2 differ, 1 skipped"), "{text}");
        assert!(text.contains("the last 1 of them:"), "{text}");
        assert!(text.contains("Pod default/web at revision 7, 2026-01-01T00:00:00Z"), "{text}");
        assert!(text.contains("bind: node-1") && text.contains("| unschedulable:"), "{text}");
    }
}

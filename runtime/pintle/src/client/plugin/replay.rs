//! `pintle plugin replay`: makes the calls of a trace again, without a server.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use pintle_plugin_host::trace::{self, Difference, Replay, Report};

use super::columns;
use crate::cli::ReplayArgs;
use crate::client::out;
use crate::compiler;

/// Something came out differently.
const DIFFERS: u8 = 1;

/// The trace, or the component, cannot be used.
const UNUSABLE: u8 = 2;

/// Further differences that are listed below the first.
const LISTED: usize = 10;

pub async fn run(args: ReplayArgs) -> Result<ExitCode> {
    let json = args.json;
    // Replaying blocks, and components for WASI must not do that to the runtime.
    let replayed = tokio::task::spawn_blocking(move || replay(&args)).await?;
    let report = match replayed {
        Ok(report) => report,
        Err(error) => {
            eprintln!("pintle: {error:#}");
            return Ok(ExitCode::from(UNUSABLE));
        }
    };
    if json {
        out::print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        out::print(&shown(&report))?;
    }
    Ok(if report.is_identical() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS) })
}

fn replay(args: &ReplayArgs) -> Result<Report> {
    let file = File::open(&args.file)
        .with_context(|| format!("cannot read the trace {}", args.file.display()))?;
    let with = match &args.with {
        None => None,
        Some(path) => Some(Bytes::from(
            std::fs::read(path)
                .with_context(|| format!("cannot read the component {}", path.display()))?,
        )),
    };
    let config = match &args.config {
        None => None,
        Some(text) => Some(serde_json::from_str(text).context("--config is not valid JSON")?),
    };
    let options = Replay {
        with,
        config,
        partial: args.partial,
        cache_directory: cache_directory(),
        compiler: compiler::own(),
    };
    trace::replay(BufReader::new(file), &options)
        .with_context(|| format!("{} cannot be replayed", args.file.display()))
}

/// Where compiled components are kept for the next time.
fn cache_directory() -> PathBuf {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let cache = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")));
    match cache {
        Some(cache) => cache.join("pintle/plugin-cache"),
        None => {
            std::env::temp_dir().join(format!("pintle-plugin-cache-{}", nix::unistd::geteuid()))
        }
    }
}

fn shown(report: &Report) -> String {
    let mut lines = vec![head(report)];
    lines.extend(notes(report));
    if let Some(first) = report.differences.first() {
        lines.push(String::new());
        lines.push(format!("First difference: {}", described(first)));
        let titles = ("RECORDED", "NOW");
        let text = columns::side_by_side(titles, &first.recorded, &first.now, columns::width());
        lines.push(text.trim_end().to_owned());
        if report.differences.len() > 1 {
            lines.push(String::new());
            lines.extend(report.differences[1..].iter().take(LISTED).map(described));
            let more =
                (report.differing + report.reads_differing).saturating_sub(1 + LISTED as u64);
            if more > 0 {
                lines.push(format!("and {more} more"));
            }
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn head(report: &Report) -> String {
    let by = if report.recorded_digest == report.replayed_digest {
        "by the component that was recorded".to_owned()
    } else {
        format!("by {} (recorded: {})", report.replayed_digest, report.recorded_digest)
    };
    let result = if report.is_identical() {
        "all identical".to_owned()
    } else {
        format!("{} differ", report.differing)
    };
    format!(
        "{} calls of plugin {} ({}) and {} reads replayed {by}: {result}",
        report.calls, report.plugin, report.role, report.reads
    )
}

fn notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |count: u64, text: &str| {
        if count > 0 {
            notes.push(format!("{count} {text}"));
        }
    };
    note(report.faults_equal, "calls faulted both times, in the same way");
    note(report.reads_differing, "calls with equal answers read otherwise");
    note(report.ended_by_clock, "calls were ended by the clock when recorded, which says nothing");
    note(report.skipped, "calls could not be replayed, because the instance was lost before");
    note(report.lost, "calls are missing in the trace, because the machine was busy");
    note(
        report.live_differing,
        "recorded answers are others than those that counted (values of Secrets are replaced)",
    );
    if let Some(cut) = &report.cut {
        notes.push(cut.clone());
    }
    notes
}

fn described(difference: &Difference) -> String {
    let namespace = match difference.namespace.as_str() {
        "" => String::new(),
        namespace => format!("{namespace}/"),
    };
    format!(
        "call {} (frame {}), {} of {} {namespace}{} at revision {}: {}",
        difference.call,
        difference.frame,
        difference.export,
        difference.kind,
        difference.name,
        difference.revision,
        difference.what
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_difference_is_shown_with_its_input() {
        let mut report = Report {
            plugin: "scheduler".into(),
            role: "Scheduler".into(),
            recorded_digest: "sha256:a".into(),
            replayed_digest: "sha256:b".into(),
            calls: 12,
            reads: 3,
            ..Report::default()
        };
        assert_eq!(
            shown(&report),
            "12 calls of plugin scheduler (Scheduler) and 3 reads replayed by sha256:b (recorded: sha256:a): all identical\n"
        );
        report.differing = 1;
        report.differences.push(Difference {
            call: 7,
            frame: 9,
            export: "schedule".into(),
            kind: "Pod".into(),
            namespace: "default".into(),
            name: "web-1".into(),
            revision: 42,
            what: "decision 2 of 3 differs".into(),
            recorded: json!({ "bind": "node-1" }),
            now: json!({ "bind": "node-2" }),
        });
        let text = shown(&report);
        assert!(text.contains(": 1 differ\n"), "{text}");
        assert!(
            text.contains("call 7 (frame 9), schedule of Pod default/web-1 at revision 42: decision 2 of 3 differs"),
            "{text}"
        );
        assert!(text.contains("bind: node-1") && text.contains("| bind: node-2"), "{text}");
    }
}

//! The `process` of the specification: of a container, and of an exec session
//! in one. Does not know namespaces, mounts or cgroups.

use std::path::Path;

use serde_json::{Value, json};

use super::super::{ContainerSpec, ExecSpec, User};
use super::{capabilities, read_config};
use crate::sandbox::SandboxError;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn process(spec: &ContainerSpec) -> Value {
    let capabilities = match spec.privileged {
        true => capabilities::all(),
        false => capabilities::resolve(&spec.capabilities),
    };
    let env = environment(
        spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        spec.tty,
    );
    let mut process = json!({
        "terminal": spec.tty,
        "user": user(&spec.user),
        "args": spec.args,
        "env": env,
        "cwd": if spec.cwd.is_empty() { "/" } else { &spec.cwd },
        "capabilities": {
            "bounding": capabilities,
            "effective": capabilities,
            "permitted": capabilities,
        },
        "noNewPrivileges": spec.no_new_privileges && !spec.privileged,
        "oomScoreAdj": spec.oom_score_adj,
    });
    if !spec.rlimits.is_empty() {
        process["rlimits"] = spec
            .rlimits
            .iter()
            .map(|limit| json!({ "type": limit.kind, "soft": limit.soft, "hard": limit.hard }))
            .collect();
    }
    process
}

/// Adds what programs expect to find and the image did not set.
fn environment(mut env: Vec<String>, tty: bool) -> Vec<String> {
    let has = |env: &[String], name: &str| env.iter().any(|entry| entry.starts_with(name));
    if !has(&env, "PATH=") {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    if tty && !has(&env, "TERM=") {
        env.push("TERM=xterm".into());
    }
    env
}

fn user(user: &User) -> Value {
    json!({
        "uid": user.uid,
        "gid": user.gid,
        "additionalGids": user.additional_gids,
    })
}

/// The `process` of an exec session: the container's own with another command.
pub(crate) fn process_json(config: &Path, spec: &ExecSpec) -> Result<String, SandboxError> {
    if spec.args.first().is_none_or(|program| program.is_empty()) {
        return Err(SandboxError::invalid("args", "no command to execute"));
    }
    let mut process = read_config(config)?["process"].take();
    let mut env: Vec<String> = process["env"]
        .as_array()
        .map(|env| env.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    for (name, value) in &spec.env {
        let prefix = format!("{name}=");
        env.retain(|entry| !entry.starts_with(&prefix));
        env.push(format!("{prefix}{value}"));
    }
    process["env"] = environment(env, spec.tty).into();
    process["args"] = json!(spec.args);
    process["terminal"] = spec.tty.into();
    if let (true, Some((width, height))) = (spec.tty, spec.size) {
        // Set by the runtime before the process starts: it may look at once.
        process["consoleSize"] = json!({ "width": width, "height": height });
    }
    if !spec.cwd.is_empty() {
        process["cwd"] = spec.cwd.clone().into();
    }
    if let Some(as_user) = &spec.user {
        process["user"] = user(as_user);
    }
    Ok(process.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::stop_signal;
    use super::super::tests::config;
    use super::*;

    #[test]
    fn exec_inherits_and_overrides() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let config = config(|_, spec| {
            spec.env = vec![("A".into(), "1".into()), ("B".into(), "2".into())];
            spec.user.uid = 7;
            spec.stop_signal = 3;
        });
        pintle_shim::layout::write_json(&path, &config, false).unwrap();
        let exec = ExecSpec {
            args: vec!["id".into()],
            env: vec![("A".into(), "3".into())],
            tty: true,
            ..ExecSpec::default()
        };
        let process: Value = serde_json::from_str(&process_json(&path, &exec).unwrap()).unwrap();
        assert_eq!(process["user"]["uid"], 7);
        assert_eq!(process["args"], json!(["id"]));
        let env = process["env"].as_array().unwrap();
        assert!(env.contains(&json!("A=3")) && env.contains(&json!("B=2")));
        assert!(env.contains(&json!("TERM=xterm")) && !env.contains(&json!("A=1")));
        assert_eq!(stop_signal(&path).unwrap(), 3);
        assert!(process_json(&path, &ExecSpec::default()).is_err());
    }
}

//! Refuses specs that could not work, or that would reach outside the pod's directory.

use std::path::Path;

use super::{ContainerSpec, MountKind, SandboxSpec};
use crate::sandbox::SandboxError;

/// Longest name that becomes a directory or cgroup, in bytes.
const MAX_NAME: usize = 200;

impl SandboxSpec {
    pub(crate) fn check(&self) -> Result<(), SandboxError> {
        check_name("sandbox id", &self.id)?;
        check_absolute("state_dir", &self.state_dir)?;
        if let Some(netns) = &self.netns {
            check_absolute("netns", netns)?;
        }
        if !self.host_uts && (self.hostname.is_empty() || self.hostname.len() > 64) {
            return Err(SandboxError::invalid(
                "hostname",
                format!("{:?} must have 1 to 64 bytes", self.hostname),
            ));
        }
        let cgroup = Path::new(&self.cgroup_parent);
        check_absolute("cgroup_parent", cgroup)?;
        if cgroup.parent().is_none() {
            return Err(SandboxError::invalid("cgroup_parent", "must not be the root cgroup"));
        }
        Ok(())
    }
}

impl ContainerSpec {
    pub(crate) fn check(&self) -> Result<(), SandboxError> {
        check_name("container name", &self.name)?;
        check_absolute("rootfs", &self.rootfs)?;
        if self.args.first().is_none_or(|program| program.is_empty()) {
            return Err(SandboxError::invalid(
                "args",
                "no command: neither the container nor its image names one",
            ));
        }
        if !self.cwd.is_empty() {
            check_absolute("cwd", Path::new(&self.cwd))?;
        }
        if let Some((name, _)) =
            self.env.iter().find(|(name, _)| name.is_empty() || name.contains('='))
        {
            return Err(SandboxError::invalid("env", format!("{name:?} is not a variable name")));
        }
        let texts = self.args.iter().chain(self.env.iter().flat_map(|(name, value)| [name, value]));
        if let Some(text) = texts.into_iter().find(|text| text.contains('\0')) {
            return Err(SandboxError::invalid(
                "args or env",
                format!("{text:?} contains a NUL byte"),
            ));
        }
        for mount in &self.mounts {
            check_absolute("mount destination", &mount.destination)?;
            if matches!(mount.kind, MountKind::Bind { .. }) {
                check_absolute("mount source", &mount.source)?;
            }
        }
        match &self.log_path {
            Some(path) => check_absolute("log_path", path),
            None => Ok(()),
        }
    }
}

fn check_name(field: &'static str, name: &str) -> Result<(), SandboxError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let plain = !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(allowed);
    if plain && !name.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(SandboxError::invalid(
        field,
        format!(
            "{name:?} must have 1 to {MAX_NAME} letters, digits, '-', '_' or '.', a letter or digit first"
        ),
    ))
}

fn check_absolute(field: &'static str, path: &Path) -> Result<(), SandboxError> {
    let climbs = path.components().any(|part| part == std::path::Component::ParentDir);
    if path.is_absolute() && !climbs && path.to_str().is_some() {
        return Ok(());
    }
    Err(SandboxError::invalid(
        field,
        format!("{path:?} must be an absolute path without '..', in UTF-8"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> ContainerSpec {
        ContainerSpec {
            name: "web".into(),
            rootfs: "/r".into(),
            args: vec!["sh".into()],
            ..ContainerSpec::default()
        }
    }

    #[test]
    fn containers() {
        let check = |change: fn(&mut ContainerSpec), expect: &str| {
            let mut spec = good();
            change(&mut spec);
            let text = spec.check().map_or_else(|e| e.to_string(), |()| String::new());
            assert!(text.contains(expect) && expect.is_empty() == text.is_empty(), "{text}");
        };
        check(|_| {}, "");
        check(|s| s.name = "../x".into(), "container name");
        check(|s| s.name = ".".into(), "container name");
        check(|s| s.args.clear(), "no command");
        check(|s| s.cwd = "tmp".into(), "cwd");
        check(|s| s.env.push(("A=B".into(), String::new())), "variable name");
        check(|s| s.args.push("a\0b".into()), "NUL");
        check(|s| s.log_path = Some("/logs/../0.log".into()), "log_path");
    }

    #[test]
    fn pods() {
        let mut spec = SandboxSpec {
            id: "p".into(),
            state_dir: "/s".into(),
            hostname: "h".into(),
            cgroup_parent: "/kubepods/p".into(),
            ..SandboxSpec::default()
        };
        assert!(spec.check().is_ok());
        spec.cgroup_parent = "/".into();
        assert!(spec.check().is_err());
    }
}

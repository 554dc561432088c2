//! From a pod's container and its image to what the runtime shall run; pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pintle_containers::{
    Capabilities, ContainerSpec, ImageConfig, Mount, MountKind, Propagation, User,
};

use super::env::expand;
use super::model::{Container, Pod};
use super::record::Record;
use super::resources::{container_resources, oom_score_adj};

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("no command specified")]
    NoCommand,
    #[error(
        "container has runAsNonRoot and image will run as root (pod: \"{pod}\", container: {container})"
    )]
    RunsAsRoot { pod: String, container: String },
    #[error("cannot find the image's user")]
    User(#[source] pintle_containers::UserError),
    #[error(
        "volume mount {mount:?} of the container refers to volume {volume:?}, which the pod does not have"
    )]
    NoVolume { mount: String, volume: String },
    #[error("mount path {0:?} is not absolute")]
    MountPath(String),
    #[error("subPath {sub_path:?} of volume {volume:?} must be relative and must not contain `..`")]
    SubPath { volume: String, sub_path: String },
    #[error("cannot prepare {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Everything that has been found out before a container's spec is built.
pub struct Inputs<'a> {
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub attempt: u32,
    pub image: &'a ImageConfig,
    pub rootfs: &'a Path,
    pub env: Vec<(String, String)>,
    /// Source of each volume on the node.
    pub volumes: &'a BTreeMap<String, PathBuf>,
    pub record: &'a Record,
    pub node_memory_bytes: i64,
}

pub fn container_spec(inputs: Inputs<'_>) -> Result<ContainerSpec, ConfigError> {
    let Inputs { pod, container, attempt, image, rootfs, env, .. } = &inputs;
    let variables: BTreeMap<String, String> = env.iter().cloned().collect();
    let security = &container.security_context;
    let user = user(&inputs)?;
    let privileged = security.privileged.unwrap_or(false);
    let mut annotations = BTreeMap::new();
    annotations.insert("io.kubernetes.pod.uid".to_owned(), pod.metadata.uid.clone());
    Ok(ContainerSpec {
        name: container.name.clone(),
        attempt: *attempt,
        rootfs: rootfs.to_path_buf(),
        args: command_line(container, image, &variables)?,
        env: inputs.env.clone(),
        cwd: match container.working_dir.as_str() {
            "" if image.working_dir.is_empty() => "/".to_owned(),
            "" => image.working_dir.clone(),
            dir => expand(dir, &variables),
        },
        user,
        mounts: mounts(&inputs)?,
        resources: container_resources(container),
        oom_score_adj: oom_score_adj(pod, container, inputs.node_memory_bytes),
        privileged,
        no_new_privileges: security.allow_privilege_escalation == Some(false) && !privileged,
        capabilities: Capabilities {
            add: security.capabilities.add.clone(),
            drop: security.capabilities.drop.clone(),
        },
        readonly_rootfs: security.read_only_root_filesystem.unwrap_or(false),
        mask_paths: security.proc_mount != "Unmasked" && !privileged,
        tty: container.tty,
        stdin: container.stdin,
        log_path: Some(inputs.record.log(&container.name, *attempt)),
        stop_signal: image.signal(),
        annotations,
        ..ContainerSpec::default()
    })
}

/// `command` replaces the entrypoint and with it the image's arguments; `args`
/// alone replaces the arguments only.
pub fn command_line(
    container: &Container,
    image: &ImageConfig,
    variables: &BTreeMap<String, String>,
) -> Result<Vec<String>, ConfigError> {
    let own =
        |words: &[String]| words.iter().map(|word| expand(word, variables)).collect::<Vec<_>>();
    let (mut line, args) = match (container.command.is_empty(), container.args.is_empty()) {
        (false, _) => (own(&container.command), own(&container.args)),
        (true, false) => (image.entrypoint.clone(), own(&container.args)),
        (true, true) => (image.entrypoint.clone(), image.cmd.clone()),
    };
    line.extend(args);
    if line.is_empty() { Err(ConfigError::NoCommand) } else { Ok(line) }
}

fn user(inputs: &Inputs<'_>) -> Result<User, ConfigError> {
    let (pod, own) = (&inputs.pod.spec.security_context, &inputs.container.security_context);
    let run_as_user = own.run_as_user.or(pod.run_as_user);
    let run_as_group = own.run_as_group.or(pod.run_as_group);
    let named = match run_as_user {
        Some(uid) => uid.to_string(),
        None => inputs.image.user.clone(),
    };
    let mut user =
        pintle_containers::resolve_user(inputs.rootfs, &named).map_err(ConfigError::User)?;
    if let Some(gid) = run_as_group {
        user.gid = gid;
    }
    user.additional_gids.extend(&pod.supplemental_groups);
    user.additional_gids.extend(pod.fs_group);
    let non_root = own.run_as_non_root.or(pod.run_as_non_root).unwrap_or(false);
    if non_root && user.uid == 0 {
        return Err(ConfigError::RunsAsRoot {
            pod: format!(
                "{}_{}({})",
                inputs.pod.metadata.name,
                inputs.pod.metadata.namespace,
                inputs.pod.uid()
            ),
            container: inputs.container.name.clone(),
        });
    }
    Ok(user)
}

/// A claim may be mounted for reading only, whatever the mounts say.
fn is_read_only(pod: &Pod, volume: &str) -> bool {
    let claims = pod.spec.volumes.iter().filter(|known| known.name == volume);
    claims.filter_map(|known| known.persistent_volume_claim.as_ref()).any(|claim| claim.read_only)
}

pub const DEFAULT_TERMINATION_PATH: &str = "/dev/termination-log";

fn mounts(inputs: &Inputs<'_>) -> Result<Vec<Mount>, ConfigError> {
    let mut mounts = Vec::new();
    for mount in &inputs.container.volume_mounts {
        let source = inputs.volumes.get(&mount.name).ok_or_else(|| ConfigError::NoVolume {
            mount: mount.mount_path.clone(),
            volume: mount.name.clone(),
        })?;
        if !mount.mount_path.starts_with('/') {
            return Err(ConfigError::MountPath(mount.mount_path.clone()));
        }
        let source = match mount.sub_path.as_str() {
            "" => source.clone(),
            sub_path => sub_path_of(source, &mount.name, sub_path)?,
        };
        mounts.push(Mount {
            source,
            destination: PathBuf::from(&mount.mount_path),
            readonly: mount.read_only || is_read_only(inputs.pod, &mount.name),
            kind: MountKind::Bind {
                propagation: match mount.mount_propagation.as_str() {
                    "HostToContainer" => Propagation::HostToContainer,
                    "Bidirectional" => Propagation::Bidirectional,
                    _ => Propagation::Private,
                },
            },
        });
    }
    let etc = inputs.record.etc();
    for (file, destination) in [
        ("hosts", "/etc/hosts"),
        ("hostname", "/etc/hostname"),
        ("resolv.conf", "/etc/resolv.conf"),
    ] {
        // On the node's own network a pod sees the node's files, except for the
        // resolver's, which its policy may change.
        let node_own = inputs.pod.spec.host_network && file != "resolv.conf";
        let taken = mounts.iter().any(|mount| mount.destination == Path::new(destination));
        if !node_own && !taken {
            mounts.push(Mount::bind(etc.join(file), destination));
        }
    }
    let termination = match inputs.container.termination_message_path.as_str() {
        "" => DEFAULT_TERMINATION_PATH,
        path => path,
    };
    let source = inputs.record.termination(&inputs.container.name, inputs.attempt);
    mounts.push(Mount::bind(source, termination));
    Ok(mounts)
}

/// Resolves the sub path inside the volume without following a link out of it,
/// and makes the directory when it is missing.
fn sub_path_of(volume: &Path, name: &str, sub_path: &str) -> Result<PathBuf, ConfigError> {
    let bad = || ConfigError::SubPath { volume: name.to_owned(), sub_path: sub_path.to_owned() };
    let relative = Path::new(sub_path);
    let inside = relative.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if !inside {
        return Err(bad());
    }
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| ConfigError::Io { path, source }
    };
    let root = volume.canonicalize().map_err(io(volume))?;
    let path = root.join(relative);
    if !path.exists() {
        // The parts that exist must not lead out before anything is made.
        let mut known = path.as_path();
        while !known.exists() {
            known = known.parent().ok_or_else(bad)?;
        }
        if !known.canonicalize().map_err(io(known))?.starts_with(&root) {
            return Err(bad());
        }
        std::fs::create_dir_all(&path).map_err(io(&path))?;
    }
    let real = path.canonicalize().map_err(io(&path))?;
    if real.starts_with(&root) { Ok(real) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn command_lines_combine_pod_and_image() {
        let check = |command: &str,
                     args: &str,
                     entrypoint: &str,
                     cmd: &str,
                     expect: Option<&str>| {
            let container =
                Container { command: words(command), args: words(args), ..Container::default() };
            let image = ImageConfig {
                entrypoint: words(entrypoint),
                cmd: words(cmd),
                ..ImageConfig::default()
            };
            let variables = BTreeMap::from([("V".to_owned(), "1".to_owned())]);
            let got = command_line(&container, &image, &variables).ok();
            assert_eq!(got, expect.map(words));
        };
        check("", "", "ep", "cmd", Some("ep cmd"));
        check("", "a", "ep", "cmd", Some("ep a"));
        check("c", "", "ep", "cmd", Some("c"));
        check("c", "a $(V)", "ep", "cmd", Some("c a 1"));
        check("", "", "", "", None);
    }

    #[test]
    fn sub_paths_stay_inside_their_volume() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("out")).unwrap();
        let check = |sub_path: &str, expect: bool| {
            assert_eq!(sub_path_of(dir.path(), "v", sub_path).is_ok(), expect, "{sub_path}");
        };
        check("a/b", true);
        check("../x", false);
        check("/etc", false);
        check("out/etc", false);
        check("out/new-directory", false);
        assert!(dir.path().join("a/b").is_dir());
        assert!(!Path::new("/new-directory").exists());
    }
}

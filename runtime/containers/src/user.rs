//! Who a container runs as: an image's or a spec's user, looked up in the container's own files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::spec::User;

/// Largest `/etc/passwd` or `/etc/group` that is read, in bytes.
const MAX_FILE: u64 = 8 << 20;

#[derive(Debug, thiserror::Error)]
pub enum UserError {
    #[error("no user {0:?} in the image's /etc/passwd")]
    NoUser(String),
    #[error("no group {0:?} in the image's /etc/group")]
    NoGroup(String),
    #[error("{0:?} is not a user: expected a name or number, then perhaps ':' and a group")]
    Malformed(String),
    #[error("cannot read {} of the image", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Looks up `user`, `user:group`, `uid` or `uid:gid`; empty is root. Additional groups are those
/// that list the user, unless a group is named. A uid need not exist.
pub fn resolve_user(rootfs: &Path, user: &str) -> Result<User, UserError> {
    let (name, group) = match user.split_once(':') {
        Some((_, "")) => return Err(UserError::Malformed(user.to_owned())),
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let passwd = read(rootfs, "etc/passwd")?;
    let groups = read(rootfs, "etc/group")?;
    resolve(&passwd, &groups, name, group)
}

fn resolve(passwd: &str, groups: &str, name: &str, group: Option<&str>) -> Result<User, UserError> {
    let number = name.parse::<u32>().ok();
    // name:password:uid:gid:...
    let account = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
        let by_number =
            number.is_some() && fields.get(2).and_then(|uid| uid.parse().ok()) == number;
        fields.len() >= 4 && (fields[0] == name || by_number)
    });
    let (uid, primary, login) = match &account {
        Some(fields) => {
            let id = |text: &str| text.parse().map_err(|_| UserError::NoUser(name.to_owned()));
            (id(fields[2])?, id(fields[3])?, Some(fields[0]))
        }
        None => (number.ok_or_else(|| UserError::NoUser(name.to_owned()))?, 0, None),
    };
    if let Some(group) = group {
        return Ok(User { uid, gid: find_group(groups, group)?, additional_gids: Vec::new() });
    }
    let mut additional_gids: Vec<u32> = login
        .map(|login| group_lines(groups).filter(move |(_, _, members)| members.contains(&login)))
        .into_iter()
        .flatten()
        .map(|(_, gid, _)| gid)
        .filter(|gid| *gid != primary)
        .collect();
    additional_gids.sort_unstable();
    additional_gids.dedup();
    Ok(User { uid, gid: primary, additional_gids })
}

fn find_group(groups: &str, group: &str) -> Result<u32, UserError> {
    group_lines(groups)
        .find(|(name, _, _)| *name == group)
        .map(|(_, gid, _)| gid)
        .or_else(|| group.parse().ok())
        .ok_or_else(|| UserError::NoGroup(group.to_owned()))
}

/// name:password:gid:members
fn group_lines(groups: &str) -> impl Iterator<Item = (&str, u32, Vec<&str>)> {
    groups.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        let members = fields.next().unwrap_or_default().split(',').collect();
        Some((name, gid, members))
    })
}

/// Reads a file of the root file system; links in it cannot lead outside. Missing is empty.
fn read(rootfs: &Path, path: &str) -> Result<String, UserError> {
    let failed = |source: io::Error| UserError::Io { path: Path::new("/").join(path), source };
    let root = File::open(rootfs).map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match openat2(&root, path, flags, Mode::empty(), resolve) {
        Ok(fd) => File::from(fd),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(String::new()),
        Err(error) => return Err(failed(error.into())),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/:/bin/false\nbroken\n1000:x:5:5::/:\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:\nlog:x:4:web,other\ntls:x:7:web\n";

    fn check(user: &str, expect: Result<(u32, u32, &[u32]), &str>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), PASSWD).unwrap();
        std::fs::write(dir.path().join("etc/group"), GROUP).unwrap();
        match (resolve_user(dir.path(), user), expect) {
            (Ok(found), Ok((uid, gid, more))) => {
                assert_eq!(
                    (found.uid, found.gid, &found.additional_gids[..]),
                    (uid, gid, more),
                    "{user}"
                );
            }
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
            (found, _) => panic!("{user}: {found:?}"),
        }
    }

    #[test]
    fn users() {
        check("", Ok((0, 0, &[])));
        check("web", Ok((33, 33, &[4, 7])));
        check("33", Ok((33, 33, &[4, 7])));
        check("web:log", Ok((33, 4, &[])));
        check("12345", Ok((12345, 0, &[])));
        check("12345:678", Ok((12345, 678, &[])));
        check("nobody", Err("no user"));
        check("web:nope", Err("no group"));
        check("web:", Err("not a user"));
        check("broken", Err("no user"));
    }

    #[test]
    fn links_stay_inside_and_missing_files_are_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(resolve_user(dir.path(), "5").unwrap().uid, 5);
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("etc/group")).unwrap();
        std::os::unix::fs::symlink("../../../../../../etc/hostname", dir.path().join("etc/passwd"))
            .unwrap();
        assert!(resolve_user(dir.path(), "root").is_err());
    }
}

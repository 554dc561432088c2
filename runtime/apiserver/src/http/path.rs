//! From a URL path to what it names.
//!
//! The grammar is the Kubernetes API's: `/api/v1/...` for the core group,
//! `/apis/GROUP/VERSION/...` for others, `namespaces/NS/` in between for
//! namespaced kinds, `/watch/` as the old spelling of `?watch=true`.

use std::borrow::Cow;

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// `/api`: the versions of the core group.
    CoreVersions,
    /// `/apis`: all groups.
    Groups,
    /// `/apis/GROUP`.
    Group(Cow<'a, str>),
    /// `/api/v1` or `/apis/GROUP/VERSION`: the resources of one version.
    GroupVersion { group: Cow<'a, str>, version: Cow<'a, str> },
    /// A collection, an object or a subresource.
    Resource(ResourcePath<'a>),
    /// Everything else, `/healthz` and the like.
    Other,
}

/// A collection (`name` is `None`), an object, or a subresource of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ResourcePath<'a> {
    pub group: Cow<'a, str>,
    pub version: Cow<'a, str>,
    pub namespace: Option<Cow<'a, str>>,
    pub resource: Cow<'a, str>,
    pub name: Option<Cow<'a, str>>,
    pub subresource: Option<Cow<'a, str>>,
    /// The old `/watch/` prefix was there.
    pub watch: bool,
}

/// Parses a path. `Err` carries the segment that is not valid percent-encoding.
pub fn parse(path: &str) -> Result<Target<'_>, &str> {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let (group, version) = match segments.next() {
        Some("api") => match segments.next() {
            None => return Ok(Target::CoreVersions),
            Some(version) => (Cow::Borrowed(""), decode(version)?),
        },
        Some("apis") => match (segments.next(), segments.next()) {
            (None, _) => return Ok(Target::Groups),
            (Some(group), None) => return Ok(Target::Group(decode(group)?)),
            (Some(group), Some(version)) => (decode(group)?, decode(version)?),
        },
        _ => return Ok(Target::Other),
    };
    let mut rest: [Option<&str>; 6] = [None; 6];
    let mut count = 0;
    for segment in segments {
        if count == rest.len() {
            return Ok(Target::Other);
        }
        rest[count] = Some(segment);
        count += 1;
    }
    if count == 0 {
        return Ok(Target::GroupVersion { group, version });
    }
    let mut parts = &rest[..count];
    let watch = parts.len() > 1 && parts[0] == Some("watch");
    if watch {
        parts = &parts[1..];
    }
    let mut found = ResourcePath { group, version, watch, ..Default::default() };
    // `namespaces/x` and `namespaces/x/status` name the Namespace object
    // itself, `namespaces/x/pods` is a collection inside it.
    let inside_namespace = parts[0] == Some("namespaces")
        && parts.len() > 2
        && !(parts.len() == 3 && matches!(parts[2], Some("status" | "finalize")));
    if inside_namespace {
        found.namespace = part(parts, 1)?;
        parts = &parts[2..];
    }
    if parts.len() > 3 {
        return Ok(Target::Other);
    }
    found.resource = part(parts, 0)?.unwrap_or_default();
    found.name = part(parts, 1)?;
    found.subresource = part(parts, 2)?;
    Ok(Target::Resource(found))
}

fn part<'a>(parts: &[Option<&'a str>], index: usize) -> Result<Option<Cow<'a, str>>, &'a str> {
    match parts.get(index).copied().flatten() {
        None => Ok(None),
        Some(segment) => decode(segment).map(Some),
    }
}

fn decode(segment: &str) -> Result<Cow<'_, str>, &str> {
    percent_decode(segment, false).ok_or(segment)
}

/// Decodes `%41` (and, in queries, `+`). `None` when it is not valid UTF-8 or
/// a percent sign is not followed by two hex digits.
pub fn percent_decode(text: &str, plus_is_space: bool) -> Option<Cow<'_, str>> {
    let needs = |byte: u8| byte == b'%' || (plus_is_space && byte == b'+');
    if !text.bytes().any(needs) {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                decoded.push((high * 16 + low) as u8);
            }
            b'+' if plus_is_space => decoded.push(b' '),
            other => decoded.push(other),
        }
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_what_kubernetes_says_they_name() {
        let check = |path: &str, expect: &str| {
            let text = match parse(path) {
                Ok(Target::CoreVersions) => "core".to_string(),
                Ok(Target::Groups) => "groups".to_string(),
                Ok(Target::Group(group)) => format!("group {group}"),
                Ok(Target::GroupVersion { group, version }) => format!("gv {group}/{version}"),
                Ok(Target::Resource(r)) => format!(
                    "{}{}/{} {} {} {} {}",
                    if r.watch { "watch " } else { "" },
                    r.group,
                    r.version,
                    r.resource,
                    r.namespace.as_deref().unwrap_or("-"),
                    r.name.as_deref().unwrap_or("-"),
                    r.subresource.as_deref().unwrap_or("-"),
                ),
                Ok(Target::Other) => "other".to_string(),
                Err(segment) => format!("bad {segment}"),
            };
            assert_eq!(text, expect, "{path}");
        };
        check("/api", "core");
        check("/api/", "core");
        check("/apis", "groups");
        check("/apis/apps", "group apps");
        check("/apis/apps/v1", "gv apps/v1");
        check("/api/v1", "gv /v1");
        check("/api/v1/pods", "/v1 pods - - -");
        check("/api/v1/nodes/a", "/v1 nodes - a -");
        check("/api/v1/nodes/a/status", "/v1 nodes - a status");
        check("/api/v1/namespaces", "/v1 namespaces - - -");
        check("/api/v1/namespaces/x", "/v1 namespaces - x -");
        check("/api/v1/namespaces/x/status", "/v1 namespaces - x status");
        check("/api/v1/namespaces/x/finalize", "/v1 namespaces - x finalize");
        check("/api/v1/namespaces/x/pods", "/v1 pods x - -");
        check("/api/v1/namespaces/x/pods/p", "/v1 pods x p -");
        check("/api/v1/namespaces/x/pods/p/log", "/v1 pods x p log");
        check("/api/v1/watch/pods", "watch /v1 pods - - -");
        check("/api/v1/watch/namespaces/x/pods/p", "watch /v1 pods x p -");
        check("/apis/apps/v1/namespaces/x/deployments/d/scale", "apps/v1 deployments x d scale");
        check("/api/v1/namespaces/x/events/e%3Af", "/v1 events x e:f -");
        check("/api/v1/nodes/a%zz", "bad a%zz");
        check("/api/v1/nodes/a%ff", "bad a%ff");
        check("/api/v1/a/b/c/d/e/f/g/h", "other");
        check("/api/v1/nodes/a/b/c", "other");
        check("/healthz", "other");
        check("", "other");
    }

    proptest::proptest! {
        #[test]
        fn no_path_makes_the_server_panic(path in "(/|%|api|apis|v1|namespaces|watch|\\PC)*") {
            let _ = parse(&path);
        }
    }
}

//! The name of an artifact: `registry.example:5000/team/scorer:1.2@sha256:…`.

use std::str::FromStr;

use crate::digest::Digest;

/// Where Docker Hub's images are said to be, and where they are.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Host, and port if there is one, as written.
    pub registry: String,
    pub repository: String,
    pub tag: Option<String>,
    /// Of the manifest.
    pub digest: Option<Digest>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} does not name an artifact: {problem}")]
pub struct ReferenceError {
    text: String,
    problem: &'static str,
}

impl Reference {
    /// What the registry's API calls it: the digest where there is one.
    pub(crate) fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The host to connect to.
    pub(crate) fn host(&self) -> &str {
        if self.registry == DOCKER_HUB.0 { DOCKER_HUB.1 } else { &self.registry }
    }

    /// Without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same artifact by its manifest's digest alone.
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    pub(crate) fn tagged(&self, tag: String) -> Self {
        Self { tag: Some(tag), digest: None, ..self.clone() }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse(text.trim_start_matches("oci://"))
            .map_err(|problem| ReferenceError { text: text.to_owned(), problem })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => {
            let digest = Digest::parse(digest)
                .map_err(|_| "what follows the @ must be sha256: and 64 hexadecimal digits")?;
            (name, Some(digest))
        }
        None => (text, None),
    };
    let (registry, path) = name
        .split_once('/')
        .ok_or("it starts with the registry's host, as in registry.example/team/name:tag")?;
    // `team/name` would be searched for at a place that nobody named.
    let is_host = registry.contains(['.', ':']) || registry == "localhost";
    if !is_host || !registry.bytes().all(is_host_byte) {
        return Err("it starts with the registry's host, as in registry.example/team/name:tag");
    }
    let (repository, tag) = match path.rsplit_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (path, None),
    };
    if !is_repository(repository) {
        return Err(
            "the repository is made of lower-case letters, digits and . _ - between slashes",
        );
    }
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err("a tag is made of at most 128 letters, digits and . _ -");
    }
    Ok(Reference {
        registry: registry.to_owned(),
        repository: repository.to_owned(),
        tag: tag.map(str::to_owned),
        digest,
    })
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']')
}

fn is_repository(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    text.len() <= 255
        && text.split('/').all(|part| {
            let bytes = part.as_bytes();
            edge(bytes.first()) && edge(bytes.last()) && bytes.iter().copied().all(inner)
        })
}

fn is_tag(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=128).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with(['.', '-'])
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_read() {
        let check = |text: &str, registry: &str, repository: &str, version: &str| {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.registry, registry, "{text}");
            assert_eq!(reference.repository, repository, "{text}");
            assert_eq!(reference.version(), version, "{text}");
            assert_eq!(reference.to_string(), text.trim_start_matches("oci://"));
        };
        check("registry.example/team/scorer:1.2", "registry.example", "team/scorer", "1.2");
        check("oci://127.0.0.1:5000/scorer", "127.0.0.1:5000", "scorer", "latest");
        check("[::1]:5000/scorer:x", "[::1]:5000", "scorer", "x");
        check("localhost/a/b__c:1", "localhost", "a/b__c", "1");
        check(&format!("r.example/s:1@{DIGEST}"), "r.example", "s", DIGEST);
        let hub: Reference = "docker.io/team/scorer:1".parse().unwrap();
        assert_eq!(hub.host(), "registry-1.docker.io");
    }

    #[test]
    fn what_names_nothing_is_refused() {
        let check = |text: &str, expect: &str| {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("scorer", "registry's host");
        check("team/scorer:1", "registry's host");
        check("evil host.example/x", "registry's host");
        check("r.example/Team/x", "lower-case");
        check("r.example/../x", "lower-case");
        check("r.example/x:", "a tag");
        check("r.example/x:-a", "a tag");
        check("r.example/x@sha256:12", "sha256:");
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_read_is_written_the_same(text in ".{0,60}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
            }
        }
    }
}

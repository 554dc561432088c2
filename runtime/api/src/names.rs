//! The syntax of names, in Kubernetes' rules and messages.
//!
//! Each check returns `None` for a good value, otherwise the text that belongs
//! after `Invalid value: "...": `.

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;

const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035_TEXT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const QUALIFIED_TEXT: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const ENV_TEXT: &str = "a valid environment variable name must consist only of printable ASCII characters other than '='";
const CONFIG_KEY_TEXT: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn is_label_syntax(value: &str) -> bool {
    let bytes = value.as_bytes();
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
}

/// RFC 1123 label: containers, volumes, namespaces.
pub fn dns_label(value: &str) -> Option<String> {
    if !is_label_syntax(value) {
        return Some(LABEL_TEXT.to_owned());
    }
    (value.len() > LABEL_MAX).then(|| too_long(LABEL_MAX))
}

/// RFC 1035 label, which starts with a letter: services.
pub fn dns_label_1035(value: &str) -> Option<String> {
    if !is_label_syntax(value) || value.as_bytes()[0].is_ascii_digit() {
        return Some(LABEL_1035_TEXT.to_owned());
    }
    (value.len() > LABEL_MAX).then(|| too_long(LABEL_MAX))
}

/// RFC 1123 subdomain: the name of nearly every object.
pub fn dns_subdomain(value: &str) -> Option<String> {
    if value.len() > SUBDOMAIN_MAX {
        return Some(too_long(SUBDOMAIN_MAX));
    }
    (!value.split('.').all(is_label_syntax)).then(|| SUBDOMAIN_TEXT.to_owned())
}

fn is_name_part(value: &str) -> bool {
    let bytes = value.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Keys of labels and annotations, resource names, finalizers: `[prefix/]name`.
pub fn qualified_name(value: &str) -> Option<String> {
    let (prefix, name) = match value.split_once('/') {
        None => (None, value),
        Some((prefix, name)) if !name.contains('/') => (Some(prefix), name),
        Some(_) => {
            return Some(
                "a valid qualified name must consist of an optional DNS subdomain prefix and '/', followed by a name part (e.g. 'example.com/MyName')".to_owned(),
            );
        }
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            return Some("prefix part must be non-empty".to_owned());
        }
        if let Some(message) = dns_subdomain(prefix) {
            return Some(format!("prefix part {message}"));
        }
    }
    if name.is_empty() {
        return Some("name part must be non-empty".to_owned());
    }
    if name.len() > LABEL_MAX {
        return Some(format!("name part {}", too_long(LABEL_MAX)));
    }
    (!is_name_part(name)).then(|| QUALIFIED_TEXT.to_owned())
}

pub fn label_value(value: &str) -> Option<String> {
    if value.len() > LABEL_MAX {
        return Some(too_long(LABEL_MAX));
    }
    (!value.is_empty() && !is_name_part(value)).then(|| LABEL_VALUE_TEXT.to_owned())
}

/// What may be one segment of an API path.
pub fn path_segment(value: &str) -> Option<String> {
    if value == "." || value == ".." {
        return Some(format!("may not be '{value}'"));
    }
    ['/', '%'].into_iter().find(|c| value.contains(*c)).map(|c| format!("may not contain '{c}'"))
}

pub fn env_var_name(value: &str) -> Option<String> {
    let good =
        !value.is_empty() && value.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'=');
    (!good).then(|| ENV_TEXT.to_owned())
}

/// Keys of ConfigMaps and Secrets, which become file names.
pub fn config_map_key(value: &str) -> Option<String> {
    if value.len() > SUBDOMAIN_MAX {
        return Some(too_long(SUBDOMAIN_MAX));
    }
    let good = !value.is_empty()
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if !good {
        return Some(CONFIG_KEY_TEXT.to_owned());
    }
    match value {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        _ if value.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

/// Names of container and service ports (`IANA_SVC_NAME`).
pub fn port_name(value: &str) -> Option<String> {
    if value.len() > 15 {
        return Some("must be no more than 15 characters".to_owned());
    }
    if !value.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    {
        return Some(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !value.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Some("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        return Some("must not contain consecutive hyphens".to_owned());
    }
    (value.starts_with('-') || value.ends_with('-'))
        .then(|| "must not begin or end with a hyphen".to_owned())
}

pub fn port_number(value: i64) -> Option<String> {
    (!(1..=65535).contains(&value)).then(|| "must be between 1 and 65535, inclusive".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepts_and_rejects() {
        fn check(rule: fn(&str) -> Option<String>, good: &[&str], bad: &[&str]) {
            for value in good {
                assert_eq!(rule(value), None, "{value}");
            }
            for value in bad {
                assert!(rule(value).is_some(), "{value}");
            }
        }
        let long = "a".repeat(64);
        check(
            dns_label,
            &["a", "0a", "a-b", "x9"],
            &["", "-a", "a-", "A", "a.b", "a_b", "ü", &long],
        );
        check(dns_label_1035, &["a", "a-1"], &["", "1a", "a.b", &long]);
        check(
            dns_subdomain,
            &["a", "a.b", "1.2-3"],
            &["", ".", "a.", "a..b", "A", &"a".repeat(254)],
        );
        check(
            qualified_name,
            &["a", "A_b.c", "x.y/Z"],
            &["", "/a", "a/", "a/b/c", "X/y", "-a", &long],
        );
        check(label_value, &["", "a", "A_b.c"], &["-", "a b", &long]);
        check(env_var_name, &["A", "a.b-c", "1 2"], &["", "a=b", "é"]);
        check(config_map_key, &["a", ".a", "A_b"], &["", ".", "..", "..a", "a/b"]);
        check(port_name, &["http", "a-1"], &["", "1", "a--b", "-a", "a-", "A", "abcdefghijklmnop"]);
        check(path_segment, &["a", "a:b"], &[".", "..", "a/b", "a%b"]);
    }

    proptest! {
        #[test]
        fn a_label_is_a_subdomain_and_a_qualified_name(value in "[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?") {
            prop_assert_eq!(dns_label(&value), None);
            prop_assert_eq!(dns_subdomain(&value), None);
            prop_assert_eq!(qualified_name(&value), None);
            prop_assert_eq!(label_value(&value), None);
        }

        #[test]
        fn never_panics(value in ".{0,80}") {
            let rules = [dns_label, dns_label_1035, dns_subdomain, qualified_name, label_value,
                path_segment, env_var_name, config_map_key, port_name];
            for rule in rules { let _ = rule(&value); }
        }
    }
}

//! What is read is what `serde_json` reads, and only what is looked at counts.

use super::*;
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Thing {
    name: String,
    labels: BTreeMap<String, String>,
    by_number: BTreeMap<u16, bool>,
    node_name: Option<String>,
    gone: Option<IgnoredAny>,
    gates: Vec<IgnoredAny>,
    sides: (i64, f64),
    policy: Policy,
    inner: Option<Box<Thing>>,
    any: Value,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
enum Policy {
    #[default]
    Always,
    After(u8),
    Never {
        why: String,
    },
    Range(u8, u8),
}

fn part_of<T: DeserializeOwned>(json: &str) -> String {
    let mut part = Vec::new();
    read::<T>(json.as_bytes(), &mut part).unwrap();
    String::from_utf8(part).unwrap()
}

#[test]
fn reads_what_serde_json_reads() {
    fn check(json: &str) {
        let expect = serde_json::from_str::<Thing>(json).unwrap();
        assert_eq!(read::<Thing>(json.as_bytes(), &mut Vec::new()).unwrap(), expect, "{json}");
        assert_eq!(parse::<Thing>(json.as_bytes()).unwrap(), expect, "{json}");
    }
    check("{}");
    check(r#" { "name" : "a b" , "other" : [ 1, {"name":"}]"} ] } "#);
    check(r#"{"name":"a\u00e9\"b\n","labels":{"x":"y","k\u0041":"v"}}"#);
    check(r#"{"byNumber":{"7":true,"9":false},"nodeName":null,"gone":null}"#);
    check(r#"{"nodeName":"n","gone":"2026","gates":[1,{},"x"],"sides":[-3,1.5e2]}"#);
    check(r#"{"policy":{"After":7},"any":{"a":[1,null,{"b":"c"}]},"inner":{"name":"b"}}"#);
    check(r#"{"policy":{"Never":{"why":"x"}},"inner":{"policy":{"Range":[1,2]}}}"#);
    check(r#"{"policy":"Always","inner":null,"any":12345678901234567890}"#);
}

#[test]
fn faults_are_named_with_their_place() {
    fn check(json: &str, expect: &str) {
        let mut part = b"before".to_vec();
        let error = read::<Thing>(json.as_bytes(), &mut part).unwrap_err();
        assert_eq!(error.to_string(), expect, "{json}");
        assert_eq!(part, b"before");
        assert!(serde_json::from_str::<Thing>(json).is_err(), "{json}");
    }
    check("", "EOF while parsing a value at line 1 column 0");
    check("nonsense", "expected value at line 1 column 0");
    check("7", "invalid type: integer `7`, expected struct Thing at line 1 column 0");
    check("{\n\"name\":7}", "invalid type: integer `7`, expected a string at line 2 column 7");
    check(r#"{"labels":{"a":null}}"#, "invalid type: null, expected a string at line 1 column 15");
    check(r#"{"name":"a"} b"#, "trailing characters at line 1 column 12");
    check(r#"{"name":"a",}"#, "key must be a string at line 1 column 12");
    check(r#"{"name" "a"}"#, "expected `:` at line 1 column 8");
    check(r#"{"sides":[1,2,3]}"#, "trailing characters at line 1 column 14");
    check(r#"{"byNumber":{"x":true}}"#, "invalid digit found in string at line 1 column 16");
    check(r#"{"labels":{"a":"b""#, "expected a comma or a closing bracket at line 1 column 18");
    check("{\"name\":\"a\u{1}\"}", "a string that is no text at line 1 column 8");
    check(
        r#"{"policy":"Sometimes"}"#,
        "unknown variant `Sometimes`, expected one of `Always`, `After`, `Never`, `Range` at line 1 column 21",
    );
    let deep = format!("{{\"any\":{}{}}}", "[".repeat(200), "]".repeat(200));
    check(&deep, "recursion limit exceeded at line 1 column 134");
}

#[test]
fn what_is_kept_as_it_stands_is_read_later() {
    #[derive(Deserialize)]
    struct Kept<'a> {
        #[serde(borrow)]
        labels: Raw<'a>,
        #[serde(borrow)]
        none: Option<Raw<'a>>,
    }
    let kept: Kept<'_> = parse(br#"{"labels": {"a" : "b"} ,"none":null}"#).unwrap();
    assert_eq!(kept.labels, Raw::new(br#"{"a" : "b"}"#));
    assert_eq!(kept.labels.parse::<BTreeMap<&str, &str>>().unwrap()["a"], "b");
    assert_eq!(kept.none, None);
    assert_eq!(Raw::parse_or_default::<Vec<u8>>(Some(kept.labels)), [0; 0]);
}

#[test]
fn only_what_is_looked_at_counts() {
    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Zoned {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Metadata {
        #[serde(default)]
        labels: Labels,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    #[allow(dead_code)]
    struct Labels {
        zone: String,
    }
    let pod = |name: &str, zone: &str| {
        let labels = json!({"app": name, "zone": zone});
        json!({"metadata": {"labels": labels, "name": name}, "spec": {"x": name}}).to_string()
    };
    assert_eq!(part_of::<Zoned>(&pod("a", "z")), part_of::<Zoned>(&pod("b", "z")));
    assert_ne!(part_of::<Zoned>(&pod("a", "z")), part_of::<Zoned>(&pod("a", "y")));
    // There or not there: both count, and what counts as a key.
    assert_ne!(part_of::<Thing>(r#"{"gone":1}"#), part_of::<Thing>("{}"));
    assert_eq!(part_of::<Thing>(r#"{"gone":1}"#), part_of::<Thing>(r#"{"gone":{"a":2}}"#));
    assert_ne!(part_of::<Thing>(r#"{"gates":[1]}"#), part_of::<Thing>(r#"{"gates":[1,2]}"#));
    type Keys = BTreeMap<String, IgnoredAny>;
    assert_ne!(part_of::<Keys>(r#"{"a":1}"#), part_of::<Keys>(r#"{"b":1}"#));
    assert_ne!(part_of::<Box<RawValue>>("[1]"), part_of::<Box<RawValue>>("[2]"));
}

#[test]
fn fields_are_found_by_their_path() {
    fn check(paths: &[&str], expect: &str) {
        const POD: &str = r#" {"kind":"Pod", "metadata" : {"name":"a","labels": {"x":"y"} },
            "spec":{"priority":7,"a\"b":1,"containers":[{"name":"c"}]}}"#;
        let mut part = Vec::new();
        fields(POD.as_bytes(), paths, &mut part);
        assert_eq!(String::from_utf8(part).unwrap(), expect, "{paths:?}");
    }
    check(&[], "");
    check(&["spec.priority", "metadata.labels"], "7\0{\"x\":\"y\"}\0");
    check(&["metadata.labels.x", "kind.deeper", "spec.none", "none"], "\"y\"\0\0\0\0");
    check(&["spec.containers"], "[{\"name\":\"c\"}]\0");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-c\"\\\\{}\\[\\]é\n ]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map("[a-c\"\\\\]{0,3}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn agrees_with_serde_json(value in any_json(), pretty in any::<bool>()) {
        let text = match pretty {
            true => serde_json::to_string_pretty(&value),
            false => serde_json::to_string(&value),
        }.unwrap();
        let mut part = Vec::new();
        prop_assert_eq!(read::<Value>(text.as_bytes(), &mut part).unwrap(), value);
        let around = json!({"skipped": serde_json::from_str::<Value>(&text).unwrap(), "name": "x"});
        let thing: Thing = read(around.to_string().as_bytes(), &mut part).unwrap();
        prop_assert_eq!(thing.name, "x");
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let found = read::<Value>(&bytes, &mut Vec::new()).ok();
        let expect = serde_json::from_slice::<Value>(&bytes).ok();
        prop_assert!(found == expect || expect.is_none());
    }
}
